//! How processes end: they lose power, are killed, end by themselves, or stop; and data folders that are lost.

use raftkit_core::{HardState, LogId, NodeId, StoreId};
use raftkit_disk::SimulatedDisk;
use raftkit_replica::MachineWork;

use crate::Mark;
use crate::checks::shadow::Shadow;
use crate::plan::script::Crash;
use crate::process::folders::Folders;
use crate::process::host::{Harm, Process, Thread};
use crate::run::trace::kind;
use crate::subject::Subject;
use crate::world::{MS, World};

/// Drops what each thread of a process holds, as that thread: what it writes as it ends comes after all that it was doing, and
/// happens only if that does. The state's readers go first, as the last one closes the state's file.
fn close<S: Subject>(disk: &SimulatedDisk, process: Process<S>) {
    let Process { flush, settle, machine, io, log_reader, reader, .. } = process;
    drop((log_reader, reader));
    disk.act_as(Thread::Io as u8);
    drop(io);
    disk.act_as(Thread::Flush as u8);
    drop(flush);
    disk.act_as(Thread::Settle as u8);
    drop(settle);
    disk.act_as(Thread::Machine as u8);
    drop(machine);
}

impl<S: Subject> World<S> {
    /// Ends a process at once.
    pub(crate) fn crash(&mut self, id: NodeId, how: Crash) {
        let log = Folders::of(&self.settings).database();
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(process) = host.process.take() else { return };
        host.disk.freeze();
        let mutations = host.disk.mutations();
        let open: Vec<_> = process.open.keys().copied().collect();
        let both = process.flush.work.is_some() && process.settle.work.is_some();
        drop(process);
        host.needs_newest_commit |= host.may_have_spoilt(&log, how);
        let after = host.disk.mutations();
        let before = host.disk.injected();
        match how {
            Crash::Cut => host.disk.crash(),
            Crash::LoseAll => host.disk.crash_losing_all_unsynced(),
            Crash::Kill => host.disk.kill(),
        }
        let lost = host.disk.injected().crashes_with_loss > before.crashes_with_loss;
        self.marks.hit_if(lost, Mark::CrashWithLoss);
        self.marks.hit_if(both, Mark::CrashInBothHalves);
        self.hit(match how {
            Crash::Cut => Mark::CrashCut,
            Crash::LoseAll => Mark::CrashLoseAll,
            Crash::Kill => Mark::Killed,
        });
        self.counts.crashes += 1;
        if mutations != after {
            self.ensure(Err((
                crate::Promise::Frozen,
                format!("{id} went on writing after its power was cut"),
            )));
        }
        self.orphan(open);
    }

    /// Ends a process as a program ends: what it holds is dropped, and the machine goes on.
    pub(crate) fn end_process(&mut self, id: NodeId) {
        let log = Folders::of(&self.settings).database();
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(process) = host.process.take() else { return };
        let open: Vec<_> = process.open.keys().copied().collect();
        close(&host.disk, process);
        self.farewell(id);
        let host = self.host(id);
        host.needs_newest_commit |= host.may_have_spoilt(&log, Crash::Kill);
        host.disk.freeze();
        host.disk.kill();
        self.orphan(open);
    }

    /// The disk lost its power in the middle of a call.
    pub(crate) fn power_gone(&mut self, id: NodeId) {
        self.hit(Mark::CrashAtCall);
        self.tell(|| format!("{id} loses power in the middle of a call"));
        self.crash(id, Crash::Cut);
        let down = self.hosts[&id].down_ms;
        self.plan_start(id, down * MS);
    }

    /// It lost its power, or was killed, in the middle of a call of its opening.
    pub(crate) fn ended_in_open(&mut self, id: NodeId) {
        let killed = self.rng.permille(300);
        let disk = &self.hosts[&id].disk;
        if killed {
            disk.kill()
        } else {
            disk.crash()
        }
        self.hit(if killed { Mark::KilledInOpen } else { Mark::CrashInOpen });
        self.hit(Mark::CrashAtCall);
        self.counts.crashes += 1;
        self.note(kind::START, id, &[0, u64::from(killed)]);
        let how = if killed { "is killed" } else { "loses power" };
        self.tell(|| format!("{id} {how} while it opens its folder"));
        let down = self.hosts[&id].down_ms;
        self.plan_start(id, down * MS);
    }

    /// The data folder is lost; the next start makes a new one.
    pub(crate) fn wipe(&mut self, id: NodeId) {
        self.last_store += 1;
        let store = StoreId(self.last_store);
        let disk = self.new_disk(id, u64::try_from(self.last_store).unwrap_or(0));
        let host = self.host(id);
        let (old, ghost) = (host.store, host.durable.clone());
        let was = host.harm;
        let gone = host.disk.injected();
        host.disk = disk;
        host.store = store;
        host.founder = false;
        host.harm = Harm::None;
        host.rots_at_rest.clear();
        host.returning = true;
        host.view = Shadow::default();
        host.durable = Shadow::new(LogId::ZERO, 0, HardState::default());
        host.pending.clear();
        host.submitted.clear();
        (host.has_rotted, host.was_damaged) = (false, false);
        host.shown = raftkit_core::LogIndex::ZERO;
        host.state_durable = LogId::ZERO;
        self.gone += gone;
        if was != Harm::Damaged {
            self.ghosts.insert((id, old), ghost);
        }
        self.hit(Mark::Wiped);
        self.counts.wipes += 1;
    }

    /// A clean stop has answered all it had: the state is made durable, and the process ends.
    pub(crate) fn finish_stop(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(process) = host.process.as_mut() else { return };
        let down = process.stopping.unwrap_or(0);
        host.disk.act_as(Thread::Machine as u8);
        process.machine.applier.run(vec![MachineWork::Persist], &mut |_| {});
        if host.disk.is_frozen() {
            return self.power_gone(id);
        }
        host.disk.complete_all_syncs();
        self.hit(Mark::CleanStop);
        self.counts.stops += 1;
        self.end_process(id);
        self.plan_start(id, down * MS);
    }
}
