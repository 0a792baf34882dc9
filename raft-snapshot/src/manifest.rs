//! What a snapshot consists of: its name, the membership, and the hash of each chunk.

use bytes::{BufMut, BytesMut};
use raftkit_core::{DecodeError, LogId, Membership};
use sha2::{Digest, Sha256};

/// The chunk size that is used unless another is asked for, in bytes. A chunk is what a transfer loses when it is
/// interrupted, and what it waits for: 256 KiB take a second at 250 KiB/s, and cost 8 KiB of hashes for 64 MiB.
pub const CHUNK_BYTES: u32 = 256 << 10;
/// The largest chunk size, in bytes: what a message holds in memory.
pub const CHUNK_BYTES_MAX: u32 = 16 << 20;
/// The most chunks a snapshot may have: 256 GiB in chunks of the usual size, 32 MiB of hashes.
pub const CHUNKS_MAX: u32 = 1 << 20;
/// The largest encoded membership, in bytes.
const MEMBERSHIP_BYTES_MAX: usize = 1 << 20;
/// The longest manifest, in bytes.
pub(crate) const MANIFEST_BYTES_MAX: usize = FIXED + MEMBERSHIP_BYTES_MAX + CHUNKS_MAX as usize * HASH;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

const HASH: usize = 32;
const MAGIC: [u8; 4] = *b"RKSM";
const FORMAT: u32 = 1;
/// Everything but the membership and the hashes of the chunks.
const FIXED: usize = 4 + 4 + 8 + 8 + 4 + 8 + 4 + 4 + HASH;

/// What a snapshot consists of.
///
/// As bytes, little-endian:
///
/// ```text
/// "RKSM" | format u32 | term u64 | index u64 | membership length u32 | membership | length u64 | chunk bytes u32
///        | chunks u32 | SHA-256 of each chunk | SHA-256 of all before
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The last log entry that the snapshot includes.
    pub id: LogId,
    /// The membership as of that entry.
    pub membership: Membership,
    /// The snapshot's length in bytes.
    pub length: u64,
    /// The length of each chunk but the last, in bytes.
    pub chunk_bytes: u32,
    /// The SHA-256 hash of each chunk.
    pub chunks: Vec<Hash>,
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes end early.
    #[error("the manifest ends early: {wanted} more bytes were expected, {got} are there")]
    Truncated {
        /// How many the next field needs.
        wanted: usize,
        /// How many are left.
        got: usize,
    },
    /// Bytes follow where none may.
    #[error("{got} bytes follow after the manifest")]
    TrailingBytes {
        /// How many.
        got: usize,
    },
    /// They begin otherwise.
    #[error("the bytes do not begin with a manifest's magic bytes")]
    NoManifest,
    /// Written by another version.
    #[error("the manifest has format {found}; this version reads {FORMAT}")]
    OtherFormat {
        /// What it says.
        found: u32,
    },
    /// A field is above its limit.
    #[error("the manifest's {field} is {found}; 1 to {max} is allowed")]
    OutOfBounds {
        /// Which.
        field: &'static str,
        /// What it says.
        found: u64,
        /// What is allowed.
        max: u64,
    },
    /// Length, chunk size and number of chunks contradict each other.
    #[error("{length} bytes in chunks of {chunk_bytes} are not {chunks} chunks")]
    Contradiction {
        /// The snapshot's length.
        length: u64,
        /// The chunk size.
        chunk_bytes: u32,
        /// The number of chunks.
        chunks: u32,
    },
    /// The membership cannot be read.
    #[error("the manifest's membership: {0}")]
    Membership(#[from] DecodeError),
    /// The checksum does not match.
    #[error("the manifest's checksum does not match")]
    Checksum,
}

impl Manifest {
    /// The number of chunks.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.chunks.len()).expect("a manifest has at most CHUNKS_MAX chunks")
    }

    /// Where a chunk begins in the snapshot, in bytes.
    #[must_use]
    pub fn offset(&self, chunk: u32) -> u64 {
        u64::from(chunk) * u64::from(self.chunk_bytes)
    }

    /// A chunk's length in bytes; none when there is no such chunk.
    #[must_use]
    pub fn chunk_length(&self, chunk: u32) -> Option<usize> {
        if chunk >= self.count() {
            return None;
        }
        let left = self.length.checked_sub(self.offset(chunk))?;
        let length = left.min(u64::from(self.chunk_bytes));
        usize::try_from(length).ok()
    }

    /// True when `bytes` are this chunk.
    #[must_use]
    pub fn matches(&self, chunk: u32, bytes: &[u8]) -> bool {
        let expected = usize::try_from(chunk).ok().and_then(|at| self.chunks.get(at));
        self.chunk_length(chunk) == Some(bytes.len()) && expected == Some(&hash(bytes))
    }

    /// The manifest as bytes.
    ///
    /// # Panics
    /// The membership has more than 4 GiB.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let membership = self.membership.encode();
        let mut out = BytesMut::with_capacity(FIXED + membership.len() + self.chunks.len() * HASH);
        out.put_slice(&MAGIC);
        out.put_u32_le(FORMAT);
        out.put_u64_le(self.id.term.0);
        out.put_u64_le(self.id.index.0);
        out.put_u32_le(u32::try_from(membership.len()).expect("a membership is far shorter than 4 GiB"));
        out.put_slice(&membership);
        out.put_u64_le(self.length);
        out.put_u32_le(self.chunk_bytes);
        out.put_u32_le(self.count());
        for chunk in &self.chunks {
            out.put_slice(chunk);
        }
        let checksum = hash(&out);
        out.put_slice(&checksum);
        out.into()
    }

    /// Reads what [`encode`](Self::encode) made. A forged length costs no memory.
    ///
    /// # Errors
    /// The bytes are no manifest of this version, or one that contradicts itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut rest = bytes;
        if take(&mut rest)? != MAGIC {
            return Err(ManifestError::NoManifest);
        }
        let found = u32::from_le_bytes(take(&mut rest)?);
        if found != FORMAT {
            return Err(ManifestError::OtherFormat { found });
        }
        // Before anything that the checksum covers is believed.
        let (body, checksum) = bytes
            .split_last_chunk::<HASH>()
            .ok_or(ManifestError::Truncated { wanted: HASH, got: bytes.len() })?;
        if hash(body) != *checksum {
            return Err(ManifestError::Checksum);
        }
        let id = LogId::new(u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        let size = u32::from_le_bytes(take(&mut rest)?) as usize;
        if size > MEMBERSHIP_BYTES_MAX {
            let (found, max) = (size as u64, MEMBERSHIP_BYTES_MAX as u64);
            return Err(ManifestError::OutOfBounds { field: "membership length", found, max });
        }
        let membership = Membership::decode(slice(&mut rest, size)?)?;
        let length = u64::from_le_bytes(take(&mut rest)?);
        let chunk_bytes = u32::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?);
        check_shape(length, chunk_bytes, count)?;
        let hashes = slice(&mut rest, count as usize * HASH)?;
        let chunks =
            hashes.chunks_exact(HASH).map(|hash| hash.try_into().expect("a hash has 32 bytes")).collect();
        match rest.len().checked_sub(HASH) {
            Some(0) => Ok(Self { id, membership, length, chunk_bytes, chunks }),
            Some(got) => Err(ManifestError::TrailingBytes { got }),
            None => Err(ManifestError::Truncated { wanted: HASH, got: rest.len() }),
        }
    }
}

/// Checks that length, chunk size and number of chunks are in bounds and fit each other.
pub(crate) fn check_shape(length: u64, chunk_bytes: u32, chunks: u32) -> Result<(), ManifestError> {
    if chunk_bytes == 0 || chunk_bytes > CHUNK_BYTES_MAX {
        let (found, max) = (u64::from(chunk_bytes), u64::from(CHUNK_BYTES_MAX));
        return Err(ManifestError::OutOfBounds { field: "chunk size", found, max });
    }
    if chunks > CHUNKS_MAX {
        let (found, max) = (u64::from(chunks), u64::from(CHUNKS_MAX));
        return Err(ManifestError::OutOfBounds { field: "number of chunks", found, max });
    }
    if length.div_ceil(u64::from(chunk_bytes)) != u64::from(chunks) {
        return Err(ManifestError::Contradiction { length, chunk_bytes, chunks });
    }
    Ok(())
}

/// The SHA-256 hash of some bytes.
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Takes the next `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ManifestError> {
    let (head, after) =
        rest.split_first_chunk::<N>().ok_or(ManifestError::Truncated { wanted: N, got: rest.len() })?;
    *rest = after;
    Ok(*head)
}

/// Takes the next `length` bytes.
fn slice<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ManifestError> {
    let (head, after) =
        rest.split_at_checked(length).ok_or(ManifestError::Truncated { wanted: length, got: rest.len() })?;
    *rest = after;
    Ok(head)
}
