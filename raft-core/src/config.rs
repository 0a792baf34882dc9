//! A node's settings, and the state read back from its log at a start.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Base, HardState, Incarnation, LogId, LogIndex, Membership, NodeId, StoreId, Term};

/// Settings of a node. All durations are measured on the node's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The id of this node, as the membership names it.
    pub node: NodeId,
    /// The id of its data folder.
    pub store: StoreId,
    /// Number of this run of the process on that folder; raised durably at each start.
    pub incarnation: Incarnation,
    /// Seed of the random draws, mixed with node and incarnation. Nodes should have different seeds, so that
    /// their elections do not tie again and again.
    pub seed: u64,
    /// Time without a leader after which a follower asks for pre-votes: 1.0 to 1.5 times this, drawn anew
    /// each time. For exactly this long after it heard its leader, or was started, the node grants no vote.
    /// Default 500 ms.
    pub leader_timeout: Duration,
    /// Duration of an election: one still undecided after 1.0 to 1.5 times this starts again in the next
    /// term. Default 1000 ms.
    pub election_timeout: Duration,
    /// Interval at which an idle leader sends heartbeats. Default 100 ms.
    pub heartbeat_interval: Duration,
    /// Bound on how far two clocks drift apart during one `leader_timeout`. Only leases depend on it. Default
    /// 50 ms.
    pub clock_error: Duration,
    /// Time without any completed write, although one is under way, after which a leader transfers leadership
    /// or steps down. Default 2000 ms.
    pub write_stall: Duration,
    /// Upper bound on the bytes of entries in one `AppendEntries`. A single larger entry is sent alone.
    pub batch_bytes_max: usize,
    /// Upper bound on the bytes of entries in flight to one peer.
    pub inflight_bytes_max: usize,
    /// Upper bound on the number of appends in flight to one peer.
    pub inflight_messages_max: usize,
    /// Upper bound on the bytes of uncommitted entries. Proposals beyond it are refused as `Overloaded`.
    pub uncommitted_bytes_max: usize,
    /// Upper bound on the time that accepted proposals need to be committed and applied, at the measured pace
    /// of quorum and disk. Proposals beyond it are refused as `Overloaded`. Half of the time that a client
    /// waits leaves room for a pace that falls. Default 500 ms.
    pub commit_budget: Duration,
    /// Upper bound on the bytes of the newest entries kept in memory, to be replicated and applied without
    /// reading the log.
    pub tail_bytes_max: usize,
}

impl Config {
    /// The default settings for a node with these ids.
    #[must_use]
    pub fn new(node: NodeId, store: StoreId, incarnation: Incarnation, seed: u64) -> Self {
        const MIB: usize = 1 << 20;
        Self {
            node,
            store,
            incarnation,
            seed,
            leader_timeout: Duration::from_millis(500),
            election_timeout: Duration::from_millis(1000),
            heartbeat_interval: Duration::from_millis(100),
            clock_error: Duration::from_millis(50),
            write_stall: Duration::from_millis(2000),
            batch_bytes_max: 10 * MIB,
            inflight_bytes_max: 32 * MIB,
            inflight_messages_max: 256,
            uncommitted_bytes_max: 64 * MIB,
            commit_budget: Duration::from_millis(500),
            tail_bytes_max: 32 * MIB,
        }
    }

    /// The longest round trip between two nodes with which these settings still work. It is the shortest of
    /// three limits:
    ///
    /// - The answer to a heartbeat arrives a round trip after the heartbeat, and the next answer a heartbeat
    ///   interval later. Both together must fit into the promise less the clock error, or the leader has no
    ///   lease between two rounds.
    /// - The time-outs of followers are spread over half of `leader_timeout`. The first candidate is elected
    ///   before the others campaign only if it is a round trip ahead of them.
    /// - An election takes one round of pre-votes and one of votes, within `election_timeout`.
    #[must_use]
    pub fn round_trip_max(&self) -> Duration {
        let lease = self.leader_timeout.saturating_sub(self.clock_error + self.heartbeat_interval);
        lease.min(self.leader_timeout / 2).min(self.election_timeout / 2)
    }

    /// Checks that the settings are consistent.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.heartbeat_interval * 2 <= self.leader_timeout, ConfigError::HeartbeatTooSlow),
            (self.clock_error < self.leader_timeout / 2, ConfigError::ClockErrorTooLarge),
            (self.leader_timeout <= self.election_timeout, ConfigError::ElectionTooShort),
            (!self.heartbeat_interval.is_zero(), ConfigError::ZeroHeartbeat),
            (self.round_trip_max() >= self.leader_timeout / 10, ConfigError::NoRoundTrip),
            (self.batch_bytes_max > 0, ConfigError::ZeroBatch),
            (
                self.inflight_bytes_max > 0
                    && self.inflight_messages_max > 0
                    && self.uncommitted_bytes_max > 0,
                ConfigError::ZeroWindow,
            ),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// The rule that a set of settings breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The loss of one heartbeat would make followers campaign.
    #[error("the heartbeat interval must be at most half of the leader time-out")]
    HeartbeatTooSlow,
    /// Leases would have hardly any length.
    #[error("the clock error must be below half of the leader time-out")]
    ClockErrorTooLarge,
    /// Elections would restart before all votes have arrived.
    #[error("the election time-out must be at least the leader time-out")]
    ElectionTooShort,
    /// A leader would send heartbeats without pause.
    #[error("the heartbeat interval must be above zero")]
    ZeroHeartbeat,
    /// A leader would have no lease between two rounds, however near its followers are.
    #[error(
        "the heartbeat interval and the clock error together must be at most nine tenths of the leader time-out: \
         what is left is for the way to a follower and back"
    )]
    NoRoundTrip,
    /// No entry could be sent.
    #[error("the batch limit must be above zero")]
    ZeroBatch,
    /// No append could be in flight, or no proposal accepted.
    #[error("the inflight and uncommitted limits must be above zero")]
    ZeroWindow,
}

/// The state read back from the log at a start: O(terms) in size, without the bodies of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Where the log starts. `LogId::ZERO` with no members means that this node belongs to no cluster yet.
    pub base: Base,
    /// The term runs of the log after the base, in order.
    pub term_runs: Vec<TermRun>,
    /// The last index in the log; the base's index when the log is empty.
    pub last: LogIndex,
    /// The membership entries in the log after the base, in order, each with its index.
    pub memberships: Vec<(LogIndex, Membership)>,
    /// The hard state stored last.
    pub hard_state: HardState,
    /// The last index that the state machine has applied durably.
    pub applied: LogIndex,
}

impl Restored {
    /// The state of a founding member that has stored nothing yet: an empty log after the founding membership.
    /// All founding members must be given the same membership.
    #[must_use]
    pub fn founded(membership: Membership) -> Self {
        Self { base: Base::founding(membership), last: LogId::GENESIS.index, ..Self::default() }
    }
}

/// A run of entries of one term: from `first` on, until the next run, all entries are of `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRun {
    /// The term of the entries.
    pub term: Term,
    /// The first index of the run in this log.
    pub first: LogIndex,
}
