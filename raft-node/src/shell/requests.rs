//! What one node asks of another beside the protocol: carry out a forwarded write, say how you are, who founded us.
//!
//! A request is a kind byte and a body. A forwarded write's body is the command itself, uncopied; the others, and all
//! answers but that write's, are postcard.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use raftkit_core::{ClusterId, LogId, Membership, NodeId};
use raftkit_replica::{Answer, StateMachine};
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::NodeStatus;

/// A request from another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Propose this command, if you lead.
    Propose(Bytes),
    /// Hand leadership over, if you lead.
    Transfer(Option<NodeId>),
    /// How are you?
    Status,
    /// With which members was your cluster founded?
    Founding,
}

/// The answer to [`Request::Founding`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Founding {
    /// The node belongs to no cluster either.
    None,
    /// These members, and nothing has changed since.
    Members {
        /// The cluster.
        cluster: ClusterId,
        /// Its members.
        membership: Membership,
    },
    /// The membership has changed since: a new member must be added by the leader.
    Changed {
        /// The cluster.
        cluster: ClusterId,
    },
}

const PROPOSE: u8 = 1;
const TRANSFER: u8 = 2;
const STATUS: u8 = 3;
const FOUNDING: u8 = 4;

impl Request {
    pub(crate) fn encode(&self) -> Bytes {
        let (kind, body) = match self {
            Self::Propose(command) => (PROPOSE, command.clone()),
            Self::Transfer(to) => (TRANSFER, to_bytes(to)),
            Self::Status => (STATUS, Bytes::new()),
            Self::Founding => (FOUNDING, Bytes::new()),
        };
        let mut out = BytesMut::with_capacity(1 + body.len());
        out.put_u8(kind);
        out.extend_from_slice(&body);
        out.freeze()
    }

    /// None for what this version does not know.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        let body = bytes.split_off(1);
        match bytes[0] {
            PROPOSE => Some(Self::Propose(body)),
            TRANSFER => from_bytes(&body).map(Self::Transfer),
            STATUS => Some(Self::Status),
            FOUNDING => Some(Self::Founding),
            _ => None,
        }
    }
}

/// What `Answer` is on the wire: `kind u8`, for a commit followed by `term u64, index u64, response`.
pub(crate) fn encode_answer(answer: &Answer) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    match answer {
        Answer::Committed { id, response } => {
            out.put_u8(0);
            out.put_u64_le(id.term.0);
            out.put_u64_le(id.index.0);
            out.extend_from_slice(response);
        }
        Answer::Transferred(node) => {
            out.put_u8(1);
            out.put_u64_le(node.0);
        }
        Answer::NotLeader(_) => out.put_u8(2),
        Answer::Overloaded => out.put_u8(3),
        Answer::TransferFailed => out.put_u8(4),
        // Reads and changes are not asked for this way.
        Answer::Unknown
        | Answer::ReadAt(_)
        | Answer::Changed(_)
        | Answer::Conflict(_)
        | Answer::Refused(_) => out.put_u8(5),
        Answer::Stopped => out.put_u8(6),
    }
    out.freeze()
}

/// None for what this version does not know: then the outcome is unknown.
pub(crate) fn decode_answer(mut bytes: Bytes) -> Option<Answer> {
    use bytes::Buf as _;
    let kind = bytes.try_get_u8().ok()?;
    match kind {
        0 => {
            let term = bytes.try_get_u64_le().ok()?;
            let index = bytes.try_get_u64_le().ok()?;
            Some(Answer::Committed { id: LogId::new(term, index), response: bytes })
        }
        1 => bytes.try_get_u64_le().ok().map(|node| Answer::Transferred(NodeId(node))),
        2 => Some(Answer::NotLeader(None)),
        3 => Some(Answer::Overloaded),
        4 => Some(Answer::TransferFailed),
        5 => Some(Answer::Unknown),
        6 => Some(Answer::Stopped),
        _ => None,
    }
}

/// Carries out a request of another node.
pub(crate) async fn serve<M: StateMachine>(shared: &Arc<Shared<M>>, body: Bytes) -> Bytes {
    match Request::decode(body) {
        Some(Request::Propose(command)) => encode_answer(&shared.propose_here(command).await),
        Some(Request::Transfer(to)) => encode_answer(&shared.transfer_here(to).await),
        Some(Request::Status) => to_bytes(&shared.status()),
        Some(Request::Founding) => to_bytes(&shared.founding()),
        None => Bytes::new(),
    }
}

pub(crate) fn status(bytes: &[u8]) -> Option<NodeStatus> {
    from_bytes(bytes)
}

pub(crate) fn founding(bytes: &[u8]) -> Option<Founding> {
    from_bytes(bytes)
}

fn to_bytes<T: Serialize>(value: &T) -> Bytes {
    postcard::to_allocvec(value).expect("plain data serializes").into()
}

fn from_bytes<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_come_back_as_they_went() {
        for request in [
            Request::Propose(Bytes::from_static(b"x")),
            Request::Propose(Bytes::new()),
            Request::Transfer(Some(NodeId(3))),
            Request::Transfer(None),
            Request::Status,
            Request::Founding,
        ] {
            assert_eq!(Request::decode(request.encode()), Some(request));
        }
        for answer in [
            Answer::Committed { id: LogId::new(2, 9), response: Bytes::from_static(b"r") },
            Answer::Transferred(NodeId(2)),
            Answer::NotLeader(None),
            Answer::Overloaded,
            Answer::TransferFailed,
            Answer::Unknown,
            Answer::Stopped,
        ] {
            assert_eq!(decode_answer(encode_answer(&answer)), Some(answer));
        }
    }

    #[test]
    fn what_is_not_known_is_no_request_and_no_answer() {
        assert_eq!(Request::decode(Bytes::new()), None);
        assert_eq!(Request::decode(Bytes::from_static(&[99])), None);
        assert_eq!(decode_answer(Bytes::new()), None);
        assert_eq!(decode_answer(Bytes::from_static(&[0, 1, 2])), None);
    }
}
