//! Linearizability: could a history of overlapping calls have come from one object that does one thing at a time?
//!
//! A history is linearizable if each operation can be given one instant between its call and its return such that
//! the operations, done one by one in the order of these instants, answer what they answered (Herlihy and Wing 1990).
//!
//! What is combined here:
//! - The search of Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993): try the operations that may
//!   come first, one after another, and go back where none fits.
//! - What Lowe added (*Testing for linearizability*, 2017): never search twice from the same set of operations done and
//!   the same state, and do an operation only *just in time*, when some operation returns and has to be done.
//! - What Horn and Kroening added (*Faster linearizability checking via P-compositionality*, 2015): check key by key.
//! - Operations whose outcome is unknown may be done at any time after their call, or never. Left to themselves a few
//!   dozen of them cost a search of exponential length. So of two ways to the same state the one that used up
//!   fewer of them is enough, of those that ask for the same only the earliest is tried, and a model can tell
//!   what others' answers say about them. `search.rs` says why no order is missed by that.
//!
//! The search takes a few steps an operation where the answers leave little choice, as those of [`KvModel`] do. To show
//! that there is no order, it has to try all that unknown outcomes leave open since the beginning; many clients on one key,
//! or many unknown outcomes with few different values, can end the [`Budget`] before.

mod bits;
mod kv;
mod plan;
mod prefix;
mod search;
mod trail;
mod violation;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

pub use kv::{KvCall, KvInput, KvModel, KvOutput, KvState, KvVersion};
pub use violation::{Linearized, Violation};

/// What a sequential object does: the specification that a history is held against.
pub trait Model: Sized {
    /// What is asked of the object. What is equal asks for the same.
    type Input: Clone + Ord + Debug;
    /// What it answers.
    type Output: Clone + Debug;
    /// What it remembers. As small as possible: fewer states, shorter search.
    type State: Clone + Ord + Debug;
    /// The part of the object that an operation is about. Operations of different parts do not touch each other.
    type Key: Ord + Clone + Debug;

    /// The part that this is about.
    fn key(input: &Self::Input) -> Self::Key;

    /// How each part begins.
    fn initial() -> Self::State;

    /// The state after `input`, if it can be answered by `output` in `state`. Without an output the outcome is unknown
    /// and any answer is fine; if none of them changes the state, that is `state` itself.
    fn step(state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;

    /// Whether this only looks. It then leaves the state as it is, or narrowed by what its answer tells: whatever is
    /// possible after it has to be possible without it, too.
    fn is_read(input: &Self::Input) -> bool;

    /// Where in the order of its part this answer says that it was made: of two answers that say so, the lower one
    /// comes first. Only a help, which makes the search much shorter; `step` refuses the other order, too.
    fn position(_output: &Self::Output) -> Option<u64> {
        None
    }

    /// What the other answers of a part tell about some of its operations of unknown outcome, by their numbers. It has to
    /// hold in every order that explains those answers. Only a help: the fewer ways there are to do an
    /// operation, the shorter the search. By default nothing.
    fn inferred(
        _operations: &[&Operation<Self::Input, Self::Output>],
    ) -> BTreeMap<usize, Inferred<Self::Input, Self::Output>> {
        BTreeMap::new()
    }

    /// An operation in words, for a reader of a [`Violation`].
    fn describe(input: &Self::Input, output: Option<&Self::Output>) -> String {
        match output {
            Some(output) => format!("{input:?} -> {output:?}"),
            None => format!("{input:?} -> unknown"),
        }
    }

    /// A state in words, for a reader of a [`Violation`].
    fn describe_state(state: &Self::State) -> String {
        format!("{state:?}")
    }
}

/// One call and what came of it. What certainly did nothing (say, it was refused before it was proposed) is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who called. Only shown, never used: time alone decides what came before what.
    pub client: u64,
    /// What was asked.
    pub input: I,
    /// What was answered; `None` if that is unknown. It may then have been done, may be done at any later
    /// time (also after the caller gave up), or never.
    pub output: Option<O>,
    /// When it was called, in any unit that only grows. Of an operation that returned before another one was called, the
    /// first is before the second; equal times overlap. So a fine clock finds more, and a counter of events the most.
    pub called: u64,
    /// When it returned, in the same unit; `None` if that never happened. An operation with an answer but
    /// without a return was done at some time after its call. One that returned before it was called counts as an
    /// instant, at the call.
    pub returned: Option<u64>,
}

/// What is known of an operation of unknown outcome all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inferred<I, O> {
    /// What was asked, or what in this history comes to the same.
    pub input: I,
    /// Its answer, if it was done for certain.
    pub output: Option<O>,
    /// The return of some operation by which it was done, if it was done and changed the state; `None` if there is none.
    pub done_by: Option<u64>,
}

/// What was asked of an object, and what it answered.
pub struct History<M: Model> {
    operations: Vec<Operation<M::Input, M::Output>>,
}

impl<M: Model> History<M> {
    /// A history without operations.
    #[must_use]
    pub fn new() -> Self {
        Self { operations: Vec::new() }
    }

    /// Adds an operation; the order of adding does not matter.
    pub fn push(&mut self, operation: Operation<M::Input, M::Output>) {
        self.operations.push(operation);
    }

    /// All of them, in the order in which they were added.
    #[must_use]
    pub fn operations(&self) -> &[Operation<M::Input, M::Output>] {
        &self.operations
    }

    /// Whether it is linearizable: [`check`].
    #[must_use]
    pub fn check(&self, budget: Budget) -> Verdict<M> {
        check(&self.operations, budget)
    }
}

impl<M: Model> Default for History<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Model> Clone for History<M> {
    fn clone(&self) -> Self {
        Self { operations: self.operations.clone() }
    }
}

impl<M: Model> Debug for History<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("operations", &self.operations).finish()
    }
}

/// How long the search may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// So many steps for each key. A step is an operation tried on a state, or a comparison of about that cost.
    /// A step takes about 100 ns and keeps about 50 bytes.
    pub steps_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps_max: 10_000_000 }
    }
}

/// What a check came to.
pub enum Verdict<M: Model> {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none.
    Violation(Box<Violation<M>>),
    /// The search for an order of the operations on this key ended without a result, and no other key has a violation.
    OutOfBudget {
        /// Which key, the first such one.
        key: M::Key,
    },
}

impl<M: Model> Verdict<M> {
    /// Whether there is an order that explains every answer.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable)
    }

    /// Why there is none, if that was found.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation<M>> {
        match self {
            Self::Violation(violation) => Some(violation),
            Self::Linearizable | Self::OutOfBudget { .. } => None,
        }
    }
}

impl<M: Model> fmt::Display for Verdict<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::Violation(violation) => write!(f, "{violation}"),
            Self::OutOfBudget { key } => write!(f, "key {key:?}: the budget ended before the search"),
        }
    }
}

impl<M: Model> Debug for Verdict<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Searches for an order that explains every answer, key by key.
#[must_use]
pub fn check<M: Model>(history: &[Operation<M::Input, M::Output>], budget: Budget) -> Verdict<M> {
    let mut parts = BTreeMap::new();
    for operation in history {
        parts.entry(M::key(&operation.input)).or_insert_with(Vec::new).push(operation);
    }
    let mut unfinished = None;
    for (key, operations) in parts {
        match search::search::<M>(&key, operations, budget) {
            Verdict::Linearizable => {}
            // A violation tells more than a search without a result, so the other keys are looked at all the same.
            Verdict::OutOfBudget { key } => unfinished = unfinished.or(Some(key)),
            violation @ Verdict::Violation(_) => return violation,
        }
    }
    match unfinished {
        Some(key) => Verdict::OutOfBudget { key },
        None => Verdict::Linearizable,
    }
}
