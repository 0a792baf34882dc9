//! Commit latency of one and of three nodes in one process, over the real log and real QUIC on loopback, beside the raw
//! limit of the same disk in the same run.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use raftkit_benches::raw::{RawLog, RawSync};
use raftkit_benches::{Machine, Nodes};
use tokio::runtime::{Builder, Runtime};

const VALUE_BYTES: usize = 256;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn one_at_a_time(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(20);
    let dir = tempfile::tempdir().unwrap();
    let mut raw = RawLog::create(dir.path(), 16 << 20, RawSync::Fdatasync);
    group.bench_function("raw append + fdatasync", |bench| bench.iter(|| raw.append(&[7; VALUE_BYTES])));
    for count in [1, 3] {
        let nodes = Nodes::start(count);
        let leader = nodes.leader();
        let command = Machine::encode(&vec![7; VALUE_BYTES]).unwrap();
        let runtime = runtime();
        group.bench_function(BenchmarkId::new("nodes", count), |bench| {
            bench.iter(|| runtime.block_on(leader.propose(command.clone())).expect("committed"));
        });
    }
    group.finish();
}

fn many_at_once(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit 256 at once");
    group.sample_size(20).throughput(Throughput::Elements(256));
    let nodes = Nodes::start(3);
    let leader = nodes.leader();
    let command = Machine::encode(&vec![7; VALUE_BYTES]).unwrap();
    let runtime = runtime();
    group.bench_function(BenchmarkId::new("nodes", 3), |bench| {
        bench.iter(|| {
            runtime.block_on(async {
                let writers: Vec<_> = (0..256)
                    .map(|_| {
                        let (leader, command) = (leader.clone(), command.clone());
                        tokio::spawn(async move { leader.propose(command).await })
                    })
                    .collect();
                for writer in writers {
                    writer.await.unwrap().expect("committed");
                }
            });
        });
    });
    group.finish();
}

criterion_group!(benches, one_at_a_time, many_at_once);
criterion_main!(benches);
