//! One node of the harness: its disk, and the replica and workers that run on it between two crashes.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{Base, ClusterId, Config, Fetch, Membership, NodeId, StoreId, Time, Write};
use raftkit_disk::{Disk, SimulatedDisk};
use raftkit_log::{Flushing, Next, Reader, Settling, Store, Written};
use raftkit_replica::{
    Applier, Ended, Event, MachineError, MachineWork, Opened, Replica, ReplicaOptions, SnapshotWork,
    SnapshotWorker, StateMachine, fetch,
};
use raftkit_snapshot::SnapshotDir;

pub const DIR: &str = "/data";

/// Opens a state machine in a folder.
pub type OpenMachine<M> = fn(Arc<dyn Disk>, &Path) -> Result<M, MachineError>;

/// A node: its disk, which outlives crashes, and the replica and workers that run between two of them.
pub struct TestNode<M: StateMachine> {
    pub id: NodeId,
    pub disk: SimulatedDisk,
    pub running: Option<Running<M>>,
    /// The log makes no progress, as if a sync did not return.
    pub log_frozen: bool,
    /// The applier makes no progress, as if an install took very long.
    pub machine_frozen: bool,
    /// Number of views that the state machine was asked for, to make snapshots from.
    pub views: u64,
    pub ended: Option<Ended>,
    options: ReplicaOptions,
    membership: Membership,
    open: OpenMachine<M>,
}

pub struct Running<M: StateMachine> {
    pub replica: Replica,
    flushing: Flushing,
    settling: Settling,
    log_time: Duration,
    reader: Reader,
    pub(super) applier: Applier<M>,
    pub(super) snapshots: SnapshotWorker,
    pub(super) writes: Vec<Write>,
    pub(super) machine: Vec<MachineWork>,
    pub(super) fetches: Vec<Fetch>,
    pub(super) snapshot: VecDeque<SnapshotWork>,
}

impl<M: StateMachine> TestNode<M> {
    pub(super) fn new(
        id: NodeId,
        open: OpenMachine<M>,
        options: ReplicaOptions,
        membership: Membership,
    ) -> Self {
        let disk = SimulatedDisk::new(id.0);
        Self {
            id,
            disk,
            running: None,
            log_frozen: false,
            machine_frozen: false,
            views: 0,
            ended: None,
            options,
            membership,
            open,
        }
    }

    pub(super) fn store(&self) -> StoreId {
        StoreId(u128::from(self.id.0) + 100)
    }

    /// Opens everything from the disk, as a starting process does. An error if the disk fails meanwhile.
    pub fn start(&mut self, now: Time) -> Result<(), String> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let dir = Path::new(DIR);
        let (mut store, _) =
            Store::open(Arc::clone(&disk), dir, self.log_options()).map_err(|error| error.to_string())?;
        let base = Base::founding(self.membership.clone());
        store.form(ClusterId(7), base).map_err(|error| error.to_string())?;
        let restored = store.restored();
        let machine = (self.open)(Arc::clone(&disk), dir).map_err(|error| error.to_string())?;
        let snapshots = SnapshotDir::new(disk, dir.join("snapshots"))
            .map_err(|error| error.to_string())?
            .with_chunk_bytes(4096);
        let config = Config::new(self.id, store.identity().store, store.identity().incarnation, 1);
        let opened = Opened::new(config, self.options, now, (store, restored), machine, snapshots)
            .map_err(|error| error.to_string())?;
        self.ended = None;
        let reader = opened.log.reader();
        let (flusher, settler) = opened.log.split();
        self.running = Some(Running {
            reader,
            replica: opened.replica,
            flushing: Flushing::new(flusher),
            settling: Settling::new(settler),
            log_time: Duration::ZERO,
            applier: opened.applier,
            snapshots: opened.snapshots,
            writes: Vec::new(),
            machine: Vec::new(),
            fetches: Vec::new(),
            snapshot: VecDeque::new(),
        });
        Ok(())
    }

    /// Cuts the power: the disk first, then the process.
    pub fn crash(&mut self, lose_all: bool) {
        self.disk.freeze();
        self.running = None;
        if lose_all {
            self.disk.crash_losing_all_unsynced();
        } else {
            self.disk.crash();
        }
    }
}

impl<M: StateMachine> Running<M> {
    pub(super) fn work_on_log(&mut self, events: &mut Vec<Event>) {
        let mut writes = std::mem::take(&mut self.writes).into_iter();
        let mut failed = self.flush(&mut writes, events);
        // After this time all work of the log is due: the witness, and one step of the work on the database, which
        // learns of the flush now.
        let _ = self.settling.next(self.log_time);
        self.log_time += Duration::from_secs(2);
        failed = failed || self.flush(&mut writes, events);
        if let Next::Do(chore) = self.settling.next(self.log_time)
            && !failed
        {
            self.settling.begin(chore);
            let failed = self.settling.end(self.log_time).err();
            events.extend(failed.map(|error| Written::Failed(error).into()));
        }
    }

    /// Does the work that the flushing half has now. True if it has failed.
    fn flush(&mut self, writes: &mut dyn Iterator<Item = Write>, events: &mut Vec<Event>) -> bool {
        loop {
            self.flushing.take(&mut *writes);
            let Next::Do(chore) = self.flushing.next(self.log_time) else { return false };
            self.flushing.begin(chore);
            let written = self.flushing.end(self.log_time).written;
            let failed = matches!(written, Some(Written::Failed(_)));
            events.extend(written.map(Event::from));
            if failed {
                return true;
            }
        }
    }

    pub(super) fn work_on_machine(&mut self, events: &mut Vec<Event>) {
        self.applier.run(std::mem::take(&mut self.machine), &mut |event| events.push(event));
    }

    pub(super) fn work_on_snapshots(&mut self, events: &mut Vec<Event>) {
        events.extend(
            std::mem::take(&mut self.fetches).into_iter().map(|work| fetch(&self.reader, work).into()),
        );
        while let Some(work) = self.snapshot.pop_front() {
            events.extend(self.snapshots.run(work).map(Event::from));
        }
    }
}
