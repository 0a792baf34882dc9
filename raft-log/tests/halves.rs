//! Both halves of a store interleaved in one thread: a step begins, and ends later, while the other half continues, as
//! two threads would. The power may be cut anywhere in between.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::collections::VecDeque;
use std::time::Duration;

use common::plan::{Plan, plan};
use common::*;
use proptest::prelude::*;
use raftkit_core::*;
use raftkit_disk::{SimulatedDisk, SyncId};
use raftkit_log::*;

#[derive(Clone, Debug)]
enum Step {
    Write(Plan),
    /// The flushing thread continues: it ends its step or begins the next.
    Flush,
    /// The settling thread continues, if it is awake.
    Settle,
    /// This much time passes, in milliseconds.
    Wait(u32),
    /// The process ends, and another one opens the log.
    End(End),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Cut,
    LoseAll,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => plan().prop_map(Step::Write),
        10 => Just(Step::Flush),
        10 => Just(Step::Settle),
        4 => (1..700_u32).prop_map(Step::Wait),
        1 => prop_oneof![Just(End::Cut), Just(End::LoseAll), Just(End::Kill)].prop_map(Step::End),
    ]
}

/// The two threads of a log, and its expected content.
struct Threads {
    disk: SimulatedDisk,
    halves: Option<(Flushing, Settling)>,
    now: Duration,
    writes: VecDeque<Write>,
    /// The syncs that each thread waits for in the middle of a step.
    flushing: Option<Vec<SyncId>>,
    settling: Option<Vec<SyncId>>,
    /// The settling thread sleeps until then, unless woken.
    asleep_until: Duration,
    /// The acknowledged state, and the state after each later write, with the number of that write.
    states: VecDeque<(u64, Model)>,
}

impl Threads {
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new(seed);
        let (store, model) = formed(&disk);
        let mut threads = Self {
            disk,
            halves: None,
            now: Duration::ZERO,
            writes: VecDeque::new(),
            flushing: None,
            settling: None,
            asleep_until: Duration::ZERO,
            states: [(0, model)].into(),
        };
        threads.start(store);
        threads
    }

    fn start(&mut self, store: Store) {
        let (flusher, settler) = store.split();
        self.halves = Some((Flushing::new(flusher), Settling::new(settler)));
        self.disk.defer_syncs();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(plan) => {
                let (seq, mut log) = self.states.back().cloned().unwrap();
                let write = plan.write(seq + 1, &log);
                log.apply(&write);
                self.states.push_back((seq + 1, log));
                self.writes.push_back(write);
            }
            Step::Flush => self.flush(),
            Step::Settle => self.settle(),
            Step::Wait(ms) => self.now += Duration::from_millis(u64::from(*ms)),
            Step::End(end) => self.end(*end),
        }
    }

    fn complete(&self, syncs: Vec<SyncId>) {
        for sync in syncs {
            self.disk.complete_sync(sync);
        }
    }

    fn flush(&mut self) {
        if let Some(syncs) = self.flushing.take() {
            self.complete(syncs);
            let (half, _) = self.halves.as_mut().unwrap();
            let end = half.end(self.now);
            match end.written {
                Some(Written::Persisted(WriteSeq(seq))) => self.states.retain(|(at, _)| *at >= seq),
                Some(Written::Failed(error)) => panic!("{error}"),
                None => {}
            }
            if end.nudge == Nudge::Wake {
                self.asleep_until = self.now;
            }
            return;
        }
        let (half, _) = self.halves.as_mut().unwrap();
        half.take(std::iter::from_fn(|| self.writes.pop_front()));
        if let Next::Do(chore) = half.next(self.now)
            && !half.would_wait()
        {
            self.disk.act_as(1);
            half.begin(chore);
            self.flushing = Some(self.disk.take_new_deferred().iter().map(|sync| sync.id).collect());
        }
    }

    fn settle(&mut self) {
        if let Some(syncs) = self.settling.take() {
            self.complete(syncs);
            let (_, half) = self.halves.as_mut().unwrap();
            half.end(self.now).unwrap();
            self.asleep_until = self.now;
            return;
        }
        if self.now < self.asleep_until {
            return;
        }
        let (_, half) = self.halves.as_mut().unwrap();
        match half.next(self.now) {
            Next::Do(_) if half.would_wait() => {}
            Next::Do(chore) => {
                self.disk.act_as(2);
                half.begin(chore);
                self.settling = Some(self.disk.take_new_deferred().iter().map(|sync| sync.id).collect());
            }
            Next::At(at) => self.asleep_until = at,
            Next::WhenWoken => self.asleep_until = Duration::MAX,
        }
    }

    fn end(&mut self, end: End) {
        self.disk.freeze();
        self.halves = None;
        match end {
            End::Cut => self.disk.crash(),
            End::LoseAll => self.disk.crash_losing_all_unsynced(),
            End::Kill => self.disk.kill(),
        }
        self.disk.stop_deferring_syncs();
        let (store, _) = open(&self.disk).unwrap();
        assert!(store.report().damage.is_none(), "{}", store.report());
        let states: Vec<Model> = self.states.iter().map(|(_, state)| state.clone()).collect();
        let found = check_one_of(&store, &states);
        self.states = [(self.states.back().unwrap().0, found)].into();
        (self.flushing, self.settling, self.asleep_until) = (None, None, self.now);
        self.writes.clear();
        self.start(store);
    }

    /// Lets time pass until nothing is left to do.
    fn rest(&mut self) {
        for _ in 0..400 {
            for _ in 0..4 {
                self.flush();
                self.settle();
            }
            self.now += Duration::from_millis(10);
        }
        assert_eq!(self.states.len(), 1, "all is flushed");
        let (flushing, settling) = self.halves.as_ref().unwrap();
        assert_eq!(settling.unsettled_bytes(), 0, "all is settled");
        assert!(!flushing.flusher().wants_witness());
        let model = &self.states[0].1;
        let (first, last) = (model.base.id.index.next(), model.last().index);
        if first <= last {
            let read = flushing.flusher().reader().read(first, last, usize::MAX).unwrap();
            assert_eq!(Some(read), model.read(first.0, last.0, usize::MAX));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_reported_is_there_wherever_both_halves_are_when_the_power_goes(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut threads = Threads::new(seed);
        steps.iter().for_each(|step| threads.step(step));
        threads.rest();
        threads.end(End::LoseAll);
    }
}
