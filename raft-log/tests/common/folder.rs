//! A small log with all its parts, and its files, for tests that damage them.

use std::path::Path;
use std::time::Duration;

use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

use super::*;

/// How the store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Closed in order.
    Clean,
    /// The power was cut some time after the last flush, with the witness written.
    Witnessed,
    /// The power was cut right after the last flush, before the witness.
    Unwitnessed,
}

/// The files of a store, and its expected content after each flush.
pub(crate) struct Folder {
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    pub(crate) models: Vec<Model>,
}

/// A formed store with flushes of two entries each, partly settled, and compacted.
pub(crate) fn folder(end: End) -> Folder {
    folder_with(end, None)
}

/// As [`folder`], but the last flush holds a command of this many bytes.
pub(crate) fn folder_with(end: End, last: Option<usize>) -> Folder {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    let mut model = Model::default();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    model.form(ClusterId(1), base(1, 1));
    let mut models = vec![model.clone()];
    for first in (2..18).step_by(2) {
        let entries = vec![command(1 + first / 6, first, 700), member(1 + first / 6, first + 1, first)];
        let hard_state = HardState {
            term: Term(first),
            vote: Some(NodeId(2)),
            commit: LogIndex(first),
            promise: Duration::from_millis(100 * (first % 5)),
            ..HardState::default()
        };
        let compact_to = (first == 10).then_some(LogIndex(4));
        let write = Write { hard_state: Some(hard_state), compact_to, ..append(first, entries) };
        model.apply(&write);
        store.queue(write);
        store.flush().unwrap();
        models.push(model.clone());
        if first == 8 || first == 12 {
            settle(&mut store);
        }
    }
    if let Some(len) = last {
        let write = append(18, vec![command(4, 18, len)]);
        model.apply(&write);
        store.queue(write);
        store.flush().unwrap();
        models.push(model.clone());
    }
    match end {
        End::Clean => drop(store),
        End::Witnessed => {
            store.witness().unwrap();
            cut(&disk, store);
        }
        End::Unwitnessed => cut(&disk, store),
    }
    let files = [FILE, JOURNAL].map(|name| (name, disk.durable(Path::new(name)).unwrap()));
    Folder { files: files.into(), models }
}

fn cut(disk: &SimulatedDisk, store: Store) {
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
}

impl Folder {
    /// Creates a disk with these files.
    pub(crate) fn put(&self) -> SimulatedDisk {
        let disk = SimulatedDisk::new(1);
        self.files.iter().for_each(|(name, bytes)| disk.put(Path::new(name), bytes));
        disk
    }
}
