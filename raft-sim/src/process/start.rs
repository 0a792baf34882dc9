//! Starts of processes: opening the data folder, and checking what the opening found.

use std::sync::Arc;

use raftkit_core::{Base, HardState, Health, LogId, Membership, NodeId, Restored};
use raftkit_disk::{Disk, create_dir_all_durably};
use raftkit_log::{ReadResult, Reader as LogReader, Store};
use raftkit_replica::{Opened, Repair, Service, StateMachine, in_words};
use raftkit_snapshot::SnapshotDir;

use crate::Mark;
use crate::checks::shadow::Shadow;
use crate::checks::violation::{Checked, promise};
use crate::process::configured::{config, log_options, replica_options, service_options};
use crate::process::folders::Folders;
use crate::process::host::{Harm, Process};
use crate::run::trace::kind;
use crate::subject::Subject;
use crate::world::{CLUSTER, MS, World};

/// A process that is ready to run, and the contents of its folder.
struct Opening<S: Subject> {
    process: Process<S>,
    /// The log as it was found, after a repair.
    found: Shadow,
    health: Health,
    repair: Option<Repair>,
    /// Last entry that the state machine has applied.
    applied: LogId,
    /// True when the end of the journal was torn.
    torn: bool,
    /// True when the journal held writes that the database lacked.
    replayed: bool,
}

impl<S: Subject> World<S> {
    /// Starts a node on its disk.
    pub(crate) fn start(&mut self, id: NodeId) {
        let now = self.now;
        let host = self.host(id);
        host.starting = false;
        if host.process.is_some() || self.away.contains(&id) {
            return;
        }
        self.rot_at_rest(id);
        self.choose_timeout(id);
        let host = self.host(id);
        host.life += 1;
        host.needs_newest_commit = false;
        let before = host.disk.injected();
        // An opening takes no virtual time: either all its syncs complete, or the power is cut in one of its calls.
        host.disk.defer_syncs();
        let started = self.open(id);
        let host = self.host(id);
        let _ = host.disk.take_new_deferred();
        if host.disk.is_frozen() {
            drop(started);
            return self.ended_in_open(id);
        }
        match started {
            Ok(opening) => {
                self.host(id).disk.complete_all_syncs();
                let checked = self.check_opened(id, &opening);
                self.ensure(checked);
                self.mark_opened(id, &opening);
                let Opening { process, found, .. } = opening;
                let host = self.host(id);
                host.injected = host.disk.injected();
                host.view = found.clone();
                host.bound_until = host.local(now).after(found.hard.promise);
                host.durable = found;
                host.pending.clear();
                host.submitted.clear();
                let life = host.life;
                host.process = Some(process);
                let checked = self.check_started(id);
                self.ensure(checked);
                self.note(kind::START, id, &[1, life]);
                self.tell(|| format!("{id} runs"));
                self.follow_contacts(id);
                self.wake(id, now);
                self.go_on_settling(id);
                if self.settings.watched > 0 {
                    self.watch(id, life);
                }
            }
            Err(why) => {
                self.note(kind::START, id, &[2]);
                self.tell(|| format!("{id} does not start: {why}"));
                self.failed_to_start(id, &why, before);
            }
        }
    }

    /// Chooses the leader time-out for a start. With `retimed` an operator changes the setting at some starts; once faults have
    /// ended every node has the usual value again.
    fn choose_timeout(&mut self, id: NodeId) {
        let (usual, retimed) = (self.settings.leader_timeout_ms, self.settings.retimed);
        let changes = retimed > 0 && !self.healed && self.rng.permille(retimed);
        let timeout = if changes { self.rng.pick(&[100, 250, 500, 1000, 2000]) } else { usual };
        let keeps = retimed > 0 && !self.healed && !changes;
        let host = self.host(id);
        let timeout = if keeps { host.leader_timeout_ms } else { timeout };
        let before = std::mem::replace(&mut host.leader_timeout_ms, timeout);
        let (lowers, raises) = (timeout < before, timeout > before);
        if lowers || raises {
            self.hit(if lowers { Mark::TimeoutLowered } else { Mark::TimeoutRaised });
            self.tell(|| format!("{id} has a leader time-out of {timeout} ms from now on"));
        }
    }

    /// Handles a start that has failed. A fault of the disk excuses it, and so does rot of anything but records of the journal:
    /// the folder is wiped then. Any other node must start.
    fn failed_to_start(&mut self, id: NodeId, why: &str, before: raftkit_disk::Injected) {
        let host = self.host(id);
        let now = host.disk.injected();
        let disturbed = (now.io_errors, now.failed_syncs, now.full)
            != (before.io_errors, before.failed_syncs, before.full);
        // The kill also releases the file locks of the parts that were opened.
        host.disk.freeze();
        host.disk.kill();
        if disturbed {
            self.hit(Mark::OpenFailed);
            return self.plan_start(id, 300 * MS);
        }
        if host.harm == Harm::None {
            let checked =
                Err((crate::Promise::NoLoss, format!("{id} lost nothing and does not start: {why}")));
            return self.ensure(checked);
        }
        // A log that lost records opens as damaged, with its hard state: the witness holds that of the last flush too.
        if !self.rotten_beyond_records.contains(&id) {
            let what = format!("{id} lost nothing but records of its journal, and does not start: {why}");
            return self.ensure(Err((crate::Promise::Recovery, what)));
        }
        // The operator follows the error's advice: remove the data folder and let the node join anew.
        self.hit(Mark::StateRotten);
        self.wipe(id);
        self.plan_start(id, 200 * MS);
    }

    /// Opens log, state machine and snapshots of a node, and assembles its process.
    fn open(&mut self, id: NodeId) -> Result<Opening<S>, String> {
        let founding = self.founding.clone();
        let settings = self.settings.clone();
        let folders = Folders::of(&settings);
        let (now, seed) = (self.now, self.seed);
        let host = self.hosts.get_mut(&id).expect("known");
        let disk: Arc<dyn Disk> = Arc::new(host.disk.clone());
        let options = log_options(id, host.store, &settings);
        let words = |error: &dyn std::error::Error| in_words(error);
        let (mut store, _) =
            Store::open(Arc::clone(&disk), &folders.log, options).map_err(|error| words(&error))?;
        let base = if host.founder { Base::founding(founding) } else { Base::default() };
        store.form(CLUSTER, base).map_err(|error| words(&error))?;
        let (torn, replayed) = (store.report().dropped_torn, store.report().replayed.records > 0);
        let said = store.report().to_string();
        if !said.is_empty() {
            self.trace.tell(now, || format!("{id} opens its log: {said}"));
        }
        let restored = store.restored();
        let (health, reader) = (restored.hard_state.health, store.reader());
        let found = read_all(&restored, &reader, |base| self.truth.chain(base))?;
        let host = self.hosts.get_mut(&id).expect("known");
        // State machines may rely on an existing folder, as in the server the log has created it.
        create_dir_all_durably(&*disk, &folders.state).map_err(|error| words(&error))?;
        let machine = S::open(Arc::clone(&disk), &folders.state).map_err(|error| words(&error))?;
        let applied = machine.applied();
        let snapshots = SnapshotDir::new(disk, folders.snapshots)
            .map_err(|error| words(&error))?
            .with_chunk_bytes(u32::try_from(settings.chunk_bytes).unwrap_or(4096));
        let identity = *store.identity();
        let config = config(id, &identity, seed, &settings, host.leader_timeout_ms);
        let replica = replica_options(id, &settings);
        let opened = Opened::new(config, replica, host.local(now), (store, restored), machine, snapshots)
            .map_err(|error| words(&error))?;
        let service = Service::new(opened.replica, service_options(&settings));
        let base = service.replica().status().base;
        let found = match opened.repaired {
            Some(_) if base != found.base() => installed(base, &found.hard, self.truth.chain(base)),
            Some(_) | None => found,
        };
        let (repair, incarnation) = (opened.repaired, identity.incarnation);
        let parts = (opened.log, opened.applier, opened.snapshots);
        let process = Process::new(service, incarnation, parts);
        Ok(Opening { process, found, health, repair, applied, torn, replayed })
    }

    /// Counts what an opening went through, and updates the record of the node's losses.
    fn mark_opened(&mut self, id: NodeId, opening: &Opening<S>) {
        let (health, repair, torn) = (opening.health, opening.repair, opening.torn);
        let host = self.host(id);
        let was = host.harm;
        host.harm = match health {
            Health::Damaged => Harm::Damaged,
            Health::Sound => Harm::None,
        };
        let (store, durable) = (host.store, host.durable.clone());
        match health {
            Health::Damaged => {
                host.was_damaged = true;
                if was != Harm::Damaged {
                    self.ghosts.insert((id, store), durable);
                }
                self.hit(Mark::OpenedDamaged);
            }
            Health::Sound => {
                self.ghosts.remove(&(id, store));
            }
        }
        self.marks.hit_if(matches!(repair, Some(Repair::LogReset(_))), Mark::InstallFinished);
        self.marks.hit_if(torn, Mark::TailTorn);
        self.marks.hit_if(opening.replayed, Mark::Replayed);
    }

    /// Checks that an opening found every durable write and a prefix of the pending ones.
    fn check_opened(&mut self, id: NodeId, opening: &Opening<S>) -> Checked {
        let (found, health, repair) = (&opening.found, opening.health, opening.repair);
        let host = &self.hosts[&id];
        promise!(
            Recovery,
            opening.applied.index >= host.state_durable.index,
            "{id} was told that its state is durable up to {} and opens with that of {}",
            host.state_durable,
            opening.applied
        );
        if host.life == 1 || host.durable.base() == LogId::ZERO && host.durable.last() == LogId::ZERO {
            return Ok(());
        }
        if health == Health::Damaged {
            // A node that has recovered opens as damaged all the same until the write that says so is durable.
            let known = host.harm != Harm::None || host.durable.hard.health == Health::Damaged;
            promise!(NoLoss, known, "{id} lost nothing and opened as damaged");
            return if repair.is_none() { host.check_hard_state_kept(found.hard) } else { Ok(()) };
        }
        if let Some(Repair::LogReset(to)) = repair {
            let whole = to.index >= host.durable.last().index || found.last() == host.durable.last();
            promise!(
                Recovery,
                whole || self.truth.chain(to).is_some(),
                "{id} resets its log to {to}, which nobody committed"
            );
            return Ok(());
        }
        let mut expected = host.durable.clone();
        let fits = |expected: &Shadow| {
            let (index, chain) = (found.last().index, expected.chain(found.last().index));
            // No hash is known of the base of a log that an interrupted install has reset: then only ids are compared.
            expected.last() == found.last()
                && chain.is_none_or(|chain| found.chain(index) == Some(chain))
                && (expected.hard.term, expected.hard.vote, expected.hard.promise)
                    == (found.hard.term, found.hard.vote, found.hard.promise)
                && found.hard.commit >= expected.hard.commit
        };
        let mut taken = 0;
        loop {
            if fits(&expected) {
                break;
            }
            let Some(write) = host.pending.get(taken) else {
                return Err((
                    crate::Promise::Recovery,
                    format!(
                        "{id} was told that its log is durable up to {} (term {}, vote {:?}) and opens with {} (term {}, vote {:?})",
                        host.durable.last(),
                        host.durable.hard.term,
                        host.durable.hard.vote,
                        found.last(),
                        found.hard.term,
                        found.hard.vote
                    ),
                ));
            };
            expected.apply(write, |base| self.truth.chain(base));
            taken += 1;
        }
        self.marks.hit_if(taken > 0, Mark::PendingKept);
        Ok(())
    }

    /// Checks that a node starts with the term, the state and the membership that its log and snapshot hold.
    fn check_started(&mut self, id: NodeId) -> Checked {
        let host = &self.hosts[&id];
        let Some(process) = &host.process else { return Ok(()) };
        let node = process.service.replica().node();
        if host.harm != Harm::None {
            return Ok(());
        }
        let (hard, last) = (host.view.hard, host.view.last());
        promise!(
            Recovery,
            node.term() >= hard.term,
            "{id} starts in term {}, and {} is durable",
            node.term(),
            hard.term
        );
        // If the disk fails this read the node notices by itself.
        if let Ok((_, state)) = S::look(&process.reader) {
            promise!(
                Recovery,
                state.index <= last.index,
                "{id} starts with a state at {state} and a log that ends with {last}"
            );
        }
        let base = host.view.base();
        let expected = host
            .view
            .membership()
            .cloned()
            .or_else(|| (base != LogId::ZERO).then(|| self.truth.membership_as_of(base.index).clone()));
        let expected: Membership = expected.unwrap_or_default();
        promise!(
            Membership,
            *node.membership() == expected,
            "{id} starts with {:?}, but its snapshot and log say {:?}",
            node.membership(),
            expected
        );
        let joint = expected.is_joint();
        self.marks.hit_if(joint, Mark::RestartedJoint);
        Ok(())
    }
}

/// Reads a whole log into a shadow.
fn read_all(
    restored: &Restored,
    reader: &LogReader,
    chain_of: impl FnOnce(LogId) -> Option<u64>,
) -> Result<Shadow, String> {
    let base = restored.base.id;
    let mut found = Shadow::new(base, chain_of(base).unwrap_or(0), restored.hard_state);
    let mut next = base.index.next();
    while next <= restored.last {
        match reader.read(next, restored.last, 1 << 20).map_err(|error| in_words(&error))? {
            ReadResult::Entries(entries) => {
                for entry in entries {
                    next = entry.id.index.next();
                    found.push(entry);
                }
            }
            ReadResult::Compacted => {
                return Err(format!("entry {next} is compacted, and the log starts after {base}"));
            }
        }
    }
    Ok(found)
}

/// Shadow of a log after the opening has finished an interrupted install: an empty log that starts after the snapshot.
fn installed(base: LogId, found: &HardState, chain: Option<u64>) -> Shadow {
    let hard = HardState {
        term: found.term.max(base.term),
        vote: found.vote.filter(|_| found.term >= base.term),
        commit: found.commit.max(base.index),
        health: found.health,
        promise: found.promise,
    };
    Shadow::new(base, chain.unwrap_or(0), hard)
}
