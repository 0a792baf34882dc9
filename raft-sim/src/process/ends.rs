//! Ends of processes: by a power cut, a kill, a fault of their own disk, or a clean stop. And the loss of data folders.

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

/// Drops the parts of a process, each in the name of the thread that holds it: what a destructor writes comes after all that its
/// thread was doing, and reaches the disk only if that did. Readers of the state are dropped first, so that the machine's
/// thread is the one that closes the state's file.
fn close<S: Subject>(disk: &SimulatedDisk, process: Process<S>) {
    let Process { flush, settle, machine, background, io, log_reader, reader, .. } = process;
    drop((log_reader, reader));
    disk.act_as(Thread::Io as u8);
    drop(io);
    disk.act_as(Thread::Flush as u8);
    drop(flush);
    disk.act_as(Thread::Settle as u8);
    drop(settle);
    // The state's file is closed by whichever of the two holds it last, after its own work: in the server the applier's thread
    // waits for the end of the background work.
    let last = if background.work.is_some() { Thread::Background } else { Thread::Machine };
    disk.act_as(last as u8);
    drop((background, machine));
}

impl<S: Subject> World<S> {
    /// Ends a process at once, by a power cut or a kill.
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

    /// Ends a process as a program ends: its destructors run, and the page cache survives.
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

    /// Handles a power cut in the middle of a call to the disk.
    pub(crate) fn power_gone(&mut self, id: NodeId) {
        self.hit(Mark::CrashAtCall);
        self.tell(|| format!("{id} loses power in the middle of a call"));
        self.crash(id, Crash::Cut);
        let down = self.hosts[&id].down_ms;
        self.plan_start(id, down * MS);
    }

    /// Handles a power cut, or a kill, in the middle of a call while a process opens its folder.
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

    /// Loses the data folder of a node. The next start creates another one, with another store id.
    pub(crate) fn wipe(&mut self, id: NodeId) {
        self.last_store += 1;
        self.rotten_beyond_records.remove(&id);
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

    /// Ends a clean stop whose requests are all answered: makes the state durable and ends the process.
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
