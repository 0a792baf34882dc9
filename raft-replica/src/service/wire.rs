//! The encoding of requests between services: carry out a forwarded write, hand leadership over.
//!
//! A request is a kind byte and a body. A forwarded write's body is the command itself; a transfer's is the target, as
//! postcard. An answer is a kind byte and, for a commit, `term u64, index u64, response`; for a transfer, `node u64`; for a
//! command that is too large, its size and the limit, `u64` each.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use raftkit_core::{LogId, NodeId};

use super::{ProposeError, TransferError};
use crate::{Committed, NotDone};

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

const COMMITTED: u8 = 0;
const TRANSFERRED: u8 = 1;
const NOT_LEADER: u8 = 2;
const OVERLOADED: u8 = 3;
const TRANSFER_FAILED: u8 = 4;
const IN_DOUBT: u8 = 5;
const STOPPED: u8 = 6;
const TOO_LARGE: u8 = 7;

/// Whether the body of a transport request is for a service, by its kind. All other kinds belong to the driver.
#[must_use]
pub fn is_for_service(body: &[u8]) -> bool {
    matches!(body.first(), Some(&(PROPOSE | TRANSFER)))
}

/// Encodes a forwarded write.
pub(super) fn encode_propose(command: &[u8]) -> Bytes {
    encode(PROPOSE, command)
}

/// Encodes a forwarded transfer.
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

/// Decodes a request. None if this version does not know it.
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

/// Encodes the answer to a request of any kind that was not carried out.
pub(super) fn encode_not_done(why: NotDone) -> Bytes {
    Bytes::from_static(match why {
        NotDone::NotLeader(_) => &[NOT_LEADER],
        NotDone::Overloaded => &[OVERLOADED],
        NotDone::Stopped => &[STOPPED],
    })
}

/// Encodes the answer to a forwarded write.
pub(super) fn encode_proposed(result: &Result<Committed, ProposeError>) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    match result {
        Ok(Committed { id, response }) => {
            out.put_u8(COMMITTED);
            out.put_u64_le(id.term.0);
            out.put_u64_le(id.index.0);
            out.extend_from_slice(response);
        }
        Err(ProposeError::NoLeader) => out.put_u8(NOT_LEADER),
        Err(ProposeError::Overloaded) => out.put_u8(OVERLOADED),
        Err(ProposeError::Unknown(_)) => out.put_u8(IN_DOUBT),
        Err(ProposeError::Stopping) => out.put_u8(STOPPED),
        Err(ProposeError::TooLarge { got, limit }) => {
            out.put_u8(TOO_LARGE);
            out.put_u64_le(*got as u64);
            out.put_u64_le(*limit as u64);
        }
    }
    out.freeze()
}

/// Encodes the answer to a forwarded transfer.
pub(super) fn encode_transferred(result: Result<NodeId, TransferError>) -> Bytes {
    let mut out = BytesMut::with_capacity(16);
    match result {
        Ok(node) => {
            out.put_u8(TRANSFERRED);
            out.put_u64_le(node.0);
        }
        Err(TransferError::NoLeader) => out.put_u8(NOT_LEADER),
        Err(TransferError::Failed) => out.put_u8(TRANSFER_FAILED),
    }
    out.freeze()
}

/// The reason why the leader has not committed a forwarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotCommitted {
    NotDone(NotDone),
    TooLarge { got: usize, limit: usize },
    InDoubt,
}

/// Decodes the leader's answer to a forwarded write. An answer that this version does not know may mean anything, so
/// the write is then in doubt.
pub(super) fn decode_proposed(bytes: Bytes) -> Result<Committed, NotCommitted> {
    try_decode_proposed(bytes).unwrap_or(Err(NotCommitted::InDoubt))
}

fn try_decode_proposed(mut bytes: Bytes) -> Option<Result<Committed, NotCommitted>> {
    Some(Err(match bytes.try_get_u8().ok()? {
        COMMITTED => {
            let term = bytes.try_get_u64_le().ok()?;
            let index = bytes.try_get_u64_le().ok()?;
            return Some(Ok(Committed { id: LogId::new(term, index), response: bytes }));
        }
        NOT_LEADER => NotCommitted::NotDone(NotDone::NotLeader(None)),
        OVERLOADED => NotCommitted::NotDone(NotDone::Overloaded),
        STOPPED => NotCommitted::NotDone(NotDone::Stopped),
        TOO_LARGE => {
            let mut size = || usize::try_from(bytes.try_get_u64_le().ok()?).ok();
            NotCommitted::TooLarge { got: size()?, limit: size()? }
        }
        _ => NotCommitted::InDoubt,
    }))
}

/// Decodes the leader's answer to a forwarded transfer.
pub(super) fn decode_transferred(mut bytes: Bytes) -> Result<NodeId, TransferError> {
    match bytes.try_get_u8() {
        Ok(TRANSFERRED) => bytes.try_get_u64_le().map(NodeId).map_err(|_| TransferError::Failed),
        Ok(NOT_LEADER) => Err(TransferError::NoLeader),
        Ok(_) | Err(_) => Err(TransferError::Failed),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_come_back_as_they_went() {
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
    }

    fn committed() -> Committed {
        Committed { id: LogId::new(2, 9), response: Bytes::from_static(b"r") }
    }

    #[test]
    fn the_answer_to_a_write_says_whether_it_may_have_been_done() {
        let not_done = |why| Err(NotCommitted::NotDone(why));
        for (result, decoded) in [
            (Ok(committed()), Ok(committed())),
            (
                Err(ProposeError::TooLarge { got: 9, limit: 4 }),
                Err(NotCommitted::TooLarge { got: 9, limit: 4 }),
            ),
            (Err(ProposeError::NoLeader), not_done(NotDone::NotLeader(None))),
            (Err(ProposeError::Overloaded), not_done(NotDone::Overloaded)),
            (Err(ProposeError::Stopping), not_done(NotDone::Stopped)),
            (Err(ProposeError::Unknown(Duration::from_secs(1))), Err(NotCommitted::InDoubt)),
        ] {
            assert_eq!(decode_proposed(encode_proposed(&result)), decoded);
        }
        for why in [NotDone::NotLeader(None), NotDone::Overloaded, NotDone::Stopped] {
            assert_eq!(decode_proposed(encode_not_done(why)), not_done(why));
        }
    }

    #[test]
    fn the_answer_to_a_transfer_names_the_new_leader_or_says_that_there_is_none() {
        for result in [Ok(NodeId(2)), Err(TransferError::NoLeader), Err(TransferError::Failed)] {
            assert_eq!(decode_transferred(encode_transferred(result)), result);
        }
        let refused = |why| decode_transferred(encode_not_done(why));
        assert_eq!(refused(NotDone::NotLeader(Some(NodeId(1)))), Err(TransferError::NoLeader));
        assert_eq!(refused(NotDone::Overloaded), Err(TransferError::Failed));
        assert_eq!(refused(NotDone::Stopped), Err(TransferError::Failed));
    }

    #[test]
    fn the_bytes_are_those_of_earlier_versions() {
        assert_eq!(encode_propose(b"ab")[..], *b"\x01ab");
        assert_eq!(encode_transfer(None)[..], [2, 0]);
        assert_eq!(encode_transfer(Some(NodeId(3)))[..], [2, 1, 3]);
        assert_eq!(encode_proposed(&Ok(committed()))[..], *b"\x00\x02\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0r");
        assert_eq!(encode_transferred(Ok(NodeId(2)))[..], [1, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode_not_done(NotDone::NotLeader(Some(NodeId(1))))[..], [2]);
        assert_eq!(encode_not_done(NotDone::Overloaded)[..], [3]);
        assert_eq!(encode_transferred(Err(TransferError::Failed))[..], [4]);
        assert_eq!(encode_proposed(&Err(ProposeError::Unknown(Duration::ZERO)))[..], [5]);
        assert_eq!(encode_not_done(NotDone::Stopped)[..], [6]);
        let too_large = Err(ProposeError::TooLarge { got: 9, limit: 4 });
        assert_eq!(encode_proposed(&too_large)[..], [7, 9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_body_that_is_not_known_is_no_request_and_an_answer_that_is_not_known_leaves_a_doubt() {
        for body in [&[][..], &[3], &[99]] {
            assert!(!is_for_service(body));
            assert_eq!(decode_request(Bytes::copy_from_slice(body)), None);
        }
        for body in [&[][..], &[99], &[0, 1, 2], &[1, 2, 0, 0, 0, 0, 0, 0, 0], &[4], &[7, 1]] {
            assert_eq!(decode_proposed(Bytes::copy_from_slice(body)), Err(NotCommitted::InDoubt));
        }
        for body in [&[][..], &[99], &[1, 2], &[0]] {
            assert_eq!(decode_transferred(Bytes::copy_from_slice(body)), Err(TransferError::Failed));
        }
    }
}
