//! A disk that loses unsynced writes: they become durable in order, when they are flushed.

use std::collections::VecDeque;

use raftkit_core::{
    Base, Entry, HardState, Health, LogId, LogIndex, Membership, Payload, Restored, TermRun, Write, WriteSeq,
};

/// The contents of a log at one time.
#[derive(Clone, Default)]
pub struct Image {
    pub base: Base,
    pub entries: Vec<Entry>,
    pub hard: HardState,
}

impl Image {
    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.base.id, |entry| entry.id)
    }

    pub fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let at = index.0.checked_sub(self.base.id.index.0 + 1)?;
        self.entries.get(usize::try_from(at).expect("small"))
    }

    /// The membership in force: the last one in the log, committed or not.
    pub fn membership(&self) -> &Membership {
        let of = |entry: &'_ Entry| matches!(entry.payload, Payload::Membership(_));
        match self.entries.iter().rev().find(|entry| of(entry)).map(|entry| &entry.payload) {
            Some(Payload::Membership(membership)) => membership,
            Some(Payload::Noop | Payload::Command(_)) | None => &self.base.membership,
        }
    }

    /// True when the entry is in the log, or compacted, which only committed entries are.
    pub fn holds(&self, id: LogId) -> bool {
        id.index < self.base.id.index
            || id == self.base.id
            || self.entry(id.index).is_some_and(|entry| entry.id == id)
    }

    pub fn apply(&mut self, write: &Write) {
        if let Some(base) = &write.reset_to {
            self.base = Base::clone(base);
            self.entries.clear();
        }
        if let Some(from) = write.truncate_from {
            assert!(from > self.base.id.index && from <= self.last().index, "truncates what is there");
            self.entries.retain(|entry| entry.id.index < from);
        }
        for entry in &write.append {
            assert_eq!(entry.id.index, self.last().index.next(), "a write leaves no gap");
            assert!(entry.id.term >= self.last().term, "terms rise along the log");
            self.entries.push(entry.clone());
        }
        if let Some(hard) = write.hard_state {
            // A damaged node learns its commit index again.
            let commit_rises = hard.commit >= self.hard.commit || self.hard.health == Health::Damaged;
            assert!(hard.term >= self.hard.term && commit_rises, "hard state goes back");
            self.hard = hard;
        }
        if let Some(to) = write.compact_to {
            let term = self.entry(to).expect("compacts what is there").id.term;
            for entry in self.entries.iter().filter(|entry| entry.id.index <= to) {
                if let Payload::Membership(membership) = &entry.payload {
                    self.base.membership = Membership::clone(membership);
                }
            }
            self.entries.retain(|entry| entry.id.index > to);
            self.base.id = LogId { term, index: to };
        }
    }

    pub fn restored(&self, applied: LogIndex) -> Restored {
        let mut term_runs: Vec<TermRun> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|run| run.term < entry.id.term) {
                term_runs.push(TermRun { term: entry.id.term, first: entry.id.index });
            }
            if let Payload::Membership(membership) = &entry.payload {
                memberships.push((entry.id.index, Membership::clone(membership)));
            }
        }
        Restored {
            base: self.base.clone(),
            term_runs,
            last: self.last().index,
            memberships,
            hard_state: self.hard,
            applied,
        }
    }
}

/// The durable contents, the contents as the node sees them, and the writes in between.
#[derive(Clone, Default)]
pub struct Disk {
    pub durable: Image,
    pub view: Image,
    queue: VecDeque<Write>,
}

impl Disk {
    pub fn founded(base: Base) -> Self {
        let image = Image { base, ..Image::default() };
        Self { durable: image.clone(), view: image, queue: VecDeque::new() }
    }

    pub fn queue(&mut self, write: Write) {
        self.view.apply(&write);
        self.queue.push_back(write);
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Makes the first `count` writes durable. Returns the sequence number of the last of them.
    pub fn flush(&mut self, count: usize) -> Option<WriteSeq> {
        let mut last = None;
        for write in self.queue.drain(..count) {
            self.durable.apply(&write);
            last = Some(write.seq);
        }
        last
    }

    /// Loses power: the first `kept` writes have reached the disk, the others are lost.
    pub fn crash(&mut self, kept: usize) {
        self.flush(kept);
        self.queue.clear();
        self.view = self.durable.clone();
    }

    /// Loses the entries above `last`, which is detected. `applied` is the last entry that the state machine
    /// holds, with its membership.
    pub fn damage(&mut self, last: LogIndex, applied: Base) {
        self.durable.hard.health = Health::Damaged;
        self.durable.entries.retain(|entry| entry.id.index <= last);
        if self.durable.last().index < applied.id.index {
            self.durable.base = applied;
            self.durable.entries.clear();
        }
        self.view = self.durable.clone();
    }

    /// Completes the reset of the log that an interrupted snapshot installation left undone.
    pub fn finish_install(&mut self, base: &Base) {
        if self.durable.base.id.index < base.id.index && !self.durable.holds(base.id) {
            self.durable.base = base.clone();
            self.durable.entries.clear();
        }
        self.durable.hard.term = self.durable.hard.term.max(base.id.term);
        self.view = self.durable.clone();
    }
}
