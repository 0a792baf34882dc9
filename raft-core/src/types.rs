//! Names of things: nodes, terms, indexes, moments. Every number that could be mistaken for another has a type.

use core::fmt;
use core::time::Duration;

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        number! { $(#[$meta])* $name($inner) as "{}" }
    };
    ($(#[$meta:meta])* $name:ident($inner:ty) as $format:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number! {
    /// A server of the group, chosen by the operator; unique in its cluster and never reused for another machine.
    NodeId(u64)
}
number! {
    /// A data folder: random, made with the folder. A node that lost its disk returns with another one, so that it
    /// is not mistaken for what it was (a wiped voter could otherwise vote twice in one term).
    StoreId(u128) as "{:032x}"
}
number! {
    /// A cluster: random, made when the cluster is formed. The protocol never looks at it; it is here because the log
    /// and the transport, which do not know each other, both name it.
    ClusterId(u128) as "{:032x}"
}
number! {
    /// How often a data folder was opened: raised durably at each start, so that an answer to an earlier life of this
    /// node is told from one to this life.
    Incarnation(u64)
}
number! {
    /// Raft's logical clock (paper, section 5.1). 0 is before the first election.
    Term(u64)
}
number! {
    /// A position in the log, from 1. 0 is before the first entry.
    LogIndex(u64)
}
number! {
    /// Names one durable write. Rising, never reused, so a completion cannot be taken for that of a rewritten tail.
    WriteSeq(u64)
}
number! {
    /// A caller's own name for a proposal, read or change; returned with its outcome. The core never interprets it.
    Ticket(u64)
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 elections do not happen"))
    }
}

impl LogIndex {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 entries do not happen"))
    }

    /// The index before this one, or none before the first.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// This index, `count` entries later.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("2^64 entries do not happen"))
    }
}

impl WriteSeq {
    /// The write after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 writes do not happen"))
    }
}

/// A log entry's name: two entries with the same name are the same entry (Log Matching, paper section 5.3).
///
/// The order is that of section 5.4.1: the term first, then the index. "At least as up to date" is `>=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogId {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Its position.
    pub index: LogIndex,
}

impl LogId {
    /// Before the first entry.
    pub const ZERO: Self = Self { term: Term(0), index: LogIndex(0) };

    /// Where every cluster starts: the founding membership counts as the entry (term 1, index 1), compacted from the
    /// first moment. So a node without it needs a snapshot, and can never run on commands without their membership.
    pub const GENESIS: Self = Self { term: Term(1), index: LogIndex(1) };

    /// The entry `index` of `term`.
    #[must_use]
    pub fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: LogIndex(index) }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// A moment on the driver's clock: microseconds since any fixed origin. It never goes back and counts suspend
/// (`CLOCK_BOOTTIME`; `std::time::Instant` does not on Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// This moment, `span` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// This moment, `span` earlier; saturates at the origin.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A span in whole microseconds, saturating.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
