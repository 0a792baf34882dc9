//! Linearizable reads without a log entry (thesis, section 6.4): by lease, or by a round that a quorum
//! confirms after the read has come in. Followers ask the leader for the read index.

use alloc::vec::Vec;

use crate::common::Common;
use crate::progress::Progress;
use crate::raft::Node;
use crate::replication::Heartbeats;
use crate::role::{Leader, Leading};
use crate::{
    Body, Done, Effects, Health, LogIndex, NodeId, Outcome, ReadIndex, ReadIndexResponse, ReadMode,
    RequestId, Round, Ticket, Time,
};

/// Upper bound on the reads waiting on one node; more are refused as `Overloaded`.
const WAITING_READS_MAX: usize = 1 << 16;

/// The origin of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A caller on this node.
    Local(Ticket),
    /// A follower that asked for a read index.
    Peer(NodeId, RequestId),
}

/// Reads waiting on the leader.
///
/// A read never joins a round that was sent before the read came in. Its confirmation says that the voters
/// had no newer leader *when they received it*. Suppose they elect one right after, which commits a write and
/// answers its client. If that client now reads here and the old round's answers arrive, the read would be
/// served without the write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderReads {
    /// Reads that wait for the next round, or for the term's first commit.
    waiting: Vec<(Reader, ReadMode)>,
    /// Reads that wait for the round that was sent.
    confirming: Vec<Reader>,
    /// That round, and the commit index at its sending, which is the read index.
    round: Option<(Round, LogIndex)>,
}

impl LeaderReads {
    /// True when reads wait and no round is under way.
    pub(crate) fn awaits_commit(&self) -> bool {
        self.round.is_none() && !self.waiting.is_empty()
    }

    /// Answers all local reads with `outcome`, as leadership is lost.
    pub(crate) fn fail(self, outcome: Outcome, effects: &mut Effects) {
        let all = self.confirming.into_iter().chain(self.waiting.into_iter().map(|(reader, _)| reader));
        for reader in all {
            // A follower notices the change of leader by itself.
            if let Reader::Local(ticket) = reader {
                effects.done.push(Done { ticket, outcome });
            }
        }
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.confirming.len()
    }

    fn contains(&self, reader: Reader) -> bool {
        self.confirming.contains(&reader) || self.waiting.iter().any(|(waiting, _)| *waiting == reader)
    }
}

/// Reads waiting on a follower. In each mode at most one request to the leader is under way; reads that come
/// later wait for the next one, for the reason given at [`LeaderReads`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ForwardedReads {
    lease: Forwarded,
    quorum: Forwarded,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Forwarded {
    asked: Option<Asked>,
    waiting: Vec<Ticket>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    request: RequestId,
    again_at: Time,
    /// When the request is given up: the leader does not know this node, or does not receive its messages.
    until: Time,
    tickets: Vec<Ticket>,
}

impl ForwardedReads {
    /// Answers all waiting reads, as the leader has changed.
    pub(crate) fn fail(&mut self, leader: Option<NodeId>, effects: &mut Effects) {
        self.end(Outcome::NotLeader(leader), effects);
    }

    /// Answers all waiting reads, as the node has ended.
    pub(crate) fn stop(&mut self, effects: &mut Effects) {
        self.end(Outcome::Stopped, effects);
    }

    fn end(&mut self, outcome: Outcome, effects: &mut Effects) {
        for of_mode in [&mut self.lease, &mut self.quorum] {
            let Forwarded { asked, waiting } = core::mem::take(of_mode);
            let asked = asked.map(|asked| asked.tickets).unwrap_or_default();
            effects.done.extend(asked.into_iter().chain(waiting).map(|ticket| Done { ticket, outcome }));
        }
    }

    /// When the next request is to be repeated.
    pub(crate) fn deadline(&self) -> Time {
        let at = |of_mode: &Forwarded| of_mode.asked.as_ref().map_or(Time(u64::MAX), |asked| asked.again_at);
        at(&self.lease).min(at(&self.quorum))
    }

    fn of(&mut self, mode: ReadMode) -> &mut Forwarded {
        match mode {
            ReadMode::Lease | ReadMode::Stale => &mut self.lease, // A stale read asks nobody.
            ReadMode::Quorum => &mut self.quorum,
        }
    }
}

impl Forwarded {
    fn len(&self) -> usize {
        self.waiting.len() + self.asked.as_ref().map_or(0, |asked| asked.tickets.len())
    }
}

impl Node {
    /// Takes a read of a caller on this node.
    pub(crate) fn on_read(&mut self, ticket: Ticket, mode: ReadMode, effects: &mut Effects) {
        if mode == ReadMode::Stale {
            return self.common.read_stale(ticket, effects);
        }
        if let Some(mut leading) = self.leading() {
            return leading.read(Reader::Local(ticket), mode, effects);
        }
        match self.leader() {
            Some(leader) => self.common.forward_read(leader, ticket, mode, effects),
            None => effects.done.push(Done { ticket, outcome: Outcome::NotLeader(None) }),
        }
    }

    /// Takes a follower's request for a read index.
    pub(crate) fn on_read_index(&mut self, from: NodeId, ask: ReadIndex, effects: &mut Effects) {
        match self.leading() {
            Some(mut leading) => leading.on_read_index(from, ask, effects),
            None => self.common.answer_read(Reader::Peer(from, ask.request), None, effects),
        }
    }

    /// Takes the leader's answer to a read-index request.
    pub(crate) fn on_read_index_response(
        &mut self,
        from: NodeId,
        answer: ReadIndexResponse,
        effects: &mut Effects,
    ) {
        if self.leader() != Some(from) {
            return;
        }
        if let Some(index) = answer.index
            && let Some(mut following) = self.following()
        {
            // The read waits until this index is applied here. It must not wait for the leader to send its
            // commit index as well, which the leader does later.
            following.learn_commit(index);
        }
        let common = &mut self.common;
        common.on_heal_answer(answer);
        for mode in [ReadMode::Lease, ReadMode::Quorum] {
            let of_mode = common.forwarded.of(mode);
            if let Some(asked) = of_mode.asked.take_if(|asked| asked.request == answer.request) {
                let outcome = answer.index.map_or(Outcome::NotLeader(None), Outcome::ReadAt);
                effects.done.extend(asked.tickets.into_iter().map(|ticket| Done { ticket, outcome }));
                common.ask_leader(from, mode, effects);
            }
        }
    }
}

impl Common {
    /// Answers a read from what is committed and durable here.
    fn read_stale(&self, ticket: Ticket, effects: &mut Effects) {
        // A damaged node may have lost entries that it showed before. Only durable health proves that it
        // has them again: it might crash, and be damaged once more.
        let sound = self.writes.durable().health == Health::Sound;
        let index = sound.then(|| self.writes.durable().commit);
        self.answer_read(Reader::Local(ticket), index, effects);
    }

    /// Asks the leader for the index of a read.
    fn forward_read(&mut self, leader: NodeId, ticket: Ticket, mode: ReadMode, effects: &mut Effects) {
        let of_mode = self.forwarded.of(mode);
        if of_mode.len() >= WAITING_READS_MAX {
            return effects.done.push(Done { ticket, outcome: Outcome::Overloaded });
        }
        of_mode.waiting.push(ticket);
        self.ask_leader(leader, mode, effects);
    }

    /// Repeats requests that may be lost, and gives them up after an election time-out.
    pub(crate) fn retry_forwarded_reads(&mut self, leader: NodeId, effects: &mut Effects) {
        let (envelope, now, again_at) =
            (self.envelope(), self.now, self.now.after(self.config.heartbeat_interval));
        for mode in [ReadMode::Lease, ReadMode::Quorum] {
            let of_mode = self.forwarded.of(mode);
            if let Some(given_up) = of_mode.asked.take_if(|asked| asked.until <= now) {
                let outcome = Outcome::NotLeader(Some(leader));
                effects.done.extend(given_up.tickets.into_iter().map(|ticket| Done { ticket, outcome }));
                self.ask_leader(leader, mode, effects);
            } else if let Some(asked) = of_mode.asked.as_mut().filter(|asked| asked.again_at <= now) {
                asked.again_at = again_at;
                let ask = ReadIndex { mode, asker: Health::Sound, request: asked.request };
                effects.messages.push(envelope.to(leader, Body::ReadIndex(ask)));
            }
        }
    }

    /// Sends one request for all waiting reads, unless one is under way.
    fn ask_leader(&mut self, leader: NodeId, mode: ReadMode, effects: &mut Effects) {
        let of_mode = self.forwarded.of(mode);
        if of_mode.asked.is_some() || of_mode.waiting.is_empty() {
            return;
        }
        let tickets = core::mem::take(&mut of_mode.waiting);
        let request = self.next_request();
        let again_at = self.now.after(self.config.heartbeat_interval);
        let until = self.now.after(self.config.election_timeout);
        self.forwarded.of(mode).asked = Some(Asked { request, again_at, until, tickets });
        let ask = ReadIndex { mode, asker: Health::Sound, request };
        effects.messages.push(self.envelope().to(leader, Body::ReadIndex(ask)));
    }

    fn answer_read(&self, reader: Reader, index: Option<LogIndex>, effects: &mut Effects) {
        match reader {
            Reader::Local(ticket) => {
                let outcome = index.map_or(Outcome::NotLeader(None), Outcome::ReadAt);
                effects.done.push(Done { ticket, outcome });
            }
            Reader::Peer(to, request) => {
                let answer = ReadIndexResponse { index, request };
                effects.messages.push(self.envelope().to(to, Body::ReadIndexResponse(answer)));
            }
        }
    }
}

impl Leading<'_> {
    /// Takes a follower's request for a read index.
    fn on_read_index(&mut self, from: NodeId, ask: ReadIndex, effects: &mut Effects) {
        if ask.asker == Health::Damaged {
            // Before the read index is determined: from here on nothing is committed by counting the sender
            // (see `heal.rs`).
            self.note_health(from, Health::Damaged);
        }
        let reader = Reader::Peer(from, ask.request);
        if !self.leader.reads.contains(reader) {
            self.read(reader, ask.mode, effects);
        }
    }

    /// Takes a read: answers it, or has a quorum confirm this leader first.
    fn read(&mut self, reader: Reader, mode: ReadMode, effects: &mut Effects) {
        if mode == ReadMode::Lease && self.holds_lease() {
            return self.common.answer_read(reader, Some(self.common.commit), effects);
        }
        let Self { common, leader } = self;
        if leader.reads.len() >= WAITING_READS_MAX {
            return match reader {
                Reader::Local(ticket) => effects.done.push(Done { ticket, outcome: Outcome::Overloaded }),
                Reader::Peer(..) => common.answer_read(reader, None, effects),
            };
        }
        leader.reads.waiting.push((reader, mode));
        let started = common.commit >= leader.term_start;
        if leader.reads.round.is_none() && started {
            self.begin_read_round(effects);
        }
    }

    /// Starts the reads held back until the term's first commit. Before it, the commit index may be lower
    /// than what the previous leader committed and answered, and a read would go back in time (thesis,
    /// section 6.4).
    pub(crate) fn begin_held_reads(&mut self, effects: &mut Effects) {
        if self.holds_lease() {
            let Self { common, leader } = self;
            let waiting = core::mem::take(&mut leader.reads.waiting);
            let (now, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, mode)| *mode == ReadMode::Lease);
            leader.reads.waiting = later;
            now.into_iter().for_each(|(reader, _)| common.answer_read(reader, Some(common.commit), effects));
        }
        self.begin_read_round(effects);
    }

    /// Sends a round for all waiting reads.
    fn begin_read_round(&mut self, effects: &mut Effects) {
        let (now, commit) = (self.common.now, self.common.commit);
        let leader = &mut self.leader;
        if leader.reads.waiting.is_empty() {
            return;
        }
        leader.reads.confirming = leader.reads.waiting.drain(..).map(|(reader, _)| reader).collect();
        let round = leader.rounds.begin(now);
        leader.reads.round = Some((round, commit));
        if !self.is_round_confirmed(round) {
            return self.send_heartbeats(Heartbeats::Voters, effects);
        }
        self.confirm_reads(effects); // A single voter confirms its own round.
    }

    /// Answers the reads whose round a quorum has confirmed, and sends the next round if reads wait.
    pub(crate) fn confirm_reads(&mut self, effects: &mut Effects) {
        let Some((round, index)) = self.leader.reads.round else { return };
        if !self.is_round_confirmed(round) {
            return;
        }
        self.leader.reads.round = None;
        let confirmed = core::mem::take(&mut self.leader.reads.confirming);
        confirmed.into_iter().for_each(|reader| self.common.answer_read(reader, Some(index), effects));
        self.begin_read_round(effects);
    }

    fn is_round_confirmed(&self, round: Round) -> bool {
        let Self { common, leader } = self;
        let confirms = |node| {
            node == common.config.node || confirmed_round(leader, node).is_some_and(|acked| acked >= round)
        };
        common.agreed(confirms) == Some(true)
    }
}

fn confirmed_round(leader: &Leader, node: NodeId) -> Option<Round> {
    let counts = |peer: &&Progress| peer.answered.is_some() && peer.health == Health::Sound;
    leader.progress.get(&node).filter(counts).map(|peer| peer.acked_round)
}
