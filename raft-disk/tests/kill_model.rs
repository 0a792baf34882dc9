//! Kills amid deferred syncs, completed and failed in any order, compared with a model that tracks the fate of each
//! change.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::io::ErrorKind;
use std::path::Path;

use proptest::prelude::*;
use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};

mod common;

use common::{content, create};

const NAMES: [&str; 2] = ["/0", "/1"];

/// Fate of a change to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Pending,
    Durable,
    Lost,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// A model of one file with all its changes, each with its moment and fate.
#[derive(Clone, Debug)]
struct Changes(Vec<(usize, Change, State)>);

/// Two files, and the outstanding syncs, each with its moment and file.
#[derive(Clone, Debug)]
struct Model {
    files: [Changes; 2],
    syncs: Vec<(usize, usize)>,
    happened_until: usize,
}

impl Changes {
    fn change(&mut self, moment: usize, change: Change) {
        self.0.push((moment, change, State::Pending));
    }

    fn decide(&mut self, before: usize, state: State) {
        for change in self.0.iter_mut().filter(|change| change.0 < before && change.2 == State::Pending) {
            change.2 = state;
        }
    }

    fn durable(&self) -> Vec<u8> {
        self.replay(|state| state == State::Durable)
    }

    fn replay(&self, wanted: impl Fn(State) -> bool) -> Vec<u8> {
        let mut content = Vec::new();
        for (_, change, _) in self.0.iter().filter(|change| wanted(change.2)) {
            match change {
                Change::Write(at, data) => {
                    content.resize(content.len().max(at + data.len()), 0);
                    content[*at..at + data.len()].copy_from_slice(data);
                }
                Change::SetLen(len) => content.resize(*len, 0),
            }
        }
        content
    }
}

impl Model {
    /// All possible states after a kill, one for each number of finished syncs.
    fn killed(&self) -> Vec<Self> {
        let one = |done: usize| {
            let mut model = self.clone();
            let mut cut = std::mem::replace(&mut model.happened_until, usize::MAX);
            for (nth, (moment, file)) in std::mem::take(&mut model.syncs).into_iter().enumerate() {
                if nth == done || moment >= cut {
                    cut = cut.min(moment);
                    break;
                }
                model.files[file].decide(moment, State::Durable);
            }
            for file in &mut model.files {
                file.0.retain(|change| change.0 < cut || change.2 == State::Durable);
            }
            model
        };
        (0..=self.syncs.len()).map(one).collect()
    }

    fn matches(&self, disk: &SimulatedDisk) -> bool {
        NAMES.iter().zip(&self.files).all(|(name, file)| {
            content(disk, name).unwrap() == file.replay(|_| true)
                && disk.durable(Path::new(name)).unwrap() == file.durable()
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize, usize, usize),
    SetLen(usize, usize),
    Sync(usize),
    SyncThatFails(usize),
    Complete(usize),
    Fail(usize),
    Kill,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (0..2_usize, 0..5000_usize, 1..5000_usize).prop_map(|(file, at, len)| Act::Write(file, at, len)),
        1 => (0..2_usize, 0..9000_usize).prop_map(|(file, len)| Act::SetLen(file, len)),
        6 => (0..2_usize).prop_map(Act::Sync),
        1 => (0..2_usize).prop_map(Act::SyncThatFails),
        2 => (0..3_usize).prop_map(Act::Complete),
        1 => (0..3_usize).prop_map(Act::Fail),
        1 => Just(Act::Kill),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// With syncs completed and failed in any order, each change is visible and durable as the model says for one of
    /// the possible draws.
    #[test]
    fn each_change_is_shown_or_not_as_a_model_says(seed in any::<u64>(), acts in acts()) {
        let disk = SimulatedDisk::new(seed);
        for name in NAMES {
            create(&disk, name);
        }
        disk.defer_syncs();
        let empty = || Changes(Vec::new());
        // All models consistent with the observations so far.
        let mut models = vec![Model { files: [empty(), empty()], syncs: Vec::new(), happened_until: usize::MAX }];
        for (moment, act) in acts.into_iter().chain([Act::Kill]).enumerate() {
            let open = |file: usize| disk.open(Path::new(NAMES[file]), OpenMode::Existing).unwrap();
            let nth = |nth: usize| disk.deferred_syncs().get(nth).map(|sync| sync.id);
            let act_on: Box<dyn Fn(&mut Model)> = match act {
                Act::Write(file, at, len) => {
                    let data: Vec<u8> = vec![u8::try_from(moment + 1).unwrap(); len];
                    open(file).write_at(at as u64, &data).unwrap();
                    Box::new(move |model| model.files[file].change(moment, Change::Write(at, data.clone())))
                }
                Act::SetLen(file, len) => {
                    open(file).set_len(len as u64).unwrap();
                    Box::new(move |model| model.files[file].change(moment, Change::SetLen(len)))
                }
                Act::Sync(file) => {
                    open(file).sync().unwrap();
                    Box::new(move |model| model.syncs.push((moment, file)))
                }
                Act::SyncThatFails(file) => {
                    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
                    open(file).sync().unwrap_err();
                    Box::new(move |model| {
                        // The program that calls it has seen the earlier ones return.
                        for (moment, file) in std::mem::take(&mut model.syncs) {
                            model.files[file].decide(moment, State::Durable);
                        }
                        model.files[file].decide(moment, State::Lost);
                    })
                }
                Act::Complete(at) | Act::Fail(at) => {
                    let Some(id) = nth(at) else { continue };
                    let fails = matches!(act, Act::Fail(_));
                    assert!(if fails { disk.fail_sync(id) } else { disk.complete_sync(id) });
                    Box::new(move |model| {
                        let (moment, file) = model.syncs.remove(at);
                        model.files[file].decide(moment, if fails { State::Lost } else { State::Durable });
                        if fails {
                            model.happened_until = model.happened_until.min(moment);
                        }
                    })
                }
                Act::Kill => {
                    disk.kill();
                    models = models.iter().flat_map(Model::killed).filter(|model| model.matches(&disk)).collect();
                    prop_assert!(!models.is_empty(), "no outcome leaves this, at {}", moment);
                    continue;
                }
            };
            models.iter_mut().for_each(act_on);
        }
        disk.crash_losing_all_unsynced();
        let left = |model: &Model| NAMES.iter().zip(&model.files).all(|(name, file)| content(&disk, name) == Some(file.durable()));
        prop_assert!(models.iter().any(left));
    }
}
