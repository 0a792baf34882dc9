//! The endpoints that Consul does not have: `/v1/raft/status` and `/health`.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use raftkit_core::{LogIndex, NodeId};
use serde::{Deserialize, Serialize};

use super::HttpState;
use super::answer::{Answer, Layout, Problem, to_json};
use super::cluster::{Look, look};
use crate::NodeStatus;

/// Maximum time that `?all` waits for the other nodes.
const ALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of committed entries that wait to be applied on a healthy node.
const BEHIND_MAX: u64 = 10_000;

/// `GET /v1/raft/status`: the status of this node, or with `?all` of every member.
pub(crate) async fn status(State(state): State<HttpState>, request: Request) -> Answer {
    let looked = look(&state, &request);
    let answer = async {
        let (query, options) = match looked? {
            Look::At(query, options) => (query, options),
            Look::Answered(answer) => return Ok(answer),
        };
        let body = if query.has("all") {
            all(&state, options.layout).await?
        } else {
            to_json(&state.handle.status(), options.layout)?
        };
        Ok(Answer::json(StatusCode::OK, body))
    };
    answer.await.unwrap_or_else(Problem::into_answer)
}

/// The answer of `?all` for one member: its status, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Member {
    /// The member answered with its status.
    Answered(Box<NodeStatus>),
    /// The member did not answer.
    #[serde(rename_all = "PascalCase")]
    Silent {
        /// The member's id.
        node: NodeId,
        /// Why it did not answer.
        error: String,
        /// The address in the membership.
        raft_addr: Option<String>,
    },
}

impl Member {
    /// The member's status, if it answered.
    pub(crate) fn status(&self) -> Option<&NodeStatus> {
        match self {
            Self::Answered(status) => Some(status),
            Self::Silent { .. } => None,
        }
    }
}

async fn all(state: &HttpState, layout: Layout) -> Result<bytes::Bytes, Problem> {
    let known = state.handle.status().members;
    let answers = state.handle.cluster_status(ALL_TIMEOUT).await;
    let members = answers.into_iter().map(|(node, answer)| match answer {
        Ok(status) => Member::Answered(Box::new(status)),
        Err(error) => {
            let raft_addr =
                known.iter().find(|member| member.node == node).map(|member| member.address.clone());
            Member::Silent { node, error, raft_addr }
        }
    });
    to_json(&members.collect::<Vec<_>>(), layout)
}

/// `GET /health`: 200 while a leader is known and the state keeps up with the commits, otherwise 503 with the reason.
pub(crate) async fn health(State(state): State<HttpState>, request: Request) -> Answer {
    let answer = || {
        let options = match look(&state, &request)? {
            Look::At(_, options) => options,
            Look::Answered(answer) => return Ok(answer),
        };
        let health = Health::of(&state.handle.status());
        let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Ok(Answer::json(status, to_json(&health, options.layout)?))
    };
    answer().unwrap_or_else(Problem::into_answer)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    healthy: bool,
    /// The reason if the node is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    node: NodeId,
    leader: Option<NodeId>,
    commit: LogIndex,
    applied: LogIndex,
    /// The warnings of the node's status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Health {
    fn of(status: &NodeStatus) -> Self {
        let behind = status.commit.0.saturating_sub(status.applied.0);
        let reason = if status.leader.is_none() {
            Some("no leader is known".to_owned())
        } else if status.health == raftkit_core::Health::Damaged {
            Some("the log is damaged: what it lost is being fetched from the peers".to_owned())
        } else if behind > BEHIND_MAX {
            Some(format!("{behind} committed entries are not applied yet"))
        } else {
            None
        };
        Self {
            healthy: reason.is_none(),
            reason,
            node: status.node,
            leader: status.leader,
            commit: status.commit,
            applied: status.applied,
            warnings: status.warnings.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use raftkit_core::{RoleName, StoreId, Term};

    use super::*;

    fn status() -> NodeStatus {
        NodeStatus {
            node: NodeId(1),
            store: StoreId(1),
            cluster: None,
            incarnation: 1,
            role: RoleName::Follower,
            term: Term(1),
            leader: Some(NodeId(2)),
            last_contact_ms: Some(1),
            base: LogIndex(1),
            last: LogIndex(20_000),
            commit: LogIndex(20_000),
            applied: LogIndex(20_000),
            durable: LogIndex(1),
            health: raftkit_core::Health::Sound,
            raft_addr: String::new(),
            attributes: std::collections::BTreeMap::new(),
            members: Vec::new(),
            membership_index: LogIndex(1),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_node_is_healthy_that_has_a_leader_a_sound_log_and_keeps_up() {
        let reason = |status: NodeStatus| {
            let Health { healthy, reason, .. } = Health::of(&status);
            assert_eq!(healthy, reason.is_none());
            reason.unwrap_or_default()
        };
        assert_eq!(reason(status()), "");
        assert_eq!(reason(NodeStatus { leader: None, ..status() }), "no leader is known");
        let damaged = NodeStatus { health: raftkit_core::Health::Damaged, ..status() };
        assert!(reason(damaged).starts_with("the log is damaged"));
        assert_eq!(reason(NodeStatus { applied: LogIndex(10_000), ..status() }), "");
        let behind = NodeStatus { applied: LogIndex(9_999), ..status() };
        assert_eq!(reason(behind), "10001 committed entries are not applied yet");
    }
}
