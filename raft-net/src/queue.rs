//! Messages that wait for one peer, bounded in bytes.

use std::collections::VecDeque;

use raftkit_core::{Body, Entry, Message};

/// What a message without entries counts for, and what one with entries counts besides them.
const MESSAGE_BYTES: usize = 128;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// It is lost, and the core must know: it carried entries.
    Dropped,
}

/// What a message is about: a newer one about the same makes an older one worthless.
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

/// The queue. Holds at most `bytes_max`, or one message of any size; besides, one small message of each subject.
#[derive(Debug)]
pub struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    bytes_max: usize,
    /// The peer is down: of each subject only the newest is worth keeping.
    newest_only: bool,
}

impl Queue {
    /// An empty queue with this bound.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, bytes_max, newest_only: false }
    }

    /// The bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message, or says that it is lost.
    pub fn push(&mut self, message: Message) -> Pushed {
        let (subject, weight) = (subject(&message.body), weight(&message));
        let crowded = self.bytes + weight > self.bytes_max && !mutant!(QueueUnbounded);
        let append = subject == Subject::Append;
        if crowded && !append && mutant!(HeartbeatsDropped) {
            return Pushed::Dropped;
        }
        if self.newest_only || (crowded && !append) {
            if mutant!(OldestKept) && self.messages.iter().any(|it| self::subject(&it.body) == subject) {
                return Pushed::Queued;
            }
            self.forget(subject);
        }
        let crowded = self.bytes + weight > self.bytes_max && !mutant!(QueueUnbounded);
        if append && crowded && !self.messages.is_empty() {
            return mutant!(DropNotTold, Pushed::Queued, Pushed::Dropped);
        }
        self.bytes += weight;
        self.messages.push_back(message);
        Pushed::Queued
    }

    /// The next messages in order, up to so many bytes but at least one.
    pub fn take(&mut self, batch_bytes_max: usize) -> Vec<Message> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(message) = self.messages.front() {
            bytes += weight(message);
            if bytes > batch_bytes_max && !batch.is_empty() {
                break;
            }
            batch.extend(self.messages.pop_front());
        }
        self.bytes -= batch.iter().map(weight).sum::<usize>();
        batch
    }

    /// The peer is down, or up again. When it goes down, what has waited for it shrinks to the newest of each subject.
    pub fn set_newest_only(&mut self, newest_only: bool) {
        self.newest_only = newest_only;
        if newest_only {
            let messages = core::mem::take(&mut self.messages);
            self.bytes = 0;
            for message in messages {
                // An append that no longer fits is lost with the connection, of which the core hears anyway.
                let _ = self.push(message);
            }
        }
    }

    fn forget(&mut self, unwanted: Subject) {
        let bytes = &mut self.bytes;
        self.messages.retain(|message| {
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
        AppendEntries, Incarnation, LogId, LogIndex, NodeId, Payload, StoreId, Term, TimeoutNow,
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
            round,
        }))
    }

    fn rounds(messages: &[Message]) -> Vec<u64> {
        let round = |message: &Message| {
            if let Body::AppendEntries(append) = &message.body { Some(append.round) } else { None }
        };
        messages.iter().filter_map(round).collect()
    }

    #[test]
    fn what_fits_comes_out_in_order_batch_by_batch() {
        let mut queue = Queue::new(1 << 20);
        (0..5).for_each(|round| assert_eq!(queue.push(append(round, Some(1000))), Pushed::Queued));
        assert_eq!(rounds(&queue.take(2500)), [0, 1]);
        assert_eq!(rounds(&queue.take(1)), [2], "at least one");
        assert_eq!(rounds(&queue.take(usize::MAX)), [3, 4]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn when_full_the_newest_heartbeat_wins_and_appends_are_dropped() {
        let mut queue = Queue::new(2500);
        assert_eq!(queue.push(append(1, Some(1000))), Pushed::Queued);
        assert_eq!(queue.push(append(2, Some(1000))), Pushed::Queued);
        assert_eq!(queue.push(append(3, Some(1000))), Pushed::Dropped);
        (4..100).for_each(|round| assert_eq!(queue.push(append(round, None)), Pushed::Queued));
        assert!(queue.bytes() <= 2500 + MESSAGE_BYTES);
        assert_eq!(rounds(&queue.take(usize::MAX)), [1, 2, 99]);
    }

    #[test]
    fn a_message_above_the_limit_goes_alone() {
        let mut queue = Queue::new(100);
        assert_eq!(queue.push(append(1, Some(1000))), Pushed::Queued);
        assert_eq!(queue.push(append(2, Some(1000))), Pushed::Dropped);
        assert_eq!(rounds(&queue.take(10)), [1]);
        assert_eq!(queue.push(append(3, Some(1000))), Pushed::Queued);
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
        let messages = queue.take(usize::MAX);
        assert_eq!((messages.len(), rounds(&messages)), (4, vec![109, 10, 11]));
        assert_eq!(queue.bytes(), 0);
    }
}
