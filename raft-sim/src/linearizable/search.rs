//! The search for an order of one key's operations, as Lowe's "just in time" one: return by return.
//!
//! A [`Prefix`] stands before a return. It holds what was done of that which is pending, which operations of unknown
//! outcome were used up, and the state. All that returned earlier is done, so it need not be named: prefixes that differ only
//! in the order of a finished prefix are one prefix, and where nothing is pending a prefix is no more than a state.
//! To get past a return its operation is done, at once or after others that are pending. The furthest prefix goes
//! first, and the one that used up fewest.
//!
//! What is left out, and why no order is missed by that:
//! - **A prefix that used up more.** Two prefixes before one return, with the same operations done and the same state, where
//!   what the first one used up of unknown outcome is a subset of the second's: each end of the second prefix is one
//!   of the first, as operations of unknown outcome need not be done. Without unknown outcomes this is Lowe's memo.
//!   So an unknown put that nobody saw is forgotten with the next known put.
//! - **An operation of unknown outcome that leaves the state as it is.** The same, with itself as the difference.
//! - **A twin before its elder.** Of two calls of unknown outcome that ask for the same only the one called first is
//!   tried, and the second one after it. Where an order uses the second and not the first, exchange them; where
//!   it uses both, exchange them if needed. The first may be done wherever the second was, as it
//!   was called before and need not return.
//! - **An operation of unknown outcome after the time by which it was done if at all** ([`Model::inferred`]). Where that
//!   time is past it is not even remembered whether it was used up.
//! - **Waiting with a read that fits and leaves the state as it is.** Take any end of the prefix, and move the read to the
//!   front: it fits there, and whatever followed it at its old place still fits without it ([`Model::is_read`]).
//! - **An answer before one of a lower position** ([`Model::position`]): the lower one would not fit any more.

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

/// What to do next with a prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// The operation that returns.
    Returning,
    /// Another one before it that is certain.
    Certain,
    /// One of unknown outcome before it.
    Optional,
}

/// Which prefix goes first: the furthest one, of these the one that used up fewest, the oldest one.
type Rank = (Reverse<usize>, usize, Next, u64);

/// How far a prefix came: up to which return, with how many operations that have to be done; the order is its trail.
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

/// Whether there is a return left.
enum Opened {
    /// The prefix is noted, or was not needed.
    Waits,
    /// All returns are passed: the prefix is an order of the whole history.
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

    /// Does the operation that returns; the others are for later, when the furthest prefixes have come to nothing.
    fn do_returning(&mut self, event: usize, prefix: Prefix<M::State>) -> Opened {
        let operation = self.plan.returns[event].operation;
        let opened = match self.after(event, &prefix, operation) {
            Some(after) => self.open(event, after),
            None => Opened::Waits,
        };
        self.put(event, Next::Certain, prefix);
        opened
    }

    /// Does each of the others that are certain.
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

    /// Does each of those of unknown outcome.
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

    /// The prefix with an operation more, if that fits and is worth it.
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

    /// Whether all that comes before it by its own answer is done.
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

    /// Takes a prefix past all returns of what is done, and notes it before the first one that is not.
    fn open(&mut self, mut event: usize, mut prefix: Prefix<M::State>) -> Opened {
        let plan = self.plan;
        let start = event;
        loop {
            let Some(at) = plan.returns.get(event) else {
                return Opened::Ended;
            };
            for (operation, certain) in plan.pending_certain(at) {
                // On the prefix the state is the same, so only those count that were called there.
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
            // Of equally far ones the first is the one that used up fewest.
            if (event, prefix.certain_count) > (self.furthest.event, self.furthest.certain_count) {
                self.furthest = Furthest { event, certain_count: prefix.certain_count, trail: prefix.trail };
            }
            self.put(event, Next::Returning, prefix);
        }
        Opened::Waits
    }

    /// Does the operation if it is a read that fits and leaves the state as it is.
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

    /// What the search came to, for a person.
    fn violation(&self, key: M::Key) -> Violation<M> {
        let Furthest { event, trail, .. } = self.furthest;
        Violation::new(key, self.plan, event, &self.trails.order(trail), self.seen.states_at_last(event))
    }
}
