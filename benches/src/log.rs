//! Durable logs that do the same work: raw records and raftkit-log.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Instant;

use bytes::Bytes;
use raftkit_core::{Entry, LogId, LogIndex, NodeId, Payload, StoreId, Write, WriteSeq};
use raftkit_disk::RealDisk;
use raftkit_log::{Compaction, Flusher, OpenOptions, Settled, Store, Writer, Written};

use crate::in_flight::InFlight;
use crate::raw::{RawLog, RawSync};
use crate::turns::{Contest, Turn};

/// Size of an entry's payload, in bytes.
pub const ENTRY_BYTES: usize = 256;

/// Number of entries that compaction leaves.
pub const KEPT: u64 = 10_000;

/// The log is compacted when it has this many entries more than compaction leaves.
pub const COMPACTED_AT_ONCE: u64 = 1000;

/// The journal is settled when it holds this many bytes, as by `Writer`.
pub const SETTLED_AT_ONCE: u64 = 1 << 20;

/// Length of a raw ring, in bytes.
const RAW_BYTES: u64 = 16 << 20;

/// A log that makes entries durable.
pub trait Log: Send + 'static {
    /// Makes `writes` writes of `entries` entries each durable with one sync.
    fn append(&mut self, writes: usize, entries: usize);

    /// Does periodic work that no append waits for.
    fn maintain(&mut self) {}

    /// Waits until the log is idle, so that it does not disturb the next contender's turn.
    fn rest(&mut self) {}
}

/// Payloads that do not compress and do not repeat within a batch.
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
    /// Returns the next payload. Its bytes are shared, not copied.
    pub fn take(&mut self) -> Bytes {
        self.at = (self.at + 1) % self.pool.len();
        self.pool[self.at].clone()
    }
}

/// Writes the bare bytes of the entries into the raw ring.
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

/// The writes of one raftkit-log, one after the other.
#[derive(Default)]
struct Writes {
    payloads: Payloads,
    last: u64,
    compacted: u64,
    seq: u64,
}

impl Writes {
    fn next(&mut self, entries: usize) -> Write {
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

fn open(dir: &Path) -> Store {
    Store::open(Arc::new(RealDisk), dir, OpenOptions::new(NodeId(1), StoreId(1))).unwrap().0
}

/// raftkit-log on one thread, which settles between two flushes.
pub struct Ours {
    store: Store,
    writes: Writes,
}

impl Ours {
    #[must_use]
    pub fn create(dir: &Path) -> Self {
        Self { store: open(dir), writes: Writes::default() }
    }
}

impl Log for Ours {
    fn append(&mut self, writes: usize, entries: usize) {
        for _ in 0..writes {
            self.store.queue(self.writes.next(entries));
        }
        assert_eq!(self.store.flush().unwrap(), Some(WriteSeq(self.writes.seq)));
    }

    fn maintain(&mut self) {
        if self.store.unsettled_bytes() >= SETTLED_AT_ONCE {
            while self.store.settle().unwrap() == Settled::More {}
            while self.store.compact_step().unwrap() == Compaction::More {}
        }
    }
}

/// raftkit-log in halves: the appending thread flushes, another one settles.
pub struct OursInHalves {
    flusher: Flusher,
    writes: Writes,
    wake: SyncSender<()>,
    /// Number of wake-ups of the settling thread that it has not answered.
    awake: usize,
    asleep: Receiver<()>,
}

impl OursInHalves {
    /// Opens the log and starts the thread, which ends when this is dropped.
    #[must_use]
    pub fn create(dir: &Path) -> Self {
        let (flusher, mut settler) = open(dir).split();
        let (wake, woken) = sync_channel(1);
        let (tell, asleep) = channel();
        let run = move || {
            while let Ok(()) = woken.recv() {
                while settler.settle().unwrap() == Settled::More {}
                while settler.compact_step().unwrap() == Compaction::More {}
                let _ = tell.send(());
            }
        };
        std::thread::Builder::new().name("settler".to_owned()).spawn(run).unwrap();
        Self { flusher, writes: Writes::default(), wake, awake: 0, asleep }
    }
}

impl Log for OursInHalves {
    fn append(&mut self, writes: usize, entries: usize) {
        for _ in 0..writes {
            self.flusher.queue(self.writes.next(entries));
        }
        assert_eq!(self.flusher.flush().unwrap(), Some(WriteSeq(self.writes.seq)));
    }

    fn maintain(&mut self) {
        if self.flusher.unsettled_bytes() >= SETTLED_AT_ONCE {
            // The channel is full, so the thread is already awake.
            self.awake += usize::from(self.wake.try_send(()).is_ok());
        }
    }

    fn rest(&mut self) {
        self.asleep.iter().take(self.awake).for_each(drop);
        self.awake = 0;
    }
}

/// raftkit-log with its own threads. It settles when it decides to, also in other contenders' turns.
pub struct OursWriter {
    writer: Writer,
    writes: Writes,
    persisted: Receiver<u64>,
}

impl OursWriter {
    /// Opens the log and starts its threads.
    #[must_use]
    pub fn create(dir: &Path) -> Self {
        let (tell, persisted) = channel();
        let report = move |written| match written {
            Written::Persisted(seq) => drop(tell.send(seq.0)),
            Written::Failed(error) => panic!("{error}"),
        };
        let writer = Writer::start(open(dir), report).unwrap();
        Self { writer, writes: Writes::default(), persisted }
    }
}

impl Log for OursWriter {
    fn append(&mut self, writes: usize, entries: usize) {
        (0..writes).for_each(|_| self.writer.write(self.writes.next(entries)).unwrap());
        while self.persisted.recv().unwrap() < self.writes.seq {}
    }
}

impl InFlight for OursWriter {
    fn send(&mut self) {
        self.writer.write(self.writes.next(1)).unwrap();
    }

    fn durable(&mut self) -> u64 {
        self.persisted.recv().unwrap()
    }

    fn rest(&mut self) {}
}

/// Appends a number of batches in each turn, one after the other.
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
    log.rest();
    Turn { latencies, entries: (batches * entries) as u64 }
}
