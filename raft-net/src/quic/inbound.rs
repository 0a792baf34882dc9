//! What a transport hands to its node: messages, requests with the way back for their answers, bulk bodies, and what
//! happened to connections.

use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::{Message, NodeId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::config::RemoteIdentity;

/// What came in, or happened.
#[derive(Debug)]
pub enum Inbound {
    /// A Raft message. Its sender and store are those of the connection, which is of the same cluster.
    Message(Message),
    /// A question that wants an answer.
    Request {
        /// Who asks.
        from: Arc<RemoteIdentity>,
        /// The question.
        body: Bytes,
        /// Where the answer goes. Dropped without one, it tells the asker so.
        reply: Reply,
    },
    /// A bulk body, from a node of the same cluster. It counts against
    /// [`bulk_bytes_max`](super::TransportConfig::bulk_bytes_max) as long as any part of it is alive.
    Bulk {
        /// Who sent it.
        from: NodeId,
        /// The body.
        body: Bytes,
    },
    /// The connection to a peer was lost, could not be made, or dropped an append: what was on its way may be gone.
    Unreachable(NodeId),
    /// A connection stands: one that this node dialled, or one that another node dialled for Raft messages.
    Connected(RemoteIdentity),
}

/// Where the answer to a request goes.
#[derive(Debug)]
pub struct Reply {
    id: u64,
    answers: Option<mpsc::UnboundedSender<(u64, Option<Bytes>)>>,
    /// The request's bytes, as long as it is not answered.
    _permit: OwnedSemaphorePermit,
}

impl Reply {
    pub(crate) fn new(
        id: u64,
        answers: mpsc::UnboundedSender<(u64, Option<Bytes>)>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { id, answers: Some(answers), _permit: permit }
    }

    /// Sends the answer. When the connection is gone, so is the answer; the asker knows that it does not know.
    pub fn send(mut self, body: Bytes) {
        if let Some(answers) = self.answers.take() {
            let _ = answers.send((self.id, Some(body)));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(answers) = self.answers.take() {
            let _ = answers.send((self.id, None));
        }
    }
}
