//! The readers' view of the log: recent entries in memory, all others in redb.
//!
//! Unsettled entries exist only here and in the journal. Settled entries are kept for a while, up to a limit in bytes,
//! so that replication can read them without disk access.

use std::collections::VecDeque;

use raftkit_core::{Entries, Entry, LogId, LogIndex, Write};

/// The readers' view of the log at one moment.
#[derive(Debug)]
pub(crate) struct View {
    base: LogIndex,
    last: LogIndex,
    /// Consecutive entries, ending with the last one of the log.
    chunks: VecDeque<Chunk>,
    /// Total weight of `chunks`, in bytes.
    bytes: usize,
    /// Settled entries are dropped from memory above this weight, in bytes.
    bytes_max: usize,
    /// Last index up to which redb holds the log.
    settled: LogIndex,
    /// Truncations by unsettled records: the record, and the last index that it kept.
    cuts: VecDeque<(u64, LogIndex)>,
    /// Number of changes that can make a read under way return a mixture of old and new entries.
    generation: u64,
}

/// The entries that one write appends, with their weight in bytes.
#[derive(Debug)]
struct Chunk {
    entries: Entries,
    weight: usize,
}

impl Chunk {
    fn new(entries: Entries) -> Self {
        let weight = entries.iter().map(Entry::weight).sum();
        Self { entries, weight }
    }

    fn first(&self) -> LogIndex {
        self.entries.first().map_or(LogIndex::ZERO, |entry| entry.id.index)
    }

    fn last(&self) -> LogIndex {
        self.entries.last().map_or(LogIndex::ZERO, |entry| entry.id.index)
    }
}

/// Where a reader finds an entry.
#[derive(Debug)]
pub(crate) enum Place {
    /// At or below the base: compacted.
    Compacted,
    /// After the end of the log; holds the last index.
    Beyond(LogIndex),
    /// In memory: consecutive entries, starting with the one asked for.
    Memory(Entries),
    /// In redb, which holds the log up to this index.
    Database(LogIndex),
}

impl View {
    /// Creates the view of a log that is completely in redb.
    pub(crate) fn new(base: LogId, last: LogId, bytes_max: usize) -> Self {
        Self {
            base: base.index,
            last: last.index,
            chunks: VecDeque::new(),
            bytes: 0,
            bytes_max,
            settled: last.index,
            cuts: VecDeque::new(),
            generation: 0,
        }
    }

    /// Returns the weight of the entries in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.last
    }

    /// Applies a write that record `seq` of the journal made durable.
    pub(crate) fn apply(&mut self, seq: u64, write: &Write) {
        if let Some(base) = &write.reset_to {
            self.generation += 1;
            self.chunks.clear();
            self.bytes = 0;
            self.base = base.id.index;
            self.last = base.id.index;
            self.cut(seq, base.id.index);
        }
        if let Some(last) = write.truncate_from.and_then(LogIndex::previous)
            && last < self.last
        {
            self.generation += 1;
            self.truncate(last);
            self.cut(seq, last);
        }
        if let (Some(first), Some(last)) = (write.append.first(), write.append.last()) {
            assert_eq!(first.id.index, self.last.next(), "an append continues the log");
            self.last = last.id.index;
            let chunk = Chunk::new(write.append.clone());
            self.bytes += chunk.weight;
            self.chunks.push_back(chunk);
        }
        if let Some(to) = write.compact_to.filter(|to| *to > self.base) {
            self.generation += 1;
            self.base = to;
            while self.chunks.front().is_some_and(|chunk| chunk.last() <= to) {
                self.drop_oldest();
            }
        }
    }

    fn truncate(&mut self, last: LogIndex) {
        self.last = last;
        while let Some(chunk) = self.chunks.back()
            && chunk.last() > last
        {
            let kept = usize::try_from(last.next().0.saturating_sub(chunk.first().0)).unwrap_or(0);
            let part = (kept > 0).then(|| Chunk::new(chunk.entries.slice(0..kept)));
            self.bytes -= chunk.weight;
            self.chunks.pop_back();
            if let Some(part) = part {
                self.bytes += part.weight;
                self.chunks.push_back(part);
            }
        }
    }

    /// Notes that redb's entries after `last` are obsolete until record `seq` is settled.
    fn cut(&mut self, seq: u64, last: LogIndex) {
        self.settled = self.settled.min(last);
        self.cuts.push_back((seq, last));
    }

    /// Notes that redb holds all records up to `seq`, and that its last entry is `last`.
    pub(crate) fn settled(&mut self, seq: u64, last: LogIndex) {
        while self.cuts.front().is_some_and(|(cut, _)| *cut <= seq) {
            self.cuts.pop_front();
        }
        self.settled = self.cuts.iter().map(|(_, kept)| *kept).fold(last, LogIndex::min);
        assert!(
            self.settled <= self.last,
            "redb holds up to {}, the log ends with {}",
            self.settled,
            self.last
        );
        while self.bytes > self.bytes_max
            && self.chunks.front().is_some_and(|chunk| chunk.last() <= self.settled)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.weight;
        }
    }

    /// Returns the location of the entry `next`.
    pub(crate) fn find(&self, next: LogIndex) -> Place {
        if next <= self.base {
            return Place::Compacted;
        }
        if next > self.last {
            return Place::Beyond(self.last);
        }
        let at = self.chunks.partition_point(|chunk| chunk.last() < next);
        match self.chunks.get(at) {
            Some(chunk) if chunk.first() <= next => {
                let skipped = usize::try_from(next.0 - chunk.first().0).unwrap_or(usize::MAX);
                Place::Memory(chunk.entries.slice(skipped..chunk.entries.len()))
            }
            Some(chunk) => Place::Database(LogIndex(chunk.first().0 - 1)),
            None => Place::Database(self.settled),
        }
    }
}

#[cfg(test)]
mod tests {
    use raftkit_core::{Base, Payload};

    use super::*;

    fn append(range: std::ops::RangeInclusive<u64>) -> Write {
        let entry = |index| Entry { id: LogId::new(1, index), payload: Payload::Noop };
        Write { append: range.map(entry).collect(), ..Write::default() }
    }

    fn view(bytes_max: usize) -> View {
        View::new(LogId::new(1, 10), LogId::new(1, 20), bytes_max)
    }

    fn shown(view: &View, index: u64) -> String {
        match view.find(LogIndex(index)) {
            Place::Compacted => "compacted".into(),
            Place::Beyond(last) => format!("beyond {last}"),
            Place::Memory(entries) => format!("memory {}+{}", entries[0].id.index, entries.len()),
            Place::Database(last) => format!("database to {last}"),
        }
    }

    #[test]
    fn what_is_recent_is_in_memory_and_the_rest_in_the_database() {
        let mut view = view(usize::MAX);
        view.apply(1, &append(21..=23));
        view.apply(2, &append(24..=25));
        let places = [10, 11, 20, 21, 23, 24, 26].map(|index| shown(&view, index));
        let wanted = [
            "compacted",
            "database to 20",
            "database to 20",
            "memory 21+3",
            "memory 23+1",
            "memory 24+2",
            "beyond 25",
        ];
        assert_eq!(places, wanted);
    }

    #[test]
    fn a_settled_entry_is_dropped_above_the_cap_and_an_unsettled_one_never() {
        let mut view = view(0);
        view.apply(1, &append(21..=23));
        view.apply(2, &append(24..=25));
        assert_eq!(shown(&view, 21), "memory 21+3");
        view.settled(1, LogIndex(23));
        assert_eq!(shown(&view, 21), "database to 23");
        assert_eq!(shown(&view, 24), "memory 24+2");
        view.settled(2, LogIndex(25));
        assert_eq!(shown(&view, 24), "database to 25");
    }

    #[test]
    fn what_the_database_holds_after_a_cut_is_not_read_until_the_cut_is_settled() {
        let mut view = view(0);
        view.apply(1, &append(21..=23));
        view.apply(2, &Write { truncate_from: Some(LogIndex(18)), ..append(18..=19) });
        let before = view.generation();
        assert_eq!(shown(&view, 17), "database to 17");
        assert_eq!(shown(&view, 18), "memory 18+2");
        view.settled(1, LogIndex(23));
        assert_eq!(shown(&view, 18), "memory 18+2", "the database still has the old ones");
        view.settled(2, LogIndex(19));
        assert_eq!(shown(&view, 18), "database to 19");
        assert_eq!(view.generation(), before);
    }

    #[test]
    fn a_cut_in_the_middle_of_a_chunk_keeps_its_beginning() {
        let mut view = view(usize::MAX);
        view.apply(1, &append(21..=25));
        view.apply(2, &Write { truncate_from: Some(LogIndex(23)), ..Write::default() });
        assert_eq!(shown(&view, 21), "memory 21+2");
        assert_eq!(shown(&view, 23), "beyond 22");
    }

    #[test]
    fn a_reset_and_a_compaction_move_the_base() {
        let mut view = view(usize::MAX);
        view.apply(1, &append(21..=25));
        view.apply(2, &Write { compact_to: Some(LogIndex(22)), ..Write::default() });
        assert_eq!(shown(&view, 22), "compacted");
        assert_eq!(shown(&view, 23), "memory 23+3");
        let base = Base { id: LogId::new(2, 40), ..Base::default() };
        view.apply(3, &Write { reset_to: Some(base.into()), ..Write::default() });
        assert_eq!(shown(&view, 41), "beyond 40");
        view.settled(3, LogIndex(40));
        assert_eq!(shown(&view, 40), "compacted");
    }
}
