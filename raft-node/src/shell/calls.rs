//! Requests to peers that are under way.

use std::collections::HashMap;

use bytes::Bytes;
use raftkit_core::NodeId;
use raftkit_net::{RequestError, Transport};
use raftkit_replica::{CallFailed, CallId};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::node_loop::LoopEvent;
use super::tasks::Tasks;

/// The calls that are under way, a task for each. Dropping this ends all of them.
pub(crate) struct Calls {
    transport: Transport,
    events: mpsc::UnboundedSender<LoopEvent>,
    tasks: Tasks,
    under_way: HashMap<CallId, OnItsWay>,
}

/// A running call. Dropping it ends the wait for the peer's answer.
struct OnItsWay(AbortHandle);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Calls {
    pub(crate) fn new(transport: Transport, events: mpsc::UnboundedSender<LoopEvent>, tasks: Tasks) -> Self {
        Self { transport, events, tasks, under_way: HashMap::new() }
    }

    pub(crate) fn make(&mut self, call: CallId, to: NodeId, body: Bytes) {
        let (transport, events) = (self.transport.clone(), self.events.clone());
        let task = self.tasks.start("a request to a peer", async move {
            let result = transport.request(to, body).await.map_err(|error| failed(&error));
            // If the loop has ended, nobody waits for the answer.
            let _ = events.send(LoopEvent::Answered { call, result });
        });
        self.under_way.insert(call, OnItsWay(task.abort_handle()));
    }

    /// Ends a call: its answer is not needed any more.
    pub(crate) fn over(&mut self, call: CallId) {
        self.under_way.remove(&call);
    }
}

/// The failure that the service gets for a call without an answer. A write that may have arrived must not count as
/// not sent: the service would send it again, and it would be applied twice.
fn failed(error: &RequestError) -> CallFailed {
    match error {
        RequestError::NotSent(_) => CallFailed::NotSent,
        RequestError::Lost { .. } => CallFailed::Lost,
    }
}

#[cfg(test)]
mod tests {
    use raftkit_net::NotSent;

    use super::*;

    #[test]
    fn only_what_certainly_did_not_leave_counts_as_not_sent() {
        let to = NodeId(2);
        for not_sent in [
            NotSent::UnknownPeer { node: to },
            NotSent::Disconnected { node: to },
            NotSent::TooLong { got: 2, max: 1 },
            NotSent::NoCluster,
        ] {
            assert_eq!(failed(&RequestError::NotSent(not_sent)), CallFailed::NotSent);
        }
        assert_eq!(failed(&RequestError::Lost { reason: "timed out".to_owned() }), CallFailed::Lost);
    }
}
