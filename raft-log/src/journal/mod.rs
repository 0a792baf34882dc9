//! The journal: a zero-filled ring of chained records in front of redb. One record and one sync make a flush durable.
//!
//! ```text
//! offset 0      witness A    (witness.rs)
//! offset 4096   witness B
//! offset 8192   the ring: records, each from a sector's start on    (record.rs)
//! ```
//!
//! A record's place is counted without end; the ring is that number modulo its length. A stretch is written again only
//! when two later commits of redb are durable: should the newest of them be rotten, redb falls back to the one before,
//! and all since then is still here.

pub(crate) mod image;
pub(crate) mod record;
pub(crate) mod witness;

use std::io;
use std::path::Path;
use std::sync::Arc;

use raftkit_core::{HardState, LogId};
use raftkit_disk::{Disk, DiskFile, OpenMode};

use crate::tables::Identity;
use record::Encoder;
use witness::Witness;

/// The journal's file in the log's folder.
pub(crate) const FILE: &str = "journal";
/// The name under which it is made.
const FILE_IN_THE_MAKING: &str = "journal.new";
/// The unit that a medium writes as a whole, in bytes. No two records share one: a torn write harms no earlier record.
pub(crate) const SECTOR: usize = 512;
/// Where the ring starts.
pub(crate) const RING_START: u64 = 8192;
/// The shortest ring.
pub(crate) const RING_BYTES_MIN: u64 = 16 << 10;

/// A point between two records: up to where something holds what the journal holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The record before it; 0 where there is none.
    pub(crate) seq: u64,
    /// Where the next record may start, counted without end.
    pub(crate) at: u64,
    /// The checksum of the record before it.
    pub(crate) sum: u64,
}

/// What a record's checksum starts from: no payload can be made to look like a record without knowing it.
pub(crate) fn salt(identity: &Identity) -> u64 {
    let bytes = identity.store.0.to_le_bytes();
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// The padded length of a record, in bytes.
pub(crate) fn padded(len: usize) -> usize {
    len.next_multiple_of(SECTOR)
}

/// The place of a record of `len` padded bytes after `at`: records do not go around the ring's end.
pub(crate) fn place(at: u64, len: u64, ring: u64) -> u64 {
    let offset = at % ring;
    if offset + len > ring { at + (ring - offset) } else { at }
}

/// The open journal, for the one who appends.
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
    /// The journal in `file`, which goes on at `next`; `witness` is the newest one in it.
    pub(crate) fn new(file: Arc<dyn DiskFile>, next: Mark, witness: Witness) -> Self {
        let salt = salt(&witness.identity);
        Self { file, ring: witness.ring, salt, next, witness, encoder: Encoder::default() }
    }

    /// Up to where it is written.
    pub(crate) fn mark(&self) -> Mark {
        self.next
    }

    /// The longest record that it takes, in bytes: of this length there is always room once all else is settled.
    pub(crate) fn record_bytes_max(&self) -> usize {
        usize::try_from(self.ring / 4).unwrap_or(usize::MAX)
    }

    /// True when a record of `len` bytes fits without touching what is from `floor` on.
    pub(crate) fn has_room(&self, len: usize, floor: u64) -> bool {
        let len = padded(len) as u64;
        place(self.next.at, len, self.ring) + len - floor <= self.ring
    }

    /// Makes a record, not yet written, and says up to where the journal will be with it. `body` fills it.
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
        let sum = self.encoder.seal(self.salt, seq, at, self.next.sum);
        Mark { seq, at: at + len, sum }
    }

    /// Writes the record that was prepared, durably.
    pub(crate) fn commit(&mut self, mark: Mark) -> io::Result<()> {
        let bytes = self.encoder.bytes();
        let at = mark.at - bytes.len() as u64;
        let place = RING_START + at % self.ring;
        self.file.write_durably(place, bytes)?;
        self.next = mark;
        Ok(())
    }

    /// True when there is something that the witness does not know.
    pub(crate) fn wants_witness(&self) -> bool {
        self.witness.mark != self.next
    }

    /// Writes down, durably and beside the ring, up to where the journal is: a record below that cannot be taken for a
    /// torn one.
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
        self.file.write_durably(witness.offset(), &witness.encode())?;
        self.witness = witness;
        Ok(())
    }

    /// The file's length in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        RING_START + self.ring
    }
}

/// Makes an empty journal under another name, and gives it its own once it is whole and durable. The folder is left to be
/// synced. `first` is what it says of itself.
pub(crate) fn make(disk: &dyn Disk, dir: &Path, first: &Witness) -> io::Result<()> {
    let new = dir.join(FILE_IN_THE_MAKING);
    disk.remove_if_there(&new)?;
    let file = disk.open(&new, OpenMode::New)?;
    // Zeros that are written, not a hole: a write into a hole costs the file system its own sync each time.
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
    file.sync()?;
    disk.rename(&new, &dir.join(FILE))
}
