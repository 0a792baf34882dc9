//! Warnings about peers that are farther away than the time-outs allow for. Such a cluster works badly or not at all,
//! and nothing else would say why.

use std::sync::{Arc, Weak};
use std::time::Duration;

use raftkit_replica::StateMachine;
use tokio::time::{Instant, sleep};

use super::{ServerConfig, Shared};

/// Interval between two checks of the round trips.
const LOOK: Duration = Duration::from_secs(5);

/// Interval after which the same warning is logged again.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The longest round trips that this node's settings allow for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The longest round trip for electing a leader, and for staying one.
    protocol: Duration,
    /// The longest round trip for a write through a follower: to the leader and back, and from there to a quorum and
    /// back.
    commit: Duration,
}

impl Bounds {
    pub(crate) fn of(config: &ServerConfig) -> Self {
        // The ids and the seed make no difference here.
        let core = config.core(raftkit_core::StoreId(0), raftkit_core::Incarnation(0), 0);
        Self { protocol: core.round_trip_max(), commit: config.commit_timeout / 2 }
    }

    /// The settings that a round trip exceeds, and the advice on them; none if it fits.
    pub(crate) fn objection(self, round_trip: Duration) -> Option<String> {
        if round_trip > self.protocol {
            return Some(format!(
                "a round trip takes {round_trip:.0?}, and the time-outs of this node allow for {:.0?}: leaders may be lost \
                 again and again; on all nodes set raft-leader-timeout to {:.0?} or more, raft-election-timeout to twice \
                 that, and raft-heartbeat-interval and clock-error to a fifth and a tenth of it",
                self.protocol,
                round_trip * 4,
            ));
        }
        (round_trip > self.commit).then(|| {
            format!(
                "a round trip takes {round_trip:.0?}, so a write through a follower may take longer than \
                 raft-commit-timeout ({:.0?}) and end as unknown; on all nodes set raft-commit-timeout to {:.0?} or more",
                self.commit * 2,
                round_trip * 4,
            )
        })
    }
}

/// Checks the round trips to all peers now and then, until the node has ended.
pub(crate) async fn watch<M: StateMachine>(shared: Weak<Shared<M>>) {
    let mut said: Option<Instant> = None;
    loop {
        sleep(LOOK).await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.tasks.has_ended() {
            return;
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) && say(&shared) {
            said = Some(Instant::now());
        }
    }
}

/// Logs a line for each peer that is too far away; true if there is one.
fn say<M: StateMachine>(shared: &Arc<Shared<M>>) -> bool {
    let bounds = Bounds::of(&shared.config);
    let mut any = false;
    for peer in shared.transport.stats().into_iter().filter(|peer| peer.connected) {
        if let Some(objection) = bounds.objection(peer.rtt) {
            tracing::warn!(peer = peer.node.0, address = peer.address, "{objection}");
            any = true;
        }
    }
    any
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_round_trip_that_fits_is_nothing_to_speak_of() {
        let bounds = Bounds { protocol: ms(250), commit: ms(500) };
        assert_eq!(bounds.objection(ms(0)), None);
        assert_eq!(bounds.objection(ms(250)), None);
    }

    #[test]
    fn the_setting_that_is_too_short_is_named_with_one_that_fits() {
        let bounds = Bounds { protocol: ms(250), commit: ms(200) };
        let leaders = bounds.objection(ms(300)).unwrap();
        assert!(leaders.contains("raft-leader-timeout to 1s"), "{leaders}");
        let writes = bounds.objection(ms(240)).unwrap();
        assert!(writes.contains("raft-commit-timeout to 960ms"), "{writes}");
    }
}
