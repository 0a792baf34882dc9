//! The report of a history that is not linearizable.

use std::collections::BTreeSet;
use std::fmt;

use super::plan::Plan;
use super::{Model, Operation};

/// Upper bound on the operations of the order that are shown (the last ones), and on the pending ones.
const SHOWN_MAX: usize = 12;

/// Upper bound on the width of the time lines, in columns.
const COLUMNS_MAX: usize = 48;

/// The reason why the operations on one key are not linearizable. `Display` shows a table in which each operation has a line
/// from its call to its return, so that a reader sees which operations overlap.
pub struct Violation<M: Model> {
    /// The key.
    pub key: M::Key,
    /// One of the longest orders that explain the answers of their operations.
    pub order: Vec<Linearized<M>>,
    /// The states after all orders of that length.
    pub states: Vec<M::State>,
    /// Operations whose answers are possible in none of these states. The first one had to be done next, as it returned;
    /// the others were pending at the same time.
    pub misfits: Vec<Operation<M::Input, M::Output>>,
    /// The operation that must come before the first misfit by the positions that answers tell ([`Model::position`]), if it is
    /// not done.
    pub after: Option<Operation<M::Input, M::Output>>,
    /// Operations that were pending with the misfits and that are possible in some of the states. The first misfit is not
    /// possible after them either.
    pub pending: Vec<Operation<M::Input, M::Output>>,
    /// Number of operations on this key, without reads of unknown outcome.
    pub operations: usize,
}

/// An operation of an order, and the state after it.
pub struct Linearized<M: Model> {
    /// The operation.
    pub operation: Operation<M::Input, M::Output>,
    /// The state after it.
    pub state: M::State,
}

impl<M: Model> fmt::Display for Violation<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.order.len().saturating_sub(SHOWN_MAX);
        let scale = self.scale(hidden);
        writeln!(
            f,
            "key {:?}: no order of its {} operations explains every answer. One that goes furthest, with {}:",
            self.key,
            self.operations,
            self.order.len()
        )?;
        if hidden > 0 {
            writeln!(f, "       ... {hidden} operations before")?;
        }
        for (number, Linearized { operation, state }) in self.order.iter().enumerate().skip(hidden) {
            let state = M::describe_state(state);
            writeln!(f, "{:>6} {}  =>  {state}", number + 1, scale.row::<M>(operation))?;
        }
        writeln!(f, "orders like this lead to:")?;
        list(f, &self.states, |f, state| writeln!(f, "       {}", M::describe_state(state)))?;
        writeln!(f, "nothing of which explains:")?;
        list(f, &self.misfits, |f, operation| writeln!(f, "     ! {}", scale.row::<M>(operation)))?;
        if let Some(after) = &self.after {
            writeln!(f, "the first of which comes right after, by its own answer:")?;
            writeln!(f, "       {}", scale.row::<M>(after))?;
        }
        if !self.pending.is_empty() {
            writeln!(f, "pending, but of no help:")?;
            list(f, &self.pending, |f, operation| writeln!(f, "     ? {}", scale.row::<M>(operation)))?;
        }
        Ok(())
    }
}

impl<M: Model> fmt::Debug for Violation<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<M: Model> Violation<M> {
    /// Explains why no order gets past a return. `order` is the longest order up to the return, `states` are the states
    /// before it.
    pub(super) fn new(
        key: M::Key,
        plan: &Plan<'_, M>,
        event: usize,
        order: &[usize],
        states: BTreeSet<M::State>,
    ) -> Self {
        let done: BTreeSet<usize> = order.iter().copied().collect();
        let at = &plan.returns[event];
        let waiting = plan.pending(at).filter(|number| *number != at.operation && !done.contains(number));
        let (mut misfits, mut pending) = (vec![plan.operations[at.operation].clone()], Vec::new());
        for number in waiting {
            let fits = states.iter().any(|state| plan.step(state, number).is_some());
            let list = if fits { &mut pending } else { &mut misfits };
            list.push(plan.operations[number].clone());
        }
        let mut state = M::initial();
        let replayed = order.iter().map(|&number| {
            state = plan.step(&state, number).unwrap_or_else(|| state.clone());
            Linearized { operation: plan.operations[number].clone(), state: state.clone() }
        });
        let after = plan.predecessor(at.operation).filter(|before| !done.contains(before));
        Self {
            key,
            order: replayed.collect(),
            states: states.into_iter().collect(),
            misfits,
            after: after.map(|before| plan.operations[before].clone()),
            pending,
            operations: plan.operations.len(),
        }
    }

    /// Lays out the columns for the operations that are shown.
    fn scale(&self, hidden: usize) -> Scale {
        let order = self.order.iter().skip(hidden).map(|linearized| &linearized.operation);
        let misfits = self.misfits.iter().take(SHOWN_MAX).chain(&self.after);
        let mut scale = Scale { times: BTreeSet::new(), client_digits: 1 };
        for operation in order.chain(misfits).chain(self.pending.iter().take(SHOWN_MAX)) {
            scale.times.insert(operation.called);
            scale.times.extend(operation.returned.filter(|_| operation.output.is_some()));
            scale.client_digits = scale.client_digits.max(operation.client.to_string().len());
        }
        scale
    }
}

/// Writes the first items of a list, and the number of those left out.
fn list<T>(
    f: &mut fmt::Formatter<'_>,
    all: &[T],
    mut write_one: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for one in all.iter().take(SHOWN_MAX) {
        write_one(f, one)?;
    }
    match all.len().checked_sub(SHOWN_MAX) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(f, "       ... and {more} more"),
    }
}

/// Maps times to columns. The times that occur are evenly spread, so that columns say nothing about durations.
struct Scale {
    times: BTreeSet<u64>,
    client_digits: usize,
}

impl Scale {
    fn columns(&self) -> usize {
        // Two columns for each time, so that a call right after a return does not look like an overlap.
        (2 * self.times.len()).clamp(1, COLUMNS_MAX)
    }

    fn column(&self, time: u64) -> usize {
        let rank = self.times.range(..time).count();
        rank * (self.columns() - 1) / self.times.len().saturating_sub(1).max(1)
    }

    /// Formats an operation: the client, the line from call to return, both times, and the call with its answer.
    fn row<M: Model>(&self, operation: &Operation<M::Input, M::Output>) -> String {
        let Operation { client, input, output, called, returned } = operation;
        let returned = returned.filter(|_| output.is_some());
        let from = self.column(*called);
        let (to, end, until) = match returned {
            Some(returned) => (self.column(returned).max(from), '|', returned.to_string()),
            None => (self.columns(), '>', "..".to_owned()),
        };
        let mut line = vec![' '; self.columns() + 1];
        for (column, place) in line.iter_mut().enumerate() {
            if column == to {
                *place = end;
            } else if column == from {
                *place = '|';
            } else if column > from && column < to {
                *place = '-';
            }
        }
        let line: String = line.into_iter().collect();
        let words = M::describe(input, output.as_ref());
        format!("client {client:<0$} {line} {called} to {until}: {words}", self.client_digits)
    }
}
