//! What a node is told at its start.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Base, HardState, Incarnation, LogIndex, Membership, NodeId, StoreId, Term};

/// A node's settings. All durations are on the node's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its data folder.
    pub store: StoreId,
    /// Its life: raised durably at each start.
    pub incarnation: Incarnation,
    /// Seed of the random draws; two nodes should differ. Mixed with node and incarnation.
    pub seed: u64,
    /// A follower that heard no leader for 1.0 to 1.5 of this (drawn anew each time) asks for pre-votes; and it grants
    /// no vote for exactly this long after it heard its leader, or started. 500 ms.
    pub leader_timeout: Duration,
    /// An election that has not ended by 1.0 to 1.5 of this starts again in the next term. 1000 ms.
    pub election_timeout: Duration,
    /// A leader that has nothing to send says that it lives, this often. 100 ms.
    pub heartbeat_interval: Duration,
    /// How far two clocks can drift apart over one `leader_timeout`. 50 ms.
    pub clock_error: Duration,
    /// A leader for which no write became durable for so long although one is under way hands leadership over or steps
    /// down. 2000 ms.
    pub write_stall: Duration,
    /// At most so many bytes of entries in one `AppendEntries`; a single larger entry goes alone.
    pub batch_bytes_max: usize,
    /// At most so many bytes of entries on their way to one peer.
    pub inflight_bytes_max: usize,
    /// At most so many appends on their way to one peer.
    pub inflight_messages_max: usize,
    /// Proposals are refused (`Overloaded`) above so many bytes of uncommitted entries.
    pub uncommitted_bytes_max: usize,
    /// Proposals are refused (`Overloaded`) when those before them would not be committed and applied within this, at
    /// the measured pace of quorum and disk. Half of the time that a client waits, as a pace changes. 500 ms.
    pub commit_budget: Duration,
    /// The newest entries are held in memory up to so many bytes, to be replicated and applied without a read.
    pub tail_bytes_max: usize,
}

impl Config {
    /// The defaults, for a node with these names.
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

    /// The longest round trip between two nodes that these settings bear:
    ///
    /// - A round's answer comes a round trip after its heartbeat, and the next one a heartbeat later. All of that must fit
    ///   into the promise of not voting, less the clock error, or a leader has no lease between its rounds.
    /// - A follower's time-outs are spread over half of `leader_timeout`: one that is a round trip ahead of the others is
    ///   elected before they ask themselves.
    /// - An election is a round of pre-votes and one of votes, within `election_timeout`.
    #[must_use]
    pub fn round_trip_max(&self) -> Duration {
        let lease = self.leader_timeout.saturating_sub(self.clock_error + self.heartbeat_interval);
        lease.min(self.leader_timeout / 2).min(self.election_timeout / 2)
    }

    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// The first rule that is broken, in words that name the settings.
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

/// Settings that do not make sense together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Followers would campaign between heartbeats.
    #[error("the heartbeat interval must be at most half of the leader time-out")]
    HeartbeatTooSlow,
    /// Leases would have no length.
    #[error("the clock error must be below half of the leader time-out")]
    ClockErrorTooLarge,
    /// Elections would restart before votes are in.
    #[error("the election time-out must be at least the leader time-out")]
    ElectionTooShort,
    /// A leader would do nothing but heartbeats.
    #[error("the heartbeat interval must be above zero")]
    ZeroHeartbeat,
    /// A leader would be without a lease between its rounds, wherever its followers are.
    #[error(
        "the heartbeat interval and the clock error together must be at most nine tenths of the leader time-out: \
         what is left is for the way to a follower and back"
    )]
    NoRoundTrip,
    /// Nothing could be sent.
    #[error("the batch limit must be above zero")]
    ZeroBatch,
    /// Nothing could be on its way.
    #[error("the inflight and uncommitted limits must be above zero")]
    ZeroWindow,
}

/// What the log says at a start; O(terms), no bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Where the log starts. `LogId::ZERO` with no members: this node belongs to no cluster yet.
    pub base: Base,
    /// The runs of one term in the log after the base, in order.
    pub term_runs: Vec<TermRun>,
    /// The last index in the log; the base's when it is empty.
    pub last: LogIndex,
    /// The memberships in the log after the base, in order.
    pub memberships: Vec<(LogIndex, Membership)>,
    /// Term, vote, commit.
    pub hard_state: HardState,
    /// What the state machine has applied.
    pub applied: LogIndex,
}

/// From `first` on, until the next run, entries are of `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRun {
    /// The term.
    pub term: Term,
    /// Its first index in this log.
    pub first: LogIndex,
}
