//! Commands and their answers, and their encoding in the log.

use bytes::{BufMut, Bytes, BytesMut};

/// Maximum length of a key in a command, in bytes.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// Maximum length of a value in a command, in bytes. Logs and servers have lower limits of their own; this limit keeps
/// every stored entry small enough for a record of a snapshot.
pub const VALUE_BYTES_MAX: usize = 256 << 20;

/// Version byte at the beginning of every command and answer.
const VERSION: u8 = 1;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_TREE: u8 = 3;
const DELETE_TREE_UP_TO: u8 = 4;

const ALWAYS: u8 = 0;
const CAS: u8 = 1;

const DONE: u8 = 1;
const MALFORMED: u8 = 2;
const TOO_MANY: u8 = 3;

/// A change of the store.
///
/// As bytes, little-endian, version 1 (`condition` is `0`, or `1` and the index as a `u64`):
///
/// ```text
/// put          1 | 1 | condition | flags u64 | key length u32 | key | value: the rest
/// delete       1 | 2 | condition | key: the rest
/// delete tree  1 | 3 | prefix: the rest                  where keys_max is none
///              1 | 4 | keys_max u32 | prefix: the rest
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Store a value.
    Put {
        /// The key to store the value under: not empty, at most [`KEY_BYTES_MAX`] bytes.
        key: String,
        /// The value to store: at most [`VALUE_BYTES_MAX`] bytes.
        value: Bytes,
        /// A number of the client's choice, stored beside the value.
        flags: u64,
        /// The condition for storing the value.
        condition: Condition,
    },
    /// Remove a key.
    Delete {
        /// The key to remove.
        key: String,
        /// The condition for removing the key.
        condition: Condition,
    },
    /// Remove every key that begins with a prefix.
    DeleteTree {
        /// The prefix of the keys to remove; the empty prefix means all keys.
        prefix: String,
        /// Maximum number of keys to remove; none means no limit. If more keys have the prefix, the command removes nothing
        /// and is answered [`Response::TooManyKeys`]: all keys of one command are removed in one step, during which no
        /// other command is applied. The limit is part of the command so that every node decides alike.
        keys_max: Option<u32>,
    },
}

/// The condition under which a command takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The command always takes effect.
    Always,
    /// The command takes effect only if the key's `ModifyIndex` equals this index (check and set). With index 0 a put takes
    /// effect only if the key does not exist, and a delete never removes an existing key.
    Cas(u64),
}

/// The answer to a command.
///
/// As bytes: `1 | 1 | 0 or 1` for done, `1 | 2` for malformed, `1 | 3` for too many keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The command was carried out if its condition held, which the flag says: Consul's answer `true` or `false`.
    Done(bool),
    /// The bytes are not a command of this version; nothing was changed.
    Malformed,
    /// More keys have the prefix than the command may remove; nothing was changed.
    TooManyKeys,
}

/// Why bytes are not a valid command or answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The encoding ends early.
    #[error("the encoding ends early: {wanted} more bytes were expected, {got} are left")]
    Truncated {
        /// Number of bytes that the next field needs.
        wanted: usize,
        /// Number of bytes that are left.
        got: usize,
    },
    /// The bytes were written by another version.
    #[error("unknown version {found}: only version {VERSION} is supported")]
    UnknownVersion {
        /// The version byte.
        found: u8,
    },
    /// A byte that selects a variant has a value without a meaning.
    #[error("unknown {field} {found}")]
    UnknownKind {
        /// The field that the byte is in.
        field: &'static str,
        /// The value of the byte.
        found: u8,
    },
    /// The key is not UTF-8.
    #[error("the key is not UTF-8 after {valid} bytes")]
    KeyNotUtf8 {
        /// Number of bytes at the beginning of the key that are valid UTF-8.
        valid: usize,
    },
    /// The key is empty or too long.
    #[error("a key has {got} bytes; 1 to {KEY_BYTES_MAX} are allowed")]
    KeyLength {
        /// Length of the key in bytes.
        got: usize,
    },
    /// The value is too long.
    #[error("a value has {got} bytes; at most {VALUE_BYTES_MAX} are allowed")]
    ValueLength {
        /// Length of the value in bytes.
        got: usize,
    },
    /// Bytes follow the end of an answer.
    #[error("{got} bytes follow the end of the answer")]
    TrailingBytes {
        /// Number of surplus bytes.
        got: usize,
    },
}

impl Command {
    /// Encodes the command.
    ///
    /// # Panics
    /// The key is longer than 4 GiB.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        out.put_u8(VERSION);
        match self {
            Self::Put { key, value, flags, condition } => {
                out.put_u8(PUT);
                condition.encode(&mut out);
                out.put_u64_le(*flags);
                out.put_u32_le(u32::try_from(key.len()).expect("a key is far shorter than 4 GiB"));
                out.put_slice(key.as_bytes());
                out.put_slice(value);
            }
            Self::Delete { key, condition } => {
                out.put_u8(DELETE);
                condition.encode(&mut out);
                out.put_slice(key.as_bytes());
            }
            Self::DeleteTree { prefix, keys_max } => {
                match keys_max {
                    None => out.put_u8(DELETE_TREE),
                    Some(keys_max) => {
                        out.put_u8(DELETE_TREE_UP_TO);
                        out.put_u32_le(*keys_max);
                    }
                }
                out.put_slice(prefix.as_bytes());
            }
        }
        out.freeze()
    }

    /// Upper bound on the length of the encoded command, in bytes.
    fn encoded_len(&self) -> usize {
        const FIXED: usize = 2 + 9 + 8 + 4;
        FIXED
            + match self {
                Self::Put { key, value, .. } => key.len() + value.len(),
                Self::Delete { key, .. } => key.len(),
                Self::DeleteTree { prefix, .. } => prefix.len(),
            }
    }

    /// Decodes a command. Its value shares the memory of `bytes` and is not copied.
    ///
    /// # Errors
    /// The bytes are not a command of this version, or hold a key that is empty or too long or a value that is too long.
    pub fn decode(bytes: Bytes) -> Result<Self, CodecError> {
        let mut rest = bytes;
        version(&mut rest)?;
        let [kind] = take(&mut rest)?;
        match kind {
            PUT => {
                let condition = Condition::decode(&mut rest)?;
                let flags = u64::from_le_bytes(take(&mut rest)?);
                let length = u32::from_le_bytes(take(&mut rest)?) as usize;
                if length > rest.len() {
                    return Err(CodecError::Truncated { wanted: length, got: rest.len() });
                }
                let key = key(&rest.split_to(length), 1)?;
                if rest.len() > VALUE_BYTES_MAX {
                    return Err(CodecError::ValueLength { got: rest.len() });
                }
                Ok(Self::Put { key, value: rest, flags, condition })
            }
            DELETE => {
                let condition = Condition::decode(&mut rest)?;
                Ok(Self::Delete { key: key(&rest, 1)?, condition })
            }
            DELETE_TREE => Ok(Self::DeleteTree { prefix: key(&rest, 0)?, keys_max: None }),
            DELETE_TREE_UP_TO => {
                let keys_max = Some(u32::from_le_bytes(take(&mut rest)?));
                Ok(Self::DeleteTree { prefix: key(&rest, 0)?, keys_max })
            }
            found => Err(CodecError::UnknownKind { field: "command", found }),
        }
    }
}

impl Condition {
    fn encode(self, out: &mut BytesMut) {
        match self {
            Self::Always => out.put_u8(ALWAYS),
            Self::Cas(index) => {
                out.put_u8(CAS);
                out.put_u64_le(index);
            }
        }
    }

    fn decode(rest: &mut Bytes) -> Result<Self, CodecError> {
        match take(rest)? {
            [ALWAYS] => Ok(Self::Always),
            [CAS] => Ok(Self::Cas(u64::from_le_bytes(take(rest)?))),
            [found] => Err(CodecError::UnknownKind { field: "condition", found }),
        }
    }
}

impl Response {
    /// Encodes the answer.
    #[must_use]
    pub fn encode(self) -> Bytes {
        match self {
            Self::Done(true) => Bytes::from_static(&[VERSION, DONE, 1]),
            Self::Done(false) => Bytes::from_static(&[VERSION, DONE, 0]),
            Self::Malformed => Bytes::from_static(&[VERSION, MALFORMED]),
            Self::TooManyKeys => Bytes::from_static(&[VERSION, TOO_MANY]),
        }
    }

    /// Decodes an answer.
    ///
    /// # Errors
    /// The bytes are not an answer of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, CodecError> {
        let mut rest = bytes;
        version(&mut rest)?;
        let [kind] = take(&mut rest)?;
        let response = match kind {
            DONE => match take(&mut rest)? {
                [0] => Self::Done(false),
                [1] => Self::Done(true),
                [found] => return Err(CodecError::UnknownKind { field: "outcome", found }),
            },
            MALFORMED => Self::Malformed,
            TOO_MANY => Self::TooManyKeys,
            found => return Err(CodecError::UnknownKind { field: "answer", found }),
        };
        if rest.is_empty() { Ok(response) } else { Err(CodecError::TrailingBytes { got: rest.len() }) }
    }
}

fn version(rest: &mut Bytes) -> Result<(), CodecError> {
    match take(rest)? {
        [VERSION] => Ok(()),
        [found] => Err(CodecError::UnknownVersion { found }),
    }
}

/// Takes the next `N` bytes.
fn take<const N: usize>(rest: &mut Bytes) -> Result<[u8; N], CodecError> {
    let head = *rest.first_chunk::<N>().ok_or(CodecError::Truncated { wanted: N, got: rest.len() })?;
    drop(rest.split_to(N));
    Ok(head)
}

/// Decodes a key, or a prefix, which may be empty, with `least` 0.
fn key(bytes: &[u8], least: usize) -> Result<String, CodecError> {
    if bytes.len() < least || bytes.len() > KEY_BYTES_MAX {
        return Err(CodecError::KeyLength { got: bytes.len() });
    }
    let key =
        std::str::from_utf8(bytes).map_err(|error| CodecError::KeyNotUtf8 { valid: error.valid_up_to() })?;
    Ok(key.to_owned())
}
