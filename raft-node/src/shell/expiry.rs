//! Warnings about certificates that end soon, for the log and the status.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raftkit_core::NodeId;
use raftkit_net::date;
use raftkit_replica::StateMachine;
use tokio::time::Instant;

use super::Shared;

/// Days before the end of a certificate at which the warnings begin: enough time to renew it by hand, holidays
/// included.
const DAYS: i64 = 30;
const DAY: i64 = 24 * 60 * 60;
/// Interval after which the same warning is logged again.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Interval between two checks. It is short because certificates of other nodes become known when they connect.
const LOOK: Duration = Duration::from_secs(10);

/// The warnings about certificates, by node. Each certificate is given by the second since 1970 at which it ends.
pub(crate) fn warnings(
    own: NodeId,
    certificates: &BTreeMap<NodeId, i64>,
    now: i64,
) -> BTreeMap<NodeId, String> {
    let warning = |(node, until): (&NodeId, &i64)| {
        let whose = if *node == own {
            "this node's certificate".to_owned()
        } else {
            format!("the certificate of node {node}")
        };
        let soon = ends_soon(*until, now)?;
        Some((
            *node,
            format!(
                "{whose} {soon}; renew it and put the new files in place of the old, which needs no restart"
            ),
        ))
    };
    certificates.iter().filter_map(warning).collect()
}

/// A sentence on the end of a certificate, if that is near.
pub(crate) fn ends_soon(until: i64, now: i64) -> Option<String> {
    let left = until.saturating_sub(now);
    if left >= DAYS * DAY {
        return None;
    }
    Some(if left < 0 {
        format!("has ended on {}: no new connection can be made with it", date(until))
    } else {
        format!("ends in {} days, on {}", left / DAY, date(until))
    })
}

/// The present time, in seconds since 1970, as certificates have it.
#[expect(clippy::disallowed_methods, reason = "a certificate ends on a date")]
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Logs the warnings at once and then daily. The task ends with the node, and does not keep it alive.
pub(crate) async fn tell<M: StateMachine>(shared: Weak<Shared<M>>) {
    let mut said: BTreeMap<NodeId, (i64, Instant)> = BTreeMap::new();
    while let Some(shared) = shared.upgrade() {
        let certificates = shared.transport.certificates();
        for (node, warning) in warnings(shared.config.node, &certificates, now()) {
            let until = certificates.get(&node).copied().unwrap_or_default();
            let known = said.get(&node).filter(|(of, at)| *of == until && at.elapsed() < AGAIN);
            if known.is_none() {
                said.insert(node, (until, Instant::now()));
                tracing::warn!(node = shared.config.node.0, "{warning}");
            }
        }
        drop(shared);
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_spoken_of_from_thirty_days_before_its_end() {
        let end = 1_800_000_000;
        let ends = |until: i64, now| {
            warnings(NodeId(1), &BTreeMap::from([(NodeId(1), until), (NodeId(2), i64::MAX)]), now)
        };
        assert!(ends(end, end - DAYS * DAY).is_empty());
        let soon = ends(end, end - DAYS * DAY + 1);
        assert_eq!(soon.len(), 1, "node 2's lasts");
        assert!(
            soon[&NodeId(1)].starts_with("this node's certificate ends in 29 days, on 2027-01-15; renew"),
            "{soon:?}"
        );
        assert!(ends(end, end)[&NodeId(1)].contains("in 0 days"));
        assert!(ends(end, end + 1)[&NodeId(1)].contains("has ended on 2027-01-15"));
        let of_peer = warnings(NodeId(3), &BTreeMap::from([(NodeId(2), end)]), end);
        assert!(of_peer[&NodeId(2)].starts_with("the certificate of node 2 ends"), "{of_peer:?}");
    }
}
