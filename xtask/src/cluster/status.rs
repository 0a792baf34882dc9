//! What a node says about itself (`GET /v1/raft/status`).

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::http;

/// A node that is well answers this within a few milliseconds; a stopped one never does.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1000);

/// What a node takes itself for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) node: u64,
    /// `leader`, `follower`, and whatever else a node may be.
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) raft_addr: String,
}

impl Status {
    pub(crate) fn is_leader(&self) -> bool {
        self.role == "leader"
    }

    /// From the body of an answer, or `None` if it is not what a node says.
    fn parse(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
        let number = |field: &str| body.get(field).and_then(Value::as_u64);
        Some(Self {
            node: number("Node")?,
            role: text("Role")?.to_ascii_lowercase(),
            term: number("Term")?,
            leader: number("Leader").filter(|&id| id != 0),
            raft_addr: text("RaftAddr").unwrap_or_default(),
        })
    }
}

/// Asks the node `id`. Nothing, if it does not answer, or if another node answers in its place.
pub(crate) fn ask(id: u64, addr: SocketAddr) -> Option<Status> {
    let response = http::get(addr, "/v1/raft/status", ANSWER_TIMEOUT).ok()?;
    if response.status != 200 {
        return None;
    }
    Status::parse(&response.body).filter(|status| status.node == id)
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn a_status_is_read_and_other_fields_are_ignored() {
        let body =
            br#"{"Node":2,"Role":"follower","Term":7,"Leader":1,"RaftAddr":"127.0.0.1:9502","Commit":3,
                        "Applied":3,"Last":4,"Voters":[1,2,3]}"#;
        let status = Status::parse(body).expect("a status");
        assert_eq!((status.node, status.term, status.leader), (2, 7, Some(1)));
        assert_eq!(status.raft_addr, "127.0.0.1:9502");
        assert!(!status.is_leader());
    }

    #[test]
    fn a_node_may_know_no_leader() {
        let body = br#"{"Node":2,"Role":"Candidate","Term":7,"Leader":null}"#;
        assert_eq!(Status::parse(body).expect("a status").leader, None);
    }

    #[test]
    fn something_else_is_no_status() {
        for body in [b"".as_slice(), b"[]", b"{\"Node\":1}", b"No cluster leader"] {
            assert_eq!(Status::parse(body), None);
        }
    }
}
