//! A simulated file: what its readers see, what the medium holds, and what is on its way between the two.

use std::io;

use crate::rng::Rng;

/// The unit that the medium writes as a whole, in bytes.
pub(crate) const SECTOR: usize = 512;

/// One file.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileImages {
    /// What reads show.
    cached: Vec<u8>,
    /// What the last good sync put on the medium.
    durable: Vec<u8>,
    /// Changes since the last sync, good or failed, in order.
    pending: Vec<Change>,
    /// How many changes there were before the first pending one.
    settled: u64,
    /// A sync failed: `cached` shows what is neither durable nor pending.
    lying: bool,
}

/// A change that is not durable.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

impl FileImages {
    pub(crate) fn len(&self) -> usize {
        self.cached.len()
    }

    pub(crate) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|from| self.cached.get(from..from.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        offset.checked_add(data.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if !data.is_empty() {
            let change = Change::Write { offset, data: data.to_vec() };
            change.apply(&mut self.cached);
            self.pending.push(change);
        }
        Ok(())
    }

    pub(crate) fn set_len(&mut self, len: u64) -> io::Result<()> {
        let change = Change::SetLen(usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?);
        change.apply(&mut self.cached);
        self.pending.push(change);
        Ok(())
    }

    /// How many changes there were so far: what a sync that begins now makes durable.
    pub(crate) fn mark(&self) -> u64 {
        self.settled + self.pending.len() as u64
    }

    /// A sync that began at `mark` works. What was written after it began stays unsynced.
    pub(crate) fn sync(&mut self, mark: u64) {
        for change in Self::take(&mut self.pending, &mut self.settled, mark) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync that fails: the dirty data is dropped and goes on being shown, as Linux does (ATC'20, "Can applications
    /// recover from fsync failures?").
    pub(crate) fn fail_sync(&mut self, mark: u64) {
        self.lying |= Self::take(&mut self.pending, &mut self.settled, mark).count() > 0;
    }

    /// Takes the pending changes from before `mark`.
    fn take<'a>(
        pending: &'a mut Vec<Change>,
        settled: &mut u64,
        mark: u64,
    ) -> impl Iterator<Item = Change> + 'a {
        // Another sync may have taken some of them meanwhile.
        let count =
            usize::try_from(mark.saturating_sub(*settled)).map_or(pending.len(), |n| n.min(pending.len()));
        *settled += count as u64;
        pending.drain(..count)
    }

    /// Forgets what is cached and clean: reads show the medium again, and the dirty data over it.
    pub(crate) fn drop_cache(&mut self) {
        if self.lying {
            self.lying = false;
            self.cached.clone_from(&self.durable);
            for change in &self.pending {
                change.apply(&mut self.cached);
            }
        }
    }

    /// The power is cut. Without a generator every unsynced change is lost; with one each is kept, lost or torn.
    pub(crate) fn crash(&mut self, mut rng: Option<&mut Rng>) {
        self.settled = self.mark();
        for change in self.pending.drain(..) {
            if let Some(rng) = &mut rng {
                change.survive(&mut self.durable, rng);
            }
        }
        self.lying = false;
        self.cached.clone_from(&self.durable);
    }

    /// Flips bits of one byte, on the medium and in the cache.
    ///
    /// False when the medium holds no such byte.
    pub(crate) fn rot(&mut self, offset: u64, mask: u8) -> bool {
        let Some((at, durable)) =
            usize::try_from(offset).ok().and_then(|at| Some((at, self.durable.get_mut(at)?)))
        else {
            return false;
        };
        *durable ^= mask;
        if let Some(cached) = self.cached.get_mut(at) {
            *cached ^= mask;
        }
        true
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => put(image, *offset, data),
            Self::SetLen(len) => image.resize(*len, 0),
        }
    }

    /// Reaches the medium as a whole, not at all, or in some of its sectors.
    fn survive(&self, image: &mut Vec<u8>, rng: &mut Rng) {
        match (rng.below(3), self) {
            (0, _) => {}
            (1, _) | (_, Self::SetLen(_)) => self.apply(image),
            (_, Self::Write { offset, data }) => {
                let mut done = 0;
                while done < data.len() {
                    let at = offset + done;
                    let end = data.len().min(done + SECTOR - at % SECTOR);
                    if rng.coin() {
                        put(image, at, &data[done..end]);
                    }
                    done = end;
                }
            }
        }
    }
}

/// Writes into an image, extending it with zeros if need be.
fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}
