//! Commands and their answers, as they stand in the log.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest key that a command may name, in bytes.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// The longest value that a command may carry, in bytes. Logs and servers have lower limits of their own; this one keeps
/// what is stored within what a snapshot can hold.
pub const VALUE_BYTES_MAX: usize = 256 << 20;

/// The version byte that every command and answer begins with.
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
        /// Under this key: not empty, at most [`KEY_BYTES_MAX`] bytes.
        key: String,
        /// The value: at most [`VALUE_BYTES_MAX`] bytes.
        value: Bytes,
        /// A number of the client's own, stored beside the value.
        flags: u64,
        /// When to store it.
        condition: Condition,
    },
    /// Remove a key.
    Delete {
        /// Which.
        key: String,
        /// When to remove it.
        condition: Condition,
    },
    /// Remove every key that begins with a prefix.
    DeleteTree {
        /// The prefix; empty means all keys.
        prefix: String,
        /// With more keys than this nothing is removed, and the answer is [`Response::TooManyKeys`]: what is removed by
        /// one command is removed in one step, during which no other command is applied. Part of the command, so that
        /// every node decides alike. None: however many there are.
        keys_max: Option<u32>,
    },
}

/// When a command takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// In any case.
    Always,
    /// Only while the key's `ModifyIndex` is this (check and set). 0 on a put: only while there is no such key; 0 on a
    /// delete: never, where the key is there.
    Cas(u64),
}

/// What a command came to.
///
/// As bytes: `1 | 1 | 0 or 1` for done, `1 | 2` for malformed, `1 | 3` for too many keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Whether its condition held: what Consul answers as `true` or `false`.
    Done(bool),
    /// The bytes were no command of this version; nothing was changed.
    Malformed,
    /// The tree has more keys than the command may remove; nothing was changed.
    TooManyKeys,
}

/// Why bytes are no command or answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end early.
    #[error("the bytes end early: {wanted} more were expected, {got} are there")]
    Truncated {
        /// How many the next field needs.
        wanted: usize,
        /// How many are left.
        got: usize,
    },
    /// Written by another version.
    #[error("version {found} is not known, only {VERSION} is")]
    UnknownVersion {
        /// The version byte.
        found: u8,
    },
    /// A kind byte without a meaning.
    #[error("the {field} {found} is not known")]
    UnknownKind {
        /// Which field it stands in.
        field: &'static str,
        /// The byte.
        found: u8,
    },
    /// A key that is not UTF-8.
    #[error("the key is not UTF-8 after {valid} bytes")]
    KeyNotUtf8 {
        /// How many bytes are.
        valid: usize,
    },
    /// A key that may not be: empty or too long.
    #[error("a key has {got} bytes; 1 to {KEY_BYTES_MAX} are allowed")]
    KeyLength {
        /// Its length in bytes.
        got: usize,
    },
    /// A value that is too long.
    #[error("a value has {got} bytes; at most {VALUE_BYTES_MAX} are allowed")]
    ValueLength {
        /// Its length in bytes.
        got: usize,
    },
    /// Bytes follow where none may.
    #[error("{got} bytes follow where none may")]
    TrailingBytes {
        /// How many.
        got: usize,
    },
}

impl Command {
    /// The command as bytes.
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

    /// At least the number of bytes that [`encode`](Self::encode) makes.
    fn encoded_len(&self) -> usize {
        const FIXED: usize = 2 + 9 + 8 + 4;
        FIXED
            + match self {
                Self::Put { key, value, .. } => key.len() + value.len(),
                Self::Delete { key, .. } => key.len(),
                Self::DeleteTree { prefix, .. } => prefix.len(),
            }
    }

    /// Reads what [`encode`](Self::encode) made. The value shares `bytes`: it is not copied.
    ///
    /// # Errors
    /// The bytes are no command of this version, name a key that is empty or too long, or carry a value
    /// that is too long.
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
    /// The answer as bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        match self {
            Self::Done(true) => Bytes::from_static(&[VERSION, DONE, 1]),
            Self::Done(false) => Bytes::from_static(&[VERSION, DONE, 0]),
            Self::Malformed => Bytes::from_static(&[VERSION, MALFORMED]),
            Self::TooManyKeys => Bytes::from_static(&[VERSION, TOO_MANY]),
        }
    }

    /// Reads what [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// The bytes are no answer of this version.
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

/// A key, or with `least` 0 a prefix.
fn key(bytes: &[u8], least: usize) -> Result<String, CodecError> {
    if bytes.len() < least || bytes.len() > KEY_BYTES_MAX {
        return Err(CodecError::KeyLength { got: bytes.len() });
    }
    let key =
        std::str::from_utf8(bytes).map_err(|error| CodecError::KeyNotUtf8 { valid: error.valid_up_to() })?;
    Ok(key.to_owned())
}
