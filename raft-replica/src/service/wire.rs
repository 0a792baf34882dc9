//! What one service asks of another: carry out a forwarded write, hand leadership over.
//!
//! A request is a kind byte and a body. A forwarded write's body is the command itself; a transfer's is the target, as
//! postcard. An answer is a kind byte and, for a commit, `term u64, index u64, response`; for a transfer, `node u64`; for a
//! command that is too large, its size and the limit, `u64` each.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use raftkit_core::{LogId, NodeId};

use crate::Answer;

/// A request from another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PeerRequest {
    /// Propose this command, if you lead.
    Propose(Bytes),
    /// Hand leadership over, if you lead.
    Transfer(Option<NodeId>),
}

const PROPOSE: u8 = 1;
const TRANSFER: u8 = 2;

/// Whether the body of a transport request is for a service, by its kind. All other kinds are the driver's own.
#[must_use]
pub fn is_for_service(body: &[u8]) -> bool {
    matches!(body.first(), Some(&(PROPOSE | TRANSFER)))
}

/// A forwarded write.
pub(super) fn encode_propose(command: &[u8]) -> Bytes {
    encode(PROPOSE, command)
}

/// A forwarded transfer.
pub(super) fn encode_transfer(to: Option<NodeId>) -> Bytes {
    let to = to.map(|node| node.0);
    encode(TRANSFER, &postcard::to_allocvec(&to).expect("plain data serializes"))
}

fn encode(kind: u8, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + body.len());
    out.put_u8(kind);
    out.extend_from_slice(body);
    out.freeze()
}

/// None for what this version does not know.
pub(super) fn decode_request(mut bytes: Bytes) -> Option<PeerRequest> {
    match bytes.try_get_u8().ok()? {
        PROPOSE => Some(PeerRequest::Propose(bytes)),
        TRANSFER => {
            let to: Option<u64> = postcard::from_bytes(&bytes).ok()?;
            Some(PeerRequest::Transfer(to.map(NodeId)))
        }
        _ => None,
    }
}

/// The answer to a request.
pub(super) fn encode_answer(answer: &Answer) -> Bytes {
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
        Answer::TooLarge { got, limit } => {
            out.put_u8(7);
            out.put_u64_le(*got as u64);
            out.put_u64_le(*limit as u64);
        }
    }
    out.freeze()
}

/// None for what this version does not know: then the outcome is unknown.
pub(super) fn decode_answer(mut bytes: Bytes) -> Option<Answer> {
    match bytes.try_get_u8().ok()? {
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
        7 => {
            let mut size = || usize::try_from(bytes.try_get_u64_le().ok()?).ok();
            Some(Answer::TooLarge { got: size()?, limit: size()? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_come_back_as_they_went() {
        for command in [&b"x"[..], b""] {
            let body = encode_propose(command);
            assert!(is_for_service(&body));
            assert_eq!(decode_request(body), Some(PeerRequest::Propose(Bytes::copy_from_slice(command))));
        }
        for to in [Some(NodeId(3)), None] {
            let body = encode_transfer(to);
            assert!(is_for_service(&body));
            assert_eq!(decode_request(body), Some(PeerRequest::Transfer(to)));
        }
        for answer in [
            Answer::Committed { id: LogId::new(2, 9), response: Bytes::from_static(b"r") },
            Answer::Transferred(NodeId(2)),
            Answer::TooLarge { got: 9, limit: 4 },
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
    fn the_bytes_are_those_of_earlier_versions() {
        assert_eq!(encode_propose(b"ab")[..], *b"\x01ab");
        assert_eq!(encode_transfer(None)[..], [2, 0]);
        assert_eq!(encode_transfer(Some(NodeId(3)))[..], [2, 1, 3]);
        let committed = Answer::Committed { id: LogId::new(2, 9), response: Bytes::from_static(b"r") };
        assert_eq!(encode_answer(&committed)[..], *b"\x00\x02\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0r");
        assert_eq!(encode_answer(&Answer::Transferred(NodeId(2)))[..], [1, 2, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_not_known_is_no_request_and_no_answer() {
        for body in [&[][..], &[3], &[99]] {
            assert!(!is_for_service(body));
            assert_eq!(decode_request(Bytes::copy_from_slice(body)), None);
        }
        assert_eq!(decode_answer(Bytes::new()), None);
        assert_eq!(decode_answer(Bytes::from_static(&[0, 1, 2])), None);
    }
}
