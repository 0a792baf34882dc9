//! A simulated file: what reads show, what the medium holds, and the changes in between.

use std::io;
use std::ops::Range;

use crate::change::{Change, Fate, Reach, pages};
use crate::cuts::Cuts;
use crate::digest::Digest;
use crate::image::Image;
use crate::rng::Rng;
use crate::unreadable::Unreadable;

/// The unit that the medium writes atomically, in bytes.
pub(crate) const SECTOR: usize = 512;

/// Maximum length of a file, in bytes, so that a bug in a program cannot exhaust the memory of its test.
const FILE_BYTES_MAX: u64 = 1 << 36;

/// A simulated file: the content that reads show, the content of the medium, and the changes between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileImages {
    /// The content that reads show.
    cached: Image,
    /// The content that the last successful sync put on the medium.
    durable: Image,
    /// Changes since the last sync, successful or not, in order. Each has a moment, which is unique on its disk.
    pending: Vec<(u64, Change)>,
    /// Empty until a sync fails. From then on `cached` may show changes that are neither durable nor pending; this
    /// lists all changes that were pending at the failure or came later and no longer are, with their moment and
    /// whether they are durable or lost. Then `cached` is the durable content with these and the pending changes
    /// applied.
    shown: Vec<(u64, Change, Fate)>,
    unreadable: Unreadable,
}

/// The changes that a sync makes durable.
#[derive(Clone, Debug)]
pub(crate) enum Cover {
    /// All changes before this moment.
    Before(u64),
    /// The changes at these moments, sorted, but not all others.
    Only(Vec<u64>),
}

impl FileImages {
    /// Creates a file that is completely on the medium.
    pub(crate) fn durable_from(image: Image) -> Self {
        Self { cached: image.clone(), durable: image, ..Self::default() }
    }

    pub(crate) fn cached(&self) -> &Image {
        &self.cached
    }

    pub(crate) fn durable(&self) -> &Image {
        &self.durable
    }

    pub(crate) fn unreadable(&mut self) -> &mut Unreadable {
        &mut self.unreadable
    }

    /// Adds the durable content, the cached content and the pending changes to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        let durable = self.durable.digest();
        digest.add(durable);
        digest.add(if self.cached.is_shared_with(&self.durable) { durable } else { self.cached.digest() });
        digest.add(self.pending.len() as u64);
        self.pending.iter().for_each(|(moment, _)| digest.add(*moment));
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if !buffer.is_empty() && !self.cached.read(offset, buffer) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.unreadable.meets(offset..offset + buffer.len()) {
            return Err(io::Error::other("simulated fault: the medium cannot read this sector"));
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, moment: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = allowed(offset)?;
        let end = allowed(offset as u64 + data.len() as u64)?;
        if !data.is_empty() {
            let change = Change::Write { offset, data: data.to_vec() };
            change.apply(&mut self.cached);
            self.unreadable.written(offset..end, self.cached.len());
            self.pending.push((moment, change));
        }
        Ok(())
    }

    pub(crate) fn set_len(&mut self, moment: u64, len: u64) -> io::Result<()> {
        let len = allowed(len)?;
        self.cached.resize(len);
        self.unreadable.resized(len);
        self.pending.push((moment, Change::SetLen(len)));
        Ok(())
    }

    /// Returns the smallest set of changes before `moment` that must become durable for the range to be durable: those
    /// to the pages of the range, and the changes whose order relative to them is observable.
    pub(crate) fn cover(&self, range: Range<usize>, moment: u64) -> Cover {
        let before = &self.pending[..self.pending.partition_point(|(at, _)| *at < moment)];
        // A durable write usually finds the file without other changes.
        if before.len() <= 1 {
            return Cover::Before(moment);
        }
        let mut taken = vec![Reach::Pages(pages(range))];
        let mut moments = Vec::new();
        for (at, change) in before.iter().rev() {
            let reach = change.reach();
            if taken.iter().any(|other| reach.clashes(other)) {
                moments.push(*at);
                taken.push(reach);
            }
        }
        moments.reverse();
        if moments.len() == before.len() { Cover::Before(moment) } else { Cover::Only(moments) }
    }

    /// Performs a successful sync. Changes that it does not cover stay unsynced.
    pub(crate) fn sync(&mut self, cover: &Cover) {
        for (moment, change) in take(&mut self.pending, cover) {
            change.settle(&mut self.durable, &mut self.unreadable);
            if !self.shown.is_empty() {
                self.shown.push((moment, change, Fate::Kept));
            }
        }
    }

    /// Performs a failed sync: the dirty data is dropped but still visible to reads, as on Linux (ATC'20, "Can
    /// applications recover from fsync failures?").
    pub(crate) fn fail_sync(&mut self, cover: &Cover) {
        let lost = take(&mut self.pending, cover);
        self.shown.extend(lost.map(|(moment, change)| (moment, change, Fate::Lost)));
    }

    /// Drops clean data from the cache: reads show the medium again, plus the dirty data.
    pub(crate) fn drop_cache(&mut self) {
        if !self.shown.is_empty() {
            self.shown.clear();
            self.fill_cache();
        }
    }

    /// Returns true if the cache holds changes that a sync would put on the medium.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Kills the process: changes at or after a cut have not happened, unless they are durable.
    pub(crate) fn kill(&mut self, cuts: &Cuts) {
        let before = self.pending.len() + self.shown.len();
        self.pending.retain(|(moment, _)| cuts.has_happened(*moment));
        self.shown.retain(|(moment, _, fate)| cuts.has_happened(*moment) || *fate == Fate::Kept);
        if self.pending.len() + self.shown.len() < before {
            self.fill_cache();
        }
    }

    fn fill_cache(&mut self) {
        self.cached.clone_from(&self.durable);
        self.unreadable.uncache();
        // Apply them in the order in which syncs took them, since a sync takes all earlier changes whose order is
        // observable.
        let shown = self.shown.iter().map(|(_, change, _)| change);
        for change in shown.chain(self.pending.iter().map(|(_, change)| change)) {
            change.apply(&mut self.cached);
            match change {
                Change::Write { offset, data } => {
                    self.unreadable.written(*offset..offset + data.len(), self.cached.len());
                }
                Change::SetLen(len) => self.unreadable.resized(*len),
            }
        }
    }

    /// Cuts the power. Changes at or after a cut are lost. Without a generator all other pending changes are lost as
    /// well; with one, each is kept, lost or torn.
    pub(crate) fn crash(&mut self, cuts: &Cuts, mut rng: Option<&mut Rng>, mut report: impl FnMut(Fate)) {
        for (moment, change) in &self.pending {
            report(match &mut rng {
                Some(rng) if cuts.has_happened(*moment) => {
                    change.survive(&mut self.durable, &mut self.unreadable, rng)
                }
                Some(_) | None => Fate::Lost,
            });
        }
        self.unreadable.uncache();
        self.show_medium();
        self.pending.clear();
        self.shown.clear();
    }

    /// Makes the cache equal to the medium.
    fn show_medium(&mut self) {
        let in_place = self.shown.is_empty() && self.cached.len() == self.durable.len();
        if in_place && self.pending.iter().all(|(_, change)| matches!(change, Change::Write { .. })) {
            // The two differ only where changes are pending. Sharing the whole image would cost more if it is large,
            // because the next write would have to copy its list of blocks.
            for (_, change) in &self.pending {
                if let Change::Write { offset, data } = change {
                    self.cached.copy_blocks(*offset..offset + data.len(), &self.durable);
                }
            }
        } else {
            self.cached.clone_from(&self.durable);
        }
    }

    /// Flips bits of one byte on the medium, and in the cache if that shows the medium.
    ///
    /// Returns false if the medium has no such byte.
    pub(crate) fn rot(&mut self, at: usize, mask: u8) -> bool {
        let mut byte = [0];
        if !self.durable.read(at, &mut byte) {
            return false;
        }
        let mut shown = [0];
        let shows_medium = self.cached.read(at, &mut shown)
            && shown == byte
            && !self.pending.iter().any(|(_, change)| change.writes(at));
        byte[0] ^= mask;
        self.durable.write(at, &byte);
        if shows_medium {
            self.cached.write(at, &byte);
            if !self.shown.is_empty() {
                self.shown.push((0, Change::Write { offset: at, data: byte.to_vec() }, Fate::Kept));
            }
        }
        true
    }

    /// Flips a bit of a sector or fills the sector with noise; returns the number of bytes changed.
    pub(crate) fn rot_sector(&mut self, sector: usize, rng: &mut Rng) -> u64 {
        let from = sector * SECTOR;
        let until = self.durable.len().min(from + SECTOR);
        if rng.coin() {
            let (at, bit) = (rng.below((until - from) as u64), rng.below(8));
            return u64::from(usize::try_from(at).is_ok_and(|at| self.rot(from + at, 1 << bit)));
        }
        (from..until)
            .map(|at| {
                let [mask, ..] = rng.next().to_le_bytes();
                u64::from(mask != 0 && self.rot(at, mask))
            })
            .sum()
    }
}

/// Takes the covered changes from the pending ones; another sync may already have taken some.
fn take(pending: &mut Vec<(u64, Change)>, cover: &Cover) -> impl Iterator<Item = (u64, Change)> {
    let (mark, only) = match cover {
        Cover::Before(mark) => (*mark, None),
        Cover::Only(moments) => (moments.last().map_or(0, |last| last + 1), Some(moments)),
    };
    let before = pending.partition_point(|(at, _)| *at < mark);
    pending.extract_if(..before, move |(at, _)| only.is_none_or(|moments| moments.binary_search(at).is_ok()))
}

fn allowed(len: u64) -> io::Result<usize> {
    let allowed = usize::try_from(len).ok().filter(|_| len <= FILE_BYTES_MAX);
    allowed.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}
