//! The orders that a search has tried, as a tree that shares their beginnings.

/// Orders of operations, each named by its last one; none is the empty order.
#[derive(Default)]
pub(super) struct Trails(Vec<Trail>);

struct Trail {
    operation: usize,
    before: Option<usize>,
}

impl Trails {
    /// The order `before` with an operation more.
    pub(super) fn push(&mut self, before: Option<usize>, operation: usize) -> usize {
        self.0.push(Trail { operation, before });
        self.0.len() - 1
    }

    /// The operations of an order, the first one first.
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
