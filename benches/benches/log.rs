//! The log beside the raw limit of the same disk, in turns: single entries, batches, and many writes in flight.
//!
//! `cargo bench -p raftkit-benches --bench log -- [--rounds <n>] [words of the titles to run]`. Data goes into `TMPDIR`.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

use std::path::Path;

use raftkit_benches::in_flight::{Threaded, add_in_flight};
use raftkit_benches::log::{ENTRY_BYTES, Ours, OursInHalves, OursWriter, Raw, add_batches};
use raftkit_benches::raw::RawSync::{Dsync, Fdatasync};
use raftkit_benches::turns::{Contest, LEGEND};

fn main() {
    let mut rounds = 15;
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--rounds" => rounds = arguments.next().and_then(|number| number.parse().ok()).expect("a number"),
            word => wanted.push(word.to_owned()),
        }
    }
    println!("{LEGEND}");
    let run = |title: &str, contenders: &dyn Fn(&mut Contest<'_>, &Path)| {
        if wanted.is_empty() || wanted.iter().any(|word| title.contains(word)) {
            let dir = tempfile::tempdir().unwrap();
            let mut contest = Contest::new(title, ENTRY_BYTES, dir.path());
            contenders(&mut contest, dir.path());
            contest.run(rounds);
        }
    };
    run("one entry a sync", &|contest, dir| batches(contest, dir, 200, 1));
    run("128 entries a sync", &|contest, dir| batches(contest, dir, 100, 128));
    run("128 single writes in flight", &in_flight);
}

fn batches(contest: &mut Contest<'_>, dir: &Path, batches: usize, entries: usize) {
    add_batches(contest, "raw write + fdatasync", Raw::create(dir, Fdatasync), batches, entries);
    add_batches(contest, "raw O_DSYNC write", Raw::create(dir, Dsync), batches, entries);
    let ours = Ours::create(&dir.join("log"));
    add_batches(contest, "raftkit-log, settles in between", ours, batches, entries);
    let ours = OursInHalves::create(&dir.join("halves"));
    add_batches(contest, "raftkit-log, settles beside", ours, batches, entries);
    let ours = OursWriter::create(&dir.join("writer"));
    add_batches(contest, "raftkit-log, Writer", ours, batches, entries);
}

fn in_flight(contest: &mut Contest<'_>, dir: &Path) {
    add_in_flight(contest, "raw write + fdatasync", Threaded::start(Raw::create(dir, Fdatasync)));
    add_in_flight(contest, "raw O_DSYNC write", Threaded::start(Raw::create(dir, Dsync)));
    let ours = Threaded::start(Ours::create(&dir.join("log")));
    add_in_flight(contest, "raftkit-log, settles in between", ours);
    let ours = Threaded::start(OursInHalves::create(&dir.join("halves")));
    add_in_flight(contest, "raftkit-log, settles beside", ours);
    add_in_flight(contest, "raftkit-log, Writer", OursWriter::create(&dir.join("writer")));
}
