//! The promises that are checked, and the violation of one.

use std::fmt;

macro_rules! promises {
    ($($name:ident $word:literal $text:literal,)*) => {
        /// A promise that every run checks. Each can be switched off, to see whether another one notices the same bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Promise { $(#[doc = $text] $name,)* }

        impl Promise {
            /// All promises.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Name of the promise on the command line.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The promise in a sentence.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

promises! {
    OneLeader "one-leader" "At most one node leads in a term, ever (paper, Figure 3: Election Safety).",
    OneVote "one-vote" "A data folder gives one vote a term, across restarts, and only when it is durable (paper, Figure 2).",
    NodeState "node-state" "A node's cursors, roles and views are in order, and nothing goes back that only rises.",
    LogMatching "log-matching" "Two logs with an entry of the same index and term are the same up to there (paper, Figure 3: Log Matching).",
    DurableQuorum "durable-quorum" "What a leader commits is durable on a quorum of the membership in force, both halves while joint.",
    DurableAck "durable-ack" "What a node acknowledges is durable on it.",
    CommittedForever "committed-forever" "A committed entry never changes (paper, Figure 3: State Machine Safety).",
    LeaderComplete "leader-complete" "A new leader holds everything that was committed before its term (paper, Figure 3: Leader Completeness).",
    Recovery "recovery" "What a start finds is what was flushed, and of what was on its way a prefix.",
    SameState "same-state" "The state at an index is the same on all nodes, and that of a machine which never failed.",
    TrueAnswer "true-answer" "What a client is told is true: written as that entry with that answer, or certainly not done.",
    Explained "explained" "No request ends in doubt or without a leader unless something has happened that explains it.",
    OneAnswer "one-answer" "Every request is answered exactly once, in time.",
    AppliedOnce "applied-once" "A write is committed once.",
    FreshRead "fresh-read" "Default and consistent reads see every write that was acknowledged before, and all that a read before has seen.",
    StaleRead "stale-read" "A stale read sees a prefix, never older than what a stale read on that node had shown before this one was asked for, across power cuts.",
    Lease "lease" "While a lease holds on its holder's clock no other node leads.",
    Membership "membership" "After a start the membership is what snapshot and log say.",
    DamagedCountsNot "damaged-counts-not" "A damaged node grants no vote, does not campaign and acknowledges nothing.",
    OwnFolder "own-folder" "A data folder is opened by the node that it belongs to, and by no other.",
    NoLoss "no-loss" "A node that lost nothing opens sound, and one whose log lost something knows it.",
    Frozen "frozen" "Nothing is written after the power is cut.",
    Linearizable "linearizable" "What clients saw has an order (Herlihy and Wing 1990).",
    StateCheck "state-check" "What the state machine's own check asks of every state.",
    Rules "rules" "A node does what the protocol allows after what it has heard: it campaigns, leads, commits, answers reads and stays leader with a quorum behind it.",
    Liveness "liveness" "Once faults end a leader is elected, all catch up, and requests are answered.",
    Flow "flow" "A cluster that is only busy keeps its leader, and writes succeed though more are asked for than it carries.",
    NoPanic "no-panic" "Nothing in the code under test asserts or panics.",
    Bounded "bounded" "Queues stay below their named limits, and what is kept for a peer that is gone has an end.",
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Promise {
    /// The promise of this name.
    #[must_use]
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.word() == word)
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise}: {what}\n  promised: {}", promise.text())]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// What happened.
    pub what: String,
    /// When, in microseconds of virtual time.
    pub at_us: u64,
}

/// What a check says.
pub(crate) type Checked = Result<(), (Promise, String)>;

/// Fails with this promise unless the condition holds.
macro_rules! promise {
    ($promise:ident, $holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(($crate::Promise::$promise, format!($($words)+)));
        }
    };
}
pub(crate) use promise;
