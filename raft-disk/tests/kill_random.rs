//! Random lives that end in a kill: the next life reads what was written, up to some earlier moment.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};

mod common;

use common::{content, create};

const ROOT: &str = "/";
const NAMES: [&str; 4] = ["/a", "/b", "/folder/a", "/folder/b"];

#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Write(usize, usize, usize),
    WriteDurably(usize, usize, usize),
    SetLen(usize, usize),
    Sync(usize),
    Rename(usize, usize),
    Remove(usize),
    SyncDir(bool),
    FailSync(usize),
    Complete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (name, at, len) = (0..NAMES.len(), 0..9000_usize, 1..6000_usize);
    let place = (name.clone(), at.clone(), len);
    let step = prop_oneof![
        8 => name.clone().prop_map(Step::Open),
        8 => place.clone().prop_map(|(name, at, len)| Step::Write(name, at, len)),
        4 => place.prop_map(|(name, at, len)| Step::WriteDurably(name, at, len)),
        2 => (name.clone(), at).prop_map(|(name, len)| Step::SetLen(name, len)),
        3 => name.clone().prop_map(Step::Sync),
        3 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name.clone().prop_map(Step::Remove),
        3 => any::<bool>().prop_map(Step::SyncDir),
        1 => name.prop_map(Step::FailSync),
        3 => Just(Step::Complete),
    ];
    prop::collection::vec(step, 1..60)
}

type Shown = BTreeMap<&'static str, Vec<u8>>;

fn shown(disk: &SimulatedDisk) -> Shown {
    let lists = [ROOT, "/folder"].map(|folder| disk.list(Path::new(folder)).unwrap_or_default());
    let listed: BTreeSet<PathBuf> = lists.concat().into_iter().collect();
    let files = NAMES.into_iter().filter_map(|name| Some((name, content(disk, name)?)));
    let files: Shown = files.collect();
    let folder = Path::new("/folder");
    assert!(
        listed.iter().map(PathBuf::as_path).filter(|name| *name != folder).eq(files.keys().map(Path::new))
    );
    files
}

/// Creates a first file, durably.
fn first(disk: &SimulatedDisk) -> Shown {
    create(disk, NAMES[0]);
    Shown::from([(NAMES[0], Vec::new())])
}

/// Applies a step to a disk and to the simplest model of what reads show. A write to a missing file is skipped.
fn step(disk: &SimulatedDisk, model: &mut Shown, number: usize, step: &Step) {
    let fill = u8::try_from(number % 255 + 1).unwrap();
    let file = |name: usize| disk.open(Path::new(NAMES[name]), OpenMode::Existing);
    match *step {
        Step::Open(name) => {
            disk.create_dir_all(Path::new("/folder")).unwrap();
            disk.open(Path::new(NAMES[name]), OpenMode::Either).unwrap();
            model.entry(NAMES[name]).or_default();
        }
        Step::Write(name, at, len) | Step::WriteDurably(name, at, len) => {
            let Ok(file) = file(name) else { return };
            let data = vec![fill; len];
            if matches!(step, Step::Write(..)) {
                file.write_at(at as u64, &data).unwrap();
            } else {
                file.write_durably(at as u64, &data).unwrap();
            }
            let content = model.get_mut(NAMES[name]).unwrap();
            content.resize(content.len().max(at + len), 0);
            content[at..at + len].copy_from_slice(&data);
        }
        Step::SetLen(name, len) => {
            let Ok(file) = file(name) else { return };
            file.set_len(len as u64).unwrap();
            model.get_mut(NAMES[name]).unwrap().resize(len, 0);
        }
        Step::Sync(name) => file(name).map_or((), |file| file.sync().unwrap()),
        Step::Rename(from, to) => {
            if disk.rename(Path::new(NAMES[from]), Path::new(NAMES[to])).is_ok() {
                let content = model.remove(NAMES[from]).unwrap();
                model.insert(NAMES[to], content);
            }
        }
        Step::Remove(name) => {
            assert_eq!(disk.remove(Path::new(NAMES[name])).is_ok(), model.remove(NAMES[name]).is_some());
        }
        Step::SyncDir(root) => {
            let _ = disk.sync_dir(Path::new(if root { ROOT } else { "/folder" }));
        }
        Step::FailSync(name) => {
            let Ok(file) = file(name) else { return };
            disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
            file.sync().unwrap_err();
        }
        Step::Complete => {
            if let Some(first) = disk.deferred_syncs().first() {
                disk.complete_sync(first.id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Without deferred syncs, a kill changes nothing visible, nor anything that a crash could choose from.
    #[test]
    fn the_next_life_reads_what_was_written_and_no_more_is_durable(
        seed in any::<u64>(),
        lives in prop::collection::vec(steps(), 1..4),
    ) {
        let (killed, goes_on) = (SimulatedDisk::new(seed), SimulatedDisk::new(seed));
        let (mut model, mut other) = (first(&killed), first(&goes_on));
        for steps in lives {
            for (number, one) in steps.iter().enumerate() {
                step(&killed, &mut model, number, one);
                step(&goes_on, &mut other, number, one);
            }
            killed.kill();
            prop_assert!(shown(&killed) == model);
            prop_assert!(shown(&goes_on) == model);
            prop_assert!(killed.image() == goes_on.image());
        }
        for disk in [&killed, &goes_on] {
            disk.crash_losing_all_unsynced();
        }
        prop_assert!(shown(&killed) == shown(&goes_on));
    }

    /// With syncs completed in the order of their calls, the next life sees the state at the call of one of the
    /// outstanding syncs, or the final one.
    #[test]
    fn the_next_life_sees_a_moment_of_the_past(seed in any::<u64>(), lives in prop::collection::vec(steps(), 1..4)) {
        let disk = SimulatedDisk::new(seed);
        let mut model = first(&disk);
        disk.defer_syncs();
        for steps in lives {
            // What was visible when each sync was called. A sync comes last in its step.
            let mut at_call = BTreeMap::new();
            for (number, one) in steps.iter().enumerate() {
                step(&disk, &mut model, number, one);
                for sync in disk.deferred_syncs() {
                    at_call.entry(sync.id).or_insert_with(|| model.clone());
                }
            }
            let outstanding = disk.deferred_syncs();
            disk.kill();
            let now = shown(&disk);
            let seen = now == model || outstanding.iter().any(|sync| at_call[&sync.id] == now);
            prop_assert!(seen, "{:?}", now.keys());
            model = now;
        }
        // A crash may lose unsynced changes, but leaves nothing that was never visible.
        disk.crash_losing_all_unsynced();
        prop_assert!(disk.image().files().all(|name| NAMES.iter().any(|known| Path::new(known) == name)));
    }
}
