//! Requests between shells: for the status, and for the founding membership. Forwarded client requests are between
//! services, in raftkit-replica ([`is_for_service`](raftkit_replica::is_for_service)).
//!
//! A request is a kind byte; an answer is postcard.

use bytes::Bytes;
use raftkit_replica::{Founding, StateMachine};
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::NodeStatus;

/// A request from another node's shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnRequest {
    /// Asks for the node's status.
    Status,
    /// Asks for the members that the node's cluster was founded with. The answer is a [`Founding`].
    Founding,
}

const STATUS: u8 = 3;
const FOUNDING: u8 = 4;

impl OwnRequest {
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Self::Status => Bytes::from_static(&[STATUS]),
            Self::Founding => Bytes::from_static(&[FOUNDING]),
        }
    }

    /// Decodes a request. None if this version does not know it.
    fn decode(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            STATUS => Some(Self::Status),
            FOUNDING => Some(Self::Founding),
            _ => None,
        }
    }
}

/// Answers a request of another node's shell. A request that is not known, or is for a service that does not run yet,
/// gets an empty answer, from which the sender can conclude nothing.
pub(crate) fn serve<M: StateMachine>(shared: &Shared<M>, body: &[u8]) -> Bytes {
    match OwnRequest::decode(body) {
        Some(OwnRequest::Status) => to_bytes(&shared.status()),
        Some(OwnRequest::Founding) => to_bytes(&shared.founding()),
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
    fn requests_come_back_as_they_went_and_are_no_services() {
        for request in [OwnRequest::Status, OwnRequest::Founding] {
            let body = request.encode();
            assert!(!raftkit_replica::is_for_service(&body));
            assert_eq!(OwnRequest::decode(&body), Some(request));
        }
    }

    #[test]
    fn what_is_not_known_is_no_request() {
        assert_eq!(OwnRequest::decode(&[]), None);
        assert_eq!(OwnRequest::decode(&[99]), None);
    }
}
