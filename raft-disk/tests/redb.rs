//! redb on a simulated disk.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::path::Path;

use raftkit_disk::{Disk, OpenMode, RedbFile, SimulatedDisk};

const FILE: &str = "/file";
const TABLE: redb::TableDefinition<'static, u64, u64> = redb::TableDefinition::new("table");

/// Commits 0, 1, 2 and so on, up to `commits`; returns how many commits succeeded.
fn commit(disk: &SimulatedDisk, commits: u64) -> u64 {
    let open = || -> Result<redb::Database, redb::Error> {
        let file = disk.open(Path::new(FILE), OpenMode::Either)?;
        disk.sync_dir(Path::new("/"))?;
        Ok(redb::Builder::new().create_with_backend(RedbFile::new(file))?)
    };
    let Ok(database) = open() else { return 0 };
    let one = |number| -> Result<(), redb::Error> {
        let txn = database.begin_write()?;
        txn.open_table(TABLE)?.insert(0, number)?;
        Ok(txn.commit()?)
    };
    let done = (0..commits).take_while(|number| one(*number).is_ok()).count() as u64;
    // A crash stops the disk before it stops the program.
    disk.freeze();
    done
}

#[test]
fn redb_keeps_its_commits_whichever_mutation_the_power_is_cut_in() {
    use redb::ReadableDatabase;
    for nth in 0.. {
        let disk = SimulatedDisk::new(nth);
        disk.crash_at_call(nth);
        let done = commit(&disk, 5);
        let finished = done == 5;
        disk.crash();
        let file = disk.open(Path::new(FILE), OpenMode::Either).unwrap();
        match redb::Builder::new().create_with_backend(RedbFile::new(file)) {
            Ok(database) => {
                let txn = database.begin_read().unwrap();
                let last = txn.open_table(TABLE).ok().map(|table| table.get(0).unwrap().unwrap().value());
                let found = last.map_or(0, |last| last + 1);
                assert!(found == done || found == done + 1, "{found} found, {done} done, crash point {nth}");
            }
            Err(error) => assert_eq!(done, 0, "crash point {nth}: {error}"),
        }
        if finished {
            return;
        }
    }
}
