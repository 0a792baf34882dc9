//! The space on a simulated disk, and writes limited by it.

use std::collections::BTreeSet;
use std::io;

use super::state::State;
use crate::image::BLOCK;
use crate::images::SECTOR;

impl State {
    /// Writes as much as there is space for, and fails if that is not everything.
    pub(super) fn write(&mut self, id: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let moment = self.tick();
        let fits = match (self.capacity, usize::try_from(offset)) {
            (Some(_), Ok(at)) if at.checked_add(data.len()).is_some() => {
                let free = self.free();
                self.file(id).cached().writable(at, data.len(), free)
            }
            (Some(_) | None, Ok(_) | Err(_)) => data.len(),
        };
        self.file(id).write(moment, offset, &data[..fits])?;
        if fits < data.len() { Err(self.full()) } else { Ok(()) }
    }

    pub(super) fn set_len(&mut self, id: u64, len: u64) -> io::Result<()> {
        let moment = self.tick();
        let now = self.file(id).cached().len();
        let added = usize::try_from(len)
            .map_or(usize::MAX, |len| len.div_ceil(BLOCK).saturating_sub(now.div_ceil(BLOCK)));
        if added > self.free() {
            return Err(self.full());
        }
        self.file(id).set_len(moment, len)
    }

    /// Returns the number of free blocks. Files without a name, kept only by open handles, are not counted.
    pub(super) fn free(&self) -> usize {
        let Some(capacity) = self.capacity else { return usize::MAX };
        let named: BTreeSet<u64> = self.names.files().collect();
        let used =
            named.iter().filter_map(|id| self.files.get(id)).map(|file| file.cached().blocks_used() + 1);
        capacity.saturating_sub(used.sum())
    }

    pub(super) fn full(&mut self) -> io::Error {
        self.injected.full += 1;
        io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
    }

    /// Returns how many bytes of a failing write are written: some whole sectors.
    pub(super) fn short_write(&mut self, offset: u64, len: usize) -> usize {
        let into = usize::try_from(offset % SECTOR as u64).unwrap_or(0);
        let sectors = (into + len).div_ceil(SECTOR) as u64;
        let kept = usize::try_from(self.rng.below(sectors + 1)).unwrap_or(0);
        (kept * SECTOR).saturating_sub(into).min(len)
    }
}
