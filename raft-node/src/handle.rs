//! The handle by which a program uses its node: proposals, reads, status.

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

/// A handle on a running node, which is cheap to clone and can be used by any number of tasks.
///
/// Every node takes every request, and forwards to the leader what only the leader can do.
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
    /// The entry that holds the command; its index can serve as the version of what the command changed.
    pub id: LogId,
    /// The state machine's answer.
    pub response: Bytes,
}

/// The result of a read, and how fresh it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh<T> {
    /// The value that was read.
    pub value: T,
    /// Whether the node knows a leader.
    pub known_leader: bool,
    /// How long ago the node heard from the leader; zero if the leader vouches for the read.
    pub last_contact: Duration,
}

/// Why a command has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader was found in time. Certainly not applied.
    #[error("No cluster leader")]
    NoLeader,
    /// The command was proposed, and it is unknown whether it is committed: it may still be applied.
    #[error(
        "serverPartialFail: the write was proposed but not confirmed within {0:?}; it may or may not be applied, read before you try again"
    )]
    Unknown(Duration),
    /// The leader has too many uncommitted bytes. Certainly not applied.
    #[error("the leader has too many writes on their way: try again later")]
    Overloaded,
    /// The command is larger than a node takes. Certainly not applied.
    #[error("the command has {got} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of the command, in bytes.
        got: usize,
        /// The node's limit, in bytes.
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
    /// Proposes `command`, here or on the leader, waits until it is committed and applied, and returns the state machine's
    /// answer.
    ///
    /// # Errors
    /// The command was not confirmed. Each error says whether the command may have been applied nevertheless.
    pub async fn propose(&self, command: Bytes) -> Result<Committed, ProposeError> {
        self.shared.propose(command).await
    }

    /// Reads through `query`, which returns a value and the last applied entry of the state that it read.
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

    /// A receiver of the applied index, which rises with each batch of commands; blocking queries can wait for it.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        self.shared.applied()
    }

    /// The node's present status.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        self.shared.status()
    }

    /// Uses another certificate, key and authorities for new connections. Existing connections are kept.
    ///
    /// # Errors
    /// The files cannot be used, or belong to another node. Then nothing has changed.
    pub fn set_tls(&self, files: &TlsFiles) -> Result<(), StartError> {
        self.shared.set_tls(files)
    }

    /// The status of every member, asked from all at the same time; an error in words for a member that does not answer in
    /// time.
    pub async fn cluster_status(&self, timeout: Duration) -> BTreeMap<NodeId, Result<NodeStatus, String>> {
        self.shared.cluster_status(timeout).await
    }

    /// Transfers leadership to `to`, or to the most up-to-date voter, and returns the new leader. The node need not be the
    /// leader itself.
    ///
    /// # Errors
    /// There is no leader, or the transfer failed.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        self.shared.transfer(to).await
    }
}

/// Why leadership was not transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// There is no leader.
    #[error("No cluster leader")]
    NoLeader,
    /// The target did not take over in time; the old leader continues to lead.
    #[error("the transfer did not come about: the target did not catch up or answer in time")]
    Failed,
}
