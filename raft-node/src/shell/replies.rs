//! Handles that wait for the service's answer, by the kind of their request: each kind has its own type of answer.

use std::collections::HashMap;

use raftkit_core::{LogId, NodeId};
use raftkit_replica::{
    ChangeError, ClientRequestId, Committed, Freshness, ProposeError, ReadRefused, Reply, TransferError,
};
use tokio::sync::oneshot;

/// The sending end of a channel at whose other end a handle waits for one answer.
pub(crate) type ReplyTo<T> = oneshot::Sender<T>;

/// The handles that wait.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pub(crate) proposals: HashMap<ClientRequestId, ReplyTo<Result<Committed, ProposeError>>>,
    pub(crate) reads: HashMap<ClientRequestId, ReplyTo<Result<Freshness, ReadRefused>>>,
    pub(crate) transfers: HashMap<ClientRequestId, ReplyTo<Result<NodeId, TransferError>>>,
    pub(crate) changes: HashMap<ClientRequestId, ReplyTo<Result<LogId, ChangeError>>>,
}

impl Replies {
    /// Gives the service's answer to the handle that waits for it.
    pub(crate) fn give(&mut self, request: ClientRequestId, reply: Reply) {
        match reply {
            Reply::Proposed(result) => send(self.proposals.remove(&request), result),
            Reply::ReadNow(freshness) | Reply::Show(freshness) => {
                send(self.reads.remove(&request), Ok(freshness));
            }
            Reply::ReadRefused(why) => send(self.reads.remove(&request), Err(why)),
            Reply::Transferred(result) => send(self.transfers.remove(&request), result),
            Reply::Changed(result) => send(self.changes.remove(&request), result),
        }
    }

    /// A handle does not wait any more. The kind of its request is not known here.
    pub(crate) fn forget(&mut self, request: ClientRequestId) {
        self.proposals.remove(&request);
        self.reads.remove(&request);
        self.transfers.remove(&request);
        self.changes.remove(&request);
    }
}

fn send<T>(waiting: Option<ReplyTo<T>>, answer: T) {
    if let Some(waiting) = waiting {
        // The handle may have stopped waiting.
        let _ = waiting.send(answer);
    }
}
