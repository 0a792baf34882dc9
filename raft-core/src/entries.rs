//! Consecutive entries in a shared block. The log's tail, the write, the messages to all peers and the apply
//! effects are views of the same block, so that an entry is never copied.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, Range};

use crate::{Entry, LogIndex};

/// A run of consecutive entries, cheap to clone and to slice. Dereferences to a slice.
#[derive(Clone)]
pub struct Entries {
    block: Option<Arc<[Entry]>>,
    from: usize,
    to: usize,
}

impl Entries {
    /// A run without entries, which needs no block.
    pub const EMPTY: Self = Self { block: None, from: 0, to: 0 };

    /// The entries in this range of positions, sharing the block.
    ///
    /// # Panics
    /// If the range is out of bounds.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        Self { block: self.block.clone(), from: self.from + range.start, to: self.from + range.end }
    }

    /// Keeps the first `len` entries.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.to = self.to.min(self.from + len);
    }

    /// Drops the first `count` entries.
    pub(crate) fn advance(&mut self, count: usize) {
        self.from = self.to.min(self.from + count);
    }

    /// Appends entries. If there were some already, all are copied into a new block.
    pub fn extend(&mut self, more: Self) {
        if self.is_empty() {
            *self = more;
        } else if !more.is_empty() {
            *self = self.iter().chain(more.iter()).cloned().collect();
        }
    }

    /// The first index; none where there are no entries.
    pub(crate) fn first_index(&self) -> Option<LogIndex> {
        self.first().map(|entry| entry.id.index)
    }

    /// The last index; none where there are no entries.
    pub(crate) fn last_index(&self) -> Option<LogIndex> {
        self.last().map(|entry| entry.id.index)
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        self.block.as_ref().map_or(&[], |block| &block[self.from..self.to])
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl<const N: usize> PartialEq<[Entry; N]> for Entries {
    fn eq(&self, other: &[Entry; N]) -> bool {
        **self == *other
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        if entries.is_empty() {
            return Self::EMPTY;
        }
        let to = entries.len();
        Self { block: Some(entries.into()), from: 0, to }
    }
}

impl From<Entry> for Entries {
    fn from(entry: Entry) -> Self {
        Self { block: Some(Arc::new([entry])), from: 0, to: 1 }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let block: Arc<[Entry]> = entries.into_iter().collect();
        let to = block.len();
        Self { block: (to > 0).then_some(block), from: 0, to }
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = core::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogId, Payload};

    fn run(indexes: Range<u64>) -> Entries {
        indexes.map(|index| Entry { id: LogId::new(1, index), payload: Payload::Noop }).collect()
    }

    #[test]
    fn slices_share_the_block_and_read_as_slices() {
        let all = run(2..7);
        let slice = all.slice(1..4);
        assert_eq!(slice, run(3..6));
        assert_eq!(slice.slice(2..3), run(5..6));
        assert!(core::ptr::eq(&raw const all[1], &raw const slice[0]));
        assert_eq!((slice.first_index(), slice.last_index()), (Some(LogIndex(3)), Some(LogIndex(5))));
        assert_eq!(run(2..2), Entries::EMPTY);
        assert_eq!(Entries::from(Vec::new()), Entries::EMPTY);
    }

    #[test]
    fn cutting_and_adding_keep_the_order() {
        let mut entries = run(2..7);
        entries.truncate(4);
        entries.advance(1);
        assert_eq!(entries, run(3..6));
        entries.extend(Entries::EMPTY);
        entries.extend(run(6..8));
        assert_eq!(entries, run(3..8));
        entries.advance(9);
        assert!(entries.is_empty() && entries.first_index().is_none());
    }
}
