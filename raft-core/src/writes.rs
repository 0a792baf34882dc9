//! What goes to the disk: one write a call, its completion named by a sequence, and what is durable because of it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::{Base, Effects, Entries, HardState, LogIndex, Time, Write, WriteSeq};

/// The write that this call is putting together, and those under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writes {
    staged: Write,
    persist_commit: bool,
    pending: VecDeque<Pending>,
    last_seq: WriteSeq,
    queued: HardState,
    durable: HardState,
    /// When a write last became durable.
    progress_at: Time,
}

/// A write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    seq: WriteSeq,
    at: Time,
    /// The last index, of the log as it stands now, that is durable once this write is: a later truncation lowers it.
    last: LogIndex,
    hard: HardState,
}

impl Writes {
    /// Nothing under way; `hard` was read back from disk.
    pub(crate) fn restore(hard: HardState) -> Self {
        Self {
            staged: Write::default(),
            persist_commit: false,
            pending: VecDeque::new(),
            last_seq: WriteSeq(0),
            queued: hard,
            durable: hard,
            progress_at: Time(0),
        }
    }

    /// The hard state that is on disk.
    pub(crate) fn durable(&self) -> HardState {
        self.durable
    }

    /// The hard state of the newest write, on disk or not.
    pub(crate) fn queued(&self) -> HardState {
        self.queued
    }

    /// Since when the disk has made no progress although a write is under way. A slow disk under load is not stuck as long as
    /// one write after the other becomes durable: the disks of the other nodes are likely to be as slow, and another leader
    /// would only put an election on top.
    pub(crate) fn stuck_since(&self) -> Option<Time> {
        self.pending.front().map(|oldest| oldest.at.max(self.progress_at))
    }

    /// True when every write handed out is durable.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds entries that follow those added before.
    pub(crate) fn append(&mut self, entries: Entries) {
        self.staged.append.extend(entries);
    }

    /// Drops `index` and all after it from the log, and from what earlier writes will have made durable.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        let kept = self.staged.append.partition_point(|entry| entry.id.index < index);
        self.staged.append.truncate(kept);
        let from = self.staged.truncate_from.map_or(index, |earlier| earlier.min(index));
        self.staged.truncate_from = Some(from);
        self.forget_from(index);
    }

    /// Drops everything.
    pub(crate) fn reset_to(&mut self, base: Base) {
        self.forget_from(base.id.index);
        self.staged = Write { reset_to: Some(Box::new(base)), ..Write::default() };
    }

    /// Lets the log drop everything up to and including `index`.
    pub(crate) fn compact_to(&mut self, index: LogIndex) {
        self.staged.compact_to = Some(index);
    }

    /// Writes the commit index even if nothing else is written.
    pub(crate) fn persist_commit(&mut self) {
        self.persist_commit = true;
    }

    /// Drops what was staged: the node has ended.
    pub(crate) fn abandon(&mut self) {
        self.staged = Write::default();
        self.persist_commit = false;
    }

    /// Hands out the staged write, if there is one. `last` is the log's last index.
    pub(crate) fn flush(&mut self, now: Time, hard: HardState, last: LogIndex, effects: &mut Effects) {
        let staged = &self.staged;
        let log_changes = !staged.append.is_empty()
            || staged.truncate_from.is_some()
            || staged.reset_to.is_some()
            || staged.compact_to.is_some();
        let vote_changes = (hard.term, hard.vote, hard.promise)
            != (self.queued.term, self.queued.vote, self.queued.promise)
            || hard.health != self.queued.health;
        let commit_changes = hard.commit > self.queued.commit;
        let persist_commit = core::mem::take(&mut self.persist_commit) && commit_changes;
        if !(log_changes || vote_changes || persist_commit) {
            return;
        }
        let mut write = core::mem::take(&mut self.staged);
        self.last_seq = self.last_seq.next();
        write.seq = self.last_seq;
        if vote_changes || commit_changes {
            write.hard_state = Some(hard);
            self.queued = hard;
        }
        self.pending.push_back(Pending { seq: write.seq, at: now, last, hard: self.queued });
        effects.writes.push(write);
    }

    /// Every write up to `seq` is durable. Returns the last index that is durable by it; none when nothing new is.
    pub(crate) fn persisted(&mut self, now: Time, seq: WriteSeq) -> Option<LogIndex> {
        if seq > self.last_seq {
            return None; // Never handed out, so it says nothing.
        }
        let mut last = None;
        while let Some(done) = self.pending.front().copied().filter(|pending| pending.seq <= seq) {
            self.pending.pop_front();
            self.durable = done.hard;
            self.progress_at = now;
            last = Some(done.last);
        }
        last
    }

    /// Entries from `index` on are not what earlier writes wrote there.
    fn forget_from(&mut self, index: LogIndex) {
        let before = index.previous().unwrap_or_default();
        for pending in &mut self.pending {
            pending.last = pending.last.min(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, LogId, Payload};

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: LogId::new(term, index), payload: Payload::Noop }
    }

    #[test]
    fn the_completion_of_a_rewritten_tail_is_not_taken_for_that_of_the_new_one() {
        let (mut writes, mut effects) = (Writes::restore(HardState::default()), Effects::default());
        let hard = HardState::default();
        writes.append(entry(1, 5).into());
        writes.flush(Time(0), hard, LogIndex(5), &mut effects);
        writes.truncate_from(LogIndex(5));
        writes.append(entry(2, 5).into());
        writes.flush(Time(0), hard, LogIndex(5), &mut effects);
        assert_eq!(effects.writes[1].truncate_from, Some(LogIndex(5)));
        assert_eq!(writes.persisted(Time(0), WriteSeq(1)), Some(LogIndex(4)), "index 5 is another entry now");
        assert_eq!(writes.persisted(Time(0), WriteSeq(2)), Some(LogIndex(5)));
        assert_eq!(writes.persisted(Time(0), WriteSeq(2)), None);
    }

    #[test]
    fn a_disk_that_gets_on_is_not_stuck_and_one_that_has_nothing_to_do_neither() {
        let (mut writes, mut effects) = (Writes::restore(HardState::default()), Effects::default());
        for index in 1..=3 {
            writes.append(entry(1, index).into());
            writes.flush(Time(index), HardState::default(), LogIndex(index), &mut effects);
        }
        assert_eq!(writes.stuck_since(), Some(Time(1)));
        writes.persisted(Time(1000), WriteSeq(1));
        assert_eq!(writes.stuck_since(), Some(Time(1000)), "the second one was waiting all the while");
        writes.persisted(Time(2000), WriteSeq(3));
        assert_eq!(writes.stuck_since(), None);
        writes.append(entry(1, 4).into());
        writes.flush(Time(9000), HardState::default(), LogIndex(4), &mut effects);
        assert_eq!(writes.stuck_since(), Some(Time(9000)), "it had nothing to do before");
    }

    #[test]
    fn a_commit_index_rides_with_the_next_write_and_goes_alone_only_when_asked() {
        let (mut writes, mut effects) = (Writes::restore(HardState::default()), Effects::default());
        let hard = HardState { commit: LogIndex(3), ..HardState::default() };
        writes.flush(Time(0), hard, LogIndex(5), &mut effects);
        assert!(effects.writes.is_empty());
        writes.append(entry(1, 6).into());
        writes.flush(Time(0), hard, LogIndex(6), &mut effects);
        assert_eq!(effects.writes[0].hard_state, Some(hard));
        let hard = HardState { commit: LogIndex(6), ..hard };
        writes.persist_commit();
        writes.flush(Time(0), hard, LogIndex(6), &mut effects);
        assert_eq!(effects.writes[1].hard_state, Some(hard));
        writes.persisted(Time(0), WriteSeq(2));
        assert_eq!((writes.durable(), writes.is_idle()), (hard, true));
    }
}
