//! The handle by which a program uses its node: proposals, reads, changes of membership, status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, Membership, NodeId};
use raftkit_net::TlsFiles;
pub use raftkit_replica::{ChangeError, Committed, Consistency, ProposeError, ReadRefused, TransferError};
use raftkit_replica::{MachineError, StateMachine, Typed, TypedError};
use tokio::sync::watch;

use crate::NodeStatus;
use crate::shell::{Shared, StartError};

/// A handle on a running node, which is cheap to clone and can be used by any number of tasks.
///
/// Every node takes every request, and forwards to the leader what only the leader can do. The exception is a change of
/// membership, which must be given to the leader.
pub struct Handle<M: StateMachine> {
    pub(crate) shared: Arc<Shared<M>>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
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

/// A command that is committed and applied, with the state machine's typed response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted<R> {
    /// The entry that the command became. Its index is the version of what the command changed.
    pub id: LogId,
    /// The state machine's response.
    pub response: R,
}

/// Why a typed command has no response.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The command cannot be encoded. It is certainly not applied.
    #[error(transparent)]
    Command(TypedError),
    /// The command was not committed; see [`ProposeError`] for whether it may still be applied.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The command is committed, and the state machine's response cannot be read.
    #[error("the command is committed as {id}, and its response cannot be read: {error}")]
    Response {
        /// The entry that the command became.
        id: LogId,
        /// Why the response cannot be read.
        error: TypedError,
    },
}

/// Why a read has no result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The read may not be served.
    #[error(transparent)]
    Refused(#[from] ReadRefused),
    /// The state machine could not be read.
    #[error(transparent)]
    Machine(#[from] MachineError),
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

    /// Has a typed command committed and applied, as [`propose`](Self::propose) does with bytes.
    ///
    /// # Errors
    /// Each says whether the command may have been applied.
    pub async fn submit(&self, command: &M::Command) -> Result<Submitted<M::Response>, SubmitError>
    where
        M: Typed,
    {
        let command = M::encode(command).map_err(SubmitError::Command)?;
        submitted::<M>(self.propose(command).await?)
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

    /// The membership as this node knows it. A change of it names this one by its [`id`](Membership::id). None while the
    /// node belongs to no cluster.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        self.shared.membership()
    }

    /// Changes the membership to `target`, if the one in force is still that which was `seen`. Only the leader does it.
    /// Returns the entry since which the membership is as wanted.
    ///
    /// # Errors
    /// Each says whether the change may have been done.
    pub async fn change(&self, seen: LogId, target: Membership) -> Result<LogId, ChangeError> {
        self.shared.change(seen, target).await
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

fn submitted<M: Typed>(Committed { id, response }: Committed) -> Result<Submitted<M::Response>, SubmitError> {
    let response = M::decode(&response).map_err(|error| SubmitError::Response { id, error })?;
    Ok(Submitted { id, response })
}

#[cfg(test)]
mod tests {
    use raftkit_replica::{Application, InMemory};

    use super::*;

    #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
    struct Echo;

    impl Application for Echo {
        type Command = String;
        type Response = String;

        fn apply(&mut self, _id: LogId, command: String) -> String {
            command
        }
    }

    #[test]
    fn a_response_that_cannot_be_read_does_not_hide_that_the_command_is_committed() {
        let id = LogId::new(2, 9);
        // `None`: the application did not understand the command.
        let response = Bytes::from_static(&[0]);
        let error = submitted::<InMemory<Echo>>(Committed { id, response }).expect_err("it is no string");
        assert!(
            error.to_string().starts_with("the command is committed as 2.9, and its response"),
            "{error}"
        );
        let response = Bytes::from_static(b"\x01\x02hi");
        let done = submitted::<InMemory<Echo>>(Committed { id, response }).expect("it is a string");
        assert_eq!(done, Submitted { id, response: "hi".to_owned() });
    }
}
