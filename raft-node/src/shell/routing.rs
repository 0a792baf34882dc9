//! Where a request goes: to this node where it leads, else to the leader; held while there is none.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId, ReadMode};
use raftkit_net::RequestError;
use raftkit_replica::{Answer, MachineError, StateMachine};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::node_loop::LoopEvent;
use super::requests::{self, Request};
use super::{Shared, View};
use crate::{Committed, Consistency, Fresh, NodeStatus, ProposeError, ReadError, TransferError};

/// How long to wait at most before asking again where nothing tells that asking again helps.
const RETRY: Duration = Duration::from_millis(25);
/// The leader answers a forwarded write within the commit time-out; the answer's way back is given this long.
const WAY_BACK: Duration = Duration::from_millis(100);

impl<M: StateMachine> Shared<M> {
    /// See [`Handle::propose`](crate::Handle::propose).
    pub(crate) async fn propose(&self, command: Bytes) -> Result<Committed, ProposeError> {
        let limit = self.config.command_bytes_max;
        if command.len() > limit {
            return Err(ProposeError::TooLarge { got: command.len(), limit });
        }
        let hold = Instant::now() + self.config.hold_timeout;
        loop {
            let leader = self.leader(hold).await.ok_or(ProposeError::NoLeader)?;
            let answer = if leader == self.config.node {
                self.propose_here(command.clone()).await
            } else {
                self.propose_there(leader, &command).await
            };
            match answer {
                Answer::Committed { id, response } => return Ok(Committed { id, response }),
                Answer::Overloaded => return Err(ProposeError::Overloaded),
                // Nothing was done there: safe to try elsewhere, or again.
                Answer::NotLeader(_) => {}
                Answer::Stopped if leader == self.config.node => return Err(ProposeError::Stopping),
                Answer::Stopped => {}
                Answer::Unknown
                | Answer::ReadAt(_)
                | Answer::Transferred(_)
                | Answer::TransferFailed
                | Answer::Changed(_)
                | Answer::Conflict(_)
                | Answer::Refused(_) => {
                    return Err(ProposeError::Unknown(self.config.commit_timeout));
                }
            }
            self.pause(leader, hold).await.ok_or(ProposeError::NoLeader)?;
        }
    }

    /// Proposes on this node, and waits for at most the commit time-out.
    pub(crate) async fn propose_here(&self, command: Bytes) -> Answer {
        let (reply, answer) = oneshot::channel();
        if self.events.send(LoopEvent::Propose { command, reply }).is_err() {
            return Answer::Stopped;
        }
        match timeout(self.config.commit_timeout, answer).await {
            Ok(Ok(answer)) => answer,
            // Not answered in time, or the node ended meanwhile: it may be in the log.
            Ok(Err(_)) | Err(_) => Answer::Unknown,
        }
    }

    async fn propose_there(&self, leader: NodeId, command: &Bytes) -> Answer {
        let request = self.transport.request(leader, Request::Propose(command.clone()).encode());
        let answered = timeout(self.config.commit_timeout + WAY_BACK, request);
        tokio::select! {
            answer = answered => match answer {
                Ok(Ok(answer)) => requests::decode_answer(answer).unwrap_or(Answer::Unknown),
                Ok(Err(RequestError::NotSent { .. })) => Answer::NotLeader(None),
                Ok(Err(_lost)) => Answer::Unknown,
                Err(_too_late) => Answer::Unknown,
            },
            // It may have died with the request; nothing more is to be learned by waiting.
            () = self.deposed(leader) => Answer::Unknown,
        }
    }

    /// Returns when another node has led for as long as an answer of the old leader could still be on its way.
    async fn deposed(&self, old: NodeId) {
        let mut view = self.view.subscribe();
        let _ = view.wait_for(|view| view.leader.is_some_and(|leader| leader != old)).await;
        tokio::time::sleep(WAY_BACK).await;
    }

    /// See [`Handle::read`](crate::Handle::read).
    pub(crate) async fn read<T>(
        &self,
        consistency: Consistency,
        query: impl Fn(&M::Reader) -> Result<(T, LogId), MachineError>,
    ) -> Result<Fresh<T>, ReadError> {
        let hold = Instant::now() + self.config.hold_timeout;
        let mode = match consistency {
            Consistency::Stale => return self.read_stale(hold, query).await,
            Consistency::Default => ReadMode::Lease,
            Consistency::Consistent => ReadMode::Quorum,
        };
        let index = self.read_index(mode, hold).await?;
        self.reached(hold, |view| view.applied >= index).await?;
        let (value, _) = query(&self.reader)?;
        Ok(Fresh { value, known_leader: true, last_contact: Duration::ZERO })
    }

    /// The index that must be applied before a read may be answered.
    async fn read_index(&self, mode: ReadMode, hold: Instant) -> Result<LogIndex, ReadError> {
        loop {
            let leader = self.leader(hold).await.ok_or(ReadError::NoLeader)?;
            let (reply, answer) = oneshot::channel();
            self.events.send(LoopEvent::Read { mode, reply }).map_err(|_| ReadError::Stopping)?;
            // Asking again does no harm, so a lost answer costs one election time-out and not the request.
            let until = hold.min(Instant::now() + self.config.election_timeout);
            match timeout_at(until, answer).await {
                Ok(Ok(Answer::ReadAt(index))) => return Ok(index),
                Ok(Err(_)) | Ok(Ok(Answer::Stopped)) => return Err(ReadError::Stopping),
                Ok(Ok(_not_now)) => {
                    self.pause(leader, hold).await.ok_or_else(|| self.unconfirmed())?;
                }
                Err(_) if Instant::now() >= hold => return Err(self.unconfirmed()),
                Err(_) => {}
            }
        }
    }

    /// What this node has: never below what it has shown, also over a power cut. So it waits after a start until it has
    /// applied what it knows to be committed, where its log is damaged until that has healed, and it shows a state only
    /// once its commit is durable here.
    async fn read_stale<T>(
        &self,
        hold: Instant,
        query: impl Fn(&M::Reader) -> Result<(T, LogId), MachineError>,
    ) -> Result<Fresh<T>, ReadError> {
        self.reached(hold, |view| view.stale_from.is_some_and(|from| view.applied >= from)).await?;
        let (value, seen) = query(&self.reader)?;
        if self.view.borrow().durable_commit < seen.index {
            self.events.send(LoopEvent::PersistCommit).map_err(|_| ReadError::Stopping)?;
            self.reached(hold, |view| view.durable_commit >= seen.index).await?;
        }
        let known_leader = self.view.borrow().leader.is_some();
        Ok(Fresh { value, known_leader, last_contact: self.last_contact() })
    }

    /// See [`Handle::transfer`](crate::Handle::transfer).
    pub(crate) async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let hold = Instant::now() + self.config.hold_timeout;
        let leader = self.leader(hold).await.ok_or(TransferError::NoLeader)?;
        let answer = if leader == self.config.node {
            self.transfer_here(to).await
        } else {
            let request = self.transport.request(leader, Request::Transfer(to).encode());
            let answer = timeout(self.config.election_timeout * 2, request).await;
            answer
                .ok()
                .and_then(Result::ok)
                .and_then(requests::decode_answer)
                .unwrap_or(Answer::TransferFailed)
        };
        match answer {
            Answer::Transferred(node) => Ok(node),
            Answer::NotLeader(None) => Err(TransferError::NoLeader),
            Answer::NotLeader(Some(_))
            | Answer::TransferFailed
            | Answer::Overloaded
            | Answer::Unknown
            | Answer::Stopped
            | Answer::Committed { .. }
            | Answer::ReadAt(_)
            | Answer::Changed(_)
            | Answer::Conflict(_)
            | Answer::Refused(_) => Err(TransferError::Failed),
        }
    }

    pub(crate) async fn transfer_here(&self, to: Option<NodeId>) -> Answer {
        let (reply, answer) = oneshot::channel();
        if self.events.send(LoopEvent::Transfer { to, reply }).is_err() {
            return Answer::Stopped;
        }
        timeout(self.config.election_timeout * 2, answer)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or(Answer::TransferFailed)
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
                tokio::spawn(async move {
                    let answer = timeout(within, transport.request(node, Request::Status.encode())).await;
                    let status = match answer {
                        Ok(Ok(answer)) => requests::status(&answer)
                            .ok_or_else(|| "its answer is of another version".to_owned()),
                        Ok(Err(error)) => Err(error.to_string()),
                        Err(_) => Err(format!("no answer within {within:?}")),
                    };
                    (node, status)
                })
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

    /// The leader, as soon as one is known; none at the deadline.
    async fn leader(&self, deadline: Instant) -> Option<NodeId> {
        let mut view = self.view.subscribe();
        let known = timeout_at(deadline, view.wait_for(|view| view.leader.is_some())).await;
        known.ok()?.ok()?.leader
    }

    /// Waits until another leader may be known, or for a moment; none at the deadline.
    async fn pause(&self, tried: NodeId, deadline: Instant) -> Option<()> {
        let mut view = self.view.subscribe();
        let soon = deadline.min(Instant::now() + RETRY);
        let _ =
            timeout_at(soon, view.wait_for(|view| view.leader.is_some_and(|leader| leader != tried))).await;
        (Instant::now() < deadline).then_some(())
    }

    async fn reached(
        &self,
        deadline: Instant,
        condition: impl FnMut(&View) -> bool,
    ) -> Result<(), ReadError> {
        let mut view = self.view.subscribe();
        match timeout_at(deadline, view.wait_for(condition)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadError::Stopping),
            Err(_) => Err(ReadError::NotConfirmed),
        }
    }

    fn unconfirmed(&self) -> ReadError {
        if self.view.borrow().leader.is_some() { ReadError::NotConfirmed } else { ReadError::NoLeader }
    }
}
