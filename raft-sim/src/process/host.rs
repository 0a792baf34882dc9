//! A machine: a disk and a clock that outlive its processes, and the process that runs on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use raftkit_core::{Fetch, HardState, Incarnation, LogId, LogIndex, NodeId, StoreId, Time, Write};
use raftkit_disk::{Injected, SimulatedDisk, SyncId};
use raftkit_log::{Chore, FlushChore, Flushing, Reader as LogReader, Settling, Store};
use raftkit_net::admission::Incarnations;
use raftkit_replica::{
    Applier, BackgroundDone, CallId, CallerId, ClientRequestId, Contacts, Event, MachineWork, Service,
    ServiceEvent, SnapshotWork, SnapshotWorker,
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
    /// Part of its disk has rotted, and the node may not have noticed.
    Rotten,
    /// Its log opened as damaged, and the node has not recovered yet.
    Damaged,
}

/// A crash that is planned for the next time that a snapshot takes a certain step on this node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap {
    /// The step.
    pub(crate) moment: Moment,
    pub(crate) how: Crash,
    /// Time from the step to the crash, in microseconds.
    pub(crate) us: u64,
    /// Time until the next start, in milliseconds.
    pub(crate) down_ms: u64,
}

/// A simulated machine.
pub(crate) struct Host<S: Subject> {
    pub(crate) id: NodeId,
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: Clock,
    /// Store id of the data folder on the disk, or of the one that the next start creates.
    pub(crate) store: StoreId,
    /// True when the folder was one of the founders'.
    pub(crate) founder: bool,
    /// Number of the machine's newest process. Planned events carry it, so that those for an earlier process are dropped.
    pub(crate) life: u64,
    /// Leader time-out of the newest process, in milliseconds.
    pub(crate) leader_timeout_ms: u64,
    /// Time on the node's clock until which the promise that its folder records binds the running process.
    pub(crate) bound_until: Time,
    pub(crate) process: Option<Process<S>>,
    /// True while a start is planned.
    pub(crate) starting: bool,
    /// Time until which the process stands still.
    pub(crate) paused_until: u64,
    /// Time at which the process last went on after a standstill.
    pub(crate) resumed_at: u64,
    /// Time until which all syncs hang.
    pub(crate) stalled_until: u64,
    /// Time until which syncs of snapshots hang.
    pub(crate) held_until: u64,
    /// A crash that waits for a step of a snapshot.
    pub(crate) trap: Option<Trap>,
    /// Time in microseconds that the next round of the loop takes between its inputs and its look at the clock.
    pub(crate) hiccup_us: u64,
    /// Time in milliseconds for which the machine stays down after its power was cut in the middle of a call.
    pub(crate) down_ms: u64,
    /// Areas, and the number of sectors in each, that rot before the next start.
    pub(crate) rots_at_rest: Vec<(Area, u64)>,
    pub(crate) harm: Harm,
    /// True from the loss of the data folder until the node is a member again.
    pub(crate) returning: bool,
    /// The log as it will be once every write that the node has submitted is done.
    pub(crate) view: Shadow,
    /// The log as far as it has been reported durable.
    pub(crate) durable: Shadow,
    /// Largest size that the entries of the log have had at one time, in bytes.
    pub(crate) kept_most: u64,
    /// Writes that were submitted and have not been reported durable yet.
    pub(crate) pending: VecDeque<Write>,
    /// Submission time of each pending write on the node's clock. For the first one it is the time at which the write
    /// before became durable, if that was later: only from then on was the disk busy with the first one.
    pub(crate) submitted: VecDeque<Time>,
    /// True when any part of this disk has ever rotted.
    pub(crate) has_rotted: bool,
    /// True when the log on this disk has ever opened as damaged. The commit before the database's newest one may then
    /// hold the log as it was before the repair.
    pub(crate) was_damaged: bool,
    /// Highest index whose state a stale read has shown.
    pub(crate) shown: LogIndex,
    /// Last entry up to which the state machine has been reported durable.
    pub(crate) state_durable: LogId,
    /// True when the newest commit of the log's database may be the only copy of some data: the data was too large for
    /// the journal, or the process ended within the next commit, which may have overwritten the commit before.
    pub(crate) needs_newest_commit: bool,
    /// Counts of the disk's faults at the start of the process.
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
    /// Number of consecutive rounds after which the deadline was already past.
    pub(crate) spins: u32,
    pub(crate) flush: FlushLane,
    pub(crate) settle: SettleLane,
    pub(crate) machine: MachineLane<S>,
    pub(crate) background: BackgroundLane<S>,
    pub(crate) io: IoLane,
    pub(crate) log_reader: LogReader,
    pub(crate) reader: Reader<S>,
    /// Applied index at the last input that the receiving end of a snapshot transfer was handed; that end knows no newer
    /// one.
    pub(crate) told: LogIndex,
    /// Index of the state when it was last checked.
    pub(crate) seen: LogIndex,
    pub(crate) bulk: BulkLane,
    pub(crate) calls: BTreeMap<CallId, NodeId>,
    pub(crate) callers: BTreeMap<CallerId, Asker>,
    /// The nodes that the process keeps connections to.
    pub(crate) contacts: Contacts,
    pub(crate) outgoing: BTreeMap<NodeId, Outgoing>,
    /// Newest incarnation of each peer that the transport has met.
    pub(crate) met: Incarnations,
    /// Messages that the process has received and sent, as far as the checks of the protocol's rules need them.
    pub(crate) heard: Heard,
    /// Requests of clients without an answer yet.
    pub(crate) open: BTreeMap<ClientRequestId, u64>,
    /// Requests whose clients no longer wait.
    pub(crate) forgotten: BTreeSet<ClientRequestId>,
    /// Set when the process was asked to stop: time until the next start, in milliseconds.
    pub(crate) stopping: Option<u64>,
    /// True once the service has answered every request and reported that it has stopped.
    pub(crate) stopped: bool,
}

/// Work that a thread has begun: the syncs that complete at its end, and the reports that follow them.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) syncs: Vec<SyncId>,
    pub(crate) reports: Vec<Event>,
    /// True when the work waits for a disk that hangs.
    pub(crate) hangs: bool,
    /// Time at which the work is done, unless other work slows it down.
    pub(crate) until: u64,
    /// Time until which the disk writes the work's bytes, where the disk has a rate.
    pub(crate) writes_until: u64,
    /// Counts of the disk's faults before the work's calls, and after them.
    pub(crate) injected: Option<(Injected, Injected)>,
}

/// The log's thread that flushes.
pub(crate) struct FlushLane {
    pub(crate) half: Flushing,
    pub(crate) queue: VecDeque<Write>,
    /// Size of the entries that were taken from the queue and whose flush has not begun, in bytes.
    pub(crate) bytes: u64,
    pub(crate) work: Option<Work>,
    /// The step that cannot begin before the other half puts back a part of the log that both use.
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

    /// True when the witness covers everything that was flushed.
    pub(crate) fn is_witnessed(&self) -> bool {
        !self.half.flusher().wants_witness()
    }
}

/// The log's thread that settles.
pub(crate) struct SettleLane {
    pub(crate) half: Settling,
    /// The step that was begun last.
    pub(crate) chore: Chore,
    pub(crate) work: Option<Work>,
    /// The step that cannot begin before the other half puts back a part of the log that both use.
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

/// The state machine's thread for background work.
pub(crate) struct BackgroundLane<S: Subject> {
    /// The end of the work that is under way, which the state machine takes over when the disk is done with it.
    pub(crate) done: Option<BackgroundDone<S::Machine>>,
    pub(crate) work: Option<Work>,
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

/// One piece of work for the thread that reads the log and handles snapshots.
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
    Background,
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

    /// Checks that a damaged log has kept term, vote and promise. They must be the durable ones or those of a write that
    /// was on its way; an older vote could be given twice in one term.
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

    /// True when the end of the process may leave the log's database in the middle of a commit: a crash may keep unsynced
    /// writes, or a failed sync has lost some.
    pub(crate) fn may_have_spoilt(&self, database: &Path, how: Crash) -> bool {
        let (was, is) = (self.injected, self.disk.injected());
        let failed = (was.io_errors, was.failed_syncs, was.full) != (is.io_errors, is.failed_syncs, is.full);
        failed || (how != Crash::LoseAll && self.disk.is_dirty(database))
    }

    /// True while the node counts in quorums: it has this data folder and has lost nothing.
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
            background: BackgroundLane { done: None, work: None },
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

    /// True while the work of any thread waits for a disk that hangs.
    pub(crate) fn hangs(&self) -> bool {
        let works =
            [&self.flush.work, &self.settle.work, &self.machine.work, &self.io.work, &self.background.work];
        works.into_iter().flatten().any(|work| work.hangs)
    }

    pub(crate) fn work(&mut self, thread: Thread) -> &mut Option<Work> {
        match thread {
            Thread::Flush => &mut self.flush.work,
            Thread::Settle => &mut self.settle.work,
            Thread::Machine => &mut self.machine.work,
            Thread::Io => &mut self.io.work,
            Thread::Background => &mut self.background.work,
        }
    }
}
