//! Checks of snapshot transfers, and crashes between two of their steps.

use raftkit_core::{LogIndex, NodeId};
use raftkit_replica::{
    Action, Event, MachineReport, MachineWork, ServiceAction, ServiceEvent, SnapshotReport, SnapshotWork,
    TransportReport,
};
use raftkit_snapshot::{Audience, SnapshotMessage};

use crate::checks::violation::{Checked, promise};
use crate::plan::script::{Crash, Moment};
use crate::subject::Subject;
use crate::world::{Happening, MS, World};

/// True for an input to the receiving end of a transfer. With it the receiver is also told the applied index.
pub(crate) fn is_for_receiver(event: &ServiceEvent) -> bool {
    let ServiceEvent::Replica(Event::Transport(TransportReport::Bulk { body, .. })) = event else {
        return false;
    };
    SnapshotMessage::decode(body.clone()).is_ok_and(|message| message.audience() == Audience::Receiver)
}

fn moment(report: &Event) -> Option<Moment> {
    match report {
        Event::Snapshot(SnapshotReport::Built(Ok(_))) => Some(Moment::Built),
        Event::Snapshot(SnapshotReport::ChunkStored(Ok(_))) => Some(Moment::Stored),
        Event::Snapshot(SnapshotReport::Received(Ok(_))) => Some(Moment::Received),
        Event::Machine(MachineReport::Restored { .. }) => Some(Moment::Switched),
        Event::Snapshot(
            SnapshotReport::Built(Err(_))
            | SnapshotReport::ChunkStored(Err(_))
            | SnapshotReport::Received(Err(_))
            | SnapshotReport::ChunkRead { .. }
            | SnapshotReport::PartialOpened(_),
        )
        | Event::Machine(
            MachineReport::Applied(_)
            | MachineReport::Durable(_)
            | MachineReport::Failed(_)
            | MachineReport::View { .. }
            | MachineReport::NoView(_),
        )
        | Event::Transport(_)
        | Event::Log(_) => None,
    }
}

impl<S: Subject> World<S> {
    /// Plans a waiting crash if a report is the step that it waits for.
    pub(crate) fn spring(&mut self, id: NodeId, life: u64, report: &Event) {
        let host = self.hosts.get_mut(&id).expect("known");
        if let Some(trap) = host.trap.take_if(|trap| moment(report) == Some(trap.moment)) {
            self.at(self.now + trap.us, Happening::Trapped(id, life, trap.how, trap.down_ms));
        }
    }

    pub(crate) fn trapped(&mut self, id: NodeId, life: u64, how: Crash, down_ms: u64) {
        if self.process(id, life).is_some() && !self.healed {
            self.crash(id, how);
            self.plan_start(id, down_ms * MS);
        }
    }

    /// Checks what a round does with snapshots. `applied` is the applied index at its start; `hears` is true if the round told
    /// it to the receiving end.
    pub(crate) fn check_transfers(
        &mut self,
        id: NodeId,
        applied: LogIndex,
        hears: bool,
        actions: &[ServiceAction],
    ) {
        for action in actions {
            let ServiceAction::Do(action) = action else { continue };
            let checked = self.check_transfer(id, applied, action);
            self.ensure(checked);
        }
        if hears && let Some(process) = self.host(id).process.as_mut() {
            process.told = process.told.max(applied);
        }
    }

    fn check_transfer(&self, id: NodeId, applied: LogIndex, action: &Action) -> Checked {
        match action {
            Action::Snapshot(SnapshotWork::OpenPartial(manifest)) => {
                let at = manifest.id;
                promise!(
                    NodeState,
                    at.index > applied,
                    "{id} takes the snapshot at {at}, and has applied {applied}"
                );
            }
            Action::Machine(MachineWork::Restore(file)) => {
                let (at, told) = (file.manifest().id, self.hosts[&id].process.as_ref().map(|it| it.told));
                promise!(
                    NodeState,
                    told.is_none_or(|told| at.index > told),
                    "{id} installs the snapshot at {at}, and knows that {told:?} is applied"
                );
            }
            Action::SendBulk { to, body, .. } => {
                let Ok(SnapshotMessage::Offer(manifest)) = SnapshotMessage::decode(body.clone()) else {
                    return Ok(());
                };
                // Otherwise the receiver would need another snapshot at once, again and again under load (hashicorp/raft#212).
                let (at, base) = (manifest.id, self.hosts[&id].view.base());
                promise!(
                    NodeState,
                    at.index >= base.index,
                    "{id} offers {to} the snapshot at {at}, and its log goes on after {base}"
                );
            }
            Action::Send(_)
            | Action::Log(_)
            | Action::Fetch(_)
            | Action::Machine(_)
            | Action::Snapshot(_)
            | Action::Role(_)
            | Action::Ended(_) => {}
        }
        Ok(())
    }
}
