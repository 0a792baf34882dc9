//! A handle's requests: each goes to the loop, its answer comes back, and a handle that stops waiting says so by being
//! dropped. The requests are carried out in raftkit-replica.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, Membership, NodeId};
use raftkit_replica::{ClientRequestId, Consistency, Freshness, MachineError, ReadRefused, StateMachine};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::node_loop::LoopEvent;
use super::replies::ReplyTo;
use super::requests::{self, OwnRequest};
use super::{Shared, clock};
use crate::{ChangeError, Committed, Fresh, NodeStatus, ProposeError, ReadError, TransferError};

/// A request that the loop has taken, whose answer is a `T`. If it is dropped before its last answer, the loop
/// forgets it.
struct Asking<'a, T> {
    events: &'a mpsc::UnboundedSender<LoopEvent>,
    request: ClientRequestId,
    reply: oneshot::Receiver<T>,
    waits: Waits,
}

/// Whether the loop has a request on its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    StillThere,
    NoMore,
}

impl<T> Asking<'_, T> {
    /// The answer.
    async fn reply(&mut self) -> Result<T, Gone> {
        let reply = (&mut self.reply).await;
        self.waits = Waits::NoMore;
        reply.map_err(|_| Gone::Meanwhile)
    }
}

impl Asking<'_, Result<Freshness, ReadRefused>> {
    /// The answer to a stale read. The loop then waits to hear what the read has found.
    async fn may_look(&mut self) -> Result<Freshness, ReadRefused> {
        let freshness = self.reply().await??;
        self.waits = Waits::StillThere;
        Ok(freshness)
    }

    /// Reports the index at which a stale read has found its value. The answer says whether the value may be shown.
    async fn may_show(mut self, at: LogIndex) -> Result<Freshness, ReadRefused> {
        let (sender, reply) = oneshot::channel();
        self.reply = reply;
        let event = LoopEvent::Seen { request: self.request, at, reply: sender };
        self.events.send(event).map_err(|_| Gone::Before)?;
        self.reply().await?
    }
}

impl<T> Drop for Asking<'_, T> {
    fn drop(&mut self) {
        if self.waits == Waits::StillThere {
            // If the loop has ended, it waits for nothing any more.
            let _ = self.events.send(LoopEvent::Forget(self.request));
        }
    }
}

/// The loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// The loop has not taken the request.
    Before,
    /// The loop may have taken the request.
    Meanwhile,
}

/// A read whose loop has ended may safely be tried on another node.
impl From<Gone> for ReadRefused {
    fn from(_: Gone) -> Self {
        Self::Stopping
    }
}

impl From<Gone> for TransferError {
    fn from(_: Gone) -> Self {
        Self::Failed
    }
}

/// The answer to a command whose loop has ended. It says that the command is not applied only if that is certain,
/// because the client then proposes it again.
fn proposal_gone(gone: Gone, commit_timeout: Duration) -> ProposeError {
    match gone {
        Gone::Before => ProposeError::Stopping,
        Gone::Meanwhile => ProposeError::Unknown(commit_timeout),
    }
}

/// The answer to a change of membership whose loop has ended.
fn change_gone(gone: Gone, commit_timeout: Duration) -> ChangeError {
    match gone {
        Gone::Before => ChangeError::Stopping,
        Gone::Meanwhile => ChangeError::Unknown(commit_timeout),
    }
}

impl<M: StateMachine> Shared<M> {
    /// Gives the loop the request that `event` makes.
    fn ask<T>(
        &self,
        event: impl FnOnce(ClientRequestId, ReplyTo<T>) -> LoopEvent,
    ) -> Result<Asking<'_, T>, Gone> {
        let (sender, reply) = oneshot::channel();
        let request = ClientRequestId(self.next_request.fetch_add(1, Relaxed));
        self.events.send(event(request, sender)).map_err(|_| Gone::Before)?;
        Ok(Asking { events: &self.events, request, reply, waits: Waits::StillThere })
    }

    /// The answer to the request that `event` makes.
    async fn answer<T>(
        &self,
        event: impl FnOnce(ClientRequestId, ReplyTo<T>) -> LoopEvent,
    ) -> Result<T, Gone> {
        self.ask(event)?.reply().await
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
        if !self.is_formed().await {
            return Err(ProposeError::NoLeader);
        }
        let answer = self.answer(|request, reply| LoopEvent::Propose { request, command, reply }).await;
        answer.map_err(|gone| proposal_gone(gone, self.config.commit_timeout))?
    }

    /// See [`Handle::read`](crate::Handle::read).
    pub(crate) async fn read<T>(
        &self,
        consistency: Consistency,
        query: impl Fn(&M::Reader) -> Result<(T, LogId), MachineError>,
    ) -> Result<Fresh<T>, ReadError> {
        if consistency == Consistency::Stale && self.running.get().is_none() {
            // A node that belongs to no cluster yet has shown nothing before and knows no leader.
            let (value, _) = query(&self.reader)?;
            return Ok(Fresh { value, known_leader: false, last_contact: Duration::MAX });
        }
        if !self.is_formed().await {
            return Err(ReadRefused::NoLeader.into());
        }
        if consistency == Consistency::Stale {
            return self.read_stale(query).await;
        }
        let answer = self.answer(|request, reply| LoopEvent::Read { request, consistency, reply }).await;
        let freshness = answer.map_err(ReadRefused::from)??;
        Ok(fresh(query(&self.reader)?.0, freshness))
    }

    async fn read_stale<T>(
        &self,
        query: impl Fn(&M::Reader) -> Result<(T, LogId), MachineError>,
    ) -> Result<Fresh<T>, ReadError> {
        let (value, seen) = query(&self.reader)?;
        let shown = self.service().show_now(clock::now(), seen.index);
        if let Some(freshness) = shown {
            return Ok(fresh(value, freshness));
        }
        let consistency = Consistency::Stale;
        let asking = self.ask(|request, reply| LoopEvent::Read { request, consistency, reply });
        let mut asking = asking.map_err(ReadRefused::from)?;
        asking.may_look().await?;
        let (value, seen) = query(&self.reader)?;
        Ok(fresh(value, asking.may_show(seen.index).await?))
    }

    /// See [`Handle::transfer`](crate::Handle::transfer).
    pub(crate) async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        if !self.is_formed().await {
            return Err(TransferError::NoLeader);
        }
        self.answer(|request, reply| LoopEvent::Transfer { request, to, reply }).await?
    }

    /// See [`Handle::change`](crate::Handle::change).
    pub(crate) async fn change(&self, seen: LogId, target: Membership) -> Result<LogId, ChangeError> {
        if !self.is_formed().await {
            return Err(ChangeError::NotLeader(None));
        }
        let change = |request, reply| LoopEvent::Change { request, seen, target, reply };
        let answer = self.answer(change).await;
        answer.map_err(|gone| change_gone(gone, self.config.commit_timeout))?
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

/// A value that a read has found, with its freshness.
fn fresh<T>(value: T, Freshness { known_leader, last_contact }: Freshness) -> Fresh<T> {
    Fresh { value, known_leader, last_contact: last_contact.unwrap_or(Duration::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type ReadAnswer = Result<Freshness, ReadRefused>;

    fn asking<T>(events: &mpsc::UnboundedSender<LoopEvent>) -> (Asking<'_, T>, oneshot::Sender<T>) {
        let (sender, reply) = oneshot::channel();
        (Asking { events, request: ClientRequestId(7), reply, waits: Waits::StillThere }, sender)
    }

    const FRESHNESS: Freshness = Freshness { known_leader: true, last_contact: None };

    #[tokio::test]
    async fn who_stops_waiting_says_so() {
        let (events, mut heard) = mpsc::unbounded_channel();
        let (waiting, _sender) = asking::<ReadAnswer>(&events);
        drop(waiting);
        assert!(matches!(heard.try_recv(), Ok(LoopEvent::Forget(ClientRequestId(7)))));
        // A stale read whose query fails.
        let (mut looking, sender) = asking::<ReadAnswer>(&events);
        sender.send(Ok(FRESHNESS)).expect("it is waited for");
        assert_eq!(looking.may_look().await, Ok(FRESHNESS));
        drop(looking);
        assert!(matches!(heard.try_recv(), Ok(LoopEvent::Forget(ClientRequestId(7)))));
    }

    #[tokio::test]
    async fn who_has_the_last_answer_has_nothing_to_say() {
        let (events, mut heard) = mpsc::unbounded_channel();
        let (mut answered, sender) = asking::<ReadAnswer>(&events);
        sender.send(Err(ReadRefused::NoLeader)).expect("it is waited for");
        assert_eq!(answered.may_look().await, Err(ReadRefused::NoLeader));
        drop(answered);
        let (mut read, sender) = asking::<ReadAnswer>(&events);
        sender.send(Ok(FRESHNESS)).expect("it is waited for");
        assert_eq!(read.reply().await, Ok(Ok(FRESHNESS)));
        drop(read);
        let (mut gone, sender) = asking::<ReadAnswer>(&events);
        drop(sender);
        assert_eq!(gone.reply().await, Err(Gone::Meanwhile));
        drop(gone);
        assert!(heard.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_stale_read_says_what_it_has_found_and_is_over_with_the_answer_to_that() {
        let (events, mut heard) = mpsc::unbounded_channel();
        let (mut looking, sender) = asking::<ReadAnswer>(&events);
        sender.send(Ok(FRESHNESS)).expect("it is waited for");
        assert_eq!(looking.may_look().await, Ok(FRESHNESS));
        let answer = async {
            let Some(LoopEvent::Seen { request: ClientRequestId(7), at: LogIndex(9), reply }) =
                heard.recv().await
            else {
                panic!("it says what it has found")
            };
            reply.send(Err(ReadRefused::NotConfirmed)).expect("it is waited for");
        };
        let (shown, ()) = tokio::join!(looking.may_show(LogIndex(9)), answer);
        assert_eq!(shown, Err(ReadRefused::NotConfirmed));
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn a_request_is_said_not_to_be_done_only_where_that_is_certain() {
        let within = Duration::from_secs(7);
        assert_eq!(proposal_gone(Gone::Before, within), ProposeError::Stopping, "the loop never took it");
        assert_eq!(proposal_gone(Gone::Meanwhile, within), ProposeError::Unknown(within));
        assert_eq!(change_gone(Gone::Before, within), ChangeError::Stopping, "the loop never took it");
        assert_eq!(change_gone(Gone::Meanwhile, within), ChangeError::Unknown(within));
        for gone in [Gone::Before, Gone::Meanwhile] {
            assert_eq!(ReadRefused::from(gone), ReadRefused::Stopping);
            assert_eq!(TransferError::from(gone), TransferError::Failed);
        }
    }

    #[test]
    fn what_was_never_heard_of_is_as_old_as_can_be() {
        let last_contact = Some(Duration::from_millis(3));
        let heard = fresh(5, Freshness { known_leader: true, last_contact });
        assert_eq!(heard, Fresh { value: 5, known_leader: true, last_contact: Duration::from_millis(3) });
        let never = fresh(5, Freshness { known_leader: false, last_contact: None });
        assert_eq!(never, Fresh { value: 5, known_leader: false, last_contact: Duration::MAX });
    }
}
