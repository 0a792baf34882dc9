//! Counts the marks: what happened in a step, as seen from outside.

use raftkit_core::invariants::Before;
use raftkit_core::{
    AppendOutcome, Body, CampaignReason, Effects, Health, Input, LogId, Message, NodeId, RequestId, RoleName,
    StoreId, Term, Vote,
};

use crate::marks::Mark;
use crate::world::World;

/// The facts about an input that are needed after it was given.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    Tick,
    PreVote { from: NodeId, store: StoreId },
    RequestVote { from: NodeId, store: StoreId, term: Term, reason: CampaignReason, request: RequestId },
    Message { term: Term },
    Other,
}

impl Seen {
    pub fn of(input: &Input) -> Self {
        let message = match input {
            Input::Tick => return Self::Tick,
            Input::Message(message) => message,
            Input::Propose(_)
            | Input::Read { .. }
            | Input::Transfer { .. }
            | Input::Change(_)
            | Input::PersistCommit
            | Input::Compact(_)
            | Input::Persisted(_)
            | Input::WriteFailed
            | Input::Applied(_)
            | Input::Fetched { .. }
            | Input::SnapshotInstalled { .. }
            | Input::SnapshotSent { .. }
            | Input::Unreachable(_) => return Self::Other,
        };
        let (from, store, term) = (message.from, message.from_store, message.term);
        match &message.body {
            Body::PreVote(_) => Self::PreVote { from, store },
            Body::RequestVote(ask) => {
                Self::RequestVote { from, store, term, reason: ask.reason, request: ask.request }
            }
            Body::PreVoteResponse(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntries(_)
            | Body::AppendEntriesResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => Self::Message { term },
        }
    }
}

impl World {
    pub fn observe(&mut self, id: NodeId, before: &Before, seen: &Seen, effects: &Effects) {
        match *seen {
            Seen::RequestVote { from, store, term, reason, request } => {
                self.truth.note_candidate(from, store, term, request);
                let after = self.hosts[&id].node.as_ref().expect("it was given an input").term();
                let ignored = term > before.term() && after == before.term();
                self.marks.hit_if(ignored && reason == CampaignReason::LeaderTimeout, Mark::StickyVote);
            }
            Seen::PreVote { from, store } => {
                let removed = before.membership().store(from) != Some(store) && before.leader().is_some();
                self.marks.hit_if(removed, Mark::StrangerAsked);
            }
            Seen::Tick | Seen::Message { .. } | Seen::Other => {}
        }
        self.observe_role(id, before, seen);
        self.observe_health(id, before);
        for message in &effects.messages {
            self.observe_message(id, before, message);
        }
    }

    fn observe_role(&mut self, id: NodeId, before: &Before, seen: &Seen) {
        let Self { marks, hosts, .. } = self;
        let host = &hosts[&id];
        let node = host.node.as_ref().expect("it was given an input");
        let again = before.role() == RoleName::Candidate && node.term() > before.term();
        marks.hit_if(again && node.role() == RoleName::Candidate, Mark::CampaignedAgain);
        if !before.is_leader() || node.is_leader() {
            return;
        }
        let removed = !node.membership().is_voter(id) && node.membership_index() <= node.commit();
        match seen {
            Seen::Message { term } | Seen::RequestVote { term, .. } if *term > before.term() => {
                marks.hit(Mark::DeposedByTerm);
            }
            Seen::Tick if host.stuck_until > self.now || host.disk.queued() > 1 => {
                marks.hit(Mark::StallGaveWay)
            }
            Seen::Tick => marks.hit(Mark::LostQuorum),
            Seen::Message { .. } | Seen::RequestVote { .. } | Seen::PreVote { .. } | Seen::Other => {
                marks.hit_if(removed && node.term() == before.term(), Mark::LeaderRemovedItself);
            }
        }
    }

    fn observe_health(&mut self, id: NodeId, before: &Before) {
        let host = &self.hosts[&id];
        let node = host.node.as_ref().expect("it was given an input");
        if before.health() == Health::Damaged && node.health() == Health::Sound {
            let by_snapshot = host.snapshot.id.index > host.damaged_at;
            self.marks.hit(if by_snapshot { Mark::HealedBySnapshot } else { Mark::HealedByEntries });
        }
    }

    fn observe_message(&mut self, id: NodeId, before: &Before, message: &Message) {
        let Self { marks, hosts, tickets, .. } = self;
        let host = &hosts[&id];
        let node = host.node.as_ref().expect("it was given an input");
        match &message.body {
            Body::PreVoteResponse(answer) if answer.vote == Vote::Refused => {
                marks.hit(Mark::PreVoteRefused);
                marks.hit_if(node.health() == Health::Damaged, Mark::DamagedRefused);
            }
            Body::RequestVoteResponse(answer) if answer.vote == Vote::Granted => {
                marks.hit_if(!node.membership().is_voter(message.to), Mark::VoteForStranger);
            }
            Body::RequestVoteResponse(_) => {
                marks.hit_if(node.health() == Health::Damaged, Mark::DamagedRefused);
            }
            Body::RequestVote(_) => {
                marks.hit_if(!node.membership().is_voter(id), Mark::CampaignByPrevious);
            }
            Body::AppendEntriesResponse(answer) => match answer.outcome {
                AppendOutcome::Heard => marks.hit(Mark::HeardBeforeDurable),
                AppendOutcome::Conflict { refused, hint } => {
                    let by_terms = hint.index.next() < refused && hint.index < host.disk.view.last().index;
                    marks.hit_if(by_terms, Mark::HintByTerms);
                }
                AppendOutcome::Match(_) => {}
            },
            Body::TimeoutNow(_) => {
                let higher = node.membership().priority(message.to) > node.membership().priority(id);
                marks.hit_if(higher && before.is_leader() && !tickets.transfers(id), Mark::OfferedByPriority);
            }
            Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::AppendEntries(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_) => {}
        }
    }

    /// Counts a committed membership.
    pub fn note_committed(&mut self, id: LogId) {
        let Self { marks, truth, .. } = self;
        let before = truth.membership_as_of(raftkit_core::LogIndex(id.index.0 - 1));
        let membership = truth.membership(id).expect("it is committed");
        if membership.is_joint() {
            return marks.hit(Mark::JointCommitted);
        }
        if before.is_joint() {
            marks.hit_if(before.id().term < id.term, Mark::LeftJointAfterFailover);
        } else {
            marks.hit(Mark::SingleCommitted);
            let promoted = before.staging().iter().any(|id| membership.voters().contains(id));
            marks.hit_if(promoted, Mark::Promoted);
        }
        let new = |id: &&NodeId| {
            !before.voters().contains(*id) && membership.store(**id).is_some_and(|it| it.0 > 100)
        };
        let again = membership
            .voters()
            .iter()
            .find(new)
            .is_some_and(|id| membership.store(*id).is_some_and(|it| it.0 < 1 << 90));
        marks.hit_if(again, Mark::WipedVotesAgain);
    }
}
