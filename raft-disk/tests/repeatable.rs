//! All faults together: the same seed gives the same disk, byte for byte, and a frozen disk accepts no change.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use raftkit_disk::{
    Chance, Disk, DiskFile, DiskImage, ErrorChance, Faults, Injected, OpenMode, Operation, SimulatedDisk,
};

#[derive(Clone, Debug)]
enum Step {
    Open(usize, OpenMode),
    Write(usize, u64, usize),
    WriteDurably(usize, u64, usize),
    SetLen(usize, u64),
    Read(usize, u64, usize),
    Sync(usize),
    DropCache(usize),
    Rename(usize, usize),
    Remove(usize),
    SyncDir,
    FailReads(usize, u64),
    Defer(bool),
    Complete(usize),
    Fail(usize),
    Capacity(u64),
    CrashAt(u64),
    Freeze,
    Crash,
    Kill,
}

const NAMES: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (name, at, len) = (0..NAMES, 0..20_000_u64, 0..6000_usize);
    let mode = prop_oneof![1 => Just(OpenMode::Existing), 8 => Just(OpenMode::Either), 1 => Just(OpenMode::ReadOnly)];
    let place = (name.clone(), at.clone(), len);
    let step = prop_oneof![
        14 => (name.clone(), mode).prop_map(|(name, mode)| Step::Open(name, mode)),
        8 => place.clone().prop_map(|(name, at, len)| Step::Write(name, at, len)),
        4 => place.clone().prop_map(|(name, at, len)| Step::WriteDurably(name, at, len)),
        2 => (name.clone(), at.clone()).prop_map(|(name, len)| Step::SetLen(name, len)),
        4 => place.prop_map(|(name, at, len)| Step::Read(name, at, len)),
        3 => name.clone().prop_map(Step::Sync),
        1 => name.clone().prop_map(Step::DropCache),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name.clone().prop_map(Step::Remove),
        3 => Just(Step::SyncDir),
        1 => (name, at).prop_map(|(name, at)| Step::FailReads(name, at)),
        1 => any::<bool>().prop_map(Step::Defer),
        2 => (0..4_usize).prop_map(Step::Complete),
        1 => (0..4_usize).prop_map(Step::Fail),
        1 => (5..40_u64).prop_map(|blocks| Step::Capacity(blocks * 4096)),
        1 => (0..8_u64).prop_map(Step::CrashAt),
        1 => Just(Step::Freeze),
        3 => Just(Step::Crash),
        2 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..120)
}

fn faults() -> Faults {
    use Operation::{Create, Open, Read, Remove, Rename, SetLen, Sync, SyncDir, Write};
    let operations = [Create, Open, Read, Remove, Rename, SetLen, Sync, SyncDir, Write];
    let kinds = [ErrorKind::Other, ErrorKind::StorageFull];
    let chance = Chance::one_in(30);
    Faults {
        errors: operations
            .iter()
            .flat_map(|&operation| kinds.map(|kind| ErrorChance { operation, kind, chance }))
            .collect(),
        stalls: Chance::NEVER,
        rot_at_crash: Chance::one_in(20),
        rot_at_read: Chance::one_in(50),
        may_rot: vec![PathBuf::from("/file0"), PathBuf::from("/file1")],
    }
}

/// A disk, one handle for each name, and a line for each observation.
struct Run {
    disk: SimulatedDisk,
    files: [Option<Arc<dyn DiskFile>>; NAMES],
    seen: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new(seed);
        disk.set_faults(faults());
        Self { disk, files: Default::default(), seen: Vec::new() }
    }

    fn file(&self, name: usize) -> std::io::Result<&dyn DiskFile> {
        self.files[name].as_deref().ok_or_else(|| ErrorKind::NotFound.into())
    }

    #[expect(clippy::too_many_lines, reason = "a list: an arm for each kind of step")]
    fn step(&mut self, number: usize, step: &Step) {
        let data = |len| vec![u8::try_from(number % 255 + 1).unwrap(); len];
        let path = |name: usize| PathBuf::from(format!("/file{name}"));
        let mut read = Vec::new();
        let nth = |nth: usize| self.disk.deferred_syncs().get(nth).map(|sync| sync.id);
        let result = match step {
            Step::Open(name, mode) => {
                let opened = self.disk.open(&path(*name), *mode);
                opened.map(|file| self.files[*name] = Some(file))
            }
            Step::Write(name, at, len) => self.file(*name).and_then(|file| file.write_at(*at, &data(*len))),
            Step::WriteDurably(name, at, len) => {
                self.file(*name).and_then(|file| file.write_durably(*at, &data(*len)))
            }
            Step::SetLen(name, len) => self.file(*name).and_then(|file| file.set_len(*len)),
            Step::Read(name, at, len) => {
                read.resize(*len, 0);
                self.file(*name).and_then(|file| file.read_at(*at, &mut read))
            }
            Step::Sync(name) => self.file(*name).and_then(DiskFile::sync),
            Step::DropCache(name) => self.file(*name).and_then(DiskFile::drop_cache),
            Step::Rename(from, to) => self.disk.rename(&path(*from), &path(*to)),
            Step::Remove(name) => self.disk.remove(&path(*name)),
            Step::SyncDir => self.disk.sync_dir(Path::new("/")),
            Step::FailReads(name, at) => {
                self.disk.fail_reads(&path(*name), *at..*at + 1000);
                Ok(())
            }
            Step::Defer(true) => {
                self.disk.defer_syncs();
                Ok(())
            }
            Step::Defer(false) => {
                self.disk.stop_deferring_syncs();
                Ok(())
            }
            Step::Complete(at) => {
                nth(*at).map(|id| self.disk.complete_sync(id));
                Ok(())
            }
            Step::Fail(at) => {
                nth(*at).map(|id| self.disk.fail_sync(id));
                Ok(())
            }
            Step::Capacity(bytes) => {
                self.disk.set_capacity(Some(*bytes));
                Ok(())
            }
            Step::CrashAt(nth) => {
                self.disk.crash_at_call(*nth);
                Ok(())
            }
            Step::Freeze => {
                self.disk.freeze();
                Ok(())
            }
            Step::Crash => {
                self.disk.crash();
                Ok(())
            }
            Step::Kill => {
                self.disk.kill();
                Ok(())
            }
        };
        let result = result.map_err(|error| error.to_string());
        self.seen.push(format!(
            "{step:?} {result:?} {read:?} {:?} {:x}",
            self.disk.deferred_syncs(),
            self.disk.digest()
        ));
    }
}

fn run(seed: u64, steps: &[Step]) -> (Vec<String>, DiskImage, Injected, u64) {
    let mut run = Run::new(seed);
    for (number, step) in steps.iter().enumerate() {
        run.step(number, step);
    }
    run.disk.crash();
    (run.seen, run.disk.image(), run.disk.injected(), run.disk.digest())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_seed_and_steps_show_the_same_and_leave_the_same(seed in any::<u64>(), steps in steps()) {
        let (one, two) = (run(seed, &steps), run(seed, &steps));
        prop_assert!(one.0 == two.0);
        prop_assert!(one.1 == two.1);
        prop_assert_eq!(one.2, two.2);
        prop_assert_eq!(one.3, two.3);
    }

    /// Steps after a freeze leave no trace, neither in the durable content nor in the draws of a crash.
    #[test]
    fn a_frozen_disk_takes_nothing(seed in any::<u64>(), before in steps(), after in steps()) {
        let prepare = || {
            let mut run = Run::new(seed);
            for (number, step) in before.iter().enumerate() {
                run.step(number, step);
            }
            run.disk.freeze();
            run
        };
        let (left, mut used) = (prepare(), prepare());
        let durable = used.disk.image();
        for (number, step) in after.iter().enumerate() {
            // The medium and its faults are not frozen, and a crash or kill ends the freeze.
            if !matches!(step, Step::Crash | Step::Kill | Step::FailReads(..) | Step::Capacity(_)) {
                used.step(number, step);
            }
        }
        prop_assert!(used.disk.image() == durable);
        prop_assert_eq!(left.disk.calls(), used.disk.calls());
        left.disk.crash();
        used.disk.crash();
        prop_assert!(left.disk.image() == used.disk.image());
        prop_assert_eq!(left.disk.injected(), used.disk.injected());
    }
}

/// Checks that the two tests above exercise every fault.
#[test]
fn the_script_meets_every_fault() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sum = Injected::default();
    for seed in 0..200 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        sum += run(seed, &steps).2;
    }
    let counts = [sum.crashes_with_loss, sum.lost_writes, sum.torn_writes, sum.lost_names];
    let others = [sum.kills_with_unsynced, sum.failed_syncs, sum.full, sum.io_errors, sum.rotten_bytes];
    assert!(counts.iter().chain(&others).all(|count| *count >= 20), "{sum:?}");
}
