//! Durable logs that do the same work: raw records and raftkit-log.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use raftkit_core::{Entry, LogId, LogIndex, NodeId, Payload, StoreId, Write, WriteSeq};
use raftkit_disk::RealDisk;
use raftkit_log::{Compaction, OpenOptions, Store};

use crate::raw::{RawLog, RawSync};
use crate::turns::{Contest, Turn};

/// The payload of an entry, in bytes.
pub const ENTRY_BYTES: usize = 256;

/// What compaction leaves, in entries.
pub const KEPT: u64 = 10_000;

/// The log is compacted when so many more are there.
pub const COMPACTED_AT_ONCE: u64 = 1000;

/// A raw ring has so many bytes.
const RAW_BYTES: u64 = 16 << 20;

/// A log that makes entries durable.
pub trait Log: Send + 'static {
    /// Makes so many writes durable, of so many entries each, with one sync.
    fn append(&mut self, writes: usize, entries: usize);

    /// What is to be done now and then, and what no append waits for.
    fn maintain(&mut self) {}
}

/// Payloads that do not compress, all different for long enough that none is found again in a batch.
pub struct Payloads {
    pool: Vec<Bytes>,
    at: usize,
}

impl Default for Payloads {
    fn default() -> Self {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut word = || {
            // xorshift64.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_le_bytes()
        };
        let payload = |_| (0..ENTRY_BYTES / 8).flat_map(|_| word()).collect();
        Self { pool: (0..1024).map(payload).collect(), at: 0 }
    }
}

impl Payloads {
    /// The next one, shared.
    pub fn take(&mut self) -> Bytes {
        self.at = (self.at + 1) % self.pool.len();
        self.pool[self.at].clone()
    }
}

/// The bare bytes of the entries into the raw ring.
pub struct Raw {
    log: RawLog,
    payloads: Payloads,
    record: Vec<u8>,
}

impl Raw {
    #[must_use]
    pub fn create(dir: &Path, sync: RawSync) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        Self { log: RawLog::create(dir, RAW_BYTES, sync), payloads: Payloads::default(), record: Vec::new() }
    }
}

impl Log for Raw {
    fn append(&mut self, writes: usize, entries: usize) {
        self.record.clear();
        for _ in 0..writes * entries {
            self.record.extend_from_slice(&self.payloads.take());
        }
        self.log.append(&self.record);
    }
}

/// raftkit-log, flushed by its caller.
pub struct Ours {
    store: Store,
    payloads: Payloads,
    last: u64,
    compacted: u64,
    seq: u64,
}

impl Ours {
    #[must_use]
    pub fn create(dir: &Path) -> Self {
        let options = OpenOptions::new(NodeId(1), StoreId(1));
        let (store, _) = Store::open(Arc::new(RealDisk), dir, options).unwrap();
        Self { store, payloads: Payloads::default(), last: 0, compacted: 0, seq: 0 }
    }

    fn write(&mut self, entries: usize) -> Write {
        let append = (0..entries)
            .map(|_| {
                self.last += 1;
                Entry { id: LogId::new(1, self.last), payload: Payload::Command(self.payloads.take()) }
            })
            .collect();
        self.seq += 1;
        let mut write = Write { seq: WriteSeq(self.seq), append, ..Write::default() };
        if self.last - self.compacted > KEPT + COMPACTED_AT_ONCE {
            self.compacted = self.last - KEPT;
            write.compact_to = Some(LogIndex(self.compacted));
        }
        write
    }
}

impl Log for Ours {
    fn append(&mut self, writes: usize, entries: usize) {
        for _ in 0..writes {
            let write = self.write(entries);
            self.store.queue(write);
        }
        assert_eq!(self.store.flush().unwrap(), Some(WriteSeq(self.seq)));
    }

    fn maintain(&mut self) {
        while self.store.compact_step().unwrap() == Compaction::More {}
    }
}

/// Lets a log append, in each turn, so many batches of so many entries each, one after the other.
pub fn add_batches(contest: &mut Contest<'_>, name: &str, mut log: impl Log, batches: usize, entries: usize) {
    contest.add(name, move || one_by_one(&mut log, batches, entries));
}

fn one_by_one(log: &mut impl Log, batches: usize, entries: usize) -> Turn {
    let latencies = (0..batches)
        .map(|_| {
            let start = Instant::now();
            log.append(1, entries);
            let latency = start.elapsed();
            log.maintain();
            latency
        })
        .collect();
    Turn { latencies, entries: (batches * entries) as u64 }
}
