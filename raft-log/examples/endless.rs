//! Appends and compacts without end, and prints the size of the files:
//! `cargo run --release -p raftkit-log --example endless -- [folder] [millions of entries]`.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use raftkit_core::{Entry, LogId, LogIndex, NodeId, Payload, StoreId, Write, WriteSeq};
use raftkit_disk::RealDisk;
use raftkit_log::{Compaction, OpenOptions, Settled, Store};

const BATCH: u64 = 128;
/// Number of entries that compaction keeps.
const KEPT: u64 = 10_000;
const MILLION: u64 = 1_000_000;
/// Settle when this many bytes of the journal are unsettled.
const SETTLE_BYTES: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(|| PathBuf::from("endless.data"), PathBuf::from);
    let millions: u64 = arguments.next().as_deref().unwrap_or("10").parse()?;

    let (mut store, restored) =
        Store::open(Arc::new(RealDisk), &dir, OpenOptions::new(NodeId(1), StoreId(1)))?;
    let first = restored.last.next().0;
    let end = first + millions * MILLION;
    let start = Instant::now();
    let mut told = 0;
    for batch in (first..end).step_by(usize::try_from(BATCH)?) {
        let append = (batch..end.min(batch + BATCH)).map(entry).collect();
        let compact_to = batch.checked_sub(KEPT).map(LogIndex);
        store.queue(Write { seq: WriteSeq(batch), append, compact_to, ..Write::default() });
        store.flush()?;
        maintain(&mut store)?;
        let done = (batch + BATCH - first) / MILLION;
        if done > told {
            told = done;
            let rate = (batch - first) as f64 / start.elapsed().as_secs_f64();
            println!("{done:>4} M entries, {rate:>8.0} a second: {}", sizes(&dir)?);
        }
    }
    drop(store);
    println!("after a clean end: {}", sizes(&dir)?);
    Ok(())
}

/// Maintenance beside appending, here between two flushes.
fn maintain(store: &mut Store) -> Result<(), Box<dyn std::error::Error>> {
    if store.unsettled_bytes() >= SETTLE_BYTES {
        while store.settle()? == Settled::More {}
        while store.compact_step()? == Compaction::More {}
    }
    Ok(())
}

/// An entry of 100 to 256 bytes.
fn entry(index: u64) -> Entry {
    let fill = index.to_le_bytes()[0];
    let len = 100 + usize::from(fill).min(156);
    Entry { id: LogId::new(1, index), payload: Payload::Command(vec![fill; len].into()) }
}

/// The files of the folder with their lengths, and the space that they take on the disk.
fn sizes(dir: &Path) -> io::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut told = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        let metadata = file.metadata()?;
        if metadata.len() > 0 {
            let (length, taken) = (metadata.len() >> 10, metadata.blocks() / 2);
            told.push(format!("{} {length} KiB ({taken} on the disk)", file.file_name().to_string_lossy()));
        }
    }
    told.sort();
    Ok(told.join(", "))
}
