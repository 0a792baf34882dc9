//! `CopyOnWrite` compared with a plain vector, and under redb: writes are visible, and the file stays unchanged.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::io::ErrorKind;
use std::path::Path;

use proptest::prelude::*;
use raftkit_disk::{CopyOnWrite, Disk, OpenMode, RedbFile, SimulatedDisk};
use redb::{ReadableDatabase, StorageBackend};

const FILE: &str = "/file";
const TABLE: redb::TableDefinition<'static, u64, u64> = redb::TableDefinition::new("table");

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Read(usize, usize),
    Sync,
}

/// Positions in about four blocks, at their boundaries more often than by chance.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..17_000_usize,
        (0..4_usize, 0..3_usize).prop_map(|(block, off)| (block * 4096 + off).max(1) - 1)
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (place(), any::<u8>(), place()).prop_map(|(at, fill, len)| Step::Write(at, vec![fill; len])),
        2 => place().prop_map(Step::SetLen),
        4 => (place(), place()).prop_map(|(at, len)| Step::Read(at, len)),
        1 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..30)
}

/// A disk with one durable file, whose bytes encode their positions.
fn filled(len: usize) -> (SimulatedDisk, Vec<u8>) {
    let disk = SimulatedDisk::new(0);
    let content: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let file = disk.open(Path::new(FILE), OpenMode::New).unwrap();
    file.write_durably(0, &content).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (disk, content)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_as_a_vector_does_and_the_file_stays(len in place(), steps in steps()) {
        let (disk, content) = filled(len);
        let file = disk.open(Path::new(FILE), OpenMode::ReadOnly).unwrap();
        let mutations = disk.mutations();
        let storage = CopyOnWrite::new(file).unwrap();
        let mut model = content.clone();
        for step in steps {
            match step {
                Step::Write(at, data) => {
                    storage.write(at as u64, &data).unwrap();
                    if !data.is_empty() {
                        model.resize(model.len().max(at + data.len()), 0);
                        model[at..at + data.len()].copy_from_slice(&data);
                    }
                }
                Step::SetLen(len) => {
                    storage.set_len(len as u64).unwrap();
                    model.resize(len, 0);
                }
                Step::Read(at, len) => {
                    let mut seen = vec![1; len];
                    match storage.read(at as u64, &mut seen) {
                        Ok(()) => prop_assert!(len == 0 || model.get(at..at + len) == Some(&seen)),
                        Err(error) => {
                            prop_assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                            prop_assert!(at + len > model.len());
                        }
                    }
                }
                Step::Sync => storage.sync_data().unwrap(),
            }
            prop_assert_eq!(storage.len().unwrap(), model.len() as u64);
        }
        let mut seen = vec![1; model.len()];
        storage.read(0, &mut seen).unwrap();
        prop_assert!(seen == model);
        prop_assert_eq!(disk.durable(Path::new(FILE)).unwrap(), content);
        prop_assert_eq!(disk.mutations(), mutations, "nothing was even tried");
    }
}

#[test]
fn a_database_that_needs_repair_can_be_read_and_stays_as_it_is() {
    let disk = SimulatedDisk::new(3);
    let file = disk.open(Path::new(FILE), OpenMode::New).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let database = redb::Builder::new().create_with_backend(RedbFile::new(file)).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(TABLE).unwrap().insert(1, 2).unwrap();
    txn.commit().unwrap();
    // The power is cut instead of closing the database.
    disk.freeze();
    drop(database);
    disk.crash();
    let before = disk.durable(Path::new(FILE)).unwrap();
    let mutations = disk.mutations();

    let file = disk.open(Path::new(FILE), OpenMode::ReadOnly).unwrap();
    let storage = CopyOnWrite::new(file).unwrap();
    let database = redb::Builder::new().create_with_backend(storage).unwrap();
    let txn = database.begin_read().unwrap();
    assert_eq!(txn.open_table(TABLE).unwrap().get(1).unwrap().unwrap().value(), 2);
    drop((txn, database));

    assert_eq!(disk.mutations(), mutations);
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), before);
}
