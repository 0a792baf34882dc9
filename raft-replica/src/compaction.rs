//! Log compaction: which part of the log may be dropped. It happens by itself while writes go on, and never above the
//! state machine's durable state.

use std::collections::VecDeque;

use raftkit_core::{LogIndex, Write};

/// How much of the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionOptions {
    /// Number of entries kept below the durable state, so that a peer that was away for a moment catches up from the
    /// log and needs no snapshot.
    pub trailing_logs: u64,
    /// Upper bound on the bytes of the entries kept below the durable state.
    pub trailing_bytes_max: u64,
    /// While a snapshot is sent to a peer, and until that peer has caught up, the log behind the snapshot is kept, up
    /// to this many bytes: without it the peer would need another snapshot at once.
    pub transfer_bytes_max: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self { trailing_logs: 10_240, trailing_bytes_max: 64 << 20, transfer_bytes_max: 1 << 30 }
    }
}

/// Decides how far the log is cut, from the bytes appended up to some of its indexes.
#[derive(Clone, Debug)]
pub(crate) struct CompactionPolicy {
    options: CompactionOptions,
    /// The log's size at some indexes: (index, bytes appended up to and including it), about one mark for each
    /// [`MARK_BYTES`].
    marks: VecDeque<(LogIndex, u64)>,
    appended: u64,
    unmarked: u64,
    cut: LogIndex,
    /// Bytes appended up to and including the last mark that was cut.
    before_cut: u64,
}

/// Distance between two marks, in bytes.
const MARK_BYTES: u64 = 1 << 20;

impl CompactionPolicy {
    pub(crate) fn new(options: CompactionOptions, base: LogIndex) -> Self {
        Self { options, marks: VecDeque::new(), appended: 0, unmarked: 0, cut: base, before_cut: 0 }
    }

    /// Records what a write appends and drops.
    pub(crate) fn written(&mut self, write: &Write) {
        if let Some(base) = &write.reset_to {
            self.marks.clear();
            (self.cut, self.before_cut, self.unmarked) = (base.id.index, self.appended, 0);
        }
        if let Some(from) = write.truncate_from {
            while self.marks.back().is_some_and(|(index, _)| *index >= from) {
                self.marks.pop_back();
            }
            // Truncated bytes do not count: otherwise bytes that are still needed would be cut to make up for them.
            self.appended = self.marks.back().map_or(self.before_cut, |(_, appended)| *appended);
            self.unmarked = 0;
        }
        for entry in &write.append {
            let weight = entry.weight() as u64;
            self.appended += weight;
            self.unmarked += weight;
            if self.unmarked >= MARK_BYTES {
                self.unmarked = 0;
                self.marks.push_back((entry.id.index, self.appended));
            }
        }
    }

    /// The index up to which the log shall be cut now; none if that is not worth a write. `durable` is what the state
    /// machine holds durably. `needed` is the lowest index after which the log must stay, for a snapshot that is
    /// being sent or made.
    pub(crate) fn target(&mut self, durable: LogIndex, needed: Option<LogIndex>) -> Option<LogIndex> {
        let by_count = LogIndex(durable.0.saturating_sub(self.options.trailing_logs));
        let wanted = by_count.max(self.index_with_bytes_behind(self.options.trailing_bytes_max)).min(durable);
        let allowed = match needed {
            Some(needed) => {
                wanted.min(needed.max(self.index_with_bytes_behind(self.options.transfer_bytes_max)))
            }
            None => wanted,
        };
        // A cut costs a write, so a handful of entries is not cut unless few entries are kept anyway.
        let step = (self.options.trailing_logs / 8).clamp(1, 1024);
        let worth = allowed.0 >= self.cut.0.saturating_add(step)
            || (allowed > self.cut && self.marks.front().is_some_and(|(index, _)| *index <= allowed));
        worth.then(|| {
            self.cut = allowed;
            while let Some((_, appended)) = self.marks.pop_front_if(|(index, _)| *index <= allowed) {
                self.before_cut = appended;
            }
            allowed
        })
    }

    /// The lowest marked index after which at most `bytes` were appended; zero if the whole log is no larger.
    fn index_with_bytes_behind(&self, bytes: u64) -> LogIndex {
        let floor = self.appended.saturating_sub(bytes);
        let above = self.marks.partition_point(|(_, appended)| *appended <= floor);
        above.checked_sub(1).and_then(|at| self.marks.get(at)).map_or(LogIndex::ZERO, |(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raftkit_core::{Entry, LogId, Payload};

    use super::*;

    fn append(policy: &mut CompactionPolicy, indexes: std::ops::RangeInclusive<u64>, bytes: usize) {
        let append = indexes
            .map(|index| Entry {
                id: LogId::new(1, index),
                payload: Payload::Command(Bytes::from(vec![0; bytes])),
            })
            .collect();
        policy.written(&Write { append, ..Write::default() });
    }

    fn policy(trailing_logs: u64) -> CompactionPolicy {
        let options = CompactionOptions {
            trailing_logs,
            trailing_bytes_max: 8 * MARK_BYTES,
            transfer_bytes_max: 32 * MARK_BYTES,
        };
        CompactionPolicy::new(options, LogIndex(1))
    }

    #[test]
    fn keeps_the_trailing_entries_below_what_is_durable() {
        let mut policy = policy(100);
        append(&mut policy, 2..=1000, 10);
        assert_eq!(policy.target(LogIndex(90), None), None);
        assert_eq!(policy.target(LogIndex(500), None), Some(LogIndex(400)));
        assert_eq!(policy.target(LogIndex(501), None), None, "one entry is not worth a write");
    }

    #[test]
    fn never_cuts_above_what_is_durable_however_large_the_entries() {
        let mut policy = policy(100);
        append(&mut policy, 2..=200, 1 << 20);
        let cut = policy.target(LogIndex(50), None).expect("there is something to cut");
        assert!(cut <= LogIndex(50), "cut at {cut}");
    }

    #[test]
    fn large_entries_are_kept_by_bytes_and_not_by_count() {
        let mut policy = policy(10_000);
        append(&mut policy, 2..=101, 1 << 20);
        let cut = policy.target(LogIndex(101), None).expect("there is something to cut");
        assert!((92..=94).contains(&cut.0), "cut at {cut}");
    }

    fn truncate(policy: &mut CompactionPolicy, from: u64) {
        policy.written(&Write { truncate_from: Some(LogIndex(from)), ..Write::default() });
    }

    #[test]
    fn truncated_entries_are_not_counted_among_the_bytes_that_are_kept() {
        let mut policy = policy(10_000);
        append(&mut policy, 2..=101, 1 << 20);
        truncate(&mut policy, 52);
        let cut = policy.target(LogIndex(51), None).expect("there is something to cut");
        assert!((42..=44).contains(&cut.0), "cut at {cut}");
        // Repeated appends and truncations, down to the index of the cut.
        for _ in 0..20 {
            append(&mut policy, 45..=51, 1 << 20);
            truncate(&mut policy, 45);
        }
        append(&mut policy, 45..=50, 1 << 20);
        assert_eq!(policy.target(LogIndex(50), None), None, "less is there than may be kept");
    }

    #[test]
    fn a_log_that_was_reset_counts_from_there() {
        let mut policy = policy(10_000);
        append(&mut policy, 2..=101, 1 << 20);
        let base = raftkit_core::Base { id: LogId::new(1, 200), ..raftkit_core::Base::default() };
        policy.written(&Write { reset_to: Some(base.into()), ..Write::default() });
        append(&mut policy, 201..=220, 1 << 20);
        truncate(&mut policy, 205);
        assert_eq!(policy.target(LogIndex(204), None), None, "four are there");
        truncate(&mut policy, 201);
        append(&mut policy, 201..=206, 1 << 20);
        assert_eq!(policy.target(LogIndex(206), None), None);
    }

    #[test]
    fn the_log_behind_a_snapshot_on_its_way_is_kept_up_to_its_cap() {
        let mut policy = policy(10);
        append(&mut policy, 2..=1000, 10);
        assert_eq!(policy.target(LogIndex(1000), Some(LogIndex(300))), Some(LogIndex(300)));
        append(&mut policy, 1001..=1100, 1 << 20);
        let cut = policy.target(LogIndex(1100), Some(LogIndex(300))).expect("the cap is exceeded");
        assert!(cut > LogIndex(1000), "cut at {cut}");
    }
}
