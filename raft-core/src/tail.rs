//! The newest entries of the log in memory, in the blocks in which they were appended, up to a bound in
//! bytes.

use alloc::collections::VecDeque;

use crate::entries::Entries;
use crate::{Entry, LogIndex, Term};

/// Number of entries from which a slice that ends with its block is returned without copying. Smaller blocks
/// are merged, so that a peer lagging behind a slow stream of entries does not get one append for each entry.
const WHOLE: usize = 32;
/// Number of blocks at each end of a tail that the invariants check entry by entry.
const BLOCKS_LOOKED_AT: usize = 32;

/// Consecutive blocks. Their total weight is kept below a bound by dropping the oldest durable ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    blocks: VecDeque<Block>,
    bytes: usize,
    bytes_max: usize,
}

/// Entries that were appended together; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    first: LogIndex,
    entries: Entries,
    bytes: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { blocks: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Appends consecutive entries, `bytes` in weight.
    pub(crate) fn push(&mut self, entries: Entries, bytes: usize) {
        let Some(first) = entries.first_index() else { return };
        self.bytes = self.bytes.saturating_add(bytes);
        self.blocks.push_back(Block { first, entries, bytes });
    }

    /// The first index in memory.
    pub(crate) fn first_index(&self) -> Option<LogIndex> {
        self.blocks.front().map(|block| block.first)
    }

    /// Drops the entries from `index` on.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        while let Some(dropped) = self.blocks.pop_back_if(|block| block.first >= index) {
            self.bytes -= dropped.bytes;
        }
        if let Some(block) = self.blocks.back_mut() {
            let kept = block.offset(index);
            self.bytes -= block.weight(kept, block.entries.len());
            block.bytes = block.weight(0, kept);
            block.entries.truncate(kept);
        }
    }

    /// Drops everything up to and including `to`.
    pub(crate) fn compact(&mut self, to: LogIndex) {
        while let Some(dropped) = self.blocks.pop_front_if(|block| block.last() <= to) {
            self.bytes -= dropped.bytes;
        }
        if let Some(block) = self.blocks.front_mut().filter(|block| block.first <= to) {
            let gone = block.offset(to.next());
            let bytes = block.weight(0, gone);
            self.bytes -= bytes;
            block.bytes -= bytes;
            block.entries.advance(gone);
            block.first = to.next();
        }
    }

    /// Drops all entries, as the log was emptied.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.bytes = 0;
    }

    /// Drops the oldest blocks while the bound is exceeded. Entries that are not durable stay, as they are
    /// nowhere else.
    #[inline]
    pub(crate) fn evict(&mut self, durable: LogIndex) {
        if self.bytes > self.bytes_max {
            self.evict_blocks(durable);
        }
    }

    fn evict_blocks(&mut self, durable: LogIndex) {
        while self.bytes > self.bytes_max
            && let Some(dropped) = self.blocks.pop_front_if(|block| block.last() <= durable)
        {
            self.bytes -= dropped.bytes;
        }
    }

    /// Entries from `first` to at most `last` and at most `bytes_max` in weight, but at least one, with their
    /// weight. They may end earlier, with their block. None when `first` is not in memory.
    pub(crate) fn slice(
        &self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: usize,
    ) -> Option<(Entries, usize)> {
        let at = self.find(first).filter(|_| first <= last)?;
        let block = &self.blocks[at];
        let (from, to) = (block.offset(first), block.offset(last.next()).min(block.entries.len()));
        let whole = from == 0 && to == block.entries.len();
        let bytes = if whole { block.bytes } else { block.weight(from, to) };
        if bytes > bytes_max {
            let (to, bytes) = block.fill(from, to, bytes_max);
            return Some((block.entries.slice(from..to), bytes));
        }
        if block.last() >= last || to - from >= WHOLE {
            return Some((block.entries.slice(from..to), bytes));
        }
        Some(self.collect(at, from, last, bytes_max))
    }

    /// Merges small blocks, starting at entry `from` of block `at`.
    fn collect(&self, at: usize, from: usize, last: LogIndex, bytes_max: usize) -> (Entries, usize) {
        let (mut bytes, mut count) = (0_usize, 0_usize);
        let small = || {
            let rest = self.blocks.range(at + 1..).take_while(|block| block.entries.len() < WHOLE);
            self.blocks[at].entries[from..].iter().chain(rest.flat_map(|block| block.entries.iter()))
        };
        for entry in small().take_while(|entry| entry.id.index <= last) {
            let with = bytes.saturating_add(entry.weight());
            if count > 0 && with > bytes_max {
                break;
            }
            bytes = with;
            count += 1;
        }
        if count <= self.blocks[at].entries.len() - from {
            return (self.blocks[at].entries.slice(from..from + count), bytes);
        }
        (small().take(count).cloned().collect(), bytes)
    }

    /// The position of the block that holds `index`.
    fn find(&self, index: LogIndex) -> Option<usize> {
        let newest = self.blocks.len().checked_sub(1)?;
        // Nearly always it is the newest block.
        let at = if self.blocks[newest].first <= index {
            newest
        } else {
            self.blocks.partition_point(|block| block.first <= index).checked_sub(1)?
        };
        (index <= self.blocks[at].last()).then_some(at)
    }

    /// True when the blocks are consecutive, end at `last`, have the weights recorded and the terms given,
    /// for the invariants. A simulation checks this after every step, so of a long tail only the blocks at
    /// both ends are checked entry by entry: only there does a tail change.
    pub(crate) fn is_consistent(&self, last: LogIndex, term: impl Fn(LogIndex) -> Option<Term>) -> bool {
        let (mut next, mut bytes) = (self.first_index().unwrap_or(last.next()), 0);
        for (number, block) in self.blocks.iter().enumerate() {
            let from_end = number.min(self.blocks.len() - 1 - number);
            let follows = !block.entries.is_empty() && block.first == next;
            if !follows || from_end < BLOCKS_LOOKED_AT && !block.is_consistent(&term) {
                return false;
            }
            next = block.last().next();
            bytes += block.bytes;
        }
        bytes == self.bytes && next == last.next()
    }
}

impl Block {
    /// True when the entries are consecutive and have the weight recorded and the terms given.
    fn is_consistent(&self, term: &impl Fn(LogIndex) -> Option<Term>) -> bool {
        let mut next = self.first;
        let mut weight = 0;
        for entry in &self.entries {
            if entry.id.index != next || term(next) != Some(entry.id.term) {
                return false;
            }
            weight += entry.weight();
            next = next.next();
        }
        weight == self.bytes
    }

    fn last(&self) -> LogIndex {
        LogIndex(self.first.0 + self.entries.len() as u64 - 1)
    }

    /// Position of `index` in this block; past its end for a later index.
    fn offset(&self, index: LogIndex) -> usize {
        let after = index.0.saturating_sub(self.first.0);
        usize::try_from(after).map_or(self.entries.len(), |after| after.min(self.entries.len()))
    }

    /// Weight of a part of the block, in bytes.
    fn weight(&self, from: usize, to: usize) -> usize {
        self.entries[from..to].iter().map(Entry::weight).sum()
    }

    /// The end of as many entries from `from` on as fit, at least one, and their weight.
    fn fill(&self, from: usize, to: usize, bytes_max: usize) -> (usize, usize) {
        let (mut at, mut bytes) = (from, 0_usize);
        while at < to {
            let with = bytes.saturating_add(self.entries[at].weight());
            if at > from && with > bytes_max {
                break;
            }
            (at, bytes) = (at + 1, with);
        }
        (at, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogId, Payload};
    use alloc::vec::Vec;
    use bytes::Bytes;

    /// Entries of 40 bytes each.
    fn run(indexes: core::ops::Range<u64>) -> Entries {
        let payload = || Payload::Command(Bytes::from_static(b"12345678"));
        indexes.map(|index| Entry { id: LogId::new(1, index), payload: payload() }).collect()
    }

    /// Blocks that begin at these indexes, the last one open-ended.
    fn tail(starts: &[u64], end: u64, bytes_max: usize) -> Tail {
        let mut tail = Tail::new(bytes_max);
        let ends = starts.iter().skip(1).copied().chain([end]);
        for (start, end) in starts.iter().copied().zip(ends) {
            tail.push(run(start..end), usize::try_from(end - start).expect("small") * 40);
        }
        assert!(is_consistent(&tail, end - 1));
        tail
    }

    /// Checks the invariants as the log does. All entries are of term 1.
    fn is_consistent(tail: &Tail, last: u64) -> bool {
        tail.is_consistent(LogIndex(last), |_| Some(Term(1)))
    }

    fn indexes(tail: &Tail, first: u64, last: u64, bytes_max: usize) -> Option<(Vec<u64>, usize)> {
        let (entries, bytes) = tail.slice(LogIndex(first), LogIndex(last), bytes_max)?;
        Some((entries.iter().map(|entry| entry.id.index.0).collect(), bytes))
    }

    #[test]
    fn a_slice_keeps_to_its_bytes_but_has_at_least_one_entry() {
        let tail = tail(&[2, 4, 5], 9, 1000);
        assert_eq!(
            indexes(&tail, 2, 8, 1000),
            Some(((2..9).collect(), 280)),
            "small blocks are put together"
        );
        assert_eq!(indexes(&tail, 3, 8, 100), Some(([3, 4].into(), 80)));
        assert_eq!(indexes(&tail, 2, 8, 1), Some(([2].into(), 40)));
        assert_eq!(indexes(&tail, 5, 6, 1000), Some(([5, 6].into(), 80)));
        assert_eq!(indexes(&tail, 9, 9, 1000), None);
        assert_eq!(indexes(&tail, 1, 8, 1000), None);
    }

    #[test]
    fn a_large_block_is_handed_out_as_it_is() {
        let tail = tail(&[2, 4, 40], 80, usize::MAX);
        let (entries, _) = tail.slice(LogIndex(4), LogIndex(79), usize::MAX).expect("it is here");
        assert_eq!((entries.len(), entries.first_index()), (36, Some(LogIndex(4))));
        assert!(
            core::ptr::eq(&raw const entries[0], &raw const tail.blocks[1].entries[0]),
            "nothing is copied"
        );
        assert_eq!(
            indexes(&tail, 2, 79, usize::MAX),
            Some(([2, 3].into(), 80)),
            "nor with small ones before it"
        );
    }

    #[test]
    fn cuts_within_a_block_keep_the_rest() {
        let mut tail = tail(&[2, 4, 5], 9, 1000);
        tail.truncate_from(LogIndex(7));
        assert!(is_consistent(&tail, 6));
        assert_eq!(indexes(&tail, 2, 9, 1000), Some(((2..7).collect(), 200)));
        tail.compact(LogIndex(2));
        assert_eq!(tail.first_index(), Some(LogIndex(3)));
        tail.compact(LogIndex(5));
        assert!(is_consistent(&tail, 6));
        assert_eq!(indexes(&tail, 6, 9, 1000), Some(([6].into(), 40)));
        tail.truncate_from(LogIndex(6));
        assert_eq!((tail.first_index(), tail.bytes), (None, 0));
    }

    #[test]
    fn what_contradicts_the_log_is_noticed() {
        let sound = tail(&[2, 4, 5], 9, 1000);
        assert!(!is_consistent(&sound, 9), "it does not end where the log does");
        let other = |index| Some(Term(if index == LogIndex(6) { 2 } else { 1 }));
        assert!(!sound.is_consistent(LogIndex(8), other), "a term differs");
        let broken = |harm: fn(&mut Tail)| {
            let mut tail = sound.clone();
            harm(&mut tail);
            !is_consistent(&tail, 8)
        };
        assert!(broken(|tail| drop(tail.blocks.remove(1))), "a gap");
        assert!(broken(|tail| tail.blocks[1].entries = run(3..4)), "an index twice");
        assert!(broken(|tail| tail.blocks[1].entries = Entries::EMPTY), "an empty block");
        assert!(broken(|tail| tail.blocks[1].bytes += 1), "a block's weight");
        assert!(broken(|tail| tail.bytes += 1), "the weight of all");
    }

    #[test]
    fn what_is_not_durable_is_never_evicted() {
        let mut tail = tail(&[2, 4, 5], 9, 80);
        tail.evict(LogIndex(3));
        assert_eq!(tail.first_index(), Some(LogIndex(4)), "the durable ones may go");
        tail.evict(LogIndex(7));
        assert_eq!(tail.first_index(), Some(LogIndex(5)), "a block goes when all of it is durable");
        tail.evict(LogIndex(8));
        assert_eq!((tail.first_index(), tail.bytes), (None, 0));
    }
}
