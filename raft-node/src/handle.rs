//! How a program talks to its node: propose, read, look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId};
use raftkit_net::TlsFiles;
pub use raftkit_replica::Consistency;
use raftkit_replica::{MachineError, StateMachine};
use tokio::sync::watch;

use crate::NodeStatus;
use crate::shell::{Shared, StartError};

/// A handle on a running node; cheap to clone, for any number of tasks.
///
/// Any node takes any request: what only the leader can do is forwarded to it.
pub struct Handle<M: StateMachine> {
    pub(crate) shared: Arc<Shared<M>>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// A committed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The entry it became; the index is the version of what it changed.
    pub id: LogId,
    /// What the state machine answered.
    pub response: Bytes,
}

/// What a read returned, and how fresh it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh<T> {
    /// What was read.
    pub value: T,
    /// Whether a leader is known.
    pub known_leader: bool,
    /// How long ago the leader was heard; zero where the leader vouches for the read.
    pub last_contact: Duration,
}

/// Why a command has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader was found in time. Certainly not applied.
    #[error("No cluster leader")]
    NoLeader,
    /// It was proposed, and whether it is committed is not known: it may still be applied.
    #[error(
        "serverPartialFail: the write was proposed but not confirmed within {0:?}; it may or may not be applied, read before you try again"
    )]
    Unknown(Duration),
    /// Too much is on its way. Certainly not applied.
    #[error("the leader has too many writes on their way: try again later")]
    Overloaded,
    /// The command is larger than a node takes. Certainly not applied.
    #[error("the command has {got} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// The node is stopping. Certainly not applied.
    #[error("the node is stopping")]
    Stopping,
}

/// Why a read has no result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No leader was found in time.
    #[error("No cluster leader")]
    NoLeader,
    /// The leader could not be confirmed in time.
    #[error("Not ready to serve consistent reads")]
    NotConfirmed,
    /// The state machine could not be read.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl<M: StateMachine> Handle<M> {
    /// Has `command` committed and applied, here or on the leader, and returns the state machine's answer.
    ///
    /// # Errors
    /// Each says whether the command may have been applied.
    pub async fn propose(&self, command: Bytes) -> Result<Committed, ProposeError> {
        self.shared.propose(command).await
    }

    /// Reads through `query`, which returns what it found and the last applied entry that it saw it at.
    ///
    /// # Errors
    /// No leader vouches for the read in time, or the state cannot be read.
    pub async fn read<T>(
        &self,
        consistency: Consistency,
        query: impl Fn(&M::Reader) -> Result<(T, LogId), MachineError>,
    ) -> Result<Fresh<T>, ReadError> {
        self.shared.read(consistency, query).await
    }

    /// Rises with each batch that the state machine applies: what blocking queries wait on.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        self.shared.applied()
    }

    /// This node's state now.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        self.shared.status()
    }

    /// Uses another certificate, key and authorities from now on. Connections that stand are kept.
    ///
    /// # Errors
    /// The files cannot be used, or are another node's; nothing has changed.
    pub fn set_tls(&self, files: &TlsFiles) -> Result<(), StartError> {
        self.shared.set_tls(files)
    }

    /// The state of every member, asked for at once; an error in words for one that does not answer in time.
    pub async fn cluster_status(&self, timeout: Duration) -> BTreeMap<NodeId, Result<NodeStatus, String>> {
        self.shared.cluster_status(timeout).await
    }

    /// Hands leadership to `to`, or to the most up-to-date voter, wherever the leader is; returns the new leader.
    ///
    /// # Errors
    /// There is no leader, or the transfer did not come about.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        self.shared.transfer(to).await
    }
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// There is none to hand over.
    #[error("No cluster leader")]
    NoLeader,
    /// The target did not take it in time; the old leader leads on.
    #[error("the transfer did not come about: the target did not catch up or answer in time")]
    Failed,
}
