//! The applier: owns the state machine and gives it what is committed, batch by batch, off the protocol's thread.

use raftkit_core::{Apply, Entry, LogIndex, Membership, Payload};
use raftkit_log::{ReadResult, Reader};

use crate::{Answers, Applied, AppliedBatch, Event, MachineError, MachineWork, StateMachine};

/// How much one step gives to the state machine at most, in bytes of entries, when it reads them from the log.
const READ_BYTES_MAX: usize = 4 << 20;

/// Owns a state machine and does its [`MachineWork`], in order.
#[derive(Debug)]
pub struct Applier<M: StateMachine> {
    machine: M,
    log: Reader,
    /// The membership as of what is applied: what a snapshot's manifest carries.
    membership: Membership,
    /// Bytes applied since the state was last durable.
    unpersisted_bytes: u64,
    /// Above so many of them the state is made durable without being asked.
    persist_bytes: u64,
}

/// Why a run of entries could not be applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("committed entries cannot be read back: {0}")]
    Log(#[from] raftkit_log::ReadError),
    #[error("committed entries from {0} on are gone from the log before they were applied")]
    Gone(LogIndex),
}

impl<M: StateMachine> Applier<M> {
    /// An applier for `machine`, which reads from `log` what it is not handed. `membership` is that as of what
    /// `machine` has applied.
    pub fn new(machine: M, log: Reader, membership: Membership) -> Self {
        Self { machine, log, membership, unpersisted_bytes: 0, persist_bytes: 4 << 20 }
    }

    /// A handle for reads of the state.
    pub fn reader(&self) -> M::Reader {
        self.machine.reader()
    }

    /// Does all of `works` in order and reports each. Runs that follow each other are applied as one.
    pub fn run(&mut self, works: Vec<MachineWork>, report: &mut dyn FnMut(Event)) {
        let mut pending: Option<(Apply, Answers)> = None;
        for work in works {
            match work {
                MachineWork::Apply { apply, answers } => {
                    pending = match pending.take() {
                        None => Some((apply, answers)),
                        Some(earlier) => match joined(earlier, (apply, answers)) {
                            Ok(both) => Some(both),
                            Err((earlier, later)) => {
                                self.apply(earlier, report);
                                Some(later)
                            }
                        },
                    };
                    continue;
                }
                MachineWork::Persist | MachineWork::View | MachineWork::Restore(_) => {}
            }
            if let Some(run) = pending.take() {
                self.apply(run, report);
            }
            self.other(work, report);
        }
        if let Some(run) = pending {
            self.apply(run, report);
        }
    }

    fn other(&mut self, work: MachineWork, report: &mut dyn FnMut(Event)) {
        let result = match work {
            MachineWork::Apply { apply, answers } => return self.apply((apply, answers), report),
            MachineWork::Persist => self.persist(),
            MachineWork::View => {
                self.machine.snapshot().map(|view| Event::View { view, membership: self.membership.clone() })
            }
            MachineWork::Restore(file) => self.restore(&file),
        };
        report(result.unwrap_or_else(|error| Event::MachineFailed(error.to_string())));
    }

    fn persist(&mut self) -> Result<Event, MachineError> {
        self.unpersisted_bytes = 0;
        self.machine.persist().map(Event::MachineDurable)
    }

    fn restore(&mut self, file: &raftkit_snapshot::SnapshotFile) -> Result<Event, MachineError> {
        let manifest = file.manifest();
        let (id, membership) = (manifest.id, manifest.membership.clone());
        // A snapshot that came in while its entries were applied from the log: nothing to switch to.
        if id.index > self.machine.applied().index {
            self.machine.restore(id, &mut file.reader())?;
            self.membership = membership.clone();
            self.unpersisted_bytes = 0;
        }
        Ok(Event::Restored { id, membership })
    }

    fn apply(&mut self, (apply, answers): (Apply, Answers), report: &mut dyn FnMut(Event)) {
        if let Err(error) = self.try_apply(apply, answers, report) {
            report(Event::MachineFailed(error.to_string()));
        }
    }

    fn try_apply(
        &mut self,
        apply: Apply,
        answers: Answers,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), ApplyError> {
        if apply.last <= self.machine.applied().index {
            // A snapshot was faster: the state holds all of it, and whoever waits for it is told so.
            report(Event::Applied(AppliedBatch { through: apply.last, responses: Vec::new() }));
            return Ok(());
        }
        if let Some(entries) = apply.entries {
            return self.step(&entries, answers, report);
        }
        let mut next = apply.first.max(self.machine.applied().index.next());
        while next <= apply.last {
            match self.log.read(next, apply.last, READ_BYTES_MAX)? {
                ReadResult::Entries(entries) => {
                    next = entries.last().ok_or(ApplyError::Gone(next))?.id.index.next();
                    self.step(&entries, answers, report)?;
                }
                ReadResult::Compacted => return Err(ApplyError::Gone(next)),
            }
        }
        Ok(())
    }

    /// Applies entries that are at hand; those already applied are skipped, so that a run may come twice.
    fn step(
        &mut self,
        entries: &[Entry],
        answers: Answers,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), ApplyError> {
        let applied = self.machine.applied().index;
        let fresh = &entries[entries.partition_point(|entry| entry.id.index <= applied)..];
        let Some(last) = fresh.last() else { return Ok(()) };
        let through = last.id.index;
        let bytes: u64 = fresh.iter().map(|entry| entry.weight() as u64).sum();
        let batch: Vec<Applied> = fresh.iter().map(|entry| self.command(entry)).collect();
        let responses = self.machine.apply(&batch)?;
        assert_eq!(responses.len(), batch.len(), "a state machine answers each entry");
        let responses = match answers {
            Answers::Wanted => batch.iter().map(|applied| applied.id).zip(responses).collect(),
            Answers::Unwanted => Vec::new(),
        };
        report(Event::Applied(AppliedBatch { through, responses }));
        self.unpersisted_bytes += bytes;
        if self.unpersisted_bytes >= self.persist_bytes {
            report(self.persist()?);
        }
        Ok(())
    }

    fn command(&mut self, entry: &Entry) -> Applied {
        let command = match &entry.payload {
            Payload::Noop => None,
            Payload::Command(bytes) => Some(bytes.clone()),
            Payload::Membership(membership) => {
                self.membership = Membership::clone(membership);
                None
            }
        };
        Applied { id: entry.id, command }
    }
}

/// Two runs as one, where the second follows the first and both bring their entries.
#[allow(clippy::type_complexity, clippy::result_large_err, reason = "a pair of what came in, given back")]
fn joined(
    (first, first_answers): (Apply, Answers),
    (second, second_answers): (Apply, Answers),
) -> Result<(Apply, Answers), ((Apply, Answers), (Apply, Answers))> {
    match (first.entries, second.entries) {
        (Some(mut entries), Some(more)) if second.first == first.last.next() => {
            entries.extend(more);
            let answers = match (first_answers, second_answers) {
                (Answers::Unwanted, Answers::Unwanted) => Answers::Unwanted,
                (Answers::Wanted, _) | (_, Answers::Wanted) => Answers::Wanted,
            };
            Ok((Apply { first: first.first, last: second.last, entries: Some(entries) }, answers))
        }
        (first_entries, second_entries) => Err((
            (Apply { entries: first_entries, ..first }, first_answers),
            (Apply { entries: second_entries, ..second }, second_answers),
        )),
    }
}
