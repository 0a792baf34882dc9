//! The tables in `state.redb`, and the meta record.

use raftkit_core::LogId;
use raftkit_replica::MachineError;
use redb::{ReadableTable, TableDefinition};

use crate::fault::{Fault, damaged};

/// Maps a key to its header and value; see [`Header`](crate::entry::Header).
pub(crate) const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
/// Maps (index of the deletion, deleted key) to the create index that the key had.
pub(crate) const TOMBSTONES: TableDefinition<'_, (u64, &str), u64> = TableDefinition::new("tombstones");
/// Maps a deleted key to the index of its newest deletion. The table can be derived from [`TOMBSTONES`]; the index of a
/// prefix is read from it without reading all tombstones.
pub(crate) const GRAVES: TableDefinition<'_, &str, u64> = TableDefinition::new("graves");
/// Holds one record, [`Meta`].
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The key of the one record in [`META`].
pub(crate) const META_KEY: &str = "meta";

/// Newest format of the tables that this version reads, and the format that it writes.
pub(crate) const FORMAT: u32 = 1;

const MAGIC: [u8; 4] = *b"RKKV";
const LENGTH: usize = 4 + 4 + 4 * 8 + 4;

/// Facts about the state as a whole. The record is written in the same transaction as the changes that it describes.
///
/// As bytes, little-endian:
/// `"RKKV" | format u32 | applied term u64 | applied index u64 | changed u64 | floor u64 | CRC-32 of all before u32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The last entry whose effects the state shows.
    pub(crate) applied: LogId,
    /// Index of the last entry that changed a key; Consul calls it the table's index.
    pub(crate) changed: u64,
    /// Index of the newest tombstone that was dropped: tombstones at or below it may be missing.
    pub(crate) floor: u64,
}

impl Meta {
    /// The table's index as readers see it. It is at least 1, because 0 means "do not block" to a client.
    pub(crate) fn visible(&self) -> u64 {
        self.changed.max(1)
    }

    /// Reads the record from its table.
    pub(crate) fn load(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Self, Fault> {
        let stored = table.get(META_KEY)?.ok_or_else(|| damaged("the meta record is missing"))?;
        Self::decode(stored.value()).map_err(Fault)
    }

    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut out = [0; LENGTH];
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&FORMAT.to_le_bytes());
        let numbers = [self.applied.term.0, self.applied.index.0, self.changed, self.floor];
        for (slot, number) in out[8..LENGTH - 4].chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32fast::hash(&out[..LENGTH - 4]);
        out[LENGTH - 4..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(stored: &[u8]) -> Result<Self, MachineError> {
        let damaged = |what: String| MachineError::Damaged { what };
        if stored.get(..4) != Some(&MAGIC[..]) {
            return Err(damaged("the meta record does not begin with its magic bytes".into()));
        }
        // Check the format before length and checksum: a newer format may have another layout.
        let found =
            stored.get(4..8).and_then(|bytes| bytes.first_chunk::<4>()).map_or(0, |b| u32::from_le_bytes(*b));
        if found > FORMAT {
            return Err(MachineError::NewerFormat { found, supported: FORMAT });
        }
        let record: &[u8; LENGTH] = stored
            .try_into()
            .map_err(|_| damaged(format!("the meta record has {} bytes, not {LENGTH}", stored.len())))?;
        let (body, checksum) = record.split_at(LENGTH - 4);
        if crc32fast::hash(body).to_le_bytes() != checksum || found != FORMAT {
            return Err(damaged("the meta record's checksum does not match".into()));
        }
        let mut numbers = body[8..]
            .chunks_exact(8)
            .map(|chunk| u64::from_le_bytes(*chunk.first_chunk().expect("a chunk has eight bytes")));
        let mut next = || numbers.next().expect("the record holds four numbers");
        Ok(Self { applied: LogId::new(next(), next()), changed: next(), floor: next() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn meta_comes_back_and_any_changed_bit_is_seen() {
        let meta = Meta { applied: LogId::new(2, 30), changed: 29, floor: 4 };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes).unwrap(), meta);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            Meta::decode(&changed).unwrap_err();
        }
        for length in 0..bytes.len() {
            Meta::decode(&bytes[..length]).unwrap_err();
        }
    }

    #[test]
    fn newer_format_is_named_whatever_follows() {
        let mut bytes = Meta::default().encode().to_vec();
        bytes[4] = 2;
        bytes.push(0);
        let error = Meta::decode(&bytes).unwrap_err();
        assert!(matches!(error, MachineError::NewerFormat { found: 2, supported: FORMAT }), "{error}");
    }
}
