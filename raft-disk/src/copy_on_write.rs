//! Storage backend for redb that reads a file and keeps all changes in memory, so that a database can be inspected and
//! even repaired without changing it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::DiskFile;

/// Size of a copied block, in bytes: redb's usual page.
const BLOCK: u64 = 4096;
const BLOCK_BYTES: usize = 4096;
const _: () = assert!(BLOCK == BLOCK_BYTES as u64);

/// A file as the storage of a redb database that is only read. What redb writes stays in memory until this value is
/// dropped.
///
/// It lets you inspect a database that redb must repair before reading, which is how an unclean shutdown leaves it.
/// Memory use grows with the changes, in blocks of 4 KiB. The file may be open for [reading
/// only](crate::OpenMode::ReadOnly). Nothing else may change it meanwhile.
#[derive(Debug)]
pub struct CopyOnWrite {
    file: Arc<dyn DiskFile>,
    changes: Mutex<Changes>,
}

/// Changes kept in memory.
struct Changes {
    /// Length of the part of the file that is still visible: the shortest length it was truncated to. Beyond that, the
    /// content is zeros.
    shown: u64,
    /// Current length, in bytes.
    len: u64,
    /// Changed blocks, by number. In the last block, bytes beyond `len` are zero.
    blocks: BTreeMap<u64, Box<[u8; BLOCK_BYTES]>>,
}

impl CopyOnWrite {
    /// Creates the storage over the present content of `file`.
    ///
    /// # Errors
    /// The disk cannot tell the file's length.
    pub fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, changes: Mutex::new(Changes { shown: len, len, blocks: BTreeMap::new() }) })
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        // Poisoning can be ignored: each change is completed before the next operation that can fail.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl redb::StorageBackend for CopyOnWrite {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.changes().read(&*self.file, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changes().set_len(len);
        Ok(())
    }

    /// Does nothing, since no change is meant to be kept.
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.changes().write(&*self.file, offset, data)
    }
}

impl Changes {
    fn read(&self, file: &dyn DiskFile, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let end = end_of(offset, out.len())?;
        if end > self.len && !out.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        while !out.is_empty() {
            let (part, rest) = match self.blocks.range(at / BLOCK..).next() {
                Some((number, block)) if *number == at / BLOCK => {
                    let block = &block[within(at)..];
                    let (part, rest) = out.split_at_mut(block.len().min(out.len()));
                    part.copy_from_slice(&block[..part.len()]);
                    (part, rest)
                }
                next => {
                    let until = next.map_or(end, |(number, _)| end.min(number * BLOCK));
                    let len = usize::try_from(until - at).unwrap_or(out.len());
                    let (part, rest) = out.split_at_mut(len);
                    self.read_file(file, at, part)?;
                    (part, rest)
                }
            };
            at += part.len() as u64;
            out = rest;
        }
        Ok(())
    }

    /// Reads the visible part of the file, and zeros beyond it.
    fn read_file(&self, file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let shown = usize::try_from(self.shown.saturating_sub(offset)).unwrap_or(out.len()).min(out.len());
        let (from_file, above) = out.split_at_mut(shown);
        above.fill(0);
        if from_file.is_empty() { Ok(()) } else { file.read_at(offset, from_file) }
    }

    fn write(&mut self, file: &dyn DiskFile, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut at = offset;
        end_of(offset, data.len())?;
        while !data.is_empty() {
            let (part, rest) = data.split_at(data.len().min(BLOCK_BYTES - within(at)));
            let number = at / BLOCK;
            let mut block = match self.blocks.remove(&number) {
                Some(block) => block,
                None => {
                    let mut block = Box::new([0; BLOCK_BYTES]);
                    if part.len() < BLOCK_BYTES {
                        self.read_file(file, number * BLOCK, &mut block[..])?;
                    }
                    block
                }
            };
            block[within(at)..][..part.len()].copy_from_slice(part);
            self.blocks.insert(number, block);
            at += part.len() as u64;
            self.len = self.len.max(at);
            data = rest;
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        self.shown = self.shown.min(len);
        self.blocks.split_off(&len.div_ceil(BLOCK));
        if let Some(last) = self.blocks.get_mut(&(len / BLOCK)) {
            last[within(len)..].fill(0);
        }
        self.len = len;
    }
}

/// Returns the position of a byte within its block.
fn within(offset: u64) -> usize {
    usize::try_from(offset % BLOCK).expect("below 4096")
}

fn end_of(offset: u64, len: usize) -> io::Result<u64> {
    offset.checked_add(len as u64).ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("len", &self.len).field("blocks", &self.blocks.len()).finish()
    }
}
