//! Random writes, crashes, faults and reopenings, compared with a naive model.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;

use common::plan::{Plan, plan};
use common::*;
use proptest::prelude::*;
use raftkit_core::*;
use raftkit_disk::{Operation, SimulatedDisk};
use raftkit_log::*;

#[derive(Clone, Debug)]
enum Step {
    Queue(Plan),
    Flush,
    Settle,
    Witness,
    Compact,
    Reopen,
    /// A power cut between operations.
    Crash {
        losing_all: bool,
    },
    /// A power cut in the n-th mutation of a flush, and in the n-th mutation of the opening after it.
    CrashIn {
        flush: u64,
        open: Option<u64>,
        losing_all: bool,
    },
    /// The n-th call, or a sync, of a flush fails; then the process or the machine restarts.
    Fail {
        call: Option<u64>,
        power_cut: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let losing_all = any::<bool>();
    prop_oneof![
        12 => plan().prop_map(Step::Queue),
        6 => Just(Step::Flush),
        3 => Just(Step::Settle),
        1 => Just(Step::Witness),
        2 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => losing_all.prop_map(|losing_all| Step::Crash { losing_all }),
        2 => (0..40_u64, prop::option::of(0..12_u64), losing_all)
            .prop_map(|(flush, open, losing_all)| Step::CrashIn { flush, open, losing_all }),
        1 => (prop::option::of(0..40_u64), any::<bool>()).prop_map(|(call, power_cut)| Step::Fail { call, power_cut }),
    ]
}

/// A store, what it has acknowledged, and what is queued on top of that.
struct Run {
    disk: SimulatedDisk,
    store: Option<Store>,
    acknowledged: Model,
    /// The expected state after each queued write.
    queued: Vec<Model>,
    seq: u64,
    incarnation: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new(seed);
        let (mut store, _) = open(&disk).unwrap();
        let mut model = Model::default();
        store.form(ClusterId(5), base(1, 1)).unwrap();
        model.form(ClusterId(5), base(1, 1));
        Self { disk, store: Some(store), acknowledged: model, queued: Vec::new(), seq: 0, incarnation: 1 }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Queue(plan) => {
                self.seq += 1;
                let mut log = self.queued.last().unwrap_or(&self.acknowledged).clone();
                let write = plan.write(self.seq, &log);
                log.apply(&write);
                self.queued.push(log);
                self.store().queue(write);
            }
            Step::Flush => {
                let wanted = (self.store().queued() > 0).then_some(WriteSeq(self.seq));
                assert_eq!(self.store().flush().unwrap(), wanted);
                self.flushed();
                self.acknowledged.check(self.store.as_ref().unwrap());
            }
            Step::Settle => {
                settle(self.store());
                self.acknowledged.check(self.store.as_ref().unwrap());
            }
            Step::Witness => self.store().witness().unwrap(),
            Step::Compact => {
                while self.store().compact_step().unwrap() == Compaction::More {}
                self.acknowledged.check(self.store.as_ref().unwrap());
            }
            Step::Reopen => self.start_again(false),
            Step::Crash { losing_all } => {
                self.disk.freeze();
                self.store = None;
                self.crash(*losing_all);
                self.start_again(false);
            }
            Step::CrashIn { flush, open: nth, losing_all } => {
                self.disk.crash_at_call(*flush);
                let tried = self.try_flush();
                self.disk.freeze();
                self.store = None;
                self.crash(*losing_all);
                if let Some(nth) = nth {
                    self.disk.crash_at_call(*nth);
                    // The opening may succeed, and then counts.
                    self.incarnation += u64::from(open(&self.disk).is_ok());
                    self.disk.freeze();
                    self.crash(*losing_all);
                }
                self.start_again(tried);
            }
            Step::Fail { call, power_cut } => {
                match call {
                    Some(nth) => self.disk.fail_call(*nth, ErrorKind::StorageFull),
                    None => self.disk.fail_next(Operation::Sync, 0, ErrorKind::Other),
                }
                let tried = self.try_flush();
                if *power_cut {
                    self.disk.freeze();
                    self.store = None;
                    self.crash(false);
                }
                self.disk.clear_faults();
                self.start_again(tried);
            }
        }
    }

    fn flushed(&mut self) {
        if let Some(last) = self.queued.pop() {
            self.acknowledged = last;
            self.queued.clear();
        }
    }

    /// Flushes and settles; returns true if that failed, so that the outcome is unknown.
    fn try_flush(&mut self) -> bool {
        let result = self.store().flush();
        if result.is_ok() {
            self.flushed();
        }
        match result.and_then(|_| self.store().settle()) {
            Ok(_) => false,
            Err(error) => {
                assert_honest(&error);
                assert!(matches!(self.store().flush(), Err(StoreError::Ended)));
                assert!(matches!(self.store().settle(), Err(StoreError::Ended)));
                assert!(matches!(self.store().compact_step(), Err(StoreError::Ended)));
                assert!(matches!(self.store().witness(), Err(StoreError::Ended)));
                true
            }
        }
    }

    fn crash(&self, losing_all: bool) {
        if losing_all {
            self.disk.crash_losing_all_unsynced();
        } else {
            self.disk.crash();
        }
    }

    fn start_again(&mut self, tried: bool) {
        self.store = None;
        let (store, restored) = open(&self.disk).unwrap();
        assert_eq!(restored, store.restored());
        // An opening that crashed may have raised it or not.
        assert!(store.identity().incarnation.0 > self.incarnation);
        self.incarnation = store.identity().incarnation.0;
        assert!(store.report().damage.is_none(), "{:?}", store.report());
        let mut states = vec![self.acknowledged.clone()];
        if tried {
            states.append(&mut self.queued);
        }
        self.queued.clear();
        self.acknowledged = check_one_of(&store, &states);
        self.store = Some(store);
    }
}

/// The number of sequences tried; set `SEQUENCES=<n>` for more.
fn sequences() -> u32 {
    std::env::var("SEQUENCES").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: sequences(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_vector_that_survives(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::new(seed);
        for step in &steps {
            run.step(step);
        }
        run.step(&Step::Flush);
        run.step(&Step::Crash { losing_all: true });
    }
}
