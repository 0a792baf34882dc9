//! How long a flush takes on this machine's disk: `cargo run --example flush_latency -- <folder>`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raftkit_core::{Entry, LogId, NodeId, Payload, StoreId, Write, WriteSeq};
use raftkit_disk::RealDisk;
use raftkit_log::{OpenOptions, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("flush_latency.data"), PathBuf::from);
    for entries in [1_u64, 16, 256] {
        let dir = dir.join(entries.to_string());
        let (mut store, restored) =
            Store::open(Arc::new(RealDisk), &dir, OpenOptions::new(NodeId(1), StoreId(1)))?;
        let mut next = restored.last.next().0;
        let mut times: Vec<Duration> = Vec::new();
        for seq in 0..500 {
            let payload = Payload::Command(vec![7; 128].into());
            let append = (next..next + entries)
                .map(|index| Entry { id: LogId::new(1, index), payload: payload.clone() });
            store.queue(Write { seq: WriteSeq(seq), append: append.collect(), ..Write::default() });
            let start = Instant::now();
            store.flush()?;
            times.push(start.elapsed());
            next += entries;
        }
        times.sort();
        let (median, high) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "{entries} entries of 128 B a flush: median {median:?}, 99 % {high:?}, file {} B",
            store.bytes()
        );
    }
    Ok(())
}
