//! Snapshots: the state as one stream of bytes, written from one view and restored in one write transaction.
//!
//! The layout, little-endian:
//!
//! ```text
//! header     "RKKVSNAP" | format u32 | term u64 | index u64 | changed u64 | floor u64
//! entry      1 | key length u32 | key | length u32 | header and value as stored     ascending by key
//! tombstone  2 | index u64 | create index u64 | key length u32 | key                ascending by index, then key
//! end        0 | entries u64 | tombstones u64 | CRC-32 of all before u32
//! ```
//!
//! The order of records is strict, so the same state always gives the same bytes.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::{Bound, ControlFlow};

use raftkit_core::LogId;
use raftkit_replica::{MachineError, SnapshotView};

use crate::command::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::entry::Header;
use crate::fault::{Fault, damaged, guard};
use crate::store::Restoring;
use crate::tables::{FORMAT, Meta};
use crate::view::View;

const MAGIC: [u8; 8] = *b"RKKVSNAP";
const END: u8 = 0;
const ENTRY: u8 = 1;
const TOMBSTONE: u8 = 2;

/// Maximum length of a stored entry, its header and value, in bytes.
const ENTRY_BYTES_MAX: usize = VALUE_BYTES_MAX + 1024;

/// Size of the buffer between the stream and its target or source, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// The state as of one entry, to be written out.
pub(crate) struct FrozenState {
    view: View,
}

impl FrozenState {
    pub(crate) fn new(view: View) -> Self {
        Self { view }
    }
}

impl SnapshotView for FrozenState {
    fn id(&self) -> LogId {
        self.view.meta.applied
    }

    fn write_to(self: Box<Self>, target: &mut dyn Write) -> Result<(), MachineError> {
        guard(|| {
            let mut out = SummedWriter::new(target);
            write_header(&mut out, &self.view.meta)?;
            let entries = self.write_entries(&mut out)?;
            let tombstones = self.write_tombstones(&mut out)?;
            out.put(&[END])?;
            out.put(&entries.to_le_bytes())?;
            out.put(&tombstones.to_le_bytes())?;
            out.finish()
        })
    }
}

impl FrozenState {
    fn write_entries(&self, out: &mut SummedWriter<'_>) -> Result<u64, Fault> {
        let mut count = 0_u64;
        self.view.scan("", Bound::Unbounded, |key, stored| {
            out.put(&[ENTRY])?;
            out.put_sized(key.as_bytes())?;
            out.put_sized(stored)?;
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    fn write_tombstones(&self, out: &mut SummedWriter<'_>) -> Result<u64, Fault> {
        let mut count = 0_u64;
        self.view.tombstones(|index, key, created| {
            out.put(&[TOMBSTONE])?;
            out.put(&index.to_le_bytes())?;
            out.put(&created.to_le_bytes())?;
            out.put_sized(key.as_bytes())?;
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }
}

fn write_header(out: &mut SummedWriter<'_>, meta: &Meta) -> Result<(), Fault> {
    out.put(&MAGIC)?;
    out.put(&FORMAT.to_le_bytes())?;
    for number in [meta.applied.term.0, meta.applied.index.0, meta.changed, meta.floor] {
        out.put(&number.to_le_bytes())?;
    }
    Ok(())
}

/// Reads the snapshot of the entry `id` into empty tables. Returns the meta record of its state.
pub(crate) fn read_into(tables: &mut Restoring<'_>, id: LogId, source: &mut dyn Read) -> Result<Meta, Fault> {
    let mut from = SummedReader::new(source);
    let meta = read_header(&mut from)?;
    if meta.applied != id {
        return Err(damaged(format!("the snapshot is of entry {}, not of {id}", meta.applied)));
    }
    let (mut entries, mut tombstones) = (Order::<String>::new(), Order::<(u64, String)>::new());
    loop {
        match from.take()? {
            [ENTRY] if tombstones.count == 0 => {
                let key = from.take_key()?;
                let stored = from.take_sized(ENTRY_BYTES_MAX)?;
                check_entry(&key, &stored, &meta)?;
                tables.entry(&key, &stored)?;
                entries.next(key)?;
            }
            [TOMBSTONE] => {
                let (index, created) = (from.take_u64()?, from.take_u64()?);
                let key = from.take_key()?;
                if created == 0 || created > index || index > meta.changed || index < meta.floor {
                    return Err(damaged(format!(
                        "the tombstone of {key:?} has indexes {created} and {index}"
                    )));
                }
                tables.tombstone(index, &key, created)?;
                tombstones.next((index, key))?;
            }
            [END] => break,
            [kind] => return Err(damaged(format!("a snapshot has no record {kind} here"))),
        }
    }
    let counts = (from.take_u64()?, from.take_u64()?);
    if counts != (entries.count, tombstones.count) {
        let found = (entries.count, tombstones.count);
        return Err(damaged(format!(
            "the snapshot says {counts:?} entries and tombstones, it holds {found:?}"
        )));
    }
    from.finish()?;
    Ok(meta)
}

fn read_header(from: &mut SummedReader<'_>) -> Result<Meta, Fault> {
    if from.take()? != MAGIC {
        return Err(damaged("the snapshot does not begin with its magic bytes"));
    }
    match u32::from_le_bytes(from.take()?) {
        FORMAT => {}
        0 => return Err(damaged("the snapshot has format 0")),
        found => return Err(Fault(MachineError::NewerFormat { found, supported: FORMAT })),
    }
    let applied = LogId::new(from.take_u64()?, from.take_u64()?);
    let meta = Meta { applied, changed: from.take_u64()?, floor: from.take_u64()? };
    if meta.floor > meta.changed || meta.changed > meta.applied.index.0 {
        return Err(damaged(format!(
            "the snapshot's indexes are out of order: floor {}, changed {}, applied {}",
            meta.floor, meta.changed, meta.applied
        )));
    }
    Ok(meta)
}

/// Refuses an entry whose indexes no log could have produced: this node's state would differ from all others.
fn check_entry(key: &str, stored: &[u8], meta: &Meta) -> Result<(), Fault> {
    let (header, _) = Header::of(key, stored)?;
    let (created, modified) = (header.create_index, header.modify_index);
    if created == 0 || created > modified || modified > meta.changed {
        return Err(damaged(format!("the entry of {key:?} has indexes {created} and {modified}")));
    }
    Ok(())
}

/// Checks that records come in strict order, and counts them.
struct Order<K> {
    last: Option<K>,
    count: u64,
}

impl<K: Ord + std::fmt::Debug> Order<K> {
    fn new() -> Self {
        Self { last: None, count: 0 }
    }

    fn next(&mut self, key: K) -> Result<(), Fault> {
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(damaged(format!("the snapshot's record {key:?} is out of order")));
        }
        self.last = Some(key);
        self.count += 1;
        Ok(())
    }
}

/// Writes through a buffer and computes the CRC-32 of the bytes.
struct SummedWriter<'a> {
    target: BufWriter<&'a mut dyn Write>,
    sum: crc32fast::Hasher,
}

impl<'a> SummedWriter<'a> {
    fn new(target: &'a mut dyn Write) -> Self {
        Self { target: BufWriter::with_capacity(BUFFER_BYTES, target), sum: crc32fast::Hasher::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.sum.update(bytes);
        self.target.write_all(bytes)?;
        Ok(())
    }

    fn put_sized(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let length = u32::try_from(bytes.len()).map_err(|_| damaged("an entry is longer than 4 GiB"))?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)
    }

    fn finish(mut self) -> Result<(), Fault> {
        self.target.write_all(&self.sum.finalize().to_le_bytes())?;
        self.target.flush()?;
        Ok(())
    }
}

/// Reads through a buffer and computes the CRC-32 of the bytes.
struct SummedReader<'a> {
    source: BufReader<&'a mut dyn Read>,
    sum: crc32fast::Hasher,
}

impl<'a> SummedReader<'a> {
    fn new(source: &'a mut dyn Read) -> Self {
        Self { source: BufReader::with_capacity(BUFFER_BYTES, source), sum: crc32fast::Hasher::new() }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(ended_early)?;
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn take_u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// Reads a length and as many bytes. The buffer grows with the bytes that arrive, so a forged length costs no memory.
    fn take_sized(&mut self, max: usize) -> Result<Vec<u8>, Fault> {
        let length = u32::from_le_bytes(self.take()?);
        if length as usize > max {
            return Err(damaged(format!("the snapshot holds a field of {length} bytes, the limit is {max}")));
        }
        let mut bytes = Vec::new();
        let got = (&mut self.source).take(u64::from(length)).read_to_end(&mut bytes)?;
        if got < length as usize {
            return Err(damaged(format!("the snapshot ends {got} bytes into a field of {length}")));
        }
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn take_key(&mut self) -> Result<String, Fault> {
        let bytes = self.take_sized(KEY_BYTES_MAX)?;
        if bytes.is_empty() {
            return Err(damaged("the snapshot holds an empty key"));
        }
        String::from_utf8(bytes)
            .map_err(|error| damaged(format!("the snapshot holds a key that is not UTF-8: {error}")))
    }

    /// Checks the CRC-32, and that no byte follows.
    fn finish(mut self) -> Result<(), Fault> {
        let expected = self.sum.clone().finalize();
        if u32::from_le_bytes(self.take()?) != expected {
            return Err(damaged("the snapshot's checksum does not match"));
        }
        match self.source.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(damaged("bytes follow after the snapshot's end")),
        }
    }
}

fn ended_early(error: io::Error) -> Fault {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        damaged("the snapshot ends early")
    } else {
        error.into()
    }
}
