//! The protocol alone: commits per second of three nodes in one thread with everything around them in memory, and the number of
//! allocations per committed entry, by the part of the program that makes them.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use raftkit_benches::memory::{Cluster, Worker};

const BATCHES: [usize; 3] = [1, 64, 1024];

/// Number of commands over which allocations are counted.
const COUNTED: usize = 64 << 10;

/// Counts allocations, including those that grow an allocation, by the part of the program that works.
struct Counting;

static WORKER: AtomicUsize = AtomicUsize::new(Worker::Driver as usize);
static ALLOCATIONS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static BYTES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) {
    let worker = WORKER.load(Relaxed);
    ALLOCATIONS[worker].fetch_add(1, Relaxed);
    BYTES[worker].fetch_add(bytes as u64, Relaxed);
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; it only passes on to the system's")]
// SAFETY: every call is passed to `System` unchanged, which keeps the contract; counting uses only atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size.saturating_sub(layout.size()));
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// Prints the number of allocations per committed entry in the steady state.
fn allocations(_: &mut Criterion) {
    println!("allocations a committed entry (bytes)");
    println!("{:>6} {:>16} {:>16} {:>16} {:>16}", "batch", "leader", "both followers", "all three", "driver");
    for batch in BATCHES {
        let mut cluster = Cluster::start();
        (0..COUNTED / batch).for_each(|_| cluster.commit(batch));
        for counter in ALLOCATIONS.iter().chain(&BYTES) {
            counter.store(0, Relaxed);
        }
        for _ in 0..COUNTED / batch {
            cluster.commit_watched(batch, &mut |worker| WORKER.store(worker as usize, Relaxed));
        }
        let of = |workers: &[Worker]| {
            let sum = |counters: &[AtomicU64; 3]| {
                let total: u64 = workers.iter().map(|worker| counters[*worker as usize].load(Relaxed)).sum();
                total as f64 / COUNTED as f64
            };
            format!("{:.2} ({:.0})", sum(&ALLOCATIONS), sum(&BYTES))
        };
        println!(
            "{batch:>6} {:>16} {:>16} {:>16} {:>16}",
            of(&[Worker::Leader]),
            of(&[Worker::Follower]),
            of(&[Worker::Leader, Worker::Follower]),
            of(&[Worker::Driver])
        );
    }
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        let mut cluster = Cluster::start();
        group.bench_function(BenchmarkId::new("batch", batch), |bench| {
            bench.iter(|| cluster.commit(batch));
        });
    }
    group.finish();
}

criterion_group!(benches, allocations, commits);
criterion_main!(benches);
