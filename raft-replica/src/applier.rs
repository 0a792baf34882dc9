//! The applier. It owns the state machine, applies committed entries to it batch by batch, and decides when the state is made
//! durable and when applying waits for that.

use std::collections::VecDeque;
use std::time::Duration;

use raftkit_core::{Apply, Entry, LogId, LogIndex, Membership, Payload};
use raftkit_log::{GiveBackPace, Progress, ReadError, ReadResult, Reader};

use crate::background::Lane;
use crate::log::in_words;
use crate::{
    Answers, Applied, AppliedBatch, BackgroundDone, BackgroundEnd, BackgroundWork, Begun, Event, LogReport,
    MachineError, MachineReport, MachineWork, StateMachine,
};

/// Upper bound on the bytes of entries applied in one step, when the entries are read from the log.
const READ_BYTES_MAX: usize = 4 << 20;

/// Bytes of changes after which the state is made durable without being asked. It bounds the memory for changes that are not
/// durable, and what a restart has to apply again.
const PERSIST_BYTES: u64 = 16 << 20;

/// Bytes of changes above which nothing more is applied until background work has ended: the next round of persisting cannot
/// begin before that. Twice the bytes after which persisting begins, so a disk that keeps up never holds up applying.
const STALL_BYTES: u64 = 2 * PERSIST_BYTES;

/// Owns a state machine and does its [`MachineWork`], in order.
///
/// If a damaged log ended before the state, the lost entries come again, and are passed over up to the state's last
/// entry:
///
/// ```text
///   processed up to here        the state holds up to here
///   ------- through ------------------ applied --------------
///              passed over: membership      applied
/// ```
#[derive(Debug)]
pub struct Applier<M: StateMachine> {
    machine: M,
    log: Reader,
    /// The last index that was applied or passed over. It is below the state's last entry only while a log that lost
    /// entries is filled up again.
    through: LogIndex,
    /// The membership as of `through`. It goes into a snapshot's manifest.
    membership: Membership,
    /// Bytes of entries applied since the state machine last began to persist.
    unpersisted_bytes: u64,
    /// True if the state is to be made durable as soon as no background work is under way.
    persist_asked: bool,
    /// The state machine's work in the background.
    background: Lane<M>,
    /// Decides when disk space is given back.
    give_back: GiveBackPace,
    /// True if work was done since `give_back` was last asked.
    worked: bool,
    /// Work that was taken and has not begun.
    taken: VecDeque<MachineWork>,
    /// The rest of a run that is read from the log and has begun.
    rest: Option<Unread>,
}

/// Committed entries that shall be read from the log and applied.
#[derive(Clone, Copy, Debug)]
struct Unread {
    next: LogIndex,
    last: LogIndex,
    answers: Answers,
}

/// Why a run of entries could not be applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("committed entries cannot be read back")]
    Log(#[from] ReadError),
    #[error("committed entries from {0} on are gone from the log before they were applied")]
    Gone(LogIndex),
    #[error(
        "the cluster's log has {log} but the state machine holds {state}, which cannot follow: the two do not belong together; remove the data folder and let the node join anew"
    )]
    NotTheSame { log: LogId, state: LogId },
}

impl ApplyError {
    /// The report of this error. Rot and an unreadable log are reported as the log's failures, as the state machine
    /// is not at fault.
    fn into_event(self) -> Event {
        match &self {
            Self::Log(rot @ ReadError::Damaged { .. }) => LogReport::Damaged(in_words(rot)).into(),
            Self::Log(ReadError::Closed | ReadError::BeyondEnd { .. } | ReadError::Database { .. })
            | Self::Gone(_) => LogReport::Failed(in_words(&self)).into(),
            Self::Machine(_) | Self::NotTheSame { .. } => MachineReport::Failed(in_words(&self)).into(),
        }
    }
}

impl<M: StateMachine> Applier<M> {
    /// An applier for `machine`. It reads entries from `log` that a run does not bring. Runs begin after `through`,
    /// which is the state machine's last entry, or an earlier one if a damaged log ended before that; `membership` is
    /// the one as of `through`.
    pub fn new(machine: M, log: Reader, through: LogIndex, membership: Membership) -> Self {
        Self {
            machine,
            log,
            through,
            membership,
            unpersisted_bytes: 0,
            persist_asked: false,
            background: Lane::Idle,
            give_back: GiveBackPace::default(),
            worked: false,
            taken: VecDeque::new(),
            rest: None,
        }
    }

    /// A handle for reads of the state.
    pub fn reader(&self) -> M::Reader {
        self.machine.reader()
    }

    /// The time at which the next step of [`give_back`](Self::give_back) is due, unless there is work before; none
    /// while there is nothing to do, or other background work is under way. A step is due now and then under load as well,
    /// so ask when all work that was taken is done.
    pub fn next(&mut self, now: Duration) -> Option<Duration> {
        if std::mem::take(&mut self.worked) {
            self.give_back.busy(now);
            self.give_back.changed();
        }
        if self.background.is_idle() { self.give_back.due() } else { None }
    }

    /// Begins one bounded step of giving disk space back, unless other background work is under way. Ask for
    /// [`background`](Self::background) work afterwards; if there is none, the step is done already and is returned. Times
    /// are durations since any fixed moment.
    pub fn give_back(&mut self, now: Duration) -> Option<BackgroundEnd> {
        if !self.background.is_idle() {
            return None;
        }
        match self.machine.begin_give_back() {
            Ok(Begun::Background(work)) => {
                self.background = Lane::Begun(BackgroundWork::GiveBack(work));
                None
            }
            Ok(Begun::Done(progress)) => Some(self.gave_back(now, Ok(progress))),
            Err(error) => Some(self.gave_back(now, Err(error))),
        }
    }

    fn gave_back(&mut self, now: Duration, result: Result<Progress, MachineError>) -> BackgroundEnd {
        // After an error the node ends, so there is nothing more to give back.
        self.give_back.did(now, *result.as_ref().unwrap_or(&Progress::Nothing));
        match result {
            Ok(progress) => BackgroundEnd::GaveBack(progress),
            Err(error) => BackgroundEnd::Report(ApplyError::from(error).into_event()),
        }
    }

    /// The background work that was begun and has to be run, on another thread. Hand its end to
    /// [`end_background`](Self::end_background). Ask after each [`advance`](Self::advance) and each
    /// [`give_back`](Self::give_back).
    pub fn background(&mut self) -> Option<BackgroundWork<M>> {
        self.background.take()
    }

    /// Ends background work. What had to wait for it can go on: see [`advance`](Self::advance).
    ///
    /// # Panics
    /// No background work is under way.
    pub fn end_background(&mut self, now: Duration, done: BackgroundDone<M>) -> BackgroundEnd {
        assert!(matches!(self.background, Lane::Running), "work that ends has been taken before");
        self.background = Lane::Idle;
        match done {
            BackgroundDone::Persist(end) => {
                let durable = end.by(&mut self.machine).map(MachineReport::Durable);
                let report = durable.map_or_else(|error| ApplyError::from(error).into_event(), Event::from);
                BackgroundEnd::Report(report)
            }
            BackgroundDone::GiveBack(end) => {
                let result = end.by(&mut self.machine);
                self.gave_back(now, result)
            }
        }
    }

    /// True if no work is left, neither taken nor in the background.
    pub fn is_idle(&self) -> bool {
        self.taken.is_empty() && self.rest.is_none() && !self.persist_asked && self.background.is_idle()
    }

    /// Does all of `works` in order, and reports each piece as soon as it is done: [`take`](Self::take), then
    /// [`advance`](Self::advance) until nothing is left. Background work that begins with that is run in between, on this
    /// thread: for drivers that have no other.
    pub fn run(&mut self, works: Vec<MachineWork>, report: &mut dyn FnMut(Event)) {
        self.take(works);
        loop {
            let event = self.advance();
            let ended = self.background().map(|work| self.end_background(Duration::ZERO, work.run()));
            let ended = ended.and_then(BackgroundEnd::report);
            if event.is_none() && ended.is_none() {
                return;
            }
            event.into_iter().chain(ended).for_each(&mut *report);
        }
    }

    /// Takes work, to be done in order. Consecutive runs of entries are applied as one.
    pub fn take(&mut self, works: Vec<MachineWork>) {
        self.worked = true;
        for work in works {
            let apart = match (self.taken.pop_back(), work) {
                (
                    Some(MachineWork::Apply { apply, answers }),
                    MachineWork::Apply { apply: next, answers: next_answers },
                ) => match joined((apply, answers), (next, next_answers)) {
                    Ok((apply, answers)) => [Some(MachineWork::Apply { apply, answers }), None],
                    Err(((apply, answers), (next, next_answers))) => [
                        Some(MachineWork::Apply { apply, answers }),
                        Some(MachineWork::Apply { apply: next, answers: next_answers }),
                    ],
                },
                (before, work) => [before, Some(work)],
            };
            self.taken.extend(apart.into_iter().flatten());
        }
    }

    /// Does the next piece of the work that was taken, and returns its report, so that requests that wait for it are
    /// answered before the next piece begins. None if nothing is left, or if what is left has to wait for the end of the
    /// background work.
    pub fn advance(&mut self) -> Option<Event> {
        loop {
            let result = if self.begins_to_persist() {
                self.begin_persist().transpose()
            } else if self.waits_for_background() {
                return None;
            } else if let Some(rest) = self.rest.take() {
                Some(self.read_on(rest))
            } else {
                match self.taken.pop_front()? {
                    MachineWork::Apply { apply, answers } => Some(self.try_apply(apply, answers)),
                    MachineWork::Persist => {
                        self.persist_asked = true;
                        None
                    }
                    MachineWork::View => Some(self.view()),
                    MachineWork::Restore(file) => Some(self.restore(&file)),
                }
            };
            if let Some(result) = result {
                return Some(result.map_or_else(ApplyError::into_event, Event::from));
            }
        }
    }

    /// Bytes of changes that persisting would make durable.
    fn unpersisted_bytes(&self) -> u64 {
        self.unpersisted_bytes.max(self.machine.unpersisted_bytes())
    }

    fn begins_to_persist(&self) -> bool {
        self.background.is_idle() && (self.persist_asked || self.unpersisted_bytes() >= PERSIST_BYTES)
    }

    /// Whether the next piece has to wait for the end of background work. A restore does: it replaces the files that the
    /// work is about. Applying does, once its changes have taken up too much memory.
    fn waits_for_background(&self) -> bool {
        let restores = self.rest.is_none() && matches!(self.taken.front(), Some(MachineWork::Restore(_)));
        !self.background.is_idle() && (restores || self.unpersisted_bytes() >= STALL_BYTES)
    }

    /// Begins to make the state durable. Returns a report if it is durable already.
    fn begin_persist(&mut self) -> Result<Option<MachineReport>, ApplyError> {
        (self.unpersisted_bytes, self.persist_asked) = (0, false);
        match self.machine.begin_persist()? {
            Begun::Done(durable) => Ok(Some(MachineReport::Durable(durable))),
            Begun::Background(work) => {
                self.background = Lane::Begun(BackgroundWork::Persist(work));
                Ok(None)
            }
        }
    }

    fn view(&mut self) -> Result<MachineReport, ApplyError> {
        let state = self.machine.applied();
        if self.through < state.index {
            // The lost entries may change the membership: a snapshot that names an older one would undo that change
            // on its receiver.
            let reason = format!("the membership as of {state} is not known: the log lost entries before it");
            return Ok(MachineReport::NoView(reason));
        }
        Ok(MachineReport::View { view: self.machine.snapshot()?, membership: self.membership.clone() })
    }

    fn restore(&mut self, file: &raftkit_snapshot::SnapshotFile) -> Result<MachineReport, ApplyError> {
        let manifest = file.manifest();
        let (id, membership) = (manifest.id, manifest.membership.clone());
        if id.index > self.machine.applied().index {
            self.machine.restore(id, &mut file.reader())?;
            self.unpersisted_bytes = 0;
        } else if id.index > self.through {
            // The state holds all of the snapshot's entries and must not go back. The log, which lost the entries
            // before, continues from the snapshot.
            self.check_held(id)?;
        }
        // Otherwise the snapshot's entries were applied from the log while the snapshot came in, and there is nothing
        // to switch to. But what is reported as restored counts as durable, and the log is cut up to there.
        if id.index > self.machine.durable().index {
            self.unpersisted_bytes = 0;
            self.machine.persist()?;
        }
        if id.index > self.through {
            self.through = id.index;
            self.membership = membership.clone();
        }
        Ok(MachineReport::Restored { id, membership })
    }

    fn try_apply(&mut self, apply: Apply, answers: Answers) -> Result<MachineReport, ApplyError> {
        if apply.last <= self.through {
            // A snapshot was installed meanwhile that covers the whole run. The run is reported without responses.
            return Ok(MachineReport::Applied(AppliedBatch { through: apply.last, responses: Vec::new() }));
        }
        match apply.entries {
            Some(entries) => self.step(&entries, answers),
            None => {
                let next = apply.first.max(self.through.next());
                self.read_on(Unread { next, last: apply.last, answers })
            }
        }
    }

    /// Applies the next entries of a run that is read from the log, as many as are read at once.
    fn read_on(&mut self, unread: Unread) -> Result<MachineReport, ApplyError> {
        let Unread { next, last, answers } = unread;
        match self.log.read(next, last, READ_BYTES_MAX)? {
            ReadResult::Entries(entries) => {
                let next = entries.last().ok_or(ApplyError::Gone(next))?.id.index.next();
                let report = self.step(&entries, answers)?;
                self.rest = (next <= last).then_some(Unread { next, last, answers });
                Ok(report)
            }
            ReadResult::Compacted => Err(ApplyError::Gone(next)),
        }
    }

    /// Applies entries. Those that were applied before are skipped, so a run may come twice.
    fn step(&mut self, entries: &[Entry], answers: Answers) -> Result<MachineReport, ApplyError> {
        let state = self.machine.applied().index;
        let new = &entries[entries.partition_point(|entry| entry.id.index <= self.through)..];
        let (held, fresh) = new.split_at(new.partition_point(|entry| entry.id.index <= state));
        self.pass_over(held)?;
        let Some(last) = fresh.last() else {
            let through = self.through;
            return Ok(MachineReport::Applied(AppliedBatch { through, responses: Vec::new() }));
        };
        let through = last.id.index;
        let bytes: u64 = fresh.iter().map(|entry| entry.weight() as u64).sum();
        let batch: Vec<Applied> = fresh.iter().map(|entry| self.command(entry)).collect();
        let responses = self.machine.apply(&batch)?;
        assert_eq!(responses.len(), batch.len(), "a state machine answers each entry");
        self.through = through;
        self.unpersisted_bytes += bytes;
        let responses = match answers {
            Answers::Wanted => batch.iter().map(|applied| applied.id).zip(responses).collect(),
            Answers::Unwanted => Vec::new(),
        };
        Ok(MachineReport::Applied(AppliedBatch { through, responses }))
    }

    /// Passes over entries that the state machine holds already: committed entries never change.
    fn pass_over(&mut self, held: &[Entry]) -> Result<(), ApplyError> {
        for entry in held {
            self.check_held(entry.id)?;
            if let Payload::Membership(membership) = &entry.payload {
                self.membership = Membership::clone(membership);
            }
            self.through = entry.id.index;
        }
        Ok(())
    }

    /// Checks that an entry of the log fits the state. They belong to different clusters if the log has another entry
    /// at the state's last index, or an entry of a later term before that.
    fn check_held(&self, log: LogId) -> Result<(), ApplyError> {
        let state = self.machine.applied();
        let same = if log.index == state.index { log.term == state.term } else { log.term <= state.term };
        if same { Ok(()) } else { Err(ApplyError::NotTheSame { log, state }) }
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

/// Joins two runs into one, if the second follows the first and both bring their entries.
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

#[cfg(test)]
mod tests {
    use raftkit_log::Damage;

    use super::*;

    #[test]
    fn a_log_that_cannot_be_read_is_not_blamed_on_the_state_machine() {
        let damage = Damage::Hole { wanted: LogIndex(5) };
        let rot =
            ReadError::Damaged { first: LogIndex(4), last: LogIndex(9), file: "log.redb".into(), damage };
        let Event::Log(LogReport::Damaged(what)) = ApplyError::from(rot).into_event() else {
            panic!("rot is told apart")
        };
        assert!(what.contains("entries 4 to 9") && what.contains("entry 5 is missing"), "{what}");
        let Event::Log(LogReport::Failed(why)) = ApplyError::from(ReadError::Closed).into_event() else {
            panic!("the log")
        };
        assert_eq!(why, "committed entries cannot be read back: the log is closed");
    }
}
