//! Summary of what the journal holds and the database does not.

use raftkit_core::{LogId, LogIndex, Write};

use crate::journal::image::Chain;
use crate::layout::Mark;
use crate::recovery::replay::lost_records;

/// Records in the journal that the database does not hold yet. The next opening replays them, so they are no damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Number of records, each of which is one flush.
    pub records: u64,
    /// Size of the records in the ring, in bytes.
    pub bytes: u64,
    /// Number of entries that the records append.
    pub entries: u64,
    /// First index that only the journal holds; `None` if there is no such entry.
    pub first: Option<LogIndex>,
    /// Lowest index from which the records truncate the log, if they do.
    pub truncated_from: Option<LogIndex>,
    /// Last entry covered by the snapshot to which the records reset the log, if they do.
    pub reset_to: Option<LogId>,
    /// Index up to which the records compact the log, if they do.
    pub compacted_to: Option<LogIndex>,
    /// True if the beginning of another flush follows, which was never acknowledged and is dropped.
    pub torn: bool,
}

/// Records of the journal that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LostRecords {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The last entry before the lost records, if the journal states it.
    pub(super) before: Option<LogIndex>,
}

impl Unsettled {
    /// Sums up the records after `settled`, and what is lost after them.
    pub(super) fn sum_up(chain: &Chain, settled: Mark) -> (Self, Option<LostRecords>) {
        let whole = chain.records.iter().position(|record| record.elsewhere).unwrap_or(chain.records.len());
        let (records, elsewhere) = chain.records.split_at(whole);
        let end = records.last().map_or(settled, |record| record.mark);
        let mut sum = Self {
            records: records.len() as u64,
            bytes: end.at.saturating_sub(settled.at),
            torn: chain.torn,
            ..Self::default()
        };
        for write in records.iter().flat_map(|record| &record.writes) {
            sum.add(write);
        }
        let last = records.last().map(|record| record.last.index);
        sum.first = sum.first.filter(|first| last.is_some_and(|last| *first <= last));
        let lost = lost_records(chain, elsewhere);
        (sum, lost.map(|(first, last_lost)| LostRecords { first, last: last_lost, before: last }))
    }

    fn add(&mut self, write: &Write) {
        let lower = |known: Option<LogIndex>, index| Some(known.map_or(index, |known| known.min(index)));
        if let Some(base) = &write.reset_to {
            self.reset_to = Some(base.id);
            self.first = Some(base.id.index.next());
        }
        if let Some(from) = write.truncate_from {
            self.truncated_from = lower(self.truncated_from, from);
        }
        if let Some(first) = write.append.first() {
            self.first = lower(self.first, first.id.index);
        }
        self.entries += write.append.len() as u64;
        self.compacted_to = self.compacted_to.max(write.compact_to);
    }
}
