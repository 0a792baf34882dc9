//! Opening a data folder: log, state machine and snapshots are separate files, so a crash can fall between them. This
//! is where what is missing is finished, and what cannot be is refused.

use raftkit_core::{
    Base, Config, HardState, Health, LogId, LogIndex, Membership, Node, Restored, Time, Write,
};
use raftkit_log::Store;
use raftkit_snapshot::SnapshotDir;

use crate::{Applier, MachineError, Replica, ReplicaOptions, SnapshotWorker, StateMachine};

/// A replica, its log and its two workers, ready to run.
#[derive(Debug)]
pub struct Opened<M: StateMachine> {
    /// The protocol's side.
    pub replica: Replica,
    /// The log, for who makes its writes durable.
    pub log: Store,
    /// Owns the state machine.
    pub applier: Applier<M>,
    /// Owns the snapshot folder.
    pub snapshots: SnapshotWorker,
    /// What was done to finish what a crash had interrupted; none after a clean end.
    pub repaired: Option<Repair>,
}

/// What opening found out of step and put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The state machine had switched to this snapshot and the log had not followed.
    LogReset(LogId),
    /// A damaged log lost entries that the state machine holds. The log is filled up again from the leader, and the
    /// state machine passes them over.
    LogBehindState {
        /// How far the log is known to hold what the state machine holds. What it has behind may be entries that others
        /// took the place of, which are lost.
        agreed: LogIndex,
        /// The last entry in the state machine.
        state: LogId,
    },
}

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenReplicaError {
    /// The protocol refuses the settings or what the log says.
    #[error(transparent)]
    Core(#[from] raftkit_core::RestoreError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] raftkit_log::StoreError),
    /// The state machine cannot be read.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The log starts after what the state machine holds: entries between them are lost.
    #[error(
        "the log starts after {base} but the state machine holds only {state}: entries between them are lost; remove the data folder and let the node join anew"
    )]
    StateBehindLog {
        /// The last entry before the log.
        base: LogId,
        /// The last entry in the state machine.
        state: LogId,
    },
    /// The state machine holds what the log does not, and no snapshot explains it.
    #[error(
        "the state machine holds {state} but the log ends with index {last} or has another entry there: the two do not belong together, or the log lost entries; remove the data folder and let the node join anew"
    )]
    StateAheadOfLog {
        /// The last entry in the state machine.
        state: LogId,
        /// The last index in the log.
        last: LogIndex,
    },
}

impl<M: StateMachine> Opened<M> {
    /// Puts together what was opened apart: `store` and what it `restored`, the state machine, the snapshot folder.
    ///
    /// # Errors
    /// They do not belong together, or cannot be written where something has to be finished.
    pub fn new(
        config: Config,
        options: ReplicaOptions,
        now: Time,
        (mut store, mut restored): (Store, Restored),
        machine: M,
        dir: SnapshotDir,
    ) -> Result<Self, OpenReplicaError> {
        let state = machine.applied();
        let repaired = reconcile(state, &mut store, &mut restored, &dir)?;
        // Log and state are durable and need no snapshot any more, and nobody else knows of those that are there. What
        // cannot be removed is tried again later; it costs space, nothing else.
        let _ = dir.remove_all_but(&[]);
        // A founding member's log starts after an entry that holds no command: a new state machine is up to it.
        // Of a damaged log that lost some of what the state machine holds, what both are known to hold is applied.
        let applied = match repaired {
            Some(Repair::LogBehindState { agreed, .. }) => agreed,
            Some(Repair::LogReset(_)) | None => state.index,
        };
        restored.applied = applied.min(restored.last).max(restored.base.id.index);
        restored.hard_state.commit = restored.hard_state.commit.max(restored.applied);
        let membership = membership_at(&restored, restored.applied);
        let durable = machine.durable().index;
        let applier = Applier::new(machine, store.reader(), restored.applied, membership);
        let node = Node::restore(config, restored, now)?;
        Ok(Self {
            replica: Replica::new(node, durable, options),
            log: store,
            applier,
            snapshots: SnapshotWorker::new(dir),
            repaired,
        })
    }
}

/// Brings log and state machine together. The order of an install is: snapshot durable, state machine switched, log
/// reset; so a state machine ahead of its log has a snapshot beside it that says so, or the log is damaged. Then nothing
/// is written: which membership was in force at the state machine's last entry was lost with the log.
fn reconcile(
    state: LogId,
    store: &mut Store,
    restored: &mut Restored,
    dir: &SnapshotDir,
) -> Result<Option<Repair>, OpenReplicaError> {
    let base = restored.base.id;
    let new_member = base == LogId::GENESIS && state == LogId::ZERO;
    if state.index < base.index && !new_member {
        return Err(OpenReplicaError::StateBehindLog { base, state });
    }
    if new_member || term_at(restored, state.index) == Some(state.term) {
        return Ok(None);
    }
    let last = restored.last;
    if let Ok(snapshot) = dir.open(state) {
        let membership = snapshot.manifest().membership.clone();
        reset(Base { id: state, membership }, store, restored)?;
        return Ok(Some(Repair::LogReset(state)));
    }
    let agreed = agreed(state, restored);
    match restored.hard_state.health {
        // Where another entry is known to be committed at the state machine's index they do not belong together.
        Health::Damaged if agreed < state.index => Ok(Some(Repair::LogBehindState { agreed, state })),
        Health::Damaged | Health::Sound => Err(OpenReplicaError::StateAheadOfLog { state, last }),
    }
}

/// How far a damaged log is known to hold what the state machine holds, of which it lost the last entry. It may have lost
/// as well that some of what it still has was truncated: only what it knows to be committed is certain, and what has the
/// term of the state machine's last entry, as all of that term before it is the same in every log (paper, section 5.3).
fn agreed(state: LogId, restored: &Restored) -> LogIndex {
    let runs = &restored.term_runs;
    let of_term = runs.iter().position(|run| run.term == state.term).map(|at| {
        let end = runs.get(at + 1).map_or(restored.last.next(), |next| next.first);
        LogIndex(end.0 - 1).min(state.index)
    });
    let committed = restored.hard_state.commit.min(restored.last).max(restored.base.id.index);
    of_term.map_or(committed, |end| end.max(committed))
}

fn reset(base: Base, store: &mut Store, restored: &mut Restored) -> Result<(), OpenReplicaError> {
    let hard_state = HardState {
        term: restored.hard_state.term.max(base.id.term),
        // Of a damaged log it may be higher: what was committed stays so.
        commit: restored.hard_state.commit.max(base.id.index),
        health: restored.hard_state.health,
        vote: restored.hard_state.vote.filter(|_| restored.hard_state.term >= base.id.term),
        promise: restored.hard_state.promise,
    };
    store.queue(Write {
        reset_to: Some(base.clone().into()),
        hard_state: Some(hard_state),
        ..Write::default()
    });
    store.flush()?;
    *restored = Restored {
        last: base.id.index,
        base,
        term_runs: Vec::new(),
        memberships: Vec::new(),
        hard_state,
        applied: LogIndex::ZERO,
    };
    Ok(())
}

/// The term of the entry at `index`, where the log has it or starts after it.
fn term_at(restored: &Restored, index: LogIndex) -> Option<raftkit_core::Term> {
    if index == restored.base.id.index {
        return Some(restored.base.id.term);
    }
    if index < restored.base.id.index || index > restored.last {
        return None;
    }
    restored.term_runs.iter().rev().find(|run| run.first <= index).map(|run| run.term)
}

fn membership_at(restored: &Restored, index: LogIndex) -> Membership {
    let in_log = restored.memberships.iter().rev().find(|(at, _)| *at <= index);
    in_log.map_or_else(|| restored.base.membership.clone(), |(_, membership)| membership.clone())
}
