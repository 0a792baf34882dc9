//! The orders that a search has tried, as a tree in which orders with the same beginning share it.

/// Orders of operations. An order is identified by the node of its last operation; none is the empty order.
#[derive(Default)]
pub(super) struct Trails(Vec<Trail>);

struct Trail {
    operation: usize,
    before: Option<usize>,
}

impl Trails {
    /// Appends an operation to the order `before`.
    pub(super) fn push(&mut self, before: Option<usize>, operation: usize) -> usize {
        self.0.push(Trail { operation, before });
        self.0.len() - 1
    }

    /// Returns the operations of an order, first to last.
    pub(super) fn order(&self, last: Option<usize>) -> Vec<usize> {
        let mut order = Vec::new();
        let mut next = last;
        while let Some(trail) = next.map(|trail| &self.0[trail]) {
            order.push(trail.operation);
            next = trail.before;
        }
        order.reverse();
        order
    }
}
