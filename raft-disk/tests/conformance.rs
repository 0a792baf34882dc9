//! The two disks compared with each other and with a naive model: without faults, a simulated disk behaves like a real
//! one.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use raftkit_disk::{Disk, OpenMode, RealDisk, SimulatedDisk, create_dir_all_durably};

#[derive(Clone, Debug)]
enum Step {
    Open(usize, OpenMode),
    Write(usize, u64, Vec<u8>),
    WriteDurably(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Read(usize, u64, usize),
    Sync(usize),
    DropCache(usize),
    Rename(usize, usize),
    Remove(usize),
    Exists(usize),
    List,
    SyncDir,
}

/// The visible result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Bytes(Vec<u8>),
    Length(u64),
    Names(Vec<PathBuf>),
    Flag(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..3_usize;
    let mode = prop_oneof![
        Just(OpenMode::Existing),
        Just(OpenMode::ReadOnly),
        Just(OpenMode::New),
        Just(OpenMode::Either)
    ];
    let data = (any::<u8>(), 0..1500_usize).prop_map(|(fill, len)| vec![fill; len]);
    let step = prop_oneof![
        2 => (name.clone(), mode).prop_map(|(name, mode)| Step::Open(name, mode)),
        4 => (name.clone(), 0..3000_u64, data.clone()).prop_map(|(name, at, data)| Step::Write(name, at, data)),
        2 => (name.clone(), 0..3000_u64, data).prop_map(|(name, at, data)| Step::WriteDurably(name, at, data)),
        1 => (name.clone(), 0..4000_u64).prop_map(|(name, len)| Step::SetLen(name, len)),
        4 => (name.clone(), 0..3000_u64, 0..2000_usize).prop_map(|(name, at, len)| Step::Read(name, at, len)),
        1 => name.clone().prop_map(Step::Sync),
        1 => name.clone().prop_map(Step::DropCache),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name.clone().prop_map(Step::Remove),
        1 => name.prop_map(Step::Exists),
        1 => Just(Step::List),
        1 => Just(Step::SyncDir),
    ];
    prop::collection::vec(step, 1..40)
}

fn path(dir: &Path, name: usize) -> PathBuf {
    dir.join(format!("file{name}"))
}

fn run(disk: &dyn Disk, dir: &Path, step: &Step) -> Result<Seen, io::ErrorKind> {
    let existing = |name: usize| disk.open(&path(dir, name), OpenMode::Existing);
    let seen = match step {
        Step::Open(name, mode) => {
            disk.open(&path(dir, *name), *mode).and_then(|file| file.len()).map(Seen::Length)
        }
        Step::Write(name, at, data) => {
            existing(*name).and_then(|file| file.write_at(*at, data)).map(|()| Seen::Nothing)
        }
        Step::WriteDurably(name, at, data) => {
            existing(*name).and_then(|file| file.write_durably(*at, data)).map(|()| Seen::Nothing)
        }
        Step::SetLen(name, len) => {
            existing(*name).and_then(|file| file.set_len(*len)).map(|()| Seen::Nothing)
        }
        Step::Read(name, at, len) => {
            let mut buffer = vec![0; *len];
            existing(*name).and_then(|file| file.read_at(*at, &mut buffer)).map(|()| Seen::Bytes(buffer))
        }
        Step::Sync(name) => existing(*name).and_then(|file| file.sync()).map(|()| Seen::Nothing),
        Step::DropCache(name) => existing(*name).and_then(|file| file.drop_cache()).map(|()| Seen::Nothing),
        Step::Rename(from, to) => disk.rename(&path(dir, *from), &path(dir, *to)).map(|()| Seen::Nothing),
        Step::Remove(name) => disk.remove(&path(dir, *name)).map(|()| Seen::Nothing),
        Step::Exists(name) => disk.exists(&path(dir, *name)).map(Seen::Flag),
        Step::List => {
            let names = disk.list(dir);
            names.map(|names| {
                Seen::Names(names.iter().map(|name| name.strip_prefix(dir).unwrap().into()).collect())
            })
        }
        Step::SyncDir => disk.sync_dir(dir).map(|()| Seen::Nothing),
    };
    seen.map_err(|error| error.kind())
}

/// The naive model: a map of vectors.
fn model(files: &mut BTreeMap<usize, Vec<u8>>, step: &Step) -> Result<Seen, io::ErrorKind> {
    let missing = io::ErrorKind::NotFound;
    match step {
        Step::Open(name, mode) => match (files.get(name), mode) {
            (Some(_), OpenMode::New) => Err(io::ErrorKind::AlreadyExists),
            (Some(file), _) => Ok(Seen::Length(file.len() as u64)),
            (None, OpenMode::Existing | OpenMode::ReadOnly) => Err(missing),
            (None, _) => {
                files.insert(*name, Vec::new());
                Ok(Seen::Length(0))
            }
        },
        Step::Write(name, at, data) | Step::WriteDurably(name, at, data) => {
            let file = files.get_mut(name).ok_or(missing)?;
            let at = usize::try_from(*at).unwrap();
            if !data.is_empty() {
                file.resize(file.len().max(at + data.len()), 0);
                file[at..at + data.len()].copy_from_slice(data);
            }
            Ok(Seen::Nothing)
        }
        Step::SetLen(name, len) => {
            files.get_mut(name).ok_or(missing)?.resize(usize::try_from(*len).unwrap(), 0);
            Ok(Seen::Nothing)
        }
        Step::Read(name, at, len) => {
            let file = files.get(name).ok_or(missing)?;
            let at = usize::try_from(*at).unwrap();
            // Reading nothing works at any offset.
            let part = if *len == 0 { Some(&[][..]) } else { file.get(at..at + len) };
            part.map(|part| Seen::Bytes(part.to_vec())).ok_or(io::ErrorKind::UnexpectedEof)
        }
        Step::Sync(name) | Step::DropCache(name) => files.get(name).map(|_| Seen::Nothing).ok_or(missing),
        Step::Rename(from, to) => {
            let file = files.remove(from).ok_or(missing)?;
            files.insert(*to, file);
            Ok(Seen::Nothing)
        }
        Step::Remove(name) => files.remove(name).map(|_| Seen::Nothing).ok_or(missing),
        Step::Exists(name) => Ok(Seen::Flag(files.contains_key(name))),
        Step::List => Ok(Seen::Names(files.keys().map(|name| path(Path::new(""), *name)).collect())),
        Step::SyncDir => Ok(Seen::Nothing),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_disks_do_as_the_model_does(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let simulated = SimulatedDisk::new(0);
        let dir = Path::new("/some/where");
        simulated.create_dir_all(dir).unwrap();
        let mut files = BTreeMap::new();
        for step in &steps {
            let wanted = model(&mut files, step);
            prop_assert_eq!(run(&simulated, dir, step), wanted.clone(), "simulated: {:?}", step);
            prop_assert_eq!(run(&RealDisk, folder.path(), step), wanted, "real: {:?}", step);
        }
    }
}

fn on_both(test: impl Fn(&dyn Disk, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    test(&RealDisk, folder.path());
    let simulated = SimulatedDisk::new(0);
    simulated.create_dir_all(Path::new("/folder")).unwrap();
    test(&simulated, Path::new("/folder"));
}

#[test]
fn a_locked_folder_cannot_be_locked_again_until_the_lock_is_dropped() {
    on_both(|disk, dir| {
        let lock = disk.lock_dir(dir).unwrap();
        assert_eq!(disk.lock_dir(dir).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        disk.lock_dir(dir).unwrap();
        assert_eq!(disk.list(dir).unwrap(), [dir.join(RealDisk::LOCK_FILE)]);
        assert_eq!(disk.lock_dir(&dir.join("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn folders_are_made_with_those_above_and_a_file_in_the_way_is_an_error() {
    on_both(|disk, dir| {
        let deep = dir.join("a/b/c");
        create_dir_all_durably(disk, &deep).unwrap();
        create_dir_all_durably(disk, &deep).unwrap();
        disk.create_dir_all(&deep).unwrap();
        assert!(disk.exists(&deep).unwrap());
        assert_eq!(disk.list(dir).unwrap(), [dir.join("a")]);
        disk.open(&deep.join("file"), OpenMode::New).unwrap();
        assert!(disk.create_dir_all(&deep.join("file")).is_err());
        assert!(disk.create_dir_all(&deep.join("file/below")).is_err());
        assert!(disk.open(&deep, OpenMode::Existing).is_err());
        assert!(disk.open(&dir.join("x/y"), OpenMode::Either).is_err());
        assert_eq!(disk.list(&dir.join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.sync_dir(&dir.join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn an_open_file_outlives_its_name() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("old"), OpenMode::New).unwrap();
        file.write_at(0, b"text").unwrap();
        disk.rename(&dir.join("old"), &dir.join("new")).unwrap();
        disk.remove(&dir.join("new")).unwrap();
        file.write_at(4, b"!").unwrap();
        let mut buffer = [0; 5];
        file.read_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"text!");
    });
}

#[test]
fn a_file_that_is_open_for_reading_only_cannot_be_changed() {
    on_both(|disk, dir| {
        let path = dir.join("file");
        assert_eq!(disk.open(&path, OpenMode::ReadOnly).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.open(&path, OpenMode::New).unwrap().write_durably(0, b"text").unwrap();
        let file = disk.open(&path, OpenMode::ReadOnly).unwrap();
        file.write_at(0, b"x").unwrap_err();
        file.write_durably(0, b"x").unwrap_err();
        file.set_len(1).unwrap_err();
        let mut buffer = [0; 4];
        file.read_at(0, &mut buffer).unwrap();
        assert_eq!((&buffer, file.len().unwrap()), (b"text", 4));
        file.sync().unwrap();
        file.drop_cache().unwrap();
    });
}

#[test]
fn a_file_that_may_only_be_read_can_be_opened_for_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"text").unwrap();
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let file = RealDisk.open(&path, OpenMode::ReadOnly).unwrap();
    assert_eq!(file.len().unwrap(), 4);
    // Check by a write that the kernel opened the file for reading only, since root may open any file for writing.
    file.write_at(0, b"x").unwrap_err();
}

#[test]
fn a_durable_write_beyond_what_a_file_can_hold_is_an_error() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("file"), OpenMode::New).unwrap();
        for at in [u64::MAX, u64::MAX - 1, 1 << 63] {
            file.write_durably(at, b"x").unwrap_err();
            file.write_at(at, b"x").unwrap_err();
            file.set_len(at).unwrap_err();
        }
        assert_eq!(file.len().unwrap(), 0);
        file.write_durably(0, b"x").unwrap();
        assert_eq!(file.len().unwrap(), 1);
    });
}
