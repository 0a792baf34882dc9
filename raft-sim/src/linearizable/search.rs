//! The search for an order of the operations on one key, return by return (Lowe's "just in time" linearization).
//!
//! A [`Prefix`] of an order stands before a return. It holds the pending operations that are done, the operations of unknown
//! outcome that were used, and the state. Every operation that has returned is done, so these are not listed: prefixes that differ
//! only in the order of returned operations are the same, and with nothing pending a prefix is no more than a state.
//! To get past a return, its operation is done, at once or after other pending ones. The prefix that is past the most returns is
//! continued first; among these, the one that used the fewest operations of unknown outcome.
//!
//! The search leaves out the following, and misses no order by that:
//! - **A prefix that used more.** Let two prefixes before one return have the same operations done and the same state, and let the
//!   operations of unknown outcome that the first one used be a subset of the second's. Whatever completes the second one also
//!   completes the first, as operations of unknown outcome need not be done. Without unknown outcomes this is Lowe's
//!   memoization. A put of unknown outcome that no read saw is forgotten in this way with the next known put.
//! - **An operation of unknown outcome that leaves the state as it is.** This is the same case, with the operation as the
//!   difference.
//! - **A later twin first.** Of two calls of unknown outcome with the same input only the earlier one is tried, and the later
//!   one after it. In an order that uses only the later one, or the later one first, exchange the two: the earlier one may be done
//!   wherever the later one was, as it was called before and need not return.
//! - **An operation of unknown outcome after its expiry**, the time before which it was done if it was done and changed the state
//!   ([`Model::inferred`]). After that time a prefix also forgets whether it used the operation.
//! - **Delaying a read whose answer fits and that leaves the state as it is.** In any completion, move the read to the front: its
//!   answer fits there, and the operations that followed it are possible without it too ([`Model::is_read`]).
//! - **An answer before one of a lower position** ([`Model::position`]): the answer of lower position would not fit any more.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::plan::{Certain, Duty, Plan, Wait};
use super::prefix::{Prefix, Seen};
use super::trail::Trails;
use super::violation::Violation;
use super::{Budget, Model, Operation, Verdict};

/// Searches for an order of the operations on one key.
pub(super) fn search<M: Model>(
    key: &M::Key,
    operations: Vec<&Operation<M::Input, M::Output>>,
    budget: Budget,
) -> Verdict<M> {
    let out_of_budget = || Verdict::OutOfBudget { key: key.clone() };
    let Some(plan) = Plan::<M>::new(operations, budget.steps_max) else {
        return out_of_budget();
    };
    let mut search = Search {
        plan: &plan,
        open: BTreeMap::new(),
        seen: Seen::default(),
        trails: Trails::default(),
        furthest: Furthest::default(),
        opened: 0,
        steps: 0,
    };
    match search.run(budget.steps_max) {
        Outcome::Order => Verdict::Linearizable,
        Outcome::NoOrder => Verdict::Violation(Box::new(search.violation(key.clone()))),
        Outcome::Unfinished => out_of_budget(),
    }
}

/// The operations to try next after a prefix, in the order in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// The operation that returns next.
    Returning,
    /// Another pending operation that must be done.
    Certain,
    /// An operation of unknown outcome.
    Optional,
}

/// Rank of a prefix, lowest first: most returns passed, fewest operations of unknown outcome used, next operations, age.
type Rank = (Reverse<usize>, usize, Next, u64);

/// The furthest prefix so far: the return it stands before, the number of operations in it that must be done, and its order.
#[derive(Clone, Copy, Default)]
struct Furthest {
    event: usize,
    certain_count: usize,
    trail: Option<usize>,
}

enum Outcome {
    Order,
    NoOrder,
    Unfinished,
}

/// Result of continuing a prefix.
enum Opened {
    /// The prefix stands before a return: it was recorded, or is not needed.
    Waits,
    /// The prefix is past all returns: it is an order of the whole history.
    Ended,
}

struct Search<'p, 'a, M: Model> {
    plan: &'p Plan<'a, M>,
    open: BTreeMap<Rank, Prefix<M::State>>,
    seen: Seen<M::State>,
    trails: Trails,
    furthest: Furthest,
    opened: u64,
    steps: u64,
}

impl<M: Model> Search<'_, '_, M> {
    fn run(&mut self, steps_max: u64) -> Outcome {
        if let Opened::Ended = self.open(0, Prefix::new(M::initial())) {
            return Outcome::Order;
        }
        while let Some(((Reverse(event), _, next, _), prefix)) = self.open.pop_first() {
            if self.steps > steps_max {
                return Outcome::Unfinished;
            }
            let opened = match next {
                Next::Returning => self.do_returning(event, prefix),
                Next::Certain => self.do_certain(event, prefix),
                Next::Optional => self.do_optional(event, &prefix),
            };
            if let Opened::Ended = opened {
                return Outcome::Order;
            }
        }
        Outcome::NoOrder
    }

    /// Continues a prefix with the operation that returns. The others come later, once every prefix that got further has failed.
    fn do_returning(&mut self, event: usize, prefix: Prefix<M::State>) -> Opened {
        let operation = self.plan.returns[event].operation;
        let opened = match self.after(event, &prefix, operation) {
            Some(after) => self.open(event, after),
            None => Opened::Waits,
        };
        self.put(event, Next::Certain, prefix);
        opened
    }

    /// Continues a prefix with each other operation that must be done.
    fn do_certain(&mut self, event: usize, prefix: Prefix<M::State>) -> Opened {
        let plan = self.plan;
        let at = &plan.returns[event];
        for (operation, _) in plan.pending_certain(at) {
            if operation != at.operation
                && let Some(after) = self.after(event, &prefix, operation)
                && let Opened::Ended = self.open(event, after)
            {
                return Opened::Ended;
            }
        }
        self.put(event, Next::Optional, prefix);
        Opened::Waits
    }

    /// Continues a prefix with each operation of unknown outcome.
    fn do_optional(&mut self, event: usize, prefix: &Prefix<M::State>) -> Opened {
        let plan = self.plan;
        self.steps += plan.returns[event].lasting as u64 / 16; // to look at one is far cheaper than a step
        for operation in plan.pending(&plan.returns[event]) {
            if let Duty::Optional { .. } = plan.duties[operation]
                && let Some(after) = self.after(event, prefix, operation)
                && let Opened::Ended = self.open(event, after)
            {
                return Opened::Ended;
            }
        }
        Opened::Waits
    }

    /// Appends an operation to a prefix. Returns none if its answer does not fit or the search leaves it out here.
    fn after(
        &mut self,
        event: usize,
        prefix: &Prefix<M::State>,
        operation: usize,
    ) -> Option<Prefix<M::State>> {
        let trails = |search: &mut Self| search.trails.push(prefix.trail, operation);
        match self.plan.duties[operation] {
            Duty::Certain(certain) => {
                if prefix.done.contains(certain.bit) || !self.is_next(&certain, event, prefix) {
                    return None;
                }
                let state = self.step(&prefix.state, operation)?;
                Some(prefix.with_certain(certain.bit, state, trails(self)))
            }
            Duty::Optional { bit, twin } => {
                if prefix.used.contains(bit) || twin.is_some_and(|twin| !prefix.used.contains(twin)) {
                    return None;
                }
                let state = self.step(&prefix.state, operation).filter(|after| *after != prefix.state)?;
                Some(prefix.with_optional(bit, state, trails(self)))
            }
        }
    }

    /// True if the operation with the next lower position, by the answers, is done.
    fn is_next(&self, certain: &Certain, event: usize, prefix: &Prefix<M::State>) -> bool {
        match self.plan.waits_for(certain, event) {
            Wait::Nothing => true,
            Wait::Bit(bit) => prefix.done.contains(bit),
            Wait::Future => false,
        }
    }

    fn step(&mut self, state: &M::State, operation: usize) -> Option<M::State> {
        self.steps += 1;
        self.plan.step(state, operation)
    }

    /// Moves a prefix past the returns of all operations that it has done, and records it before the next return.
    fn open(&mut self, mut event: usize, mut prefix: Prefix<M::State>) -> Opened {
        let plan = self.plan;
        let start = event;
        loop {
            let Some(at) = plan.returns.get(event) else {
                return Opened::Ended;
            };
            for (operation, certain) in plan.pending_certain(at) {
                // The state does not change in this loop, so at later returns only newly called operations are tried.
                if event == start || certain.called == event {
                    self.do_idle_read(event, &mut prefix, operation, certain);
                }
            }
            if !prefix.done.contains(at.bit) {
                break;
            }
            prefix.done.remove(at.bit);
            plan.expired(at).iter().for_each(|&bit| prefix.forget(bit));
            event += 1;
        }
        if self.seen.is_new(event, &prefix, &mut self.steps) {
            // Of equally far prefixes keep the first one: it used the fewest operations of unknown outcome.
            if (event, prefix.certain_count) > (self.furthest.event, self.furthest.certain_count) {
                self.furthest = Furthest { event, certain_count: prefix.certain_count, trail: prefix.trail };
            }
            self.put(event, Next::Returning, prefix);
        }
        Opened::Waits
    }

    /// Appends an operation if it is a read whose answer fits and that leaves the state as it is.
    fn do_idle_read(
        &mut self,
        event: usize,
        prefix: &mut Prefix<M::State>,
        operation: usize,
        certain: Certain,
    ) {
        if !prefix.done.contains(certain.bit)
            && self.plan.is_read(operation)
            && self.is_next(&certain, event, prefix)
            && self.step(&prefix.state, operation).is_some_and(|after| after == prefix.state)
        {
            prefix.done.insert(certain.bit);
            prefix.certain_count += 1;
            prefix.trail = Some(self.trails.push(prefix.trail, operation));
        }
    }

    fn put(&mut self, event: usize, next: Next, prefix: Prefix<M::State>) {
        self.opened += 1;
        self.open.insert((Reverse(event), prefix.used_count, next, self.opened), prefix);
    }

    /// Reports why the search has found no order.
    fn violation(&self, key: M::Key) -> Violation<M> {
        let Furthest { event, trail, .. } = self.furthest;
        Violation::new(key, self.plan, event, &self.trails.order(trail), self.seen.states_at_last(event))
    }
}
