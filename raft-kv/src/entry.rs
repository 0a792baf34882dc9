//! The entry of one key: what readers see, and how it is stored.

use bytes::Bytes;
use raftkit_replica::MachineError;

/// A key with its value and its indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// A number of the client's choice.
    pub flags: u64,
    /// Log index of the command that created the key; a key that was deleted and stored again has a new one.
    pub create_index: u64,
    /// Log index of the last command that changed the key.
    pub modify_index: u64,
    /// Number of times that a lock on the key was acquired.
    pub lock_index: u64,
    /// The session that holds the lock, if a session does.
    pub session: Option<String>,
}

/// A key with its value and its indexes, borrowed from redb's pages. [`KvEntry`] describes the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of KvEntry")]
pub struct KvEntryRef<'a> {
    pub key: &'a str,
    pub value: &'a [u8],
    pub flags: u64,
    pub create_index: u64,
    pub modify_index: u64,
    pub lock_index: u64,
    pub session: Option<&'a str>,
}

/// The fields that are stored in front of the value.
///
/// As bytes, little-endian, before the value:
/// `flags u64 | create u64 | modify u64 | lock u64 | session length u8 (0: none) | session`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) flags: u64,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    pub(crate) lock_index: u64,
    pub(crate) session: &'a str,
}

/// Length of a header without its session, in bytes.
const FIXED: usize = 4 * 8 + 1;

impl<'a> Header<'a> {
    /// Length of the header, in bytes.
    pub(crate) fn len(&self) -> usize {
        FIXED + self.session.len()
    }

    /// Writes the header and `value` into `target`, which must be exactly as long as both.
    pub(crate) fn write(&self, value: &[u8], target: &mut [u8]) {
        let (header, body) = target.split_at_mut(self.len());
        let numbers = [self.flags, self.create_index, self.modify_index, self.lock_index];
        for (slot, number) in header.chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        header[FIXED - 1] = u8::try_from(self.session.len()).expect("a session id has at most 255 bytes");
        header[FIXED..].copy_from_slice(self.session.as_bytes());
        body.copy_from_slice(value);
    }

    /// Splits stored bytes into header and value; none if the bytes do not hold an entry.
    pub(crate) fn read(stored: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (fixed, rest) = stored.split_first_chunk::<FIXED>()?;
        let number = |at: usize| {
            let bytes = fixed[8 * at..].first_chunk::<8>().expect("four numbers precede the last byte");
            u64::from_le_bytes(*bytes)
        };
        let (session, value) = rest.split_at_checked(usize::from(fixed[FIXED - 1]))?;
        let header = Self {
            flags: number(0),
            create_index: number(1),
            modify_index: number(2),
            lock_index: number(3),
            session: std::str::from_utf8(session).ok()?,
        };
        Some((header, value))
    }

    /// Splits the bytes that are stored under `key` into header and value.
    ///
    /// # Errors
    /// The bytes do not hold an entry.
    pub(crate) fn of(key: &str, stored: &'a [u8]) -> Result<(Self, &'a [u8]), MachineError> {
        Self::read(stored).ok_or_else(|| MachineError::Damaged {
            what: format!("the {} bytes stored under key {key:?} are no entry", stored.len()),
        })
    }
}

impl<'a> KvEntryRef<'a> {
    /// Decodes the entry that is stored under `key`.
    pub(crate) fn load(key: &'a str, stored: &'a [u8]) -> Result<Self, MachineError> {
        let (header, value) = Header::of(key, stored)?;
        Ok(Self {
            key,
            value,
            flags: header.flags,
            create_index: header.create_index,
            modify_index: header.modify_index,
            lock_index: header.lock_index,
            session: (!header.session.is_empty()).then_some(header.session),
        })
    }

    /// The beginning of the key that ends with the first `separator` at or after byte `from`, or the whole key if it has no
    /// `separator` there.
    ///
    /// # Panics
    /// `from` is not on a character boundary of the key.
    #[must_use]
    pub fn name_up_to(&self, from: usize, separator: &str) -> &'a str {
        match self.key[from..].find(separator) {
            Some(at) => &self.key[..from + at + separator.len()],
            None => self.key,
        }
    }

    /// Copies the entry with its key and value.
    #[must_use]
    pub fn to_entry(self) -> KvEntry {
        KvEntry {
            key: self.key.to_owned(),
            value: Bytes::copy_from_slice(self.value),
            flags: self.flags,
            create_index: self.create_index,
            modify_index: self.modify_index,
            lock_index: self.lock_index,
            session: self.session.map(str::to_owned),
        }
    }
}

impl KvEntry {
    /// Decodes the entry that is stored under `key` and copies its value.
    pub(crate) fn load(key: &str, stored: &[u8]) -> Result<Self, MachineError> {
        Ok(KvEntryRef::load(key, stored)?.to_entry())
    }

    /// Borrows the entry.
    #[must_use]
    pub fn borrowed(&self) -> KvEntryRef<'_> {
        KvEntryRef {
            key: &self.key,
            value: &self.value,
            flags: self.flags,
            create_index: self.create_index,
            modify_index: self.modify_index,
            lock_index: self.lock_index,
            session: self.session.as_deref(),
        }
    }
}
