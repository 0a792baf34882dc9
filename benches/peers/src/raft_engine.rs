//! raft-engine, TiKV's log, under the work that `log.rs` has for ours.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use raft::eraftpb;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::log::{COMPACTED_AT_ONCE, KEPT, Log, Payloads};
use crate::turns::Turn;

/// How its files come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They grow, as they do by its defaults.
    Grow,
    /// They are made and filled with zeros at the start and used again, the best that it can do for a sync.
    Prefilled,
}

impl Files {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Grow, Self::Prefilled];

    /// In a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grow => "growing files",
            Self::Prefilled => "prefilled",
        }
    }
}

/// What raft-engine stores, as TiKV uses it.
struct Entries;

impl MessageExt for Entries {
    type Entry = eraftpb::Entry;

    fn index(entry: &eraftpb::Entry) -> u64 {
        entry.index
    }
}

/// Opens an engine. Payloads do not compress, so it is spared to try.
fn open(dir: &Path, files: Files) -> Engine {
    let mut config = Config {
        dir: dir.to_str().unwrap().to_owned(),
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize::mb(16),
        purge_threshold: ReadableSize::mb(64),
        ..Config::default()
    };
    if files == Files::Prefilled {
        config.prefill_for_recycle = true;
    }
    Engine::open(config).unwrap()
}

/// The log of one group.
struct Group {
    id: u64,
    payloads: Payloads,
    last: u64,
    compacted: u64,
}

impl Group {
    fn new(id: u64) -> Self {
        Self { id, payloads: Payloads::default(), last: 0, compacted: 0 }
    }

    /// Adds so many entries to a batch, and what is compacted by then.
    fn add(&mut self, batch: &mut LogBatch, entries: usize) {
        let entries: Vec<_> = (0..entries)
            .map(|_| {
                self.last += 1;
                let mut entry = eraftpb::Entry::default();
                (entry.term, entry.index, entry.data) = (1, self.last, self.payloads.take());
                entry
            })
            .collect();
        batch.add_entries::<Entries>(self.id, &entries).unwrap();
        if self.last - self.compacted > KEPT + COMPACTED_AT_ONCE {
            self.compacted = self.last - KEPT;
            batch.add_command(self.id, Command::Compact { index: self.compacted });
        }
    }
}

/// raft-engine, written to by one thread.
pub struct Theirs {
    engine: Engine,
    group: Group,
    purged: u64,
}

impl Theirs {
    /// Opens an engine in a folder.
    pub fn create(dir: &Path, files: Files) -> Self {
        Self { engine: open(dir, files), group: Group::new(1), purged: 0 }
    }
}

impl Log for Theirs {
    fn append(&mut self, writes: usize, entries: usize) {
        let mut batch = LogBatch::default();
        for _ in 0..writes {
            self.group.add(&mut batch, entries);
        }
        self.engine.write(&mut batch, true).unwrap();
    }

    fn maintain(&mut self) {
        if self.group.last - self.purged > KEPT {
            self.purged = self.group.last;
            self.engine.purge_expired_files().unwrap();
        }
    }
}

/// raft-engine as many groups use it: a thread each, which its own group commit brings together.
pub struct Threads {
    engine: Arc<Engine>,
    groups: Vec<Mutex<Group>>,
}

impl Threads {
    /// Opens an engine in a folder, with so many groups.
    pub fn create(dir: &Path, files: Files, width: usize) -> Self {
        let groups = (1..=width as u64).map(|id| Mutex::new(Group::new(id))).collect();
        Self { engine: Arc::new(open(dir, files)), groups }
    }

    /// Lets each thread write so many entries one by one.
    pub fn write(&self, entries_each: usize) -> Turn {
        let one = |group: &Mutex<Group>| {
            let mut group = group.lock().unwrap();
            let mut latencies = Vec::with_capacity(entries_each);
            for _ in 0..entries_each {
                let start = Instant::now();
                let mut batch = LogBatch::default();
                group.add(&mut batch, 1);
                self.engine.write(&mut batch, true).unwrap();
                latencies.push(start.elapsed());
            }
            latencies
        };
        let latencies: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = self.groups.iter().map(|group| scope.spawn(move || one(group))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        self.engine.purge_expired_files().unwrap();
        let entries = latencies.len() as u64;
        Turn { latencies, entries }
    }
}
