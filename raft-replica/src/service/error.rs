//! Why a request has no result, and whether it may have been carried out: one error for each kind of request.

use std::time::Duration;

use raftkit_core::{ChangeRefused, LogId, NodeId};

use crate::NotDone;

/// Why a command has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader was found in time. The command is certainly not applied.
    #[error("No cluster leader")]
    NoLeader,
    /// The command was proposed and not confirmed within this time. It may still be applied.
    #[error(
        "serverPartialFail: the write was proposed but not confirmed within {0:?}; it may or may not be applied, read before you try again"
    )]
    Unknown(Duration),
    /// Too many requests are under way, on this node or on the leader. The command is certainly not applied.
    #[error("the leader has too many writes on their way: try again later")]
    Overloaded,
    /// The command is larger than a node accepts. It is certainly not applied.
    #[error("the command has {got} bytes, the limit is {limit}")]
    TooLarge {
        /// The command's size, in bytes.
        got: usize,
        /// The largest size accepted, in bytes.
        limit: usize,
    },
    /// The node is stopping, or has ended. The command is certainly not applied.
    #[error("the node is stopping")]
    Stopping,
}

/// Why a read may not be served. A read changes nothing, so it may always be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefused {
    /// No leader was found in time.
    #[error("No cluster leader")]
    NoLeader,
    /// In time the leader was not confirmed, or the state not brought up to the read's index; or too many requests are
    /// under way.
    #[error("Not ready to serve consistent reads")]
    NotConfirmed,
    /// The node is stopping, or has ended.
    #[error("the node is stopping")]
    Stopping,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// There is no leader to hand leadership over.
    #[error("No cluster leader")]
    NoLeader,
    /// The target did not take over in time, as far as is known; the old leader leads on.
    #[error("the transfer did not come about: the target did not catch up or answer in time")]
    Failed,
}

/// Why a change of membership has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes the membership, and this node does not lead; the leader, if it is known. Nothing was done.
    #[error("this node does not lead")]
    NotLeader(Option<NodeId>),
    /// The membership in force comes from this entry and is not the one that the caller saw. Nothing was done.
    #[error("the membership has changed meanwhile, in entry {0}")]
    Conflict(LogId),
    /// Such a change is not possible. Nothing was done.
    #[error("the change of membership was refused: {0}")]
    Refused(ChangeRefused),
    /// The change was proposed and not confirmed within this time. It may still be done.
    #[error("the change was proposed but not confirmed within {0:?}: it may or may not be done")]
    Unknown(Duration),
    /// Too many requests are under way. Nothing was done.
    #[error("too many requests are on their way")]
    Overloaded,
    /// The node is stopping, or has ended. Nothing was done.
    #[error("the node is stopping")]
    Stopping,
}

impl From<NotDone> for ProposeError {
    fn from(why: NotDone) -> Self {
        match why {
            NotDone::NotLeader(_) => Self::NoLeader,
            NotDone::Overloaded => Self::Overloaded,
            NotDone::Stopped => Self::Stopping,
        }
    }
}

impl From<NotDone> for ReadRefused {
    fn from(why: NotDone) -> Self {
        match why {
            NotDone::NotLeader(_) => Self::NoLeader,
            NotDone::Overloaded => Self::NotConfirmed,
            NotDone::Stopped => Self::Stopping,
        }
    }
}

impl From<NotDone> for TransferError {
    fn from(why: NotDone) -> Self {
        match why {
            NotDone::NotLeader(None) => Self::NoLeader,
            NotDone::NotLeader(Some(_)) | NotDone::Overloaded | NotDone::Stopped => Self::Failed,
        }
    }
}

impl From<NotDone> for ChangeError {
    fn from(why: NotDone) -> Self {
        match why {
            NotDone::NotLeader(leader) => Self::NotLeader(leader),
            NotDone::Overloaded => Self::Overloaded,
            NotDone::Stopped => Self::Stopping,
        }
    }
}
