//! Why a request has no result, and whether something may have been done.

use std::time::Duration;

use raftkit_core::{ChangeRefused, LogId, NodeId};

/// Why a request has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No leader was found in time. Nothing was done.
    #[error("no leader was found in time")]
    NoLeader,
    /// It was proposed, and what became of it was not known within this time: it may be done yet.
    #[error("it was proposed but not confirmed within {0:?}: it may or may not be done")]
    Unknown(Duration),
    /// Too much is on its way, here or on the leader. Nothing was done.
    #[error("too many requests are on their way")]
    Overloaded,
    /// The command is larger than a node takes. Nothing was done.
    #[error("the command has {got} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// A read could not be confirmed, or the state not brought up to it, in time.
    #[error("the read was not confirmed in time")]
    NotConfirmed,
    /// Leadership did not go over in time, as far as is known; it may yet.
    #[error("leadership was not handed over in time")]
    TransferFailed,
    /// Another membership is in force, since this entry, than the one that the client saw. Nothing was done.
    #[error("the membership has changed meanwhile, in entry {0}")]
    Conflict(LogId),
    /// Such a change of membership is not possible. Nothing was done.
    #[error("the change of membership was refused: {0}")]
    Refused(ChangeRefused),
    /// Only the leader changes the membership, and this node does not lead; who does, where that is known. Nothing was
    /// done.
    #[error("this node does not lead")]
    NotLeader(Option<NodeId>),
    /// The node is stopping, or has ended. Nothing was done.
    #[error("the node is stopping")]
    Stopping,
}
