//! raftkit-log and raft-engine in turns, beside the raw limit of the same disk. Data goes into `TMPDIR`.

use std::path::Path;

use raftkit_benches_peers::in_flight::{Threaded, WIDTH, WRITES_EACH, add_in_flight};
use raftkit_benches_peers::log::{ENTRY_BYTES, OursInHalves, OursWriter, Raw, add_batches};
use raftkit_benches_peers::raft_engine::{Files, Theirs, Threads};
use raftkit_benches_peers::raw::RawSync::{Dsync, Fdatasync};
use raftkit_benches_peers::turns::{Contest, LEGEND};

const ROUNDS: usize = 15;

fn main() {
    println!("{LEGEND}");
    run("one entry a sync", |contest, dir| batches(contest, dir, 200, 1));
    run("128 entries a sync", |contest, dir| batches(contest, dir, 100, 128));
    run("128 single writes in flight", in_flight);
}

fn run(title: &str, contenders: impl Fn(&mut Contest<'_>, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let mut contest = Contest::new(title, ENTRY_BYTES, dir.path());
    contenders(&mut contest, dir.path());
    contest.run(ROUNDS);
}

fn batches(contest: &mut Contest<'_>, dir: &Path, batches: usize, entries: usize) {
    add_batches(contest, "raw write + fdatasync", Raw::create(dir, Fdatasync), batches, entries);
    add_batches(contest, "raw O_DSYNC write", Raw::create(dir, Dsync), batches, entries);
    let ours = OursInHalves::create(&dir.join("ours"));
    add_batches(contest, "raftkit-log, in halves", ours, batches, entries);
    for files in Files::ALL {
        let theirs = Theirs::create(&dir.join(files.name()), files);
        add_batches(contest, &format!("raft-engine, {}", files.name()), theirs, batches, entries);
    }
}

fn in_flight(contest: &mut Contest<'_>, dir: &Path) {
    add_in_flight(contest, "raw write + fdatasync", Threaded::start(Raw::create(dir, Fdatasync)));
    add_in_flight(contest, "raw O_DSYNC write", Threaded::start(Raw::create(dir, Dsync)));
    let ours = Threaded::start(OursInHalves::create(&dir.join("ours")));
    add_in_flight(contest, "raftkit-log, in halves", ours);
    add_in_flight(contest, "raftkit-log, Writer", OursWriter::create(&dir.join("writer")));
    for files in Files::ALL {
        let theirs = Threaded::start(Theirs::create(&dir.join(files.name()), files));
        add_in_flight(contest, &format!("raft-engine, a thread, {}", files.name()), theirs);
    }
    let threads = Threads::create(&dir.join("threads"), Files::Prefilled, WIDTH);
    contest.add("raft-engine, 128 groups, prefilled", move || threads.write(WRITES_EACH));
}
