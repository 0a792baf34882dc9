//! The messages between the two ends of a transfer, and their encoding.

use bytes::{BufMut, Bytes, BytesMut};
use raftkit_core::{LogId, LogIndex};

use crate::manifest::{CHUNK_BYTES_MAX, ChunkNumber, Manifest, ManifestError};

const VERSION: u8 = 1;

const OFFER: u8 = 1;
const WANT: u8 = 2;
const CHUNK: u8 = 3;
const WORKING: u8 = 4;
const INSTALLED: u8 = 5;
const REFUSED: u8 = 6;

const NOT_NEEDED: u8 = 1;
const BUSY: u8 = 2;
const FAILED: u8 = 3;
const GONE: u8 = 4;

/// A message of a transfer. Any message may be lost, duplicated or reordered.
///
/// The encoding is little-endian; `snapshot` is `term u64 | index u64`:
///
/// ```text
/// offer      1 | 1 | manifest: the rest            installed  1 | 5 | snapshot
/// want       1 | 2 | snapshot | chunk u32          refused    1 | 6 | snapshot | 1 | have u64   not needed
/// chunk      1 | 3 | snapshot | chunk u32 | rest              1 | 6 | snapshot | 2, 3 or 4      busy, failed, gone
/// working    1 | 4 | snapshot
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotMessage {
    /// From the sender: offers a snapshot. Repeated while the receiver is silent.
    Offer(Manifest),
    /// From the receiver: asks for a chunk.
    Want {
        /// The snapshot that the chunk belongs to.
        snapshot: LogId,
        /// Number of the chunk.
        chunk: ChunkNumber,
    },
    /// From the sender: delivers a chunk.
    Chunk {
        /// The snapshot that the chunk belongs to.
        snapshot: LogId,
        /// Number of the chunk.
        chunk: ChunkNumber,
        /// Bytes of the chunk. The receiver checks their hash.
        bytes: Bytes,
    },
    /// From the receiver: it is busy checking, storing or installing, and needs nothing at the moment.
    Working {
        /// The snapshot being received.
        snapshot: LogId,
    },
    /// From the receiver: the snapshot is installed durably.
    Installed {
        /// Id of the installed snapshot.
        snapshot: LogId,
    },
    /// From either end: the transfer is over, or never began.
    Refused {
        /// Id of the snapshot of this transfer.
        snapshot: LogId,
        /// Why the transfer is over.
        reason: Refusal,
    },
}

/// Reasons why a transfer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// From the receiver: its state machine has already applied everything in the snapshot.
    NotNeeded {
        /// Last index applied, at least the snapshot's index.
        have: LogIndex,
    },
    /// From the receiver: another transfer is under way. Try again later.
    Busy,
    /// From the receiver: the transfer failed. The chunks received are kept for another attempt.
    Failed,
    /// From the sender: the snapshot is no longer readable.
    Gone,
}

/// The end of a transfer that a message is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The [`Sender`](crate::Sender) of that snapshot.
    Sender,
    /// The [`Receiver`](crate::Receiver) of the snapshot.
    Receiver,
}

/// Reasons why bytes cannot be decoded as a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes end early.
    #[error("the message ends early: {wanted} more bytes were expected, {got} are there")]
    Truncated {
        /// Number of bytes that the next field needs.
        wanted: usize,
        /// Number of bytes left.
        got: usize,
    },
    /// There are bytes after the end of the message.
    #[error("{got} bytes follow after the message")]
    TrailingBytes {
        /// Number of extra bytes.
        got: usize,
    },
    /// The message was written by another version.
    #[error("the message has version {found}, only {VERSION} is known")]
    OtherVersion {
        /// The version that the message states.
        found: u8,
    },
    /// A kind byte has no meaning.
    #[error("the {field} {found} is not known")]
    UnknownKind {
        /// Name of the field.
        field: &'static str,
        /// Value of the byte.
        found: u8,
    },
    /// A chunk exceeds the limit.
    #[error("a chunk has {got} bytes, the limit is {CHUNK_BYTES_MAX}")]
    ChunkTooLong {
        /// Length of the chunk, in bytes.
        got: usize,
    },
    /// The manifest cannot be decoded.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl SnapshotMessage {
    /// Returns the snapshot that the message is about.
    #[must_use]
    pub fn snapshot(&self) -> LogId {
        match self {
            Self::Offer(manifest) => manifest.id,
            Self::Want { snapshot, .. }
            | Self::Chunk { snapshot, .. }
            | Self::Working { snapshot }
            | Self::Installed { snapshot }
            | Self::Refused { snapshot, .. } => *snapshot,
        }
    }

    /// Returns the end that the message is addressed to: a node may send to a peer and receive from it at the same
    /// time.
    #[must_use]
    pub fn audience(&self) -> Audience {
        match self {
            Self::Offer(_) | Self::Chunk { .. } | Self::Refused { reason: Refusal::Gone, .. } => {
                Audience::Receiver
            }
            Self::Want { .. }
            | Self::Working { .. }
            | Self::Installed { .. }
            | Self::Refused { reason: Refusal::NotNeeded { .. } | Refusal::Busy | Refusal::Failed, .. } => {
                Audience::Sender
            }
        }
    }

    /// Encodes the message for the transport.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        match self {
            Self::Offer(manifest) => {
                out.put_u8(OFFER);
                out.put_slice(&manifest.encode());
            }
            Self::Want { snapshot, chunk } => {
                put_head(&mut out, WANT, *snapshot);
                out.put_u32_le(chunk.0);
            }
            Self::Chunk { snapshot, chunk, bytes } => {
                const HEAD: usize = 1 + 16 + 4;
                out.reserve(HEAD + bytes.len());
                put_head(&mut out, CHUNK, *snapshot);
                out.put_u32_le(chunk.0);
                out.put_slice(bytes);
            }
            Self::Working { snapshot } => put_head(&mut out, WORKING, *snapshot),
            Self::Installed { snapshot } => put_head(&mut out, INSTALLED, *snapshot),
            Self::Refused { snapshot, reason } => {
                put_head(&mut out, REFUSED, *snapshot);
                match reason {
                    Refusal::NotNeeded { have } => {
                        out.put_u8(NOT_NEEDED);
                        out.put_u64_le(have.0);
                    }
                    Refusal::Busy => out.put_u8(BUSY),
                    Refusal::Failed => out.put_u8(FAILED),
                    Refusal::Gone => out.put_u8(GONE),
                }
            }
        }
        out.freeze()
    }

    /// Decodes the output of [`encode`](Self::encode). A chunk shares the memory of `bytes` instead of copying it.
    ///
    /// # Errors
    /// The bytes are not a message of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let mut rest = bytes;
        let [version, kind] = take(&mut rest)?;
        if version != VERSION {
            return Err(MessageError::OtherVersion { found: version });
        }
        let message = match kind {
            OFFER => return Ok(Self::Offer(Manifest::decode(&rest)?)),
            CHUNK => {
                let (snapshot, chunk) = (take_id(&mut rest)?, take_chunk(&mut rest)?);
                if rest.len() > CHUNK_BYTES_MAX as usize {
                    return Err(MessageError::ChunkTooLong { got: rest.len() });
                }
                return Ok(Self::Chunk { snapshot, chunk, bytes: rest });
            }
            WANT => Self::Want { snapshot: take_id(&mut rest)?, chunk: take_chunk(&mut rest)? },
            WORKING => Self::Working { snapshot: take_id(&mut rest)? },
            INSTALLED => Self::Installed { snapshot: take_id(&mut rest)? },
            REFUSED => Self::Refused { snapshot: take_id(&mut rest)?, reason: take_reason(&mut rest)? },
            found => return Err(MessageError::UnknownKind { field: "message", found }),
        };
        if rest.is_empty() { Ok(message) } else { Err(MessageError::TrailingBytes { got: rest.len() }) }
    }
}

fn put_head(out: &mut BytesMut, kind: u8, snapshot: LogId) {
    out.put_u8(kind);
    out.put_u64_le(snapshot.term.0);
    out.put_u64_le(snapshot.index.0);
}

fn take_id(rest: &mut Bytes) -> Result<LogId, MessageError> {
    Ok(LogId::new(u64::from_le_bytes(take(rest)?), u64::from_le_bytes(take(rest)?)))
}

fn take_reason(rest: &mut Bytes) -> Result<Refusal, MessageError> {
    match take(rest)? {
        [NOT_NEEDED] => Ok(Refusal::NotNeeded { have: LogIndex(u64::from_le_bytes(take(rest)?)) }),
        [BUSY] => Ok(Refusal::Busy),
        [FAILED] => Ok(Refusal::Failed),
        [GONE] => Ok(Refusal::Gone),
        [found] => Err(MessageError::UnknownKind { field: "refusal", found }),
    }
}

/// Takes the number of a chunk.
fn take_chunk(rest: &mut Bytes) -> Result<ChunkNumber, MessageError> {
    take(rest).map(|bytes| ChunkNumber(u32::from_le_bytes(bytes)))
}

/// Takes the next `N` bytes.
fn take<const N: usize>(rest: &mut Bytes) -> Result<[u8; N], MessageError> {
    let head = *rest.first_chunk::<N>().ok_or(MessageError::Truncated { wanted: N, got: rest.len() })?;
    drop(rest.split_to(N));
    Ok(head)
}
