//! The events of a transport: messages, requests with the way back for their answers, bulk bodies, and changes of
//! connections.

use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::{Message, NodeId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::config::RemoteIdentity;

/// An event of the transport.
#[derive(Debug)]
pub enum Inbound {
    /// A Raft message. Sender and store are those of the connection, and both nodes are of the same cluster.
    Message(Message),
    /// A request that wants an answer.
    Request {
        /// Identity of the sender.
        from: Arc<RemoteIdentity>,
        /// Content of the request.
        body: Bytes,
        /// The way back for the answer. If it is dropped without an answer, the sender learns that there will be none.
        reply: Reply,
    },
    /// A bulk body from a node of the same cluster. It counts against
    /// [`bulk_bytes_max`](super::TransportConfig::bulk_bytes_max) as long as any slice of it is in memory.
    Bulk {
        /// Node id of the sender.
        from: NodeId,
        /// Content of the body.
        body: Bytes,
    },
    /// The connection to a peer was lost or could not be made, or an append to it was dropped: messages on their way
    /// may be lost.
    Unreachable(NodeId),
    /// A connection has been made: one that this node dialled, or one that another node dialled for Raft messages.
    Connected(RemoteIdentity),
}

/// The receiving end of a transport: its events, in order. When it is full peers are made to wait; when it is dropped the
/// node counts as stopping.
#[derive(Debug)]
pub struct Inbox(mpsc::Receiver<Inbound>);

impl Inbox {
    pub(crate) fn new(events: mpsc::Receiver<Inbound>) -> Self {
        Self(events)
    }

    /// Waits for the next event; none once the transport has ended and all events were taken. An event that is not
    /// taken because this future was dropped stays.
    pub async fn recv(&mut self) -> Option<Inbound> {
        self.0.recv().await
    }

    /// Waits for events and appends up to `limit` of those that are there to `events`. Returns their number: zero once
    /// the transport has ended and all events were taken.
    pub async fn recv_many(&mut self, events: &mut Vec<Inbound>, limit: usize) -> usize {
        self.0.recv_many(events, limit).await
    }

    /// Takes the next event if one is there.
    pub fn try_recv(&mut self) -> Option<Inbound> {
        self.0.try_recv().ok()
    }
}

/// The way back for the answer to a request.
#[derive(Debug)]
pub struct Reply {
    id: u64,
    answers: Option<mpsc::UnboundedSender<(u64, Option<Bytes>)>>,
    /// The request's share of the budget, until it is answered.
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

    /// Sends the answer. When the connection has ended the answer is lost, and the sender learns that the outcome is
    /// unknown.
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
