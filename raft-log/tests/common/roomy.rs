//! Stores whose database file is much larger than its content, so that there is space to give back.

use std::path::Path;
use std::sync::Arc;

use raftkit_core::*;
use raftkit_disk::{Disk, SimulatedDisk, Slack};
use raftkit_log::*;

use super::*;

pub(crate) const NEW: &str = "/data/log/log.redb.new";
pub(crate) const SLACK: Slack = Slack::new(64 << 10);
/// Approximate minimum size of an empty redb database, in bytes.
pub(crate) const EMPTY: u64 = 512 << 10;

pub(crate) fn open(disk: &SimulatedDisk) -> Result<Store, OpenError> {
    let options = OpenOptions { slack: SLACK, journal_bytes: 256 << 10, ..options() };
    Store::open(Arc::new(disk.clone()), Path::new(DIR), options).map(|(store, _)| store)
}

pub(crate) fn exists(disk: &SimulatedDisk, path: &str) -> bool {
    Disk::exists(disk, Path::new(path)).unwrap()
}

/// Applies a write to the store and the model.
pub(crate) fn write(store: &mut Store, model: &mut Model, write: Write) -> Result<(), StoreError> {
    model.apply(&write);
    store.queue(write);
    store.flush().map(|_| ())
}

pub(crate) fn write_entries(
    store: &mut Store,
    model: &mut Model,
    count: u64,
    len: usize,
) -> Result<(), StoreError> {
    let first = model.last().index.0 + 1;
    for index in first..first + count {
        write(store, model, append(index, vec![command(1, index, len)]))?;
        while store.settle()? == Settled::More {}
    }
    Ok(())
}

/// A store whose file is much larger than its content, because most of it was compacted.
pub(crate) fn roomy(disk: &SimulatedDisk) -> Result<(Store, Model), StoreError> {
    let mut store = open(disk).unwrap();
    let mut model = Model::default();
    model.form(ClusterId(5), base(1, 1));
    store.form(ClusterId(5), base(1, 1)).unwrap();
    write_entries(&mut store, &mut model, 20, 60_000)?;
    let to = LogIndex(model.last().index.0 - 2);
    write(&mut store, &mut model, Write { compact_to: Some(to), ..append(99, vec![]) })?;
    while store.settle()? == Settled::More {}
    while store.compact_step()? == Compaction::More {}
    // Pages freed without a sync become reusable after two more durable commits.
    write_entries(&mut store, &mut model, 3, 2_000)?;
    Ok((store, model))
}

pub(crate) fn give_back(store: &mut Store) -> Result<Progress, StoreError> {
    loop {
        match store.give_back()? {
            Progress::More => {}
            progress @ (Progress::Done | Progress::Nothing | Progress::Postponed) => return Ok(progress),
        }
    }
}

/// As [`roomy`], but with enough content for a copy of several steps.
pub(crate) fn large(disk: &SimulatedDisk) -> (Store, Model) {
    let (mut store, mut model) = roomy(disk).unwrap();
    write_entries(&mut store, &mut model, 160, 60_000).unwrap();
    let to = LogIndex(model.last().index.0 - 50);
    write(&mut store, &mut model, Write { compact_to: Some(to), ..append(99, vec![]) }).unwrap();
    settle(&mut store);
    while store.compact_step().unwrap() == Compaction::More {}
    write_entries(&mut store, &mut model, 3, 2_000).unwrap();
    (store, model)
}
