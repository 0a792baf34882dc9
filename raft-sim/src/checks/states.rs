//! Checks of state machines: every state that is read must be the one of a machine that never failed.

use raftkit_core::{LogId, LogIndex, NodeId};
use raftkit_replica::{Event, MachineReport};

use crate::checks::twin::Twin;
use crate::checks::violation::{Checked, Promise, promise};
use crate::subject::Subject;
use crate::world::World;

impl<S: Subject> World<S> {
    /// Runs the state's own check on the machine that never fails.
    pub(crate) fn check_twin(&mut self) {
        if let Err(what) = self.twin.check() {
            self.ensure(Err((Promise::StateCheck, what)));
        }
    }

    /// Checks the state of a node's machine, after it has changed, against a machine that never failed.
    pub(crate) fn check_state(&mut self, id: NodeId, reports: &[Event]) {
        let mut moved = None;
        for report in reports {
            if let Event::Machine(MachineReport::Applied(batch)) = report {
                moved = Some(batch.through);
            } else if let Event::Machine(MachineReport::Restored { id, .. }) = report {
                moved = Some(id.index);
            }
        }
        let Some(through) = moved else { return };
        let Some(process) = self.hosts[&id].process.as_ref() else { return };
        // If the disk fails this read the node notices by itself.
        let Ok((digest, at)) = S::look(&process.reader) else { return };
        let seen = process.seen;
        self.with(id, |process| process.seen = at.index);
        let goes_on = if at.index >= seen {
            Ok(())
        } else {
            Err((Promise::NodeState, format!("the state of {id} goes back from {seen} to {at}")))
        };
        let checked = goes_on.and_then(|()| self.check_look(id, digest, at)).and_then(|()| {
            let reported = at.index >= through || at == LogId::ZERO && through <= LogIndex(1);
            if reported {
                Ok(())
            } else {
                Err((
                    Promise::SameState,
                    format!("{id} reports {through} as applied, and its state is of {at}"),
                ))
            }
        });
        self.ensure(checked);
    }

    /// Checks that a state which was read is the right one for its index.
    pub(crate) fn check_look(&self, id: NodeId, digest: u64, at: LogId) -> Checked {
        if at == LogId::ZERO {
            return Ok(());
        }
        let Some(known) = self.truth.at(at.index) else {
            promise!(SameState, at == LogId::GENESIS, "{id} has applied {at}, which is not committed");
            return Ok(());
        };
        promise!(
            SameState,
            known.entry.id == at,
            "{id} has applied {at}, and what is committed there is {}",
            known.entry.id
        );
        promise!(
            SameState,
            known.digest == digest,
            "the state of {id} at {at} is not that of the others{}",
            self.compare(id, at.index).unwrap_or_default()
        );
        Ok(())
    }

    /// Describes a node's state beside the right one, in the subject's words.
    fn compare(&self, id: NodeId, at: LogIndex) -> Option<String> {
        let is = S::show(&self.hosts.get(&id)?.process.as_ref()?.reader)?;
        let right = Twin::<S>::show_after(self.truth.entries_to(at))?;
        Some(format!(":\n  it is {is}\n  and should be {right}"))
    }
}
