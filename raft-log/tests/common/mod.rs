//! Helpers for several tests: short names, a naive model of a log, and the comparison of a store with it.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses some of it")]

pub(crate) mod folder;
pub(crate) mod golden;
pub(crate) mod plan;
pub(crate) mod roomy;

use std::path::Path;
use std::sync::Arc;

use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

pub(crate) const DIR: &str = "/data/log";
pub(crate) const FILE: &str = "/data/log/log.redb";
pub(crate) const JOURNAL: &str = "/data/log/journal";

/// No caches, so that reads show what the disk holds; a short journal, so that it wraps often.
pub(crate) fn options() -> OpenOptions {
    OpenOptions {
        cache_bytes: 0,
        tail_bytes: 0,
        journal_bytes: 32 << 10,
        ..OpenOptions::new(NodeId(1), StoreId(11))
    }
}

pub(crate) fn open(disk: &SimulatedDisk) -> Result<(Store, Restored), OpenError> {
    Store::open(Arc::new(disk.clone()), Path::new(DIR), options())
}

pub(crate) fn command(term: u64, index: u64, len: usize) -> Entry {
    let fill = u8::try_from((term * 31 + index) % 251).unwrap();
    Entry { id: LogId::new(term, index), payload: Payload::Command(vec![fill; len].into()) }
}

pub(crate) fn member(term: u64, index: u64, node: u64) -> Entry {
    Entry { id: LogId::new(term, index), payload: Payload::Membership(membership(node).into()) }
}

pub(crate) fn membership(node: u64) -> Membership {
    let member = Member::new(StoreId(u128::from(node) * 100), format!("host{node}:1"));
    Membership::founding([(NodeId(node), member)].into())
}

pub(crate) fn base(term: u64, index: u64) -> Base {
    Base { id: LogId::new(term, index), membership: membership(term * 1000 + index) }
}

pub(crate) fn append(seq: u64, entries: Vec<Entry>) -> Write {
    Write { seq: WriteSeq(seq), append: entries.into(), ..Write::default() }
}

pub(crate) fn read(store: &Store, first: u64, last: u64) -> ReadResult {
    store.read(LogIndex(first), LogIndex(last), usize::MAX).unwrap()
}

/// A log as a vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) base: Base,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: HardState,
}

impl Model {
    pub(crate) fn last(&self) -> LogId {
        self.entries.last().map_or(self.base.id, |entry| entry.id)
    }

    pub(crate) fn form(&mut self, cluster: ClusterId, base: Base) {
        self.cluster = Some(cluster);
        self.hard_state =
            HardState { term: base.id.term, vote: None, commit: base.id.index, ..HardState::default() };
        self.base = base;
    }

    pub(crate) fn apply(&mut self, write: &Write) {
        if let Some(base) = &write.reset_to {
            self.base = Base::clone(base);
            self.entries.clear();
        }
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
        }
        self.entries.extend(write.append.iter().cloned());
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(to) = write.compact_to {
            let kept =
                self.entries.iter().position(|entry| entry.id.index > to).unwrap_or(self.entries.len());
            for entry in self.entries.drain(..kept) {
                self.base.id = entry.id;
                if let Payload::Membership(membership) = entry.payload {
                    self.base.membership = Membership::clone(&membership);
                }
            }
        }
    }

    pub(crate) fn restored(&self) -> Restored {
        let mut term_runs: Vec<TermRun> = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|run| run.term != entry.id.term) {
                term_runs.push(TermRun { term: entry.id.term, first: entry.id.index });
            }
        }
        let memberships = self.entries.iter().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.id.index, Membership::clone(membership))),
            Payload::Noop | Payload::Command(_) => None,
        });
        Restored {
            base: self.base.clone(),
            term_runs,
            last: self.last().index,
            memberships: memberships.collect(),
            hard_state: self.hard_state,
            applied: LogIndex::ZERO,
        }
    }

    /// The expected result of a read; `None` beyond the end.
    pub(crate) fn read(&self, first: u64, last: u64, bytes_max: usize) -> Option<ReadResult> {
        if first <= self.base.id.index.0 {
            return Some(ReadResult::Compacted);
        }
        let mut bytes = 0;
        let range = self.entries.iter().filter(|entry| (first..=last).contains(&entry.id.index.0));
        let entries: Vec<_> = range
            .enumerate()
            .take_while(|(at, entry)| {
                bytes += entry.weight();
                *at == 0 || bytes <= bytes_max
            })
            .map(|(_, entry)| entry.clone())
            .collect();
        (first <= self.last().index.0).then_some(ReadResult::Entries(entries))
    }

    /// Compares everything that a store shows with the model.
    pub(crate) fn check(&self, store: &Store) {
        assert_eq!(store.identity().cluster, self.cluster);
        assert_eq!(store.restored(), self.restored());
        let (base, last) = (self.base.id.index.0, self.last().index.0);
        let middle = base.midpoint(last);
        for (first, to) in
            [(base, last), (base + 1, last), (base + 1, base + 2), (middle, middle + 1), (last, last + 9)]
        {
            for bytes_max in [0, 100, 1000, usize::MAX] {
                self.check_read(store, first, to, bytes_max);
            }
        }
        self.check_read(store, last + 1, last + 1, 1);
    }

    fn check_read(&self, store: &Store, first: u64, last: u64, bytes_max: usize) {
        match (store.read(LogIndex(first), LogIndex(last), bytes_max), self.read(first, last, bytes_max)) {
            (Ok(got), Some(wanted)) => {
                assert!(got == wanted, "{first} to {last}, {bytes_max} bytes: {got:?}")
            }
            (Err(ReadError::BeyondEnd { .. }), None) => {}
            (got, wanted) => panic!("{first} to {last}: {got:?} instead of {wanted:?}"),
        }
    }

    /// Returns true if the store shows this state.
    pub(crate) fn is_shown_by(&self, store: &Store) -> bool {
        let (first, last) = (self.base.id.index.next().0, self.last().index.0);
        let read = store.read(LogIndex(first), LogIndex(last), usize::MAX).ok();
        store.restored() == self.restored()
            && store.identity().cluster == self.cluster
            && read == self.read(first, last, usize::MAX)
    }
}

/// Checks that a store, after a crash, shows everything acknowledged and a prefix of the later writes. `states` are the
/// states after each of them, beginning with the acknowledged one.
pub(crate) fn check_one_of(store: &Store, states: &[Model]) -> Model {
    let shown = states.iter().rev().find(|state| state.is_shown_by(store));
    let found = shown.or(states.first()).expect("there is one");
    found.check(store);
    found.clone()
}

/// Settles everything flushed.
pub(crate) fn settle(store: &mut Store) {
    while store.settle().unwrap() == Settled::More {}
}

/// A store just created and formed, and its expected content.
pub(crate) fn formed(disk: &SimulatedDisk) -> (Store, Model) {
    let (mut store, _) = open(disk).unwrap();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    let mut model = Model::default();
    model.form(ClusterId(1), base(1, 1));
    (store, model)
}

/// Flushes one more entry, of about two sectors.
pub(crate) fn flush_one(store: &mut Store, model: &mut Model, term: u64) {
    let next = model.last().index.0 + 1;
    let write = append(next, vec![command(term, next, 700)]);
    model.apply(&write);
    store.queue(write);
    store.flush().unwrap();
}

/// Finds the positions of a command's payload in a file on the medium, of which there must be at least one.
pub(crate) fn places_of(disk: &SimulatedDisk, file: &str, entry: &Entry) -> Vec<u64> {
    let Payload::Command(payload) = &entry.payload else { panic!("not a command: {entry:?}") };
    let bytes = disk.durable(Path::new(file)).unwrap();
    let found = bytes.windows(payload.len()).enumerate().filter(|(_, part)| *part == &payload[..]);
    let places: Vec<u64> = found.map(|(at, _)| at as u64).collect();
    assert!(!places.is_empty(), "{} is not in {file}", entry.id);
    places
}

/// Cuts the power, and checks that nothing acknowledged is lost.
pub(crate) fn assert_survives(disk: &SimulatedDisk, store: Store, model: &Model) {
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    let (store, _) = open(disk).unwrap();
    assert!(store.report().damage.is_none(), "{:?}", store.report());
    model.check(&store);
}

/// Checks that a store's error is an error of the disk, not a caught panic or a claim of damage.
pub(crate) fn assert_honest(error: &(dyn std::error::Error + 'static)) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    assert!(!text.contains("panicked") && !text.contains("damaged"), "{text}");
}
