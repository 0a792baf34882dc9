//! State machines of a user's own, each wrong in its own way: which promise says so.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::path::Path;
use std::sync::Arc;

use raftkit_core::LogId;
use raftkit_disk::Disk;
use raftkit_replica::{Application, InMemory, MachineError};
use raftkit_sim::{Ended, Outcome, Promise, Reader, Request, Rng, Settings, Subject, digest, hunt};
use serde::{Deserialize, Serialize};

const SOUND: u8 = 0;
/// What it does depends on what is no part of the state: how much was done since its process began.
const REMEMBERS: u8 = 1;
/// Only what it answers depends on that.
const ANSWERS_FROM_MEMORY: u8 = 2;
/// It panics, at the same entry on every node.
const PANICS: u8 = 3;
/// All nodes come to the same state, and that is wrong.
const OVERFLOWS: u8 = 4;
/// Its reads say that they are older than they are: no caller can tell what they include.
const READS_BACK: u8 = 5;
/// Its reads find something else than is there.
const READS_WRONG: u8 = 6;

/// How far a sound one counts at most.
const LIMIT: u64 = 300;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counter<const BUG: u8> {
    sum: u64,
    #[serde(skip)]
    since_start: u64,
}

impl<const BUG: u8> Application for Counter<BUG> {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, _: LogId, add: u64) -> u64 {
        self.since_start += 1;
        assert!(BUG != PANICS || self.sum < LIMIT / 2, "it counts no further");
        let next = self.sum + add + u64::from(BUG == REMEMBERS && self.since_start.is_multiple_of(7));
        self.sum = if BUG == OVERFLOWS { next } else { next % LIMIT };
        if BUG == ANSWERS_FROM_MEMORY { self.since_start } else { self.sum }
    }
}

/// Remembers what its clients saw.
#[derive(Default)]
struct Callers<const BUG: u8> {
    found: Vec<u64>,
}

impl<const BUG: u8> Subject for Callers<BUG> {
    type Machine = InMemory<Counter<BUG>>;
    type Ask = &'static str;
    type Found = u64;

    fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self::Machine, MachineError> {
        InMemory::open(disk, dir)
    }

    fn ask(&mut self, rng: &mut Rng, settings: &Settings, _: u64) -> (Self::Ask, Request) {
        if rng.permille(settings.reads) {
            return ("read", Request::Read);
        }
        ("add", Request::Write(Self::Machine::encode(&rng.range(1, 9)).unwrap()))
    }

    fn find(reader: &Reader<Self>, _: &Self::Ask) -> Result<(u64, LogId), MachineError> {
        let (sum, at) = reader.read(|counter| counter.sum);
        let at = if BUG == READS_BACK { LogId::GENESIS } else { at };
        Ok((if BUG == READS_WRONG { sum + LIMIT } else { sum }, at))
    }

    fn look(reader: &Reader<Self>) -> Result<(u64, LogId), MachineError> {
        Ok(reader.read(|counter| digest(&counter.sum)))
    }

    fn show(reader: &Reader<Self>) -> Option<String> {
        Some(reader.read(|counter| counter.sum.to_string()).0)
    }

    fn check(reader: &Reader<Self>) -> Result<(), String> {
        let (sum, _) = reader.read(|counter| counter.sum);
        if sum < LIMIT { Ok(()) } else { Err(format!("it has counted to {sum}")) }
    }

    fn ended(&mut self, ended: Ended<Self>) {
        if let Outcome::Found(sum) = ended.outcome {
            self.found.push(sum);
        }
    }

    fn judge(&self) -> Result<(), String> {
        let wrong = self.found.iter().find(|sum| **sum >= LIMIT);
        wrong.map_or(Ok(()), |sum| Err(format!("a client saw {sum}")))
    }
}

fn broken<const BUG: u8>() -> Promise {
    let found = hunt(0..60, Callers::<BUG>::default).expect_err("it is wrong");
    let told = found.to_string();
    assert!(told.contains(found.violation.promise.word()), "{told}");
    found.violation.promise
}

#[test]
fn a_sound_one_keeps_every_promise() {
    let kept = hunt(0..60, Callers::<SOUND>::default).unwrap_or_else(|found| panic!("{found}"));
    assert!(kept.counts.writes > 1000 && kept.counts.reads > 500, "{kept}");
}

#[test]
fn each_wrong_one_breaks_the_promise_that_says_what_is_wrong() {
    assert_eq!(broken::<REMEMBERS>(), Promise::SameState);
    assert_eq!(broken::<ANSWERS_FROM_MEMORY>(), Promise::TrueAnswer);
    assert_eq!(broken::<PANICS>(), Promise::NoPanic);
    assert_eq!(broken::<OVERFLOWS>(), Promise::StateCheck);
    assert!([Promise::FreshRead, Promise::StaleRead].contains(&broken::<READS_BACK>()));
    assert_eq!(broken::<READS_WRONG>(), Promise::Linearizable);
}
