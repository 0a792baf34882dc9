//! Queue of messages to one peer, bounded in bytes, with two lanes: small messages never wait behind entries.

use std::collections::VecDeque;

use raftkit_core::{AppendEntries, Body, Entry, LogIndex, Message};

/// Bytes that a message counts for, beside its entries.
const MESSAGE_BYTES: usize = 128;

/// The lane of a message, which is one of a peer's two streams. Each stream keeps its order; a message on one may
/// overtake messages on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Heartbeats, votes, reads and answers: small, and of no use when they are late.
    Urgent,
    /// Entries, and messages that must not overtake them.
    Bulky,
}

/// The kind of a message: a newer message of the same kind makes an older one worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Heartbeat,
    Append,
    AppendResponse,
    ReadIndex,
    ReadIndexResponse,
    TimeoutNow,
}

/// The queue of messages to one peer. It holds at most `bytes_max` bytes, or one message of any size; beside them, one
/// small message of each subject.
#[derive(Debug)]
pub struct Queue {
    urgent: Messages,
    bulky: Messages,
    bytes_max: usize,
    /// True while the peer is down: then only the newest message of each subject is kept.
    newest_only: bool,
    /// Index of the last entry that was queued for the current connection.
    last_entry: Option<LogIndex>,
}

/// The messages of one lane.
#[derive(Debug, Default)]
struct Messages {
    waiting: VecDeque<Message>,
    bytes: usize,
}

impl Queue {
    /// Creates an empty queue with a bound in bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            urgent: Messages::default(),
            bulky: Messages::default(),
            bytes_max,
            newest_only: false,
            last_entry: None,
        }
    }

    /// Number of bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.urgent.bytes + self.bulky.bytes
    }

    /// Queues a message and returns its lane. Returns none when the message was dropped; it carried entries, so the
    /// core must learn of it.
    pub fn push(&mut self, message: Message) -> Option<Urgency> {
        let (subject, weight, urgency) =
            (subject(&message.body), weight(&message), self.urgency(&message.body));
        let crowded = self.is_crowded(weight);
        let append = subject == Subject::Append;
        if self.newest_only || (crowded && !append) {
            let lane = self.lane(urgency);
            lane.forget(subject);
        }
        if append && self.is_crowded(weight) && self.bytes() > 0 {
            return None;
        }
        if let Body::AppendEntries(AppendEntries { entries, .. }) = &message.body
            && let Some(last) = entries.last()
        {
            self.last_entry = Some(last.id.index);
        }
        let lane = self.lane(urgency);
        lane.bytes += weight;
        lane.waiting.push_back(message);
        Some(urgency)
    }

    /// Takes the next messages of a lane in order: up to `batch_bytes_max` bytes, and at least one message.
    pub fn take(&mut self, urgency: Urgency, batch_bytes_max: usize) -> Vec<Message> {
        self.lane(urgency).take(batch_bytes_max)
    }

    /// Records that the peer is down or up again. When it goes down, the queue shrinks to the newest message of each
    /// subject.
    pub fn set_newest_only(&mut self, newest_only: bool) {
        self.newest_only = newest_only;
        if newest_only {
            let (urgent, bulky) = (core::mem::take(&mut self.urgent), core::mem::take(&mut self.bulky));
            self.last_entry = None;
            for message in bulky.waiting.into_iter().chain(urgent.waiting) {
                // An append that no longer fits is lost with the connection, of which the core hears anyway.
                let _ = self.push(message);
            }
        }
    }

    fn is_crowded(&self, weight: usize) -> bool {
        self.bytes() + weight > self.bytes_max
    }

    fn lane(&mut self, urgency: Urgency) -> &mut Messages {
        match urgency {
            Urgency::Urgent => &mut self.urgent,
            Urgency::Bulky => &mut self.bulky,
        }
    }

    /// Returns the lane of a message. Entries are bulky. So is an append without entries that names the last entry sent
    /// before it or a later one: it asks whether that entry has arrived, and would be refused if it overtook it. When
    /// no entry is on its way there is none to wait for. Everything else may overtake entries: a heartbeat names what
    /// the peer is known to hold, and messages of several terms may come in any order (paper, section 5.1).
    fn urgency(&self, body: &Body) -> Urgency {
        match body {
            Body::AppendEntries(append) => {
                let asks = self.last_entry.is_some_and(|last| append.prev.index >= last);
                if asks || !append.entries.is_empty() { Urgency::Bulky } else { Urgency::Urgent }
            }
            Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::RequestVote(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => Urgency::Urgent,
        }
    }
}

impl Messages {
    fn take(&mut self, batch_bytes_max: usize) -> Vec<Message> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(message) = self.waiting.front() {
            bytes += weight(message);
            if bytes > batch_bytes_max && !batch.is_empty() {
                break;
            }
            batch.extend(self.waiting.pop_front());
        }
        self.bytes -= batch.iter().map(weight).sum::<usize>();
        batch
    }

    fn forget(&mut self, unwanted: Subject) {
        let bytes = &mut self.bytes;
        self.waiting.retain(|message| {
            let keep = subject(&message.body) != unwanted;
            if !keep {
                *bytes -= weight(message);
            }
            keep
        });
    }
}

fn weight(message: &Message) -> usize {
    let entries = match &message.body {
        Body::AppendEntries(append) => append.entries.iter().map(Entry::weight).sum(),
        Body::PreVote(_)
        | Body::PreVoteResponse(_)
        | Body::RequestVote(_)
        | Body::RequestVoteResponse(_)
        | Body::AppendEntriesResponse(_)
        | Body::ReadIndex(_)
        | Body::ReadIndexResponse(_)
        | Body::TimeoutNow(_) => 0,
    };
    MESSAGE_BYTES + entries
}

fn subject(body: &Body) -> Subject {
    match body {
        Body::PreVote(_) => Subject::PreVote,
        Body::PreVoteResponse(_) => Subject::PreVoteResponse,
        Body::RequestVote(_) => Subject::RequestVote,
        Body::RequestVoteResponse(_) => Subject::RequestVoteResponse,
        Body::AppendEntries(append) if append.entries.is_empty() => Subject::Heartbeat,
        Body::AppendEntries(_) => Subject::Append,
        Body::AppendEntriesResponse(_) => Subject::AppendResponse,
        Body::ReadIndex(_) => Subject::ReadIndex,
        Body::ReadIndexResponse(_) => Subject::ReadIndexResponse,
        Body::TimeoutNow(_) => Subject::TimeoutNow,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use bytes::Bytes;
    use raftkit_core::{
        AppendEntries, Entries, Incarnation, LogId, LogIndex, NodeId, Payload, Round, StoreId, Term,
        TimeoutNow,
    };

    use super::*;

    fn message(body: Body) -> Message {
        Message {
            from: NodeId(1),
            from_store: StoreId(1),
            from_incarnation: Incarnation(1),
            to: NodeId(2),
            term: Term(1),
            body,
        }
    }

    /// An append with one entry of so many bytes, or a heartbeat.
    fn append(round: u64, bytes: Option<usize>) -> Message {
        let entry = |bytes| Entry { id: LogId::ZERO, payload: Payload::Command(Bytes::from(vec![0; bytes])) };
        let entries = bytes.into_iter().map(entry).collect();
        message(Body::AppendEntries(AppendEntries {
            prev: LogId::ZERO,
            entries,
            commit: LogIndex::ZERO,
            round: Round(round),
        }))
    }

    /// An append whose last entry has this index.
    fn entries_to(last: u64, bytes: usize) -> Message {
        let payload = Payload::Command(Bytes::from(vec![0; bytes]));
        let entries = [Entry { id: LogId::new(1, last), payload }].into_iter().collect();
        let (prev, commit) = (LogId::new(1, last - 1), LogIndex::ZERO);
        message(Body::AppendEntries(AppendEntries { prev, entries, commit, round: Round(0) }))
    }

    fn beat_after(index: u64) -> Message {
        let (prev, commit) = (LogId::new(1, index), LogIndex::ZERO);
        message(Body::AppendEntries(AppendEntries { prev, entries: Entries::EMPTY, commit, round: Round(0) }))
    }

    fn rounds(messages: &[Message]) -> Vec<u64> {
        let round = |message: &Message| {
            if let Body::AppendEntries(append) = &message.body { Some(append.round.0) } else { None }
        };
        messages.iter().filter_map(round).collect()
    }

    /// All that waits, urgent ones first.
    fn take_all(queue: &mut Queue) -> Vec<Message> {
        let mut all = queue.take(Urgency::Urgent, usize::MAX);
        all.extend(queue.take(Urgency::Bulky, usize::MAX));
        all
    }

    #[test]
    fn what_fits_comes_out_in_order_batch_by_batch() {
        let mut queue = Queue::new(1 << 20);
        (0..5).for_each(|round| assert_eq!(queue.push(append(round, Some(1000))), Some(Urgency::Bulky)));
        assert_eq!(rounds(&queue.take(Urgency::Bulky, 2500)), [0, 1]);
        assert_eq!(rounds(&queue.take(Urgency::Bulky, 1)), [2], "at least one");
        assert_eq!(rounds(&queue.take(Urgency::Bulky, usize::MAX)), [3, 4]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn heartbeats_votes_and_answers_do_not_wait_behind_entries() {
        let mut queue = Queue::new(1 << 20);
        assert_eq!(queue.push(entries_to(10, 100_000)), Some(Urgency::Bulky));
        assert_eq!(queue.push(beat_after(7)), Some(Urgency::Urgent));
        let term = message(Body::TimeoutNow(TimeoutNow {}));
        assert_eq!(queue.push(term), Some(Urgency::Urgent));
        assert_eq!(queue.take(Urgency::Urgent, usize::MAX).len(), 2);
        assert_eq!(queue.take(Urgency::Bulky, usize::MAX).len(), 1);
    }

    #[test]
    fn a_question_for_the_last_entry_does_not_overtake_it() {
        let mut queue = Queue::new(1 << 20);
        assert_eq!(queue.push(beat_after(9)), Some(Urgency::Urgent), "nothing was sent yet");
        queue.push(entries_to(9, 10));
        queue.push(entries_to(10, 10));
        assert_eq!(queue.push(beat_after(9)), Some(Urgency::Urgent));
        assert_eq!(queue.push(beat_after(10)), Some(Urgency::Bulky));
        // Also when the entry has left the queue: it may still be on its way.
        take_all(&mut queue);
        assert_eq!(queue.push(beat_after(10)), Some(Urgency::Bulky));
        // A leader of a later term has a shorter log.
        queue.push(entries_to(5, 10));
        assert_eq!(queue.push(beat_after(5)), Some(Urgency::Bulky));
        // With the connection goes what was on its way.
        take_all(&mut queue);
        queue.set_newest_only(true);
        queue.set_newest_only(false);
        assert_eq!(queue.push(beat_after(5)), Some(Urgency::Urgent));
    }

    #[test]
    fn when_full_the_newest_heartbeat_wins_and_appends_are_dropped() {
        let mut queue = Queue::new(2500);
        assert_eq!(queue.push(append(1, Some(1000))), Some(Urgency::Bulky));
        assert_eq!(queue.push(append(2, Some(1000))), Some(Urgency::Bulky));
        assert_eq!(queue.push(append(3, Some(1000))), None);
        (4..100).for_each(|round| assert!(queue.push(append(round, None)).is_some()));
        assert!(queue.bytes() <= 2500 + MESSAGE_BYTES);
        let left = rounds(&take_all(&mut queue));
        assert!(left.contains(&99) && left.contains(&1) && left.contains(&2) && left.len() == 3, "{left:?}");
    }

    #[test]
    fn a_message_above_the_limit_goes_alone() {
        let mut queue = Queue::new(100);
        assert_eq!(queue.push(append(1, Some(1000))), Some(Urgency::Bulky));
        assert_eq!(queue.push(append(2, Some(1000))), None);
        assert_eq!(rounds(&queue.take(Urgency::Bulky, 10)), [1]);
        assert_eq!(queue.push(append(3, Some(1000))), Some(Urgency::Bulky));
    }

    #[test]
    fn for_a_peer_that_is_down_only_the_newest_of_each_subject_is_kept() {
        let mut queue = Queue::new(1 << 20);
        for round in 0..10 {
            queue.push(append(round, None));
            queue.push(append(100 + round, Some(10)));
            queue.push(message(Body::TimeoutNow(TimeoutNow {})));
        }
        queue.set_newest_only(true);
        queue.push(append(10, None));
        queue.set_newest_only(false);
        queue.push(append(11, None));
        let messages = take_all(&mut queue);
        let mut left = rounds(&messages);
        left.sort_unstable();
        assert_eq!((messages.len(), left), (4, vec![10, 11, 109]));
        assert_eq!(queue.bytes(), 0);
    }
}
