//! The manifest of a snapshot: its id, the membership, and the hash of each chunk.

use std::fmt;

use bytes::{BufMut, BytesMut};
use raftkit_core::{DecodeError, LogId, Membership};
use sha2::{Digest, Sha256};

/// Default chunk size, in bytes. An interrupted transfer loses at most the chunks on their way, and small chunks keep
/// that loss low: 256 KiB take one second at 250 KiB/s, while 64 MiB cost only 8 KiB of hashes.
pub const CHUNK_BYTES: u32 = 256 << 10;
/// Maximum chunk size, in bytes. A message holds a whole chunk in memory.
pub const CHUNK_BYTES_MAX: u32 = 16 << 20;
/// Maximum number of chunks in a snapshot: 256 GiB in chunks of the default size, with 32 MiB of hashes.
pub const CHUNKS_MAX: u32 = 1 << 20;
/// Maximum size of an encoded membership, in bytes.
const MEMBERSHIP_BYTES_MAX: usize = 1 << 20;
/// Maximum size of an encoded manifest, in bytes.
pub(crate) const MANIFEST_BYTES_MAX: usize = FIXED + MEMBERSHIP_BYTES_MAX + CHUNKS_MAX as usize * HASH;

/// A SHA-256 hash of a chunk or of a manifest.
pub type Hash = [u8; 32];

const HASH: usize = 32;
const MAGIC: [u8; 4] = *b"RKSM";
const FORMAT: u32 = 1;
/// The number of a chunk in its snapshot, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkNumber(pub u32);

impl fmt::Display for ChunkNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Size of everything except the membership and the hashes of the chunks, in bytes.
const FIXED: usize = 4 + 4 + 8 + 8 + 4 + 8 + 4 + 4 + HASH;

/// Description of a snapshot's content.
///
/// The encoding is little-endian:
///
/// ```text
/// "RKSM" | format u32 | term u64 | index u64 | membership length u32 | membership | length u64 | chunk bytes u32
///        | chunks u32 | SHA-256 of each chunk | SHA-256 of all before
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The last log entry included in the snapshot.
    pub id: LogId,
    /// The membership in force at that entry.
    pub membership: Membership,
    /// Length of the snapshot, in bytes.
    pub length: u64,
    /// Length of each chunk except the last, in bytes.
    pub chunk_bytes: u32,
    /// SHA-256 hash of each chunk.
    pub chunks: Vec<Hash>,
}

/// Reasons why bytes cannot be decoded as a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes end early.
    #[error("the manifest ends early: {wanted} more bytes were expected, {got} are there")]
    Truncated {
        /// Number of bytes that the next field needs.
        wanted: usize,
        /// Number of bytes left.
        got: usize,
    },
    /// There are bytes after the end of the manifest.
    #[error("{got} bytes follow after the manifest")]
    TrailingBytes {
        /// Number of extra bytes.
        got: usize,
    },
    /// The bytes do not begin with a manifest's magic.
    #[error("the bytes do not begin with a manifest's magic bytes")]
    NoManifest,
    /// The manifest was written by another version.
    #[error("the manifest has format {found}; this version reads {FORMAT}")]
    OtherFormat {
        /// The format that the manifest states.
        found: u32,
    },
    /// A field is out of its allowed range.
    #[error("the manifest's {field} is {found}; 1 to {max} is allowed")]
    OutOfBounds {
        /// Name of the field.
        field: &'static str,
        /// Value of the field.
        found: u64,
        /// Maximum value that the field may have.
        max: u64,
    },
    /// Length, chunk size and number of chunks contradict each other.
    #[error("{length} bytes in chunks of {chunk_bytes} are not {chunks} chunks")]
    Contradiction {
        /// Length of the snapshot, in bytes.
        length: u64,
        /// Chunk size, in bytes.
        chunk_bytes: u32,
        /// Number of chunks that the manifest states.
        chunks: u32,
    },
    /// The membership cannot be decoded.
    #[error("the manifest's membership: {0}")]
    Membership(#[from] DecodeError),
    /// The checksum does not match.
    #[error("the manifest's checksum does not match")]
    Checksum,
}

impl Manifest {
    /// Returns the number of chunks.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.chunks.len()).expect("a manifest has at most CHUNKS_MAX chunks")
    }

    /// Returns the numbers of all chunks, in order.
    pub fn numbers(&self) -> impl Iterator<Item = ChunkNumber> + use<> {
        (0..self.count()).map(ChunkNumber)
    }

    /// Returns the offset of a chunk in the snapshot, in bytes.
    #[must_use]
    pub fn offset(&self, chunk: ChunkNumber) -> u64 {
        u64::from(chunk.0) * u64::from(self.chunk_bytes)
    }

    /// Returns the length of a chunk in bytes, or `None` if the chunk does not exist.
    #[must_use]
    pub fn chunk_length(&self, chunk: ChunkNumber) -> Option<usize> {
        if chunk.0 >= self.count() {
            return None;
        }
        let left = self.length.checked_sub(self.offset(chunk))?;
        let length = left.min(u64::from(self.chunk_bytes));
        usize::try_from(length).ok()
    }

    /// Returns true if `bytes` match the chunk's length and hash.
    #[must_use]
    pub fn matches(&self, chunk: ChunkNumber, bytes: &[u8]) -> bool {
        let expected = usize::try_from(chunk.0).ok().and_then(|at| self.chunks.get(at));
        self.chunk_length(chunk) == Some(bytes.len()) && expected == Some(&hash(bytes))
    }

    /// Encodes the manifest.
    ///
    /// # Panics
    /// The encoded membership exceeds 4 GiB.
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

    /// Decodes the output of [`encode`](Self::encode). A forged length cannot make it allocate memory.
    ///
    /// # Errors
    /// The bytes are not a manifest of this version, or the manifest contradicts itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut rest = bytes;
        if take(&mut rest)? != MAGIC {
            return Err(ManifestError::NoManifest);
        }
        let found = u32::from_le_bytes(take(&mut rest)?);
        if found != FORMAT {
            return Err(ManifestError::OtherFormat { found });
        }
        // Check the checksum before trusting anything that it covers.
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

/// Checks that length, chunk size and number of chunks are in range and consistent.
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

/// Returns the SHA-256 hash of some bytes.
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
