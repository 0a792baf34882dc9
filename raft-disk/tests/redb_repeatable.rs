//! redb on a simulated disk behaves the same every time, in any process, so a simulation on top of it can be replayed.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

use raftkit_disk::{Disk, OpenMode, RedbFile, SimulatedDisk};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

const FILE: &str = "/database";
const TABLES: [TableDefinition<'static, u64, &[u8]>; 2] =
    [TableDefinition::new("one"), TableDefinition::new("two")];
const COMMITS: u64 = 1000;
const COMMITS_A_LIFE: u64 = 50;
/// Small enough that pages are evicted and read again.
const CACHE_BYTES: usize = 1 << 18;
const SNAPSHOTS_MAX: usize = 4;
/// Environment variable that tells this program that it is the child process of a test.
const CHILD: &str = "RAFTKIT_DISK_TEST_SEED";

/// Random numbers for the script.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn open(disk: &SimulatedDisk) -> Result<Database, redb::Error> {
    let file = disk.open(Path::new(FILE), OpenMode::Either)?;
    disk.sync_dir(Path::new("/"))?;
    let mut builder = redb::Builder::new();
    Ok(builder.set_cache_size(CACHE_BYTES).create_with_backend(RedbFile::new(file))?)
}

fn commit(database: &Database, draws: &mut Draws) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    if draws.one_in(3) {
        txn.set_two_phase_commit(true);
    } else {
        txn.set_durability(Durability::None)?;
    }
    for definition in TABLES {
        let mut table = txn.open_table(definition)?;
        for _ in 0..=draws.below(20) {
            let key = draws.below(3000);
            if draws.one_in(3) {
                table.remove(key)?;
            } else {
                let fill = u8::try_from(draws.below(256)).unwrap();
                let len = if draws.one_in(50) { 9000 } else { draws.below(400) };
                table.insert(key, &vec![fill; usize::try_from(len).unwrap()][..])?;
            }
        }
    }
    if draws.one_in(20) {
        txn.abort()?
    } else {
        txn.commit()?
    }
    Ok(())
}

fn read(snapshot: &ReadTransaction, seen: &mut DefaultHasher) -> Result<(), redb::Error> {
    for entry in snapshot.open_table(TABLES[0])?.iter()? {
        let (key, value) = entry?;
        (key.value(), value.value()).hash(seen);
    }
    Ok(())
}

/// Runs a script of commits, open snapshots, crashes and kills; returns a hash of the disk's content after each life
/// and of everything read.
fn run(seed: u64) -> u64 {
    let (disk, mut draws, mut seen) = (SimulatedDisk::new(seed), Draws(seed), DefaultHasher::new());
    for _life in 0..COMMITS / COMMITS_A_LIFE {
        let database = open(&disk).unwrap();
        let mut snapshots = Vec::new();
        if draws.one_in(2) {
            disk.crash_at_call(draws.below(2000));
        }
        for _ in 0..COMMITS_A_LIFE {
            commit(&database, &mut draws).is_ok().hash(&mut seen);
            if snapshots.len() < SNAPSHOTS_MAX && draws.one_in(5) {
                snapshots.extend(database.begin_read());
            }
            if !snapshots.is_empty() && draws.one_in(5) {
                let snapshot =
                    snapshots.swap_remove(usize::try_from(draws.below(snapshots.len() as u64)).unwrap());
                read(&snapshot, &mut seen).is_ok().hash(&mut seen);
            }
        }
        disk.freeze();
        drop((snapshots, database));
        disk.digest().hash(&mut seen);
        if draws.one_in(4) {
            disk.kill();
        } else {
            disk.crash();
        }
        disk.digest().hash(&mut seen);
    }
    seen.finish()
}

#[test]
fn redb_does_the_same_for_the_same_seed() {
    let digest = run(1);
    assert_eq!(digest, run(1));
}

/// Another process has other addresses, and other keys for the standard library's hash maps.
#[test]
fn redb_does_the_same_in_another_process() {
    if let Ok(seed) = std::env::var(CHILD) {
        println!("digest {:x}.", run(seed.parse().unwrap()));
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "redb_does_the_same_in_another_process", "--nocapture"])
        .env(CHILD, "3")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.contains(&format!("digest {:x}.", run(3))), "{output}");
}
