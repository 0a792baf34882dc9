//! One key's entry: as readers see it and as it is stored.

use bytes::Bytes;
use raftkit_replica::MachineError;

/// A key with its value and its indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// A number of the client's own.
    pub flags: u64,
    /// The log index of the entry that made the key; it starts anew when the key was deleted in between.
    pub create_index: u64,
    /// The log index of the last entry that changed the key.
    pub modify_index: u64,
    /// How often a lock on the key was acquired.
    pub lock_index: u64,
    /// The session that holds the lock.
    pub session: Option<String>,
}

/// A key with its value and its indexes, as it is read in place: see [`KvEntry`] for the fields.
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

/// What is stored beside the value.
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

/// The header's length without the session.
const FIXED: usize = 4 * 8 + 1;

impl<'a> Header<'a> {
    /// The header's length in bytes.
    pub(crate) fn len(&self) -> usize {
        FIXED + self.session.len()
    }

    /// Writes the header and `value` into `target`, which is as long as both.
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

    /// Splits stored bytes into header and value; none when they are neither.
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

    /// As [`read`](Self::read), of what the store holds under `key`.
    pub(crate) fn of(key: &str, stored: &'a [u8]) -> Result<(Self, &'a [u8]), MachineError> {
        Self::read(stored).ok_or_else(|| MachineError::Damaged {
            what: format!("the {} bytes stored under key {key:?} are no entry", stored.len()),
        })
    }
}

impl<'a> KvEntryRef<'a> {
    /// The entry stored under `key`.
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

    /// The key up to and with the first `separator` at or after the byte `from`; all of it without one.
    ///
    /// # Panics
    /// `from` is not on a character's boundary of the key.
    #[must_use]
    pub fn name_up_to(&self, from: usize, separator: &str) -> &'a str {
        match self.key[from..].find(separator) {
            Some(at) => &self.key[..from + at + separator.len()],
            None => self.key,
        }
    }

    /// The same by itself; copies key and value.
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
    /// The entry stored under `key`; copies the value.
    pub(crate) fn load(key: &str, stored: &[u8]) -> Result<Self, MachineError> {
        Ok(KvEntryRef::load(key, stored)?.to_entry())
    }

    /// The same, borrowed.
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
