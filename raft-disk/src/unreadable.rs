//! Sectors of a simulated file that cannot be read until they are written again.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::images::SECTOR;

/// The unreadable sectors of a file, by sector number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreadable {
    /// Sectors that the medium cannot read.
    medium: BTreeSet<usize>,
    /// Those of them that reads can get from the cache, because they were written since.
    cached: BTreeSet<usize>,
}

impl Unreadable {
    /// Makes all sectors that the range touches unreadable.
    pub(crate) fn add(&mut self, range: Range<usize>) {
        self.medium.extend(touched(range));
    }

    pub(crate) fn clear(&mut self) {
        self.medium.clear();
        self.cached.clear();
    }

    /// Returns true if a read of the range touches an unreadable sector.
    pub(crate) fn meets(&self, range: Range<usize>) -> bool {
        !self.medium.is_empty()
            && self.medium.range(touched(range)).any(|sector| !self.cached.contains(sector))
    }

    /// Records that a range was written to the cache of a file that is `len` bytes long.
    pub(crate) fn written(&mut self, range: Range<usize>, len: usize) {
        self.cached.extend(self.medium.range(covered(range, len)));
    }

    /// Records that the file was truncated or extended in the cache.
    pub(crate) fn resized(&mut self, len: usize) {
        self.cached.extend(self.medium.range(len.div_ceil(SECTOR)..));
    }

    /// Records that a range reached the medium, where the file is `len` bytes long.
    pub(crate) fn settled(&mut self, range: Range<usize>, len: usize) {
        let healed = covered(range, len);
        self.medium.retain(|sector| !healed.contains(sector));
    }

    /// Records that a change of length reached the medium.
    pub(crate) fn settled_len(&mut self, len: usize) {
        self.medium.retain(|sector| sector * SECTOR < len);
    }

    /// Records that the cache was dropped.
    pub(crate) fn uncache(&mut self) {
        self.cached.clear();
    }
}

/// Returns the sectors that a range touches.
fn touched(range: Range<usize>) -> Range<usize> {
    if range.is_empty() { 0..0 } else { range.start / SECTOR..range.end.div_ceil(SECTOR) }
}

/// Returns the sectors that a write of this range replaces: those written completely, and the last one of the file.
fn covered(range: Range<usize>, len: usize) -> Range<usize> {
    let first = range.start.div_ceil(SECTOR);
    let end = if range.end >= len { range.end.div_ceil(SECTOR) } else { range.end / SECTOR };
    first..end.max(first)
}
