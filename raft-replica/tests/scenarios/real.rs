//! The real log on a simulated disk, and the real frame codec. The model runs beside the log: after every flush and
//! every opening the log must hold what the model holds.

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use raftkit_core::{
    Base, ClusterId, Config, Fetch, Fetched, HardState, Health, LogIndex, Message, NodeId, Restored, StoreId,
    Write, WriteSeq,
};
use raftkit_disk::SimulatedDisk;
use raftkit_log::{OpenOptions, ReadResult, Store};
use raftkit_net::{FRAME_BYTES_MAX, decode_message, encode_message, split};

use crate::backing::Backing;
use crate::disk::{Disk, Image};

/// The folder of the log.
const DIR: &str = "/log";

/// The log of one machine, with the model that it must agree with.
pub struct RealLog {
    model: Disk,
    medium: SimulatedDisk,
    store: Store,
    node: NodeId,
    folder: StoreId,
    flushes: u64,
}

impl Backing for RealLog {
    fn new(config: &Config, base: Base) -> Self {
        let medium = SimulatedDisk::new(config.node.0);
        let mut store = open(&medium, config.node, config.store);
        store.form(ClusterId(1), base.clone()).unwrap();
        let model = Disk::founded(base);
        Self { model, medium, store, node: config.node, folder: config.store, flushes: 0 }
    }

    fn durable(&self) -> &Image {
        &self.model.durable
    }

    fn view(&self) -> &Image {
        &self.model.view
    }

    fn queue(&mut self, write: Write) {
        self.model.queue(write.clone());
        self.store.queue(write);
    }

    fn is_idle(&self) -> bool {
        self.store.queued() == 0
    }

    fn flush(&mut self) -> Option<WriteSeq> {
        let durable = self.store.flush().unwrap();
        assert_eq!(durable, self.model.flush(self.model.queued()), "the same write is the last one");
        self.flushes += 1;
        // At every other flush, so that some entries are read from the journal and others from the database.
        if self.flushes.is_multiple_of(2) {
            self.store.settle().unwrap();
            self.store.compact_step().unwrap();
        }
        self.assert_as_model();
        durable
    }

    fn crash(&mut self) {
        self.medium.crash_losing_all_unsynced();
        self.store = open(&self.medium, self.node, self.folder);
        self.model.crash(0);
        self.assert_as_model();
    }

    fn lose(&mut self, from: LogIndex, health: Health) {
        let last = self.model.durable.last().index;
        Backing::lose(&mut self.model, from, health);
        let truncate_from = (from <= last).then_some(from);
        let hard_state = Some(self.model.durable.hard);
        self.store.queue(Write { truncate_from, hard_state, ..Write::default() });
        self.store.flush().unwrap();
        self.assert_as_model();
    }

    fn restored(&self, applied: LogIndex) -> Restored {
        self.assert_as_model();
        Restored { applied, ..self.store.restored() }
    }

    fn read(&self, fetch: &Fetch) -> Fetched {
        match self.store.read(fetch.first, fetch.last, fetch.bytes_max).unwrap() {
            ReadResult::Entries(entries) => Fetched::Entries(entries),
            ReadResult::Compacted => Fetched::Compacted,
        }
    }

    fn carry(message: Message) -> Message {
        let mut buffer = BytesMut::new();
        encode_message(&message, &mut buffer).unwrap();
        let frame = split(&mut buffer, FRAME_BYTES_MAX).unwrap().expect("the frame is complete");
        let decoded = decode_message(frame).unwrap();
        assert!(buffer.is_empty(), "one frame is all that was written");
        assert_eq!(decoded, message);
        decoded
    }
}

impl RealLog {
    /// Compares the log with the model: the same entries, read back one run after the other, and the same hard state.
    fn assert_as_model(&self) {
        let (restored, image) = (self.store.restored(), &self.model.durable);
        assert_eq!(restored.last, image.last().index);
        let mut next = image.base.id.index.next();
        while next <= restored.last {
            let ReadResult::Entries(entries) = self.store.read(next, restored.last, usize::MAX).unwrap()
            else {
                panic!("entry {next} is compacted")
            };
            for entry in entries {
                assert_eq!(Some(&entry), image.entry(next));
                next = next.next();
            }
        }
        // A founding member's log has a hard state from its beginning on, which the model leaves out.
        if image.hard != HardState::default() {
            assert_eq!(restored.hard_state, image.hard);
        }
    }
}

fn open(medium: &SimulatedDisk, node: NodeId, folder: StoreId) -> Store {
    let options =
        OpenOptions { journal_bytes: 64 << 10, cache_bytes: 1 << 20, ..OpenOptions::new(node, folder) };
    let disk: Arc<dyn raftkit_disk::Disk> = Arc::new(medium.clone());
    let (store, _) = Store::open(disk, Path::new(DIR), options).unwrap();
    store
}
