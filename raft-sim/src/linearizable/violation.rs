//! Why a history is not linearizable, for a person to read.

use std::collections::BTreeSet;
use std::fmt;

use super::plan::Plan;
use super::{Model, Operation};

/// So many operations of the order are shown, the last ones, and so many of the pending ones.
const SHOWN_MAX: usize = 12;

/// So many columns are for the lines of time.
const COLUMNS_MAX: usize = 48;

/// Why the operations on one key are not linearizable. Shown (`Display`) as a table in which each operation has a
/// line from its call to its return, so that one sees what overlapped what.
pub struct Violation<M: Model> {
    /// Which key.
    pub key: M::Key,
    /// An order of operations that explains their answers and goes as far as any does.
    pub order: Vec<Linearized<M>>,
    /// The states to which such orders lead, this one and others.
    pub states: Vec<M::State>,
    /// What then fits in no state: first the operation that had to be done next because it returned, then others that
    /// were pending with it.
    pub misfits: Vec<Operation<M::Input, M::Output>>,
    /// What has to come before the first misfit by the misfit's own answer ([`Model::position`]), if it is not done.
    pub after: Option<Operation<M::Input, M::Output>>,
    /// What was pending with the misfits and would fit in some of the states, without making room for the first misfit.
    pub pending: Vec<Operation<M::Input, M::Output>>,
    /// So many operations there are on this key, without reads of unknown outcome.
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
    /// Tells why no order gets past a return: `order` is the longest one up to there, `states` are those before it.
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

    /// The columns for all that is shown.
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

/// Writes the first ones, and how many more there are.
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

/// Which time stands in which column: the times that occur are evenly spread.
struct Scale {
    times: BTreeSet<u64>,
    client_digits: usize,
}

impl Scale {
    fn columns(&self) -> usize {
        // Two columns a time, so that what follows closely can be told from what overlaps.
        (2 * self.times.len()).clamp(1, COLUMNS_MAX)
    }

    fn column(&self, time: u64) -> usize {
        let rank = self.times.range(..time).count();
        rank * (self.columns() - 1) / self.times.len().saturating_sub(1).max(1)
    }

    /// An operation: who, the line from call to return, the times, what.
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
