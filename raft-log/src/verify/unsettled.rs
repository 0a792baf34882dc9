//! What the journal holds and the database does not, in sum.

use raftkit_core::{LogId, LogIndex, Write};

use crate::journal::Mark;
use crate::journal::image::Chain;
use crate::recovery::replay::lost_records;

/// What the journal holds and the database does not. The next opening moves it there; that is no damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Records, each of which is a flush.
    pub records: u64,
    /// What they take in the ring, in bytes.
    pub bytes: u64,
    /// The entries that they append.
    pub entries: u64,
    /// From here on the log is in the journal alone; none when no entry is.
    pub first: Option<LogIndex>,
    /// The lowest index from which on they cut off what was there.
    pub truncated_from: Option<LogIndex>,
    /// After this entry the log starts anew, with a snapshot.
    pub reset_to: Option<LogId>,
    /// Up to here they compact the log.
    pub compacted_to: Option<LogIndex>,
    /// Behind them stands the beginning of a flush that was never acknowledged; it is dropped.
    pub torn: bool,
}

/// Records of the journal that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LostRecords {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The last entry before them, where the journal says so.
    pub(super) before: Option<LogIndex>,
}

impl Unsettled {
    /// What follows on `settled`, and what is lost behind it.
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
