//! A log as it is opened after rot: cut to its sound part, with its hard state kept, and marked as damaged.

use std::path::Path;
use std::sync::Arc;

use raftkit_core::{
    Base, Body, HardState, Health, LogIndex, Message, Node, NodeId, Restored, Ticket, Vote, Write,
};
use raftkit_disk::Disk;
use raftkit_log::{OpenOptions, Store};
use raftkit_replica::StateMachine;

use super::{Cluster, DIR, TestNode};

/// The part of a log that rot has destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The entries from this index on; all entries if that index is compacted.
    From(LogIndex),
    /// The whole log, its base and the membership there included.
    Base,
}

/// Opens a log, removes the lost part, and closes it.
pub fn damage(disk: Arc<dyn Disk>, dir: &Path, options: OpenOptions, lost: Lost) {
    let (mut store, restored) = Store::open(disk, dir, options).unwrap();
    let hard_state = Some(HardState { health: Health::Damaged, ..restored.hard_state });
    let write = Write { hard_state, ..Write::default() };
    store.queue(match lost {
        Lost::From(index) => {
            let from = index.max(restored.base.id.index.next());
            Write { truncate_from: Some(from), ..write }
        }
        Lost::Base => Write { reset_to: Some(Base::default().into()), ..write },
    });
    store.flush().unwrap();
}

impl<M: StateMachine> TestNode<M> {
    pub(super) fn log_options(&self) -> OpenOptions {
        OpenOptions { journal_bytes: 64 << 10, ..OpenOptions::new(self.id, self.store()) }
    }

    /// Removes the lost part from the log of a node that is down; the node's next start knows of the damage.
    pub fn damage(&self, lost: Lost) {
        assert!(self.running.is_none(), "it is damaged while it is down");
        damage(Arc::new(self.disk.clone()), Path::new(DIR), self.log_options(), lost);
    }

    /// The contents of the log of a node that is down.
    pub fn stored(&self) -> Restored {
        assert!(self.running.is_none(), "a log has one owner");
        Store::open(Arc::new(self.disk.clone()), Path::new(DIR), self.log_options()).unwrap().1
    }
}

impl<M: StateMachine> Cluster<M> {
    pub fn health(&self, id: NodeId) -> Health {
        self.replica(id).node().health()
    }

    /// Asks a leader to hand leadership to `to`.
    pub fn transfer(&mut self, leader: NodeId, to: NodeId) -> Ticket {
        let ticket = self.ticket();
        self.drive(leader, |replica, now, out| replica.transfer(now, ticket, Some(to), out));
        ticket
    }

    /// Cuts all links between these nodes and all others.
    pub fn isolate(&mut self, away: &[NodeId]) {
        for from in self.nodes.keys().copied().collect::<Vec<_>>() {
            for to in away {
                if !away.contains(&from) {
                    self.cut.extend([(from, *to), (*to, from)]);
                }
            }
        }
    }
}

/// True for a granted vote or pre-vote.
fn grants(message: &Message) -> bool {
    match &message.body {
        Body::PreVoteResponse(answer) => answer.vote == Vote::Granted,
        Body::RequestVoteResponse(answer) => answer.vote == Vote::Granted,
        Body::PreVote(_)
        | Body::RequestVote(_)
        | Body::AppendEntries(_)
        | Body::AppendEntriesResponse(_)
        | Body::ReadIndex(_)
        | Body::ReadIndexResponse(_)
        | Body::TimeoutNow(_) => false,
    }
}

/// Checks each message that a node sends: a damaged node must not send some of them.
pub(super) fn check_sent(node: &Node, message: &Message) {
    if node.health() == Health::Damaged {
        assert!(!grants(message), "node {} is damaged and grants a vote: {message:?}", message.from);
        let campaigns = matches!(message.body, Body::PreVote(_) | Body::RequestVote(_));
        assert!(!campaigns, "node {} is damaged and campaigns", message.from);
    }
}
