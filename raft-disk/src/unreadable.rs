//! Sectors of a simulated file that cannot be read until they are written again.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::images::SECTOR;

/// By sector number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreadable {
    /// The medium cannot read them.
    medium: BTreeSet<usize>,
    /// Those of them that the cache shows, as they were written since.
    cached: BTreeSet<usize>,
}

impl Unreadable {
    /// Lets the sectors fail that the range touches.
    pub(crate) fn add(&mut self, range: Range<usize>) {
        self.medium.extend(touched(range));
    }

    pub(crate) fn clear(&mut self) {
        self.medium.clear();
        self.cached.clear();
    }

    /// True when a read of the range meets one.
    pub(crate) fn meets(&self, range: Range<usize>) -> bool {
        !self.medium.is_empty()
            && self.medium.range(touched(range)).any(|sector| !self.cached.contains(sector))
    }

    /// A range was written to the cache of a file that is `len` long.
    pub(crate) fn written(&mut self, range: Range<usize>, len: usize) {
        self.cached.extend(self.medium.range(covered(range, len)));
    }

    /// The file was cut or extended in the cache.
    pub(crate) fn resized(&mut self, len: usize) {
        self.cached.extend(self.medium.range(len.div_ceil(SECTOR)..));
    }

    /// A range reached the medium, where the file is `len` long.
    pub(crate) fn settled(&mut self, range: Range<usize>, len: usize) {
        let healed = covered(range, len);
        self.medium.retain(|sector| !healed.contains(sector));
    }

    /// A change of length reached the medium.
    pub(crate) fn settled_len(&mut self, len: usize) {
        self.medium.retain(|sector| sector * SECTOR < len);
    }

    /// The cache is gone.
    pub(crate) fn uncache(&mut self) {
        self.cached.clear();
    }
}

/// The sectors that a range touches.
fn touched(range: Range<usize>) -> Range<usize> {
    if range.is_empty() { 0..0 } else { range.start / SECTOR..range.end.div_ceil(SECTOR) }
}

/// The sectors that a write of this range replaces: whole ones, and the last one of the file.
fn covered(range: Range<usize>, len: usize) -> Range<usize> {
    let first = range.start.div_ceil(SECTOR);
    let end = if range.end >= len { range.end.div_ceil(SECTOR) } else { range.end / SECTOR };
    first..end.max(first)
}
