//! Lets random sectors of a simulated disk rot.

use super::faults::Chance;
use super::state::State;
use crate::images::SECTOR;

impl State {
    /// Lets random sectors rot, in all files that may rot.
    pub(super) fn rot_at_crash(&mut self) {
        if self.chances.rot_at_crash == Chance::NEVER {
            return;
        }
        for id in self.files.keys().copied().collect::<Vec<_>>() {
            let len = self.file(id).durable().len();
            self.rot_by_chance(id, 0, len, self.chances.rot_at_crash);
        }
    }

    /// Lets random sectors rot among those that a read is about to touch.
    pub(super) fn rot_at_read(&mut self, id: u64, offset: u64, len: usize) {
        if self.chances.rot_at_read != Chance::NEVER
            && let Ok(at) = usize::try_from(offset)
        {
            self.rot_by_chance(id, at, at.saturating_add(len), self.chances.rot_at_read);
        }
    }

    fn rot_by_chance(&mut self, id: u64, from: usize, until: usize, chance: Chance) {
        if !self.names.path_of(id).is_some_and(|path| self.chances.may_rot(path)) {
            return;
        }
        let Some(file) = self.files.get_mut(&id) else { return };
        let end = until.min(file.durable().len()).div_ceil(SECTOR);
        let mut sector = from / SECTOR;
        while sector < end {
            sector += usize::try_from(chance.passes(&mut self.rng, (end - sector) as u64)).unwrap_or(end);
            if sector < end {
                self.injected.rotten_bytes += file.rot_sector(sector, &mut self.rng);
                sector += 1;
            }
        }
    }
}
