//! The journal: a zero-filled ring of chained records in front of redb. One record and one sync make a flush durable.
//!
//! ```text
//! offset 0      witness A    (witness.rs)
//! offset 4096   witness B
//! offset 8192   the ring: records, each from a sector's start on    (record.rs)
//! ```
//!
//! Positions count up without wrapping; the offset in the ring is the position modulo the ring's length. A stretch of
//! the ring is overwritten only after two later commits of redb are durable: if the newest commit is rotten, redb falls
//! back to the one before, and the ring must still hold everything since then.

pub(crate) mod claim;
pub(crate) mod image;
mod parts;
mod recheck;
pub(crate) mod record;
pub(crate) mod sealed;
pub(crate) mod witness;

use std::io;
use std::path::Path;
use std::sync::Arc;

use raftkit_core::{HardState, LogId};
use raftkit_disk::{Disk, DiskFile, create_aside, replace_durably};

use crate::layout::{Identity, Mark};
use recheck::{Meant, assert_says};
use record::{Encoder, Seal};
use witness::Witness;

/// Name of the journal's file in the log's folder.
pub(crate) const FILE: &str = "journal";
/// Name of the file while the journal is being created.
const FILE_IN_THE_MAKING: &str = "journal.new";
/// The unit that a disk writes atomically, in bytes. No two records share a sector, so a torn write damages no earlier
/// record.
pub(crate) const SECTOR: usize = 512;
/// Offset of the ring in the file, in bytes.
pub(crate) const RING_START: u64 = 8192;
/// Minimum length of the ring, in bytes.
pub(crate) const RING_BYTES_MIN: u64 = 16 << 10;

/// Returns the initial value of record checksums. It depends on the store id, so that nobody who does not know the id
/// can craft a payload that looks like a record.
pub(crate) fn salt(identity: &Identity) -> u64 {
    let bytes = identity.store.0.to_le_bytes();
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// Returns the length of a record padded to whole sectors, in bytes.
pub(crate) fn padded(len: usize) -> usize {
    len.next_multiple_of(SECTOR)
}

/// Returns the position of a record of `len` padded bytes that starts at or after `at`. Records never wrap around the
/// end of the ring.
pub(crate) fn place(at: u64, len: u64, ring: u64) -> u64 {
    let offset = at % ring;
    if offset + len > ring { at + (ring - offset) } else { at }
}

/// The open journal, to append to.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<dyn DiskFile>,
    ring: u64,
    salt: u64,
    next: Mark,
    witness: Witness,
    encoder: Encoder,
}

impl Journal {
    /// Opens the journal in `file`, to continue at `next`. `witness` is the newest witness in the file.
    pub(crate) fn new(file: Arc<dyn DiskFile>, next: Mark, witness: Witness) -> Self {
        let salt = salt(&witness.identity);
        Self { file, ring: witness.ring, salt, next, witness, encoder: Encoder::default() }
    }

    /// Returns the position up to which the journal is written.
    pub(crate) fn mark(&self) -> Mark {
        self.next
    }

    /// Returns the maximum length of a record, in bytes. A record of this length always fits once everything else is
    /// settled.
    pub(crate) fn record_bytes_max(&self) -> usize {
        usize::try_from(self.ring / 4).unwrap_or(usize::MAX)
    }

    /// Returns true if a record of `len` bytes fits without overwriting anything from position `floor` on.
    pub(crate) fn has_room(&self, len: usize, floor: u64) -> bool {
        let len = padded(len) as u64;
        place(self.next.at, len, self.ring) + len - floor <= self.ring
    }

    /// Builds a record, filled by `body`, without writing it. Returns the journal position after it.
    pub(crate) fn prepare(
        &mut self,
        hard_state: &HardState,
        last: LogId,
        body: impl FnOnce(&mut Encoder),
    ) -> Mark {
        self.encoder.begin(hard_state, last);
        body(&mut self.encoder);
        let len = self.encoder.padded() as u64;
        let at = place(self.next.at, len, self.ring);
        let seq = self.next.seq + 1;
        let Seal { sum, body_bytes } = self.encoder.seal(self.salt, seq, at, self.next.sum);
        let mark = Mark { seq, at: at + len, sum };
        let meant = Meant { start: at, prev: self.next.sum, mark, body_bytes, hard_state: *hard_state, last };
        assert_says(self.encoder.bytes(), self.salt, &meant);
        mark
    }

    /// Writes the prepared record durably.
    pub(crate) fn commit(&mut self, mark: Mark) -> io::Result<()> {
        let bytes = self.encoder.bytes();
        let at = mark.at - bytes.len() as u64;
        assert_eq!(mark.seq, self.next.seq + 1, "records are written in the order of their numbers");
        assert!(at >= self.next.at, "a record does not overwrite the one before it");
        assert!(
            at % self.ring + bytes.len() as u64 <= self.ring,
            "a record does not wrap around the ring's end"
        );
        let place = RING_START + at % self.ring;
        self.file.write_durably(place, bytes)?;
        self.next = mark;
        Ok(())
    }

    /// Returns true if the journal has records that the witness does not cover.
    pub(crate) fn wants_witness(&self) -> bool {
        self.witness.mark != self.next
    }

    /// Writes the journal position durably into a witness, beside the ring. A damaged record below that position is
    /// then known to be rotten, not torn.
    pub(crate) fn write_witness(
        &mut self,
        identity: &Identity,
        hard_state: HardState,
        last: LogId,
    ) -> io::Result<()> {
        let witness = Witness {
            generation: self.witness.generation + 1,
            identity: *identity,
            ring: self.ring,
            mark: self.next,
            last,
            hard_state,
        };
        assert!(witness.mark.seq >= self.witness.mark.seq, "a witness does not go back");
        let sector = witness.encode();
        let read = Witness::decode(&sector).expect("a witness that was just encoded matches its checksum");
        assert!(read.says_the_same_as(&witness), "{read:?} is read back as {witness:?}");
        self.file.write_durably(witness.offset(), &sector)?;
        self.witness = witness;
        Ok(())
    }

    /// Returns the file's length in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        RING_START + self.ring
    }
}

/// Creates an empty journal under a temporary name and renames it once it is whole and durable. `first` is the
/// journal's first witness.
pub(crate) fn make(disk: &dyn Disk, dir: &Path, first: &Witness) -> io::Result<()> {
    let new = dir.join(FILE_IN_THE_MAKING);
    let file = create_aside(disk, &new)?;
    // Write zeros instead of leaving a hole: a durable write into a hole makes the file system sync its own metadata
    // every time.
    let zeros = vec![0; 1 << 20];
    let end = RING_START + first.ring;
    let mut at = 0;
    while at < end {
        let part = zeros.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        file.write_at(at, &zeros[..part])?;
        at += part as u64;
    }
    for generation in [0, 1] {
        let witness = Witness { generation, ..*first };
        file.write_at(witness.offset(), &witness.encode())?;
    }
    Ok(replace_durably(disk, &*file, &new, &dir.join(FILE))?)
}
