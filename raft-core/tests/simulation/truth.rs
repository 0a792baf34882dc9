//! The cluster's promises so far: committed entries, leaders and votes.

use std::collections::{BTreeMap, BTreeSet};

use raftkit_core::invariants::Before;
use raftkit_core::{
    AppendOutcome, Body, Entry, LogId, LogIndex, Membership, Message, Node, NodeId, Payload, RequestId,
    StoreId, Term, Ticket, Vote,
};

use crate::disk::Disk;
use crate::harm::is_quorum;

pub struct Truth {
    /// The committed entries; index 2 is at position 0.
    pub committed: Vec<Entry>,
    /// The term in which the commit of each became known.
    committed_in: Vec<Term>,
    /// The committed memberships, the founding one first.
    memberships: BTreeMap<LogIndex, Membership>,
    /// Every membership that any leader ever appended.
    pub appended: BTreeMap<LogId, Membership>,
    leaders: BTreeMap<Term, (NodeId, StoreId)>,
    /// The data folder of each candidate, by the request id that voters echo.
    candidates: BTreeMap<(NodeId, Term, RequestId), StoreId>,
    votes: BTreeMap<(NodeId, StoreId, Term), (NodeId, Option<StoreId>)>,
    /// Proposals whose outcome was that nothing was done.
    pub undone: BTreeSet<Ticket>,
    /// The highest index that any caller knows to be committed.
    pub known: LogIndex,
}

impl Truth {
    /// A cluster in which only the founding entry exists.
    pub fn new(founding: Membership) -> Self {
        Self {
            committed: Vec::new(),
            committed_in: Vec::new(),
            memberships: BTreeMap::from([(LogIndex(1), founding)]),
            appended: BTreeMap::new(),
            leaders: BTreeMap::new(),
            candidates: BTreeMap::new(),
            votes: BTreeMap::new(),
            undone: BTreeSet::new(),
            known: LogIndex(1),
        }
    }

    pub fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let at = index.0.checked_sub(2)?;
        self.committed.get(usize::try_from(at).expect("small"))
    }

    pub fn id(&self, index: LogIndex) -> Option<LogId> {
        match index.0 {
            0 => Some(LogId::ZERO),
            1 => Some(LogId::GENESIS),
            _ => self.entry(index).map(|entry| entry.id),
        }
    }

    /// The last committed index.
    pub fn last(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64 + 1)
    }

    pub fn membership_as_of(&self, index: LogIndex) -> &Membership {
        self.memberships.range(..=index).next_back().expect("the founding one is before all").1
    }

    /// The committed membership of this entry.
    pub fn membership(&self, id: LogId) -> Option<&Membership> {
        self.memberships.get(&id.index).filter(|membership| membership.id() == id)
    }

    pub fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Checks newly committed entries: they never change, and a quorum of the membership in force at the
    /// leader holds them durably. Returns the memberships that were committed by this step.
    pub fn check_commit(
        &mut self,
        before: &Before,
        node: &Node,
        disk: &Disk,
        holds: impl Fn(NodeId, StoreId, LogId) -> bool,
    ) -> Vec<LogId> {
        let (mut index, mut news) = (before.commit(), Vec::new());
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
                    self.check_first_commit(before, node, entry, &holds);
                    if let Payload::Membership(membership) = &entry.payload {
                        self.memberships.insert(index, Membership::clone(membership));
                        news.push(entry.id);
                    }
                    self.committed.push(entry.clone());
                    self.committed_in.push(node.term());
                }
            }
        }
        news
    }

    fn check_first_commit(
        &self,
        before: &Before,
        after: &Node,
        entry: &Entry,
        holds: &impl Fn(NodeId, StoreId, LogId) -> bool,
    ) {
        assert!(before.is_leader(), "{} is first committed by a node that does not lead", entry.id);
        // In force at the commit, or from the middle of this step on: ending joint consensus may commit
        // further entries at once.
        let on_quorum = [before.membership(), after.membership()].into_iter().any(|membership| {
            is_quorum(membership, |id| membership.store(id).is_some_and(|store| holds(id, store, entry.id)))
        });
        assert!(on_quorum, "{} is committed but on no durable quorum of {:?}", entry.id, before.membership());
        assert_eq!(entry.id.index, self.last().next(), "committed entries leave a gap");
        if let Payload::Command(command) = &entry.payload {
            let ticket = Ticket(u64::from_le_bytes(command[..].try_into().expect("eight bytes")));
            assert!(!self.undone.contains(&ticket), "{ticket} is committed, but nothing was said to be done");
        }
    }

    /// All memberships that may be in force: the newest committed one, and those that may still be committed.
    pub fn in_play(&self) -> Vec<&Membership> {
        let last = self.last();
        let open = self.appended.iter().filter(|(id, _)| id.index > last).map(|(_, membership)| membership);
        std::iter::once(self.membership_as_of(last)).chain(open).collect()
    }

    /// Checks a recovery: with the recovered node counted by what it holds now, the newest committed entry,
    /// and so all before it, is still on a quorum of a membership that may be in force.
    pub fn check_healed(&self, id: NodeId, holds: impl Fn(NodeId, StoreId, LogId) -> bool) {
        let last = self.id(self.last()).expect("the last one is known");
        let on_quorum = self.in_play().into_iter().any(|membership| {
            is_quorum(membership, |id| membership.store(id).is_some_and(|store| holds(id, store, last)))
        });
        assert!(on_quorum, "{id} counts again, and {last} is on no quorum any more");
    }

    /// Checks a leader: it is the only one of its term and holds everything committed before its term. It may
    /// learn of its own election late.
    pub fn check_leader(&mut self, id: NodeId, store: StoreId, node: &Node, disk: &Disk) {
        let leader = *self.leaders.entry(node.term()).or_insert((id, store));
        assert_eq!(leader, (id, store), "two leaders of term {}", node.term());
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
        let vote = *self.votes.entry((id, store, node.term())).or_insert((id, Some(store)));
        assert_eq!(vote, (id, Some(store)), "{id} leads term {} and voted for another", node.term());
    }

    /// Records a vote request that has reached a voter.
    pub fn note_candidate(&mut self, from: NodeId, store: StoreId, term: Term, request: RequestId) {
        self.candidates.entry((from, term, request)).or_insert(store);
    }

    /// Checks that what a message promises is on the sender's disk.
    pub fn check_message(&mut self, message: &Message, disk: &Disk) {
        match &message.body {
            Body::RequestVoteResponse(answer) if answer.vote == Vote::Granted => {
                let store = self.candidates.get(&(message.to, message.term, answer.request)).copied();
                let vote = (message.to, store);
                let key = (message.from, message.from_store, message.term);
                let first = *self.votes.entry(key).or_insert(vote);
                assert_eq!(first, vote, "{} voted twice in term {}", message.from, message.term);
                let hard = disk.durable.hard;
                assert_eq!(
                    (hard.term, hard.vote),
                    (message.term, Some(message.to)),
                    "a vote left before the disk had it"
                );
                assert_eq!(hard.health, raftkit_core::Health::Sound, "a damaged node voted");
            }
            Body::AppendEntriesResponse(answer) => {
                let stored = disk.durable.hard.promise;
                assert!(
                    answer.promise <= stored,
                    "{} promised not to vote for {:?}, and its disk says {stored:?}",
                    message.from,
                    answer.promise
                );
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
}
