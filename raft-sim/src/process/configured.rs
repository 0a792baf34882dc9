//! Options of a node's parts, made from the settings of a run.

use std::time::Duration;

use raftkit_core::{Config, NodeId, StoreId};
use raftkit_disk::Slack;
use raftkit_log::{Identity, OpenOptions};
use raftkit_replica::{CompactionOptions, ReplicaOptions, ServiceOptions};

use crate::Settings;

pub(crate) fn log_options(id: NodeId, store: StoreId, settings: &Settings) -> OpenOptions {
    OpenOptions {
        journal_bytes: settings.journal_kib << 10,
        cache_bytes: 1 << 20,
        tail_bytes: 64 << 10,
        slack: Slack::new(settings.slack_kib << 10),
        ..OpenOptions::new(id, store)
    }
}

/// Configuration of the protocol. `leader_timeout_ms` is the node's own setting, which may differ from the run's.
pub(crate) fn config(
    id: NodeId,
    identity: &Identity,
    seed: u64,
    settings: &Settings,
    leader_timeout_ms: u64,
) -> Config {
    let mut config = Config::new(id, identity.store, identity.incarnation, seed);
    config.leader_timeout = Duration::from_millis(leader_timeout_ms);
    config.election_timeout = Duration::from_millis(settings.election_timeout_ms.max(leader_timeout_ms));
    config.heartbeat_interval = config.leader_timeout / 5;
    config.clock_error = config.leader_timeout / 10;
    config.write_stall = Duration::from_millis(settings.write_stall_ms);
    config.batch_bytes_max = size(settings.batch_bytes);
    config.commit_budget = Duration::from_millis(settings.commit_timeout_ms) / 2;
    config.inflight_messages_max = size(settings.inflight_messages);
    config.uncommitted_bytes_max = size(settings.uncommitted_bytes);
    config.tail_bytes_max = size(settings.tail_bytes);
    config
}

pub(crate) fn replica_options(id: NodeId, settings: &Settings) -> ReplicaOptions {
    ReplicaOptions {
        compaction: CompactionOptions {
            trailing_logs: settings.trailing_logs,
            trailing_bytes_max: settings.trailing_kib << 10,
            ..CompactionOptions::default()
        },
        persist_interval: persist_interval(id, settings),
        unapplied_bytes_max: size(settings.unapplied_bytes),
    }
}

/// Interval of durable commits of the state machine. With `uneven` it differs from node to node, as settings of servers may.
fn persist_interval(id: NodeId, settings: &Settings) -> Duration {
    let times = if settings.uneven == 1 { [12, 1, 4][usize::try_from(id.0 % 3).unwrap_or(0)] } else { 1 };
    Duration::from_millis(settings.persist_ms * times)
}

pub(crate) fn service_options(settings: &Settings) -> ServiceOptions {
    ServiceOptions {
        hold_timeout: Duration::from_millis(settings.hold_timeout_ms),
        commit_timeout: Duration::from_millis(settings.commit_timeout_ms),
        election_timeout: Duration::from_millis(settings.election_timeout_ms),
        ..ServiceOptions::default()
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
