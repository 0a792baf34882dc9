//! Commits of raftkit-core and of raft-rs in the same run: three nodes in one thread, everything around them in memory.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use raftkit_benches_peers::memory;
use raftkit_benches_peers::raft_rs::{self, Handing};

fn core(criterion: &mut Criterion) {
    for batch in [1, 64, 1024] {
        let mut group = criterion.benchmark_group(format!("core batch {batch}"));
        group.throughput(Throughput::Elements(batch as u64));
        let mut ours = memory::Cluster::start();
        group.bench_function(BenchmarkId::from_parameter("raftkit-core"), |bench| {
            bench.iter(|| ours.commit(batch));
        });
        for (name, handing) in [("raft-rs", Handing::OneByOne), ("raft-rs, one message", Handing::Together)] {
            let mut theirs = raft_rs::Cluster::start();
            group.bench_function(BenchmarkId::from_parameter(name), |bench| {
                bench.iter(|| theirs.commit(batch, handing));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, core);
criterion_main!(benches);
