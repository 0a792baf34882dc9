//! Writes to the log: at most one a call, identified by a sequence number, and the state that their
//! completions make durable.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::{Base, Effects, Entries, HardState, LogIndex, Time, Write, WriteSeq};

/// The write that the current call is assembling, and the writes under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writes {
    staged: Write,
    persist_commit: bool,
    pending: VecDeque<Pending>,
    last_seq: WriteSeq,
    queued: HardState,
    durable: HardState,
    /// When a write last completed.
    progress_at: Time,
}

/// A write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    seq: WriteSeq,
    at: Time,
    /// The last index that is durable once this write is, in the log as it is now. A later truncation lowers
    /// it.
    last: LogIndex,
    hard: HardState,
}

impl Writes {
    /// No writes under way; `hard` was read back from disk.
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

    /// The durable hard state.
    pub(crate) fn durable(&self) -> HardState {
        self.durable
    }

    /// The hard state of the newest write, durable or not.
    pub(crate) fn queued(&self) -> HardState {
        self.queued
    }

    /// Since when no write has completed although one is under way. A slow disk is not stuck as long as one
    /// write after the other completes: the disks of the other nodes are probably as slow, and an election
    /// would only add to the delay.
    pub(crate) fn stuck_since(&self) -> Option<Time> {
        self.pending.front().map(|oldest| oldest.at.max(self.progress_at))
    }

    /// True when every write handed out is durable.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds entries that follow those added before to the staged write.
    pub(crate) fn append(&mut self, entries: Entries) {
        self.staged.append.extend(entries);
    }

    /// Adds a truncation from `index` on to the staged write, and lowers what the writes under way will make
    /// durable.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        let kept = self.staged.append.partition_point(|entry| entry.id.index < index);
        self.staged.append.truncate(kept);
        let from = self.staged.truncate_from.map_or(index, |earlier| earlier.min(index));
        self.staged.truncate_from = Some(from);
        self.forget_from(index);
    }

    /// Makes the staged write a reset of the log to `base`.
    pub(crate) fn reset_to(&mut self, base: Base) {
        self.forget_from(base.id.index);
        self.staged = Write { reset_to: Some(Box::new(base)), ..Write::default() };
    }

    /// Lets the log compact up to and including `index`.
    pub(crate) fn compact_to(&mut self, index: LogIndex) {
        self.staged.compact_to = Some(index);
    }

    /// Makes the next flush write the commit index even if nothing else is to be written.
    pub(crate) fn persist_commit(&mut self) {
        self.persist_commit = true;
    }

    /// Drops the staged write, as the node has ended.
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

    /// Records that all writes up to `seq` are durable. Returns the last index that is durable by them; none
    /// when `seq` says nothing new.
    pub(crate) fn persisted(&mut self, now: Time, seq: WriteSeq) -> Option<LogIndex> {
        if seq > self.last_seq {
            return None; // Never handed out.
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

    /// Writes under way no longer make entries from `index` on durable, as these are being replaced. If they
    /// did: entry 5 of term 1 is being written, is truncated, and entry 5 of term 2 takes its place. The
    /// completion of the first write would have this node acknowledge the second, which is not on disk yet.
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
