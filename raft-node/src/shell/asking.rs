//! How a handle asks: a request goes to the loop, its answer comes back, and who stops waiting says so by being dropped.
//! What becomes of it in between is decided in raftkit-replica.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId};
use raftkit_replica::{Consistency, MachineError, Reply, Request, RequestError, RequestId, StateMachine};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::node_loop::LoopEvent;
use super::requests::{self, OwnRequest};
use super::{Shared, clock};
use crate::{Committed, Fresh, NodeStatus, ProposeError, ReadError, TransferError};

/// A request on its way through the loop. Dropped without its last answer, it is forgotten there.
struct Asking<'a> {
    events: &'a mpsc::UnboundedSender<LoopEvent>,
    request: RequestId,
    reply: oneshot::Receiver<Reply>,
    waits: Waits,
}

/// Whether the loop has a request on its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    StillThere,
    NoMore,
}

impl Asking<'_> {
    /// The next answer.
    async fn reply(&mut self) -> Result<Reply, Gone> {
        let reply = (&mut self.reply).await;
        let more = matches!(reply, Ok(Reply::ReadNow { .. }));
        self.waits = if more { Waits::StillThere } else { Waits::NoMore };
        reply.map_err(|_| Gone::Meanwhile)
    }

    /// Says what a stale read has found.
    fn seen(&mut self, at: LogIndex) -> Result<(), Gone> {
        let (sender, reply) = oneshot::channel();
        self.reply = reply;
        let event = LoopEvent::Seen { request: self.request, at, reply: sender };
        self.events.send(event).map_err(|_| Gone::Before)
    }

    /// No further answer is due.
    fn is_over(&mut self) {
        self.waits = Waits::NoMore;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.waits == Waits::StillThere {
            // The loop has ended: it waits for nothing any more.
            let _ = self.events.send(LoopEvent::Forget(self.request));
        }
    }
}

/// The loop has ended.
enum Gone {
    /// It took nothing.
    Before,
    /// It may have taken the request.
    Meanwhile,
}

impl<M: StateMachine> Shared<M> {
    fn ask(&self, what: Request) -> Result<Asking<'_>, Gone> {
        let (sender, reply) = oneshot::channel();
        let request = RequestId(self.next_request.fetch_add(1, Relaxed));
        self.events.send(LoopEvent::Ask { request, what, reply: sender }).map_err(|_| Gone::Before)?;
        Ok(Asking { events: &self.events, request, reply, waits: Waits::StillThere })
    }

    /// One request with one answer.
    async fn answer(&self, what: Request) -> Result<Reply, Gone> {
        if !self.is_formed().await {
            return Ok(Reply::Failed(RequestError::NoLeader));
        }
        self.ask(what)?.reply().await
    }

    /// Waits, as for a leader, until the node belongs to a cluster: only then does the loop run.
    async fn is_formed(&self) -> bool {
        if self.running.get().is_some() {
            return true;
        }
        let mut formed = self.formed.subscribe();
        timeout(self.config.hold_timeout, formed.wait_for(|formed| *formed)).await.is_ok_and(|it| it.is_ok())
    }

    /// See [`Handle::propose`](crate::Handle::propose).
    pub(crate) async fn propose(&self, command: Bytes) -> Result<Committed, ProposeError> {
        proposed(self.answer(Request::Propose(command)).await, self.config.commit_timeout)
    }

    /// See [`Handle::read`](crate::Handle::read).
    pub(crate) async fn read<T>(
        &self,
        consistency: Consistency,
        query: impl Fn(&M::Reader) -> Result<(T, LogId), MachineError>,
    ) -> Result<Fresh<T>, ReadError> {
        if consistency == Consistency::Stale && self.running.get().is_none() {
            // A node that belongs to no cluster yet has shown nothing and knows nobody.
            let (value, _) = query(&self.reader)?;
            return Ok(Fresh { value, known_leader: false, last_contact: Duration::MAX });
        }
        if !self.is_formed().await {
            return Err(ReadError::NoLeader);
        }
        if consistency == Consistency::Stale {
            return self.read_stale(query).await;
        }
        let mut asking = self.ask(Request::Read(consistency)).map_err(stopping)?;
        let reply = asking.reply().await.map_err(stopping)?;
        asking.is_over();
        fresh(reply, || Ok(query(&self.reader)?.0))
    }

    async fn read_stale<T>(
        &self,
        query: impl Fn(&M::Reader) -> Result<(T, LogId), MachineError>,
    ) -> Result<Fresh<T>, ReadError> {
        let (value, seen) = query(&self.reader)?;
        let shown = self.service().show_now(clock::now(), seen.index);
        if let Some(reply) = shown {
            return fresh(reply, || Ok(value));
        }
        let mut asking = self.ask(Request::Read(Consistency::Stale)).map_err(stopping)?;
        fresh(asking.reply().await.map_err(stopping)?, || Ok(()))?;
        let (value, seen) = query(&self.reader)?;
        asking.seen(seen.index).map_err(stopping)?;
        fresh(asking.reply().await.map_err(stopping)?, || Ok(value))
    }

    /// See [`Handle::transfer`](crate::Handle::transfer).
    pub(crate) async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        transferred(self.answer(Request::Transfer(to)).await)
    }

    /// See [`Handle::cluster_status`](crate::Handle::cluster_status).
    pub(crate) async fn cluster_status(
        &self,
        within: Duration,
    ) -> BTreeMap<NodeId, Result<NodeStatus, String>> {
        let own = self.status();
        let others: Vec<_> = own
            .members
            .iter()
            .filter(|member| member.node != own.node)
            .map(|member| {
                let (node, transport) = (member.node, self.transport.clone());
                #[expect(clippy::disallowed_methods, reason = "awaited below")]
                let asked = tokio::spawn(async move {
                    let answer = timeout(within, transport.request(node, OwnRequest::Status.encode())).await;
                    let status = match answer {
                        Ok(Ok(answer)) => requests::status(&answer)
                            .ok_or_else(|| "its answer is of another version".to_owned()),
                        Ok(Err(error)) => Err(error.to_string()),
                        Err(_) => Err(format!("no answer within {within:?}")),
                    };
                    (node, status)
                });
                asked
            })
            .collect();
        let mut all = BTreeMap::from([(own.node, Ok(own))]);
        for other in others {
            if let Ok((node, status)) = other.await {
                all.insert(node, status);
            }
        }
        all
    }
}

/// What became of a proposal. Only what was certainly not done may be told so: its client asks again.
fn proposed(answer: Result<Reply, Gone>, commit_timeout: Duration) -> Result<Committed, ProposeError> {
    match answer {
        Ok(Reply::Committed { id, response }) => Ok(Committed { id, response }),
        Ok(Reply::Failed(error)) => Err(no_commit(error, commit_timeout)),
        Err(Gone::Before) => Err(ProposeError::Stopping),
        // The node ended meanwhile: it may be in the log.
        Err(Gone::Meanwhile)
        | Ok(Reply::ReadNow { .. } | Reply::Show { .. } | Reply::Transferred(_) | Reply::Changed(_)) => {
            Err(ProposeError::Unknown(commit_timeout))
        }
    }
}

fn no_commit(error: RequestError, commit_timeout: Duration) -> ProposeError {
    match error {
        RequestError::NoLeader => ProposeError::NoLeader,
        RequestError::Unknown(within) => ProposeError::Unknown(within),
        RequestError::Overloaded => ProposeError::Overloaded,
        RequestError::TooLarge { got, limit } => ProposeError::TooLarge { got, limit },
        RequestError::Stopping => ProposeError::Stopping,
        // A command does not fail for these.
        RequestError::NotConfirmed
        | RequestError::TransferFailed
        | RequestError::Conflict(_)
        | RequestError::Refused(_)
        | RequestError::NotLeader(_) => ProposeError::Unknown(commit_timeout),
    }
}

/// What became of a transfer.
fn transferred(answer: Result<Reply, Gone>) -> Result<NodeId, TransferError> {
    match answer {
        Ok(Reply::Transferred(node)) => Ok(node),
        Ok(Reply::Failed(RequestError::NoLeader)) => Err(TransferError::NoLeader),
        Ok(
            Reply::Failed(_)
            | Reply::Committed { .. }
            | Reply::ReadNow { .. }
            | Reply::Show { .. }
            | Reply::Changed(_),
        )
        | Err(Gone::Before | Gone::Meanwhile) => Err(TransferError::Failed),
    }
}

/// A read whose loop has ended may as well be asked elsewhere.
fn stopping(_: Gone) -> ReadError {
    ReadError::Stopping
}

/// What a read was told, with what it finds if it may.
fn fresh<T>(reply: Reply, value: impl FnOnce() -> Result<T, ReadError>) -> Result<Fresh<T>, ReadError> {
    match reply {
        Reply::ReadNow { known_leader, last_contact } | Reply::Show { known_leader, last_contact } => {
            Ok(Fresh { value: value()?, known_leader, last_contact: last_contact.unwrap_or(Duration::MAX) })
        }
        Reply::Failed(RequestError::NoLeader) => Err(ReadError::NoLeader),
        Reply::Failed(RequestError::Stopping) => Err(ReadError::Stopping),
        // Too many requests wait: none of them can be confirmed by this node now.
        Reply::Failed(
            RequestError::NotConfirmed
            | RequestError::Overloaded
            | RequestError::Unknown(_)
            | RequestError::TooLarge { .. }
            | RequestError::TransferFailed
            | RequestError::Conflict(_)
            | RequestError::Refused(_)
            | RequestError::NotLeader(_),
        )
        | Reply::Committed { .. }
        | Reply::Transferred(_)
        | Reply::Changed(_) => Err(ReadError::NotConfirmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(events: &mpsc::UnboundedSender<LoopEvent>) -> (Asking<'_>, oneshot::Sender<Reply>) {
        let (sender, reply) = oneshot::channel();
        (Asking { events, request: RequestId(7), reply, waits: Waits::StillThere }, sender)
    }

    const READ_NOW: Reply = Reply::ReadNow { known_leader: true, last_contact: None };

    #[tokio::test]
    async fn who_stops_waiting_says_so() {
        let (events, mut heard) = mpsc::unbounded_channel();
        let (waiting, _sender) = asking(&events);
        drop(waiting);
        assert!(matches!(heard.try_recv(), Ok(LoopEvent::Forget(RequestId(7)))));
        // A stale read whose query fails.
        let (mut looking, sender) = asking(&events);
        sender.send(READ_NOW).expect("it is waited for");
        assert!(looking.reply().await.is_ok());
        drop(looking);
        assert!(matches!(heard.try_recv(), Ok(LoopEvent::Forget(RequestId(7)))));
    }

    #[tokio::test]
    async fn who_has_the_last_answer_has_nothing_to_say() {
        let (events, mut heard) = mpsc::unbounded_channel();
        let (mut answered, sender) = asking(&events);
        sender.send(Reply::Failed(RequestError::NoLeader)).expect("it is waited for");
        assert!(answered.reply().await.is_ok());
        drop(answered);
        let (mut read, sender) = asking(&events);
        sender.send(READ_NOW).expect("it is waited for");
        assert!(read.reply().await.is_ok());
        read.is_over();
        drop(read);
        let (mut gone, sender) = asking(&events);
        drop(sender);
        assert!(matches!(gone.reply().await, Err(Gone::Meanwhile)));
        drop(gone);
        assert!(heard.try_recv().is_err());
    }

    /// What a client of a proposal is told that was answered so.
    fn told(answer: Result<Reply, Gone>) -> String {
        match proposed(answer, Duration::from_secs(7)) {
            Ok(committed) => format!("committed {}", committed.id),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn a_proposal_is_told_not_done_only_where_that_is_certain() {
        let committed = Reply::Committed { id: LogId::new(2, 9), response: Bytes::new() };
        assert_eq!(told(Ok(committed)), "committed 2.9");
        let failed = |error| told(Ok(Reply::Failed(error)));
        assert_eq!(failed(RequestError::NoLeader), "NoLeader");
        assert_eq!(failed(RequestError::Overloaded), "Overloaded");
        assert_eq!(failed(RequestError::Stopping), "Stopping");
        assert_eq!(failed(RequestError::TooLarge { got: 2, limit: 1 }), "TooLarge { got: 2, limit: 1 }");
        assert_eq!(failed(RequestError::Unknown(Duration::from_secs(1))), "Unknown(1s)");
        assert_eq!(told(Err(Gone::Before)), "Stopping", "the loop never took it");
        // The loop may have taken it, or the answer makes no sense: it may be in the log.
        for answer in [
            Err(Gone::Meanwhile),
            Ok(READ_NOW),
            Ok(Reply::Show { known_leader: true, last_contact: None }),
            Ok(Reply::Transferred(NodeId(1))),
            Ok(Reply::Changed(LogId::new(2, 9))),
            Ok(Reply::Failed(RequestError::NotConfirmed)),
            Ok(Reply::Failed(RequestError::TransferFailed)),
            Ok(Reply::Failed(RequestError::Conflict(LogId::new(2, 9)))),
            Ok(Reply::Failed(RequestError::NotLeader(None))),
        ] {
            assert_eq!(told(answer), "Unknown(7s)");
        }
    }

    #[test]
    fn a_read_is_answered_only_with_leave_and_otherwise_told_why_not() {
        let read = |reply| match fresh(reply, || Ok(5)) {
            Ok(fresh) => format!("{} {} {:?}", fresh.value, fresh.known_leader, fresh.last_contact),
            Err(error) => error.to_string(),
        };
        let last_contact = Some(Duration::from_millis(3));
        assert_eq!(read(Reply::ReadNow { known_leader: true, last_contact }), "5 true 3ms");
        assert_eq!(read(Reply::Show { known_leader: false, last_contact }), "5 false 3ms");
        let failed = |error| read(Reply::Failed(error));
        assert_eq!(failed(RequestError::NoLeader), "No cluster leader");
        assert_eq!(failed(RequestError::Stopping), "the node is stopping");
        for error in [
            RequestError::NotConfirmed,
            RequestError::Overloaded,
            RequestError::Unknown(Duration::ZERO),
            RequestError::TransferFailed,
            RequestError::NotLeader(None),
        ] {
            assert_eq!(failed(error), "Not ready to serve consistent reads");
        }
        let committed = Reply::Committed { id: LogId::new(2, 9), response: Bytes::new() };
        assert_eq!(read(committed), "Not ready to serve consistent reads");
        assert!(matches!(stopping(Gone::Before), ReadError::Stopping));
        assert!(matches!(stopping(Gone::Meanwhile), ReadError::Stopping));
    }

    #[test]
    fn a_transfer_counts_only_where_the_new_leader_is_known() {
        assert_eq!(transferred(Ok(Reply::Transferred(NodeId(3)))), Ok(NodeId(3)));
        let no_leader = Ok(Reply::Failed(RequestError::NoLeader));
        assert_eq!(transferred(no_leader), Err(TransferError::NoLeader));
        for answer in [
            Err(Gone::Before),
            Err(Gone::Meanwhile),
            Ok(READ_NOW),
            Ok(Reply::Failed(RequestError::Overloaded)),
            Ok(Reply::Failed(RequestError::TransferFailed)),
        ] {
            assert_eq!(transferred(answer), Err(TransferError::Failed));
        }
    }
}
