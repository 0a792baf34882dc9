//! The content of a simulated file, in blocks that copies share: a copy costs nothing, and neither do zeros.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use crate::digest::Digest;

/// The unit that space is given in, in bytes.
pub(crate) const BLOCK: usize = 4096;

/// One block of zeros for all that are written as such: a preallocated file takes space, but no memory.
static ZEROS: LazyLock<Arc<Block>> = LazyLock::new(|| Arc::new(Block::from([0; BLOCK])));

/// A block's bytes.
#[derive(Debug)]
struct Block {
    bytes: [u8; BLOCK],
    /// Of the bytes, once it was asked for; 0 before.
    digest: AtomicU64,
}

/// A file's bytes. Blocks that were never written are holes: they read as zeros and take no space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    len: usize,
    /// As many as `len` reaches into; what lies above `len` in the last one is zero.
    blocks: Arc<Vec<Option<Arc<Block>>>>,
}

impl Image {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many blocks take space.
    pub(crate) fn blocks_used(&self) -> usize {
        self.blocks.iter().flatten().count()
    }

    /// How many bytes from `offset` on could be written if `free` more blocks were to be had, at most `len`.
    pub(crate) fn writable(&self, offset: usize, len: usize, mut free: usize) -> usize {
        let mut done = 0;
        while done < len {
            let at = offset + done;
            if self.blocks.get(at / BLOCK).is_none_or(Option::is_none) {
                if free == 0 {
                    return done;
                }
                free -= 1;
            }
            done = len.min(done + BLOCK - at % BLOCK);
        }
        done
    }

    /// Fills `buffer`; false when there is not so much.
    pub(crate) fn read(&self, offset: usize, buffer: &mut [u8]) -> bool {
        if offset.checked_add(buffer.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        for_blocks(offset, buffer.len(), |block, within, part| match &self.blocks[block] {
            Some(block) => buffer[part.clone()].copy_from_slice(&block.bytes[within..within + part.len()]),
            None => buffer[part].fill(0),
        });
        true
    }

    /// Writes, extending it with a hole if need be.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        if self.len < offset + data.len() {
            self.resize(offset + data.len());
        }
        let blocks = Arc::make_mut(&mut self.blocks);
        for_blocks(offset, data.len(), |block, within, part| {
            let (slot, data) = (&mut blocks[block], &data[part]);
            if data.len() == BLOCK && data == &ZEROS.bytes[..] {
                *slot = Some(Arc::clone(&ZEROS));
            } else {
                let block = Arc::make_mut(slot.get_or_insert_with(|| Arc::clone(&ZEROS)));
                block.bytes_mut()[within..within + data.len()].copy_from_slice(data);
            }
        });
    }

    /// Takes the blocks that a range touches from another image, which is as long.
    pub(crate) fn copy_blocks(&mut self, range: Range<usize>, from: &Self) {
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK).min(from.blocks.len());
        if !blocks.is_empty() {
            Arc::make_mut(&mut self.blocks)[blocks.clone()].clone_from_slice(&from.blocks[blocks]);
        }
    }

    /// Cuts it, or extends it with a hole.
    pub(crate) fn resize(&mut self, len: usize) {
        let blocks = Arc::make_mut(&mut self.blocks);
        blocks.resize(len.div_ceil(BLOCK), None);
        if len < self.len
            && let Some(Some(last)) = blocks.get_mut(len / BLOCK)
        {
            Arc::make_mut(last).bytes_mut()[len % BLOCK..].fill(0);
        }
        self.len = len;
    }

    /// Of the length and each block that is no hole. A block is gone through once, whichever images share it.
    pub(crate) fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        digest.add(self.len as u64);
        for (at, block) in self.blocks.iter().enumerate() {
            if let Some(block) = block {
                digest.add(at as u64);
                digest.add(block.digest());
            }
        }
        digest.finish()
    }

    /// True when the two are one copy; if not, their content may still be equal.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        self.len == other.len && Arc::ptr_eq(&self.blocks, &other.blocks)
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes);
        bytes
    }
}

impl Block {
    fn bytes_mut(&mut self) -> &mut [u8; BLOCK] {
        *self.digest.get_mut() = 0;
        &mut self.bytes
    }

    fn digest(&self) -> u64 {
        // Whichever thread comes first, all find the same.
        match self.digest.load(Ordering::Relaxed) {
            0 => {
                let mut digest = Digest::default();
                digest.add_bytes(&self.bytes);
                let found = digest.finish().max(1);
                self.digest.store(found, Ordering::Relaxed);
                found
            }
            known => known,
        }
    }
}

impl From<[u8; BLOCK]> for Block {
    fn from(bytes: [u8; BLOCK]) -> Self {
        Self { bytes, digest: AtomicU64::new(0) }
    }
}

impl Clone for Block {
    /// To be written to: the digest is not taken along.
    fn clone(&self) -> Self {
        Self::from(self.bytes)
    }
}

impl PartialEq for Image {
    /// Equal content: a hole is as good as zeros.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self.blocks.iter().zip(&*other.blocks).all(|(one, two)| match (one, two) {
                (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one.bytes == two.bytes,
                (None, None) => true,
                (Some(one), None) | (None, Some(one)) => one.bytes == ZEROS.bytes,
            })
    }
}

impl Eq for Image {}

/// Calls with each block of a range: its number, where the range begins in it, and which part of the range that is.
fn for_blocks(offset: usize, len: usize, mut act: impl FnMut(usize, usize, Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = offset + done;
        let end = len.min(done + BLOCK - at % BLOCK);
        act(at / BLOCK, at % BLOCK, done..end);
        done = end;
    }
}
