//! The content of a simulated file, in blocks shared between copies. Copies and zeros cost almost no memory.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use crate::digest::Digest;

/// The unit of space allocation, in bytes.
pub(crate) const BLOCK: usize = 4096;

/// The block shared by all blocks written with zeros: a preallocated file takes up disk space, but no memory.
static ZEROS: LazyLock<Arc<Block>> = LazyLock::new(|| Arc::new(Block::from([0; BLOCK])));

/// The bytes of a block.
#[derive(Debug)]
struct Block {
    bytes: [u8; BLOCK],
    /// Digest of the bytes; 0 until it is first computed.
    digest: AtomicU64,
}

/// The content of a file. Blocks never written are holes, which read as zeros and take no space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    len: usize,
    /// Blocks up to `len`. In the last block, bytes beyond `len` are zero.
    blocks: Arc<Vec<Option<Arc<Block>>>>,
}

impl Image {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of blocks that take space.
    pub(crate) fn blocks_used(&self) -> usize {
        self.blocks.iter().flatten().count()
    }

    /// Returns how many of `len` bytes at `offset` could be written with `free` more blocks.
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

    /// Fills `buffer`; returns false if the file ends before.
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

    /// Writes the data, extending the file with a hole if necessary.
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

    /// Copies the blocks that a range touches from another image of the same length.
    pub(crate) fn copy_blocks(&mut self, range: Range<usize>, from: &Self) {
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK).min(from.blocks.len());
        if !blocks.is_empty() {
            Arc::make_mut(&mut self.blocks)[blocks.clone()].clone_from_slice(&from.blocks[blocks]);
        }
    }

    /// Truncates the file, or extends it with a hole.
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

    /// Returns a digest of the length and of every block that is not a hole. The digest of a block is computed once,
    /// even if several images share the block.
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

    /// Returns true if both images share their blocks. If they do not, their content may still be equal.
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
        // Several threads may compute it at the same time: they all get the same result.
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
    /// Clones the bytes to modify them, so the digest is not copied.
    fn clone(&self) -> Self {
        Self::from(self.bytes)
    }
}

impl PartialEq for Image {
    /// Compares the content; a hole equals zeros.
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

/// Calls `act` for each block of a range, with the block's number, the offset within the block, and the part of the
/// range.
fn for_blocks(offset: usize, len: usize, mut act: impl FnMut(usize, usize, Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = offset + done;
        let end = len.min(done + BLOCK - at % BLOCK);
        act(at / BLOCK, at % BLOCK, done..end);
        done = end;
    }
}
