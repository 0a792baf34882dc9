//! Opening a data folder. Log, state machine and snapshots are separate files, so a crash can fall between changes of
//! two of them. Opening finishes what a crash interrupted, and refuses what no crash can have left.

use raftkit_core::{
    Base, Config, HardState, Health, LogId, LogIndex, Membership, Node, Restored, Time, Write,
};
use raftkit_log::Store;
use raftkit_snapshot::SnapshotDir;

use crate::{Applier, MachineError, Replica, ReplicaOptions, SnapshotWorker, StateMachine};

/// A replica, its log and its two workers, ready to run.
#[derive(Debug)]
pub struct Opened<M: StateMachine> {
    /// The protocol, with its requests and transfers.
    pub replica: Replica,
    /// The log, for whoever makes its writes durable.
    pub log: Store,
    /// The applier, which owns the state machine.
    pub applier: Applier<M>,
    /// The snapshot worker, which owns the snapshot folder.
    pub snapshots: SnapshotWorker,
    /// The repair that finished what a crash had interrupted; none if nothing was interrupted.
    pub repaired: Option<Repair>,
}

/// A mismatch between log and state machine that opening has repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The state machine had switched to this snapshot, and the log had not followed: it was reset to the snapshot.
    LogReset(LogId),
    /// A damaged log lost entries that the state machine holds. The log is filled up again from the leader, and the
    /// state machine passes over the entries that it holds.
    LogBehindState {
        /// The index up to which the log certainly agrees with the state machine. Entries that it holds behind this
        /// index may have been overwritten in the log before it was damaged.
        agreed: LogIndex,
        /// The last entry in the state machine.
        state: LogId,
    },
}

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenReplicaError {
    /// The protocol refuses the settings, or the contents of the log.
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
    /// Assembles a replica from parts that were opened separately: the store with the state that it `restored`, the
    /// state machine, and the snapshot folder.
    ///
    /// # Errors
    /// The parts do not belong together, or a repair cannot be written.
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
        // Log and state machine are durable, so this node needs no snapshot any more, and no peer knows of the
        // snapshots that are here. If they cannot be removed now, that is tried again later; they cost nothing but
        // space.
        let _ = dir.remove_all_but(&[]);
        // The log of a founding member starts after an entry that holds no command, so a new state machine counts as
        // having applied it. If a damaged log lost entries that the state machine holds, applied is what both
        // certainly hold.
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

/// Brings log and state machine in step. An install makes the snapshot durable, then switches the state machine, then
/// resets the log; so if the state machine is ahead of its log, either a snapshot beside it explains that, or the log
/// is damaged. In the second case nothing is written: the membership in force at the state machine's last entry was
/// lost with the log.
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
        // If another entry is certainly committed at the state machine's index, the two do not belong together.
        Health::Damaged if agreed < state.index => Ok(Some(Repair::LogBehindState { agreed, state })),
        Health::Damaged | Health::Sound => Err(OpenReplicaError::StateAheadOfLog { state, last }),
    }
}

/// The index up to which a damaged log certainly agrees with the state machine, whose last entry the log has lost. A
/// truncation may be among what was lost, and then the entries that it removed are in the log again. So only two
/// parts are certain: entries known to be committed, and entries of the term of the state machine's last entry,
/// because logs that share an entry agree on everything before it (paper, section 5.3).
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
        // The commit index of a damaged log may be higher; what was committed stays committed.
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

/// The term of the entry at `index`; none if the log neither holds that entry nor starts right after it.
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
