//! A machine: a disk and a clock that outlive its processes, and the process that runs on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use raftkit_core::{Fetch, HardState, Incarnation, LogId, LogIndex, NodeId, StoreId, Time, Write};
use raftkit_disk::{Injected, SimulatedDisk, SyncId};
use raftkit_log::{Chore, FlushChore, Flushing, Reader as LogReader, Settling, Store};
use raftkit_net::admission::Incarnations;
use raftkit_replica::{
    Applier, CallId, CallerId, ClientRequestId, Contacts, Event, MachineWork, Service, ServiceEvent,
    SnapshotWork, SnapshotWorker,
};

use crate::checks::rules::Heard;
use crate::checks::shadow::Shadow;
use crate::checks::violation::{Checked, promise};
use crate::network::End;
use crate::network::bulk::BulkLane;
use crate::network::connections::Outgoing;
use crate::plan::script::{Area, Crash, Moment};
use crate::subject::{Reader, Subject};
use crate::world::clock::Clock;

/// Loss of a node's data, as far as the simulator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// No loss.
    None,
    /// Something on its disk has rotted; nobody may have noticed.
    Rotten,
    /// It opened as damaged and has not healed.
    Damaged,
}

/// A crash that is due at a time after a step of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap {
    pub(crate) moment: Moment,
    pub(crate) how: Crash,
    pub(crate) us: u64,
    pub(crate) down_ms: u64,
}

/// One machine.
pub(crate) struct Host<S: Subject> {
    pub(crate) id: NodeId,
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: Clock,
    /// The data folder that is on the disk, or will be made there.
    pub(crate) store: StoreId,
    /// True when the folder was one of the founders'.
    pub(crate) founder: bool,
    /// Number of the machine's newest process; events for an earlier process are dropped by it.
    pub(crate) life: u64,
    /// The leader time-out of its newest process.
    pub(crate) leader_timeout_ms: u64,
    /// Time on the node's clock until which the promise that its folder records binds the running process.
    pub(crate) bound_until: Time,
    pub(crate) process: Option<Process<S>>,
    /// A start is due.
    pub(crate) starting: bool,
    pub(crate) paused_until: u64,
    /// Time at which the process last went on after a standstill.
    pub(crate) resumed_at: u64,
    pub(crate) stalled_until: u64,
    /// Time until which syncs of its snapshots hang.
    pub(crate) held_until: u64,
    /// A crash that waits for its moment.
    pub(crate) trap: Option<Trap>,
    pub(crate) hiccup_us: u64,
    /// Time for which the machine stays down when a planned call cuts its power.
    pub(crate) down_ms: u64,
    /// Areas that rot before the next start.
    pub(crate) rots_at_rest: Vec<(Area, u64)>,
    pub(crate) harm: Harm,
    /// It was wiped, and is to become a member again.
    pub(crate) returning: bool,
    /// The log as the node was last told to write it.
    pub(crate) view: Shadow,
    /// The log as far as it was reported durable.
    pub(crate) durable: Shadow,
    /// The most that was kept in the log at once, in bytes of entries.
    pub(crate) kept_most: u64,
    /// Writes that are not reported durable.
    pub(crate) pending: VecDeque<Write>,
    /// Time of each of these writes on the node's clock; for the first one, the time at which the write before it
    /// became durable, if that was later.
    pub(crate) submitted: VecDeque<Time>,
    /// Something on this disk has rotted once.
    pub(crate) has_rotted: bool,
    /// Its log has opened as damaged once: the commit before the newest one may be of before it was mended.
    pub(crate) was_damaged: bool,
    /// The greatest index that a stale read showed.
    pub(crate) shown: LogIndex,
    /// The last entry up to which the state machine was reported durable.
    pub(crate) state_durable: LogId,
    /// True when the newest commit of the log's database may be the only copy of what it holds: that was too large for
    /// the journal, or the process ended within the next commit, which may have overwritten the commit before.
    pub(crate) needs_newest_commit: bool,
    /// The disk's faults until the process started.
    pub(crate) injected: Injected,
}

/// The sender of a request: the connection that the answer goes back on, and the call that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) end: End,
    pub(crate) connection: u64,
    pub(crate) call: CallId,
}

/// The process that runs on a machine.
pub(crate) struct Process<S: Subject> {
    pub(crate) service: Service,
    pub(crate) incarnation: Incarnation,
    pub(crate) inbox: Vec<ServiceEvent>,
    /// Events that were taken from the inbox, while the loop stands still before it reads the clock.
    pub(crate) taken: Option<Vec<ServiceEvent>>,
    pub(crate) wake_at: Option<u64>,
    /// Number of times in a row that the deadline was past right after it was met.
    pub(crate) spins: u32,
    pub(crate) flush: FlushLane,
    pub(crate) settle: SettleLane,
    pub(crate) machine: MachineLane<S>,
    pub(crate) io: IoLane,
    pub(crate) log_reader: LogReader,
    pub(crate) reader: Reader<S>,
    /// The applied index when a node that sends snapshots was last heard.
    pub(crate) told: LogIndex,
    /// The state's index when it was last looked at.
    pub(crate) seen: LogIndex,
    pub(crate) bulk: BulkLane,
    pub(crate) calls: BTreeMap<CallId, NodeId>,
    pub(crate) callers: BTreeMap<CallerId, Asker>,
    /// The nodes that the process keeps connections to.
    pub(crate) contacts: Contacts,
    pub(crate) outgoing: BTreeMap<NodeId, Outgoing>,
    /// The newest incarnation of each peer that its transport has met.
    pub(crate) met: Incarnations,
    /// Record of what the process has heard and said.
    pub(crate) heard: Heard,
    /// Requests of clients without an answer yet.
    pub(crate) open: BTreeMap<ClientRequestId, u64>,
    /// Requests whose clients no longer wait.
    pub(crate) forgotten: BTreeSet<ClientRequestId>,
    /// Set when the process was told to stop: the time after which it starts again.
    pub(crate) stopping: Option<u64>,
    pub(crate) stopped: bool,
}

/// Work that a thread has begun: the syncs that are to complete, and the reports that follow.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) syncs: Vec<SyncId>,
    pub(crate) reports: Vec<Event>,
    /// True when the work waits for a disk that hangs.
    pub(crate) hangs: bool,
    /// Time at which the work is done, unless other work slows it down.
    pub(crate) until: u64,
    /// Time until which the disk writes its bytes, where the disk has a rate.
    pub(crate) writes_until: u64,
    /// The disk's faults before the work's calls and after them.
    pub(crate) injected: Option<(Injected, Injected)>,
}

/// The log's thread that flushes.
pub(crate) struct FlushLane {
    pub(crate) half: Flushing,
    pub(crate) queue: VecDeque<Write>,
    /// Bytes of entries that were taken from the queue and are not begun.
    pub(crate) bytes: u64,
    pub(crate) work: Option<Work>,
    /// The step that waits for what the other half holds.
    pub(crate) waits: Option<FlushChore>,
    pub(crate) wakes_at: Option<u64>,
}

impl FlushLane {
    pub(crate) fn new(half: Flushing) -> Self {
        Self { half, queue: VecDeque::new(), bytes: 0, work: None, waits: None, wakes_at: None }
    }

    /// True when nothing waits to be flushed.
    pub(crate) fn is_idle(&self) -> bool {
        self.work.is_none() && self.waits.is_none() && self.queue.is_empty()
    }

    /// True when the witness knows everything that was flushed.
    pub(crate) fn is_witnessed(&self) -> bool {
        !self.half.flusher().wants_witness()
    }
}

/// The log's thread that settles.
pub(crate) struct SettleLane {
    pub(crate) half: Settling,
    pub(crate) chore: Chore,
    pub(crate) work: Option<Work>,
    /// The step that waits for what the other half holds.
    pub(crate) waits: Option<Chore>,
    pub(crate) wakes_at: Option<u64>,
}

impl SettleLane {
    pub(crate) fn new(half: Settling) -> Self {
        Self { half, chore: Chore::Settle, work: None, waits: None, wakes_at: None }
    }
}

/// The state machine's thread.
pub(crate) struct MachineLane<S: Subject> {
    pub(crate) applier: Applier<S::Machine>,
    pub(crate) queue: Vec<MachineWork>,
    pub(crate) work: Option<Work>,
    pub(crate) idle_planned: bool,
}

impl<S: Subject> MachineLane<S> {
    pub(crate) fn new(applier: Applier<S::Machine>) -> Self {
        Self { applier, queue: Vec::new(), work: None, idle_planned: false }
    }
}

/// The thread that reads the log and handles snapshots.
pub(crate) struct IoLane {
    pub(crate) worker: SnapshotWorker,
    pub(crate) queue: VecDeque<IoWork>,
    pub(crate) work: Option<Work>,
}

impl IoLane {
    pub(crate) fn new(worker: SnapshotWorker) -> Self {
        Self { worker, queue: VecDeque::new(), work: None }
    }
}

pub(crate) enum IoWork {
    Fetch(Fetch),
    Snapshot(SnapshotWork),
}

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    Flush,
    Settle,
    Machine,
    Io,
}

impl<S: Subject> Host<S> {
    pub(crate) fn new(id: NodeId, disk: SimulatedDisk, clock: Clock, store: StoreId, founder: bool) -> Self {
        Self {
            leader_timeout_ms: crate::Settings::default().leader_timeout_ms,
            bound_until: Time(0),
            id,
            injected: disk.injected(),
            disk,
            clock,
            store,
            founder,
            life: 0,
            process: None,
            starting: false,
            paused_until: 0,
            resumed_at: 0,
            stalled_until: 0,
            held_until: 0,
            trap: None,
            hiccup_us: 0,
            down_ms: 100,
            rots_at_rest: Vec::new(),
            harm: Harm::None,
            returning: false,
            view: Shadow::default(),
            durable: Shadow::new(LogId::ZERO, 0, HardState::default()),
            kept_most: 0,
            pending: VecDeque::new(),
            submitted: VecDeque::new(),
            has_rotted: false,
            was_damaged: false,
            shown: LogIndex::ZERO,
            state_durable: LogId::ZERO,
            needs_newest_commit: false,
        }
    }

    pub(crate) fn local(&self, now: u64) -> Time {
        self.clock.local(now)
    }

    /// Checks that a log has kept term, vote and promise, whatever else it has lost: they are those that were flushed,
    /// or those of a write on its way.
    pub(crate) fn check_hard_state_kept(&self, found: HardState) -> Checked {
        let of = |hard: HardState| (hard.term, hard.vote, hard.promise);
        let on_its_way = self.pending.iter().filter_map(|write| write.hard_state);
        let kept = std::iter::once(self.durable.hard).chain(on_its_way).any(|hard| of(hard) == of(found));
        promise!(
            Recovery,
            kept,
            "{} was told that term, vote and promise {:?} are durable, and opens damaged with {:?}",
            self.id,
            of(self.durable.hard),
            of(found)
        );
        Ok(())
    }

    /// True when the process that ends now may leave the log's database in the middle of a commit: a crash may keep
    /// what was not synced, or a failed sync has lost it.
    pub(crate) fn may_have_spoilt(&self, database: &Path, how: Crash) -> bool {
        let (was, is) = (self.injected, self.disk.injected());
        let failed = (was.io_errors, was.failed_syncs, was.full) != (is.io_errors, is.failed_syncs, is.full);
        failed || (how != Crash::LoseAll && self.disk.is_dirty(database))
    }

    /// True while the node counts: it has this folder and has lost nothing.
    pub(crate) fn is_sound(&self, store: StoreId) -> bool {
        self.store == store && self.harm == Harm::None
    }
}

impl<S: Subject> Process<S> {
    /// Creates a process from the parts of a folder that was just opened.
    pub(crate) fn new(
        service: Service,
        incarnation: Incarnation,
        (log, applier, snapshots): (Store, Applier<S::Machine>, SnapshotWorker),
    ) -> Self {
        let (flusher, settler) = log.split();
        Self {
            reader: applier.reader(),
            log_reader: flusher.reader(),
            flush: FlushLane::new(Flushing::new(flusher)),
            settle: SettleLane::new(Settling::new(settler)),
            machine: MachineLane::new(applier),
            io: IoLane::new(snapshots),
            incarnation,
            service,
            inbox: Vec::new(),
            taken: None,
            wake_at: None,
            spins: 0,
            told: LogIndex::ZERO,
            seen: LogIndex::ZERO,
            bulk: BulkLane::default(),
            calls: BTreeMap::new(),
            callers: BTreeMap::new(),
            contacts: Contacts::default(),
            outgoing: BTreeMap::new(),
            met: Incarnations::default(),
            heard: Heard::default(),
            open: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            stopping: None,
            stopped: false,
        }
    }

    /// True while a thread waits for a disk that hangs, although it has nothing else to do.
    pub(crate) fn hangs(&self) -> bool {
        let works = [&self.flush.work, &self.settle.work, &self.machine.work, &self.io.work];
        works.into_iter().flatten().any(|work| work.hangs)
    }

    pub(crate) fn work(&mut self, thread: Thread) -> &mut Option<Work> {
        match thread {
            Thread::Flush => &mut self.flush.work,
            Thread::Settle => &mut self.settle.work,
            Thread::Machine => &mut self.machine.work,
            Thread::Io => &mut self.io.work,
        }
    }
}
