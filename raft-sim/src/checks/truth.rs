//! The record of the whole cluster so far: committed entries, leaders, votes, memberships.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raftkit_core::{Entry, LogId, LogIndex, Membership, NodeId, Payload, RequestId, StoreId, Term};

use crate::checks::shadow::{Shadow, chained};
use crate::checks::violation::{Checked, promise};

/// A committed entry.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) entry: Entry,
    /// Hash of the log up to the entry.
    pub(crate) chain: u64,
    /// Term of the first node that knew the entry to be committed.
    pub(crate) known_in: Term,
    /// Answer of the machine that never failed.
    pub(crate) response: Bytes,
    /// Digest of the state after the entry.
    pub(crate) digest: u64,
}

/// The committed entries of a cluster, and everything else that its nodes are checked against.
#[derive(Debug)]
pub(crate) struct Truth {
    founding_chain: u64,
    /// Committed entries from index 2 on. Entry 1 is the founding membership.
    committed: Vec<Committed>,
    memberships: BTreeMap<LogIndex, Membership>,
    /// Every membership that any leader has appended.
    appended: BTreeMap<LogId, Membership>,
    /// Memberships that were requested and may still be appended, each with the index of the membership that it replaces: a
    /// leader may stand still with the request in its inbox.
    asked: BTreeMap<raftkit_replica::ClientRequestId, (LogIndex, Membership)>,
    /// Leader of each term: node, data folder, and number of its process.
    leaders: BTreeMap<Term, (NodeId, StoreId, u64)>,
    candidates: BTreeMap<(NodeId, Term, RequestId), StoreId>,
    votes: BTreeMap<(NodeId, StoreId, Term), (NodeId, Option<StoreId>)>,
    /// Votes that have left their nodes.
    pub(crate) promised: crate::checks::rules::Promised,
    /// Hash of the log up to each entry that any node has ever had.
    chains: BTreeMap<LogId, u64>,
    /// The entry of each committed command.
    pub(crate) commands: BTreeMap<Bytes, LogId>,
    /// Commands whose clients were told that they were not carried out.
    pub(crate) undone: BTreeSet<Bytes>,
    /// Highest index that any client knows to be committed.
    pub(crate) known: LogIndex,
}

impl Truth {
    pub(crate) fn new(founding: Membership) -> Self {
        Self {
            founding_chain: 1,
            committed: Vec::new(),
            memberships: BTreeMap::from([(LogIndex(1), founding)]),
            appended: BTreeMap::new(),
            asked: BTreeMap::new(),
            leaders: BTreeMap::new(),
            candidates: BTreeMap::new(),
            votes: BTreeMap::new(),
            promised: crate::checks::rules::Promised::new(),
            chains: BTreeMap::new(),
            commands: BTreeMap::new(),
            undone: BTreeSet::new(),
            known: LogIndex(1),
        }
    }

    pub(crate) fn at(&self, index: LogIndex) -> Option<&Committed> {
        self.committed.get(usize::try_from(index.0.checked_sub(2)?).ok()?)
    }

    /// Committed entries up to `to`, without the founding membership.
    pub(crate) fn entries_to(&self, to: LogIndex) -> impl Iterator<Item = &Entry> {
        self.committed.iter().map(|committed| &committed.entry).take_while(move |entry| entry.id.index <= to)
    }

    pub(crate) fn id(&self, index: LogIndex) -> Option<LogId> {
        match index.0 {
            0 => Some(LogId::ZERO),
            1 => Some(LogId::GENESIS),
            _ => self.at(index).map(|committed| committed.entry.id),
        }
    }

    /// Hash of the log up to a committed entry.
    pub(crate) fn chain(&self, id: LogId) -> Option<u64> {
        match id {
            LogId::ZERO => Some(0),
            LogId::GENESIS => Some(self.founding_chain),
            _ => self
                .at(id.index)
                .filter(|committed| committed.entry.id == id)
                .map(|committed| committed.chain),
        }
    }

    /// The last committed index.
    pub(crate) fn last(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64 + 1)
    }

    pub(crate) fn membership_as_of(&self, index: LogIndex) -> &Membership {
        self.memberships.range(..=index).next_back().expect("the founding one is before all").1
    }

    pub(crate) fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Records that a node has appended an entry, and checks that the log up to it is the same as on other nodes.
    pub(crate) fn note_appended(&mut self, entry: &Entry, chain: u64) -> Checked {
        if let Payload::Membership(membership) = &entry.payload {
            self.appended.insert(entry.id, Membership::clone(membership));
        }
        let first = *self.chains.entry(entry.id).or_insert(chain);
        promise!(LogMatching, first == chain, "two logs have entry {} and differ at or before it", entry.id);
        Ok(())
    }

    /// Checks an entry that a node knows to be committed against the record. Returns true if no node has known it before.
    pub(crate) fn check_committed(&self, entry: &Entry) -> Result<bool, (crate::Promise, String)> {
        if let Some(known) = self.at(entry.id.index) {
            promise!(
                CommittedForever,
                known.entry == *entry,
                "entry {} was committed as {:?} and now is {:?}",
                entry.id.index,
                known.entry,
                entry
            );
            return Ok(false);
        }
        promise!(
            CommittedForever,
            entry.id.index == self.last().next(),
            "{} is committed, and what comes before it is not",
            entry.id
        );
        if let Payload::Command(command) = &entry.payload {
            promise!(
                TrueAnswer,
                !self.undone.contains(command),
                "{} is committed, and its client was told that nothing was done",
                entry.id
            );
        }
        Ok(true)
    }

    /// Records a committed entry. `once` is true for a command that equals no other.
    pub(crate) fn commit(
        &mut self,
        entry: &Entry,
        known_in: Term,
        once: bool,
        (response, digest): (Bytes, u64),
    ) -> Checked {
        let before = self.committed.last().map_or(self.founding_chain, |committed| committed.chain);
        let chain = chained(before, entry);
        let committed = Committed { entry: entry.clone(), chain, known_in, response, digest };
        self.committed.push(committed);
        match &entry.payload {
            Payload::Membership(membership) => {
                self.memberships.insert(entry.id.index, Membership::clone(membership));
                self.asked.retain(|_, (seen, _)| *seen >= entry.id.index);
            }
            Payload::Command(command) => {
                let earlier = self.commands.insert(command.clone(), entry.id);
                promise!(
                    AppliedOnce,
                    !once || earlier.is_none(),
                    "a write is committed as {} and as {}",
                    earlier.unwrap_or_default(),
                    entry.id
                );
            }
            Payload::Noop => {}
        }
        Ok(())
    }

    /// Memberships that may be in force: the newest committed one, and all later ones that may still be committed.
    pub(crate) fn in_play(&self) -> Vec<&Membership> {
        let last = self.last();
        let open = self.appended.iter().filter(|(id, _)| id.index > last).map(|(_, membership)| membership);
        std::iter::once(self.membership_as_of(last)).chain(open).collect()
    }

    /// Records a request for a change of the membership.
    pub(crate) fn note_asked(
        &mut self,
        request: raftkit_replica::ClientRequestId,
        seen: LogIndex,
        target: Membership,
    ) {
        self.asked.insert(request, (seen, target));
    }

    /// Index of the membership that a requested change is to replace; none once the change cannot be carried out any more.
    pub(crate) fn asked_after(&self, request: raftkit_replica::ClientRequestId) -> Option<LogIndex> {
        self.asked.get(&request).map(|(seen, _)| *seen)
    }

    /// True if the leader of a term has appended a membership after this index.
    pub(crate) fn has_appended_membership(&self, term: Term, after: LogIndex) -> bool {
        self.appended.keys().any(|id| id.term == term && id.index > after)
    }

    /// A change that was asked for has not been done and never will.
    pub(crate) fn forget_asked(&mut self, request: raftkit_replica::ClientRequestId) {
        self.asked.remove(&request);
    }

    /// Every membership that is in force or may come to be so.
    pub(crate) fn to_come(&self) -> Vec<&Membership> {
        let mut all = self.in_play();
        all.extend(self.asked.values().map(|(_, membership)| membership));
        all
    }

    /// A node leads in a term in which it did not before.
    pub(crate) fn check_leader(
        &mut self,
        (id, store, life): (NodeId, StoreId, u64),
        term: Term,
        log: &Shadow,
    ) -> Checked {
        let leader = *self.leaders.entry(term).or_insert((id, store, life));
        let other = if leader.0 == id { "an earlier life of it".to_owned() } else { leader.0.to_string() };
        promise!(OneLeader, leader == (id, store, life), "{other} and {id} both lead in term {term}");
        let before = self.committed.iter().rev().find(|committed| committed.known_in < term);
        if let Some(before) = before.map(|committed| committed.entry.id) {
            let same = log.chain(before.index) == self.chain(before) || before.index < log.base().index;
            promise!(
                LeaderComplete,
                same,
                "{id} leads in term {term} and lacks {before}, which is committed"
            );
        }
        let vote = *self.votes.entry((id, store, term)).or_insert((id, Some(store)));
        promise!(OneVote, vote.0 == id, "{id} leads in term {term} and voted for {} in it", vote.0);
        Ok(())
    }

    /// Whether a data folder has given this node its vote in a term.
    pub(crate) fn has_voted(&self, (voter, store): (NodeId, StoreId), term: Term, id: NodeId) -> bool {
        self.votes.get(&(voter, store, term)).is_some_and(|(to, _)| *to == id)
    }

    /// A request for a vote has reached a voter.
    pub(crate) fn note_candidate(&mut self, from: NodeId, store: StoreId, term: Term, request: RequestId) {
        self.candidates.entry((from, term, request)).or_insert(store);
    }

    /// A vote leaves a node.
    pub(crate) fn check_vote(
        &mut self,
        (from, from_store): (NodeId, StoreId),
        term: Term,
        to: NodeId,
        request: RequestId,
    ) -> Checked {
        let store = self.candidates.get(&(to, term, request)).copied();
        let first = *self.votes.entry((from, from_store, term)).or_insert((to, store));
        promise!(
            OneVote,
            first == (to, store),
            "{from} votes for {to} in term {term} and has voted for {} in it",
            first.0
        );
        Ok(())
    }
}

/// A majority of each half, counted by hand.
pub(crate) fn is_quorum(membership: &Membership, has: impl Fn(NodeId) -> bool) -> bool {
    let halves = [membership.voters(), membership.outgoing()];
    !membership.voters().is_empty()
        && halves
            .into_iter()
            .filter(|half| !half.is_empty())
            .all(|half| half.iter().filter(|id| has(**id)).count() * 2 > half.len())
}
