//! What the whole cluster has promised so far, and the checks of every step against it.

use std::collections::{BTreeMap, BTreeSet};

use raftkit_core::{
    AppendOutcome, Body, Entry, LogId, LogIndex, Message, Node, NodeId, Outcome, Payload, Term, Ticket, Vote,
};

use crate::disk::Disk;

/// What a ticket was for.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    Proposal,
    /// A read that must see at least this index.
    Read(LogIndex),
    Transfer,
}

#[derive(Default)]
pub struct Truth {
    /// The committed map; index 2 is at 0.
    pub committed: Vec<Entry>,
    /// In which term each was known to be committed.
    committed_in: Vec<Term>,
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    pub open: BTreeMap<NodeId, BTreeMap<Ticket, Asked>>,
    answered: BTreeSet<Ticket>,
    /// The greatest index that any caller knows to be committed.
    pub known: LogIndex,
    pub acknowledged: u64,
    pub reads: u64,
    pub elections: u64,
}

impl Truth {
    /// The founding entry is known to all.
    pub fn new() -> Self {
        Self { known: LogIndex(1), ..Self::default() }
    }

    pub fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let at = index.0.checked_sub(2)?;
        self.committed.get(usize::try_from(at).expect("small"))
    }

    pub fn id(&self, index: LogIndex) -> Option<LogId> {
        if index.0 == 1 { Some(LogId::GENESIS) } else { self.entry(index).map(|entry| entry.id) }
    }

    /// A node knows entries to be committed: they never change, and a quorum holds them durably.
    pub fn check_commit<'a>(
        &mut self,
        node: &Node,
        was: LogIndex,
        disk: &Disk,
        voters: impl Iterator<Item = &'a Disk> + Clone,
    ) {
        let mut index = was;
        while index < node.commit() {
            index = index.next();
            let Some(entry) = disk.view.entry(index) else {
                assert!(index <= disk.view.base.id.index, "{index} is committed but not here");
                assert!(self.id(index).is_some(), "a snapshot holds {index}, which is not committed");
                continue;
            };
            match self.entry(index) {
                Some(known) => assert_eq!(known, entry, "committed entry {index} has changed"),
                None => {
                    let holders = voters.clone().filter(|disk| disk.durable.holds(entry.id)).count();
                    let needed = voters.clone().count() / 2 + 1;
                    assert!(
                        holders >= needed,
                        "{} is committed but durable on {holders} voters only",
                        entry.id
                    );
                    assert_eq!(index.0, self.committed.len() as u64 + 2, "committed entries leave a gap");
                    self.committed.push(entry.clone());
                    self.committed_in.push(node.term());
                }
            }
        }
    }

    /// One leader a term; it holds all that was committed before its term (it may hear of its own election late).
    pub fn check_leader(&mut self, id: NodeId, node: &Node, disk: &Disk) {
        let leader = *self.leaders.entry(node.term()).or_insert(id);
        assert_eq!(leader, id, "two leaders of term {}", node.term());
        self.elections += 1;
        let before = self.committed.iter().zip(&self.committed_in).filter(|(_, term)| **term < node.term());
        for (entry, _) in before {
            assert!(
                disk.view.holds(entry.id),
                "leader {id} of term {} lacks committed {}",
                node.term(),
                entry.id
            );
        }
        assert_eq!(
            (disk.durable.hard.term, disk.durable.hard.vote),
            (node.term(), Some(id)),
            "own vote not durable"
        );
    }

    /// What a message promises is on the sender's disk.
    pub fn check_message(&mut self, message: &Message, disk: &Disk) {
        match &message.body {
            Body::RequestVoteResponse(answer) if answer.vote == Vote::Granted => {
                let to = *self.votes.entry((message.from, message.term)).or_insert(message.to);
                assert_eq!(to, message.to, "{} voted twice in term {}", message.from, message.term);
                let hard = disk.durable.hard;
                assert_eq!(
                    (hard.term, hard.vote),
                    (message.term, Some(message.to)),
                    "a vote left before the disk had it"
                );
            }
            Body::AppendEntriesResponse(answer) => {
                if let AppendOutcome::Match(index) = answer.outcome {
                    let durable = index <= disk.durable.base.id.index
                        || disk.durable.entry(index).is_some_and(|entry| disk.view.holds(entry.id));
                    assert!(durable, "{} acknowledged {index} before its disk had it", message.from);
                }
            }
            Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::RequestVote(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntries(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => {}
        }
    }

    pub fn ask(&mut self, node: NodeId, ticket: Ticket, asked: Asked) {
        self.open.entry(node).or_default().insert(ticket, asked);
    }

    /// Exactly one outcome a ticket, of a kind that fits, and true.
    pub fn check_done(&mut self, node: NodeId, ticket: Ticket, outcome: Outcome) {
        assert!(self.answered.insert(ticket), "{ticket} was answered twice");
        let asked = self.open.entry(node).or_default().remove(&ticket).expect("an answer to an open ticket");
        match (asked, outcome) {
            (Asked::Proposal, Outcome::Committed(id)) => {
                let entry = self.entry(id.index).expect("acknowledged, so committed");
                let command = Payload::Command(ticket.0.to_le_bytes().to_vec().into());
                assert_eq!(
                    (entry.id, &entry.payload),
                    (id, &command),
                    "acknowledged {ticket} as another entry"
                );
                self.known = self.known.max(id.index);
                self.acknowledged += 1;
            }
            (Asked::Read(at_least), Outcome::ReadAt(index)) => {
                assert!(
                    index >= at_least,
                    "a read saw {index}, but {at_least} was known to be committed before"
                );
                assert!(self.id(index).is_some(), "a read saw {index}, which is not committed");
                self.known = self.known.max(index);
                self.reads += 1;
            }
            (Asked::Proposal, Outcome::Unknown(_))
            | (Asked::Transfer, Outcome::Transferred(_) | Outcome::TransferFailed)
            | (_, Outcome::NotLeader(_) | Outcome::Overloaded | Outcome::Stopped) => {}
            (asked, outcome) => panic!("{outcome:?} is no answer to {asked:?}"),
        }
    }
}
