//! Identifiers, terms, indexes and times. Numbers that could be mixed up have types of their own.

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
    /// A server's id, chosen by the operator; unique in its cluster, and never reused for another machine.
    NodeId(u64)
}
number! {
    /// The id of a data folder, drawn at random when the folder is created. A node that lost its disk returns
    /// with another one. Under the same id a wiped voter could vote a second time in a term, or be counted
    /// for entries that it has lost.
    StoreId(u128) as "{:032x}"
}
number! {
    /// The id of a cluster, drawn at random when it is formed. The core does not use it; the type is here
    /// because log and transport, which do not depend on each other, both do.
    ClusterId(u128) as "{:032x}"
}
number! {
    /// The number of this run of the process on its data folder, raised durably at each start. It tells an
    /// answer to an earlier run from one to this run.
    Incarnation(u64)
}
number! {
    /// A term, Raft's logical clock (paper, section 5.1). 0 is before the first election.
    Term(u64)
}
number! {
    /// A position in the log, counted from 1. 0 is before the first entry.
    LogIndex(u64)
}
number! {
    /// The sequence number of a write. It rises and is never reused, so that the completion of a write to a
    /// truncated tail is not taken for that of the write that replaced it.
    WriteSeq(u64)
}
number! {
    /// The number of a round: a broadcast of a leader. It rises within the leader's incarnation, so that an
    /// answer tells which broadcast it confirms (thesis, section 6.4).
    Round(u64)
}
number! {
    /// The id of a [`Fetch`](crate::Fetch), which its answer carries. It is unique within the node's
    /// incarnation.
    FetchId(u64)
}
number! {
    /// The number of a request within the incarnation of the node that sent it. It rises with each request.
    RequestNumber(u64)
}
number! {
    /// A caller's id for a proposal, read, change or transfer, returned with the outcome. The core does not
    /// interpret it.
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

impl Round {
    /// The round after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 rounds do not happen"))
    }
}

impl WriteSeq {
    /// The write after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 writes do not happen"))
    }
}

/// A log entry's id: two entries with the same id are the same entry (Log Matching, paper section 5.3).
///
/// Ids are ordered as in section 5.4.1, by term and then by index, so "at least as up to date" is `>=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogId {
    /// The term of the leader that created the entry.
    pub term: Term,
    /// The entry's position in the log.
    pub index: LogIndex,
}

impl LogId {
    /// Before the first entry.
    pub const ZERO: Self = Self { term: Term(0), index: LogIndex(0) };

    /// The id of the founding membership, with which every cluster starts. It counts as compacted from the
    /// beginning, so a node without it needs a snapshot and cannot apply commands without knowing their
    /// membership.
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

/// A time on the driver's clock, in microseconds since any fixed origin. The clock never goes back and counts
/// suspend (`CLOCK_BOOTTIME`; `std::time::Instant` does not on Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The time `span` later, saturating at the maximum.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// The time `span` earlier, saturating at the origin.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// The time since `earlier`; zero if this is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole microseconds, saturating.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
