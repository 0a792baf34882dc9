//! A checker for linearizability: could a history of overlapping calls come from one object that does one call at a time?
//!
//! A history is linearizable if each operation can be given one instant between its call and its return such that
//! the operations, done one by one in the order of these instants, answer what they answered (Herlihy and Wing 1990).
//!
//! The checker combines:
//! - The search of Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993): try the operations that may
//!   come first, one after another, and go back where none fits.
//! - Lowe's additions (*Testing for linearizability*, 2017): never search twice from the same set of done operations and
//!   the same state, and do an operation only *just in time*, before a return that needs it.
//! - Horn and Kroening's addition (*Faster linearizability checking via P-compositionality*, 2015): check key by key.
//! - Rules for operations of unknown outcome. They may be done at any time after their call, or never, so that a few dozen of
//!   them would make the search exponentially long. Of two prefixes with the same state the one that used fewer of them
//!   is enough; of operations with equal inputs only the earliest is tried; and a model can infer facts about them from the
//!   answers to other operations. `search.rs` says why no order is missed.
//!
//! The search takes a few steps for each operation if the answers leave little choice, as those of [`KvModel`] do. To show
//! that there is no order, the search has to try everything that unknown outcomes leave open since the beginning. Many clients
//! on one key, or many unknown outcomes with few different values, may exhaust the [`Budget`].

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

/// A sequential object: the specification that a history is checked against.
pub trait Model: Sized {
    /// The input of an operation. Equal inputs ask for the same.
    type Input: Clone + Ord + Debug;
    /// The answer to an operation.
    type Output: Clone + Debug;
    /// The state of the object. The fewer different states there are, the shorter is the search.
    type State: Clone + Ord + Debug;
    /// Identifies an independent part of the object. Operations on different parts do not affect each other.
    type Key: Ord + Clone + Debug;

    /// Returns the part that an operation is about.
    fn key(input: &Self::Input) -> Self::Key;

    /// Returns the initial state of every part.
    fn initial() -> Self::State;

    /// Returns the state after `input`, or none if `output` is no possible answer in `state`. Without an output the outcome
    /// is unknown and any answer is possible; if no possible answer changes the state, the result is `state` itself.
    fn step(state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;

    /// True if the operation is a read. A read leaves the state as it is, or narrows it by what its answer tells:
    /// whatever is possible after the read must be possible without it as well.
    fn is_read(input: &Self::Input) -> bool;

    /// Returns the position in the order of its part that an answer tells, if it tells one: of two such answers the one with
    /// the lower position comes first. This only makes the search much shorter; `step` must refuse the other order as well.
    fn position(_output: &Self::Output) -> Option<u64> {
        None
    }

    /// Infers facts about operations of unknown outcome from the other answers of a part. Keys are positions in
    /// `operations`. A fact must hold in every order that explains those answers. This only makes the search shorter, and
    /// the default infers nothing.
    fn inferred(
        _operations: &[&Operation<Self::Input, Self::Output>],
    ) -> BTreeMap<usize, Inferred<Self::Input, Self::Output>> {
        BTreeMap::new()
    }

    /// Describes an operation for the readers of a [`Violation`].
    fn describe(input: &Self::Input, output: Option<&Self::Output>) -> String {
        match output {
            Some(output) => format!("{input:?} -> {output:?}"),
            None => format!("{input:?} -> unknown"),
        }
    }

    /// Describes a state for the readers of a [`Violation`].
    fn describe_state(state: &Self::State) -> String {
        format!("{state:?}")
    }
}

/// A call and its outcome. Calls that certainly did nothing, such as those refused before they were proposed, have no place in a
/// history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// The caller. It is only shown: time alone decides what came before what.
    pub client: u64,
    /// The input.
    pub input: I,
    /// The answer; `None` if it is unknown. The operation may then have been done, may be done at any later time (also
    /// after the caller has given up), or never.
    pub output: Option<O>,
    /// Time of the call, in any unit that never goes back. An operation that returned before another one was called comes
    /// before it; equal times overlap. So a fine clock finds more violations, and a counter of events the most.
    pub called: u64,
    /// Time of the return, in the same unit; `None` if the call never returned. An operation with an answer and without a
    /// return was done at some time after its call. A return before the call counts as one at the time of the call.
    pub returned: Option<u64>,
}

/// Facts about an operation of unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inferred<I, O> {
    /// The input, or another one that is equivalent to it in this history.
    pub input: I,
    /// The answer, if the operation was certainly done.
    pub output: Option<O>,
    /// Time of a return before which the operation was done, if it was done and changed the state; `None` if no such time is
    /// known.
    pub done_by: Option<u64>,
}

/// The operations on an object, with their answers.
pub struct History<M: Model> {
    operations: Vec<Operation<M::Input, M::Output>>,
}

impl<M: Model> History<M> {
    /// Creates a history without operations.
    #[must_use]
    pub fn new() -> Self {
        Self { operations: Vec::new() }
    }

    /// Adds an operation; the order of adding does not matter.
    pub fn push(&mut self, operation: Operation<M::Input, M::Output>) {
        self.operations.push(operation);
    }

    /// All operations, in the order in which they were added.
    #[must_use]
    pub fn operations(&self) -> &[Operation<M::Input, M::Output>] {
        &self.operations
    }

    /// Checks whether the history is linearizable, by [`check`].
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

/// Bound on the length of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Upper bound on the steps for each key. A step tries an operation on a state, or makes comparisons of about the same
    /// cost. It takes about 100 ns and keeps about 50 bytes.
    pub steps_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps_max: 10_000_000 }
    }
}

/// The result of a check.
pub enum Verdict<M: Model> {
    /// Some order explains every answer.
    Linearizable,
    /// No order explains every answer.
    Violation(Box<Violation<M>>),
    /// The search for an order of the operations on a key exceeded its budget, and no other key has a violation.
    OutOfBudget {
        /// The first such key.
        key: M::Key,
    },
}

impl<M: Model> Verdict<M> {
    /// True if some order explains every answer.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable)
    }

    /// The violation, if one was found.
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
            // The other keys are checked all the same, as a violation tells more than a search without a result.
            Verdict::OutOfBudget { key } => unfinished = unfinished.or(Some(key)),
            violation @ Verdict::Violation(_) => return violation,
        }
    }
    match unfinished {
        Some(key) => Verdict::OutOfBudget { key },
        None => Verdict::Linearizable,
    }
}
