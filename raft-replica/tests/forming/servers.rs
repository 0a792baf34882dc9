//! A server that forms a cluster, on a simulated disk; and random numbers.

use std::path::Path;
use std::sync::Arc;

use raftkit_core::{Base, ClusterId, Member, Membership, NodeId, StoreId};
use raftkit_disk::SimulatedDisk;
use raftkit_log::{OpenOptions, Store};
use raftkit_replica::{Forming, Founding, Seen};

/// A server: its disk, and its process while that runs.
pub(crate) struct Server {
    pub(crate) id: NodeId,
    pub(crate) store: StoreId,
    disk: SimulatedDisk,
    /// Number of servers that are to form the cluster.
    servers: usize,
    /// Number of the newest process.
    pub(crate) life: u64,
    process: Option<Process>,
    /// The cluster that the disk is known to hold.
    pub(crate) formed: Option<(ClusterId, Membership)>,
}

struct Process {
    log: Store,
    forming: Forming,
}

/// The address of a server.
pub(crate) fn address(id: NodeId) -> String {
    format!("host{}:1", id.0)
}

impl Server {
    pub(crate) fn new(id: NodeId, seed: u64, servers: usize) -> Self {
        let store = StoreId(u128::from(id.0));
        let disk = SimulatedDisk::new(seed ^ id.0);
        Self { id, store, disk, servers, life: 0, process: None, formed: None }
    }

    fn member(&self) -> Member {
        Member::new(self.store, address(self.id))
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Returns the search of this process for a cluster, while that goes on.
    pub(crate) fn looking(&mut self, life: u64) -> Option<&mut Forming> {
        if self.formed.is_some() || self.life != life {
            return None;
        }
        self.process.as_mut().map(|process| &mut process.forming)
    }

    /// Starts the server, unless the power is cut in the given call to the disk.
    pub(crate) fn start(&mut self, power_cut: Option<u64>) {
        if self.runs() {
            return;
        }
        self.life += 1;
        self.plan(power_cut);
        let options = OpenOptions {
            journal_bytes: 16 << 10,
            cache_bytes: 256 << 10,
            ..OpenOptions::new(self.id, self.store)
        };
        let opened = Store::open(Arc::new(self.disk.clone()), Path::new("/data"), options);
        if self.disk.is_frozen() {
            drop(opened);
            return self.disk.crash();
        }
        self.disk.clear_faults();
        let (log, restored) = opened.unwrap();
        let cluster = log.identity().cluster;
        if let Some((before, _)) = &self.formed {
            assert_eq!(cluster, Some(*before), "{} has forgotten its cluster", self.id);
        }
        self.formed = cluster.map(|cluster| (cluster, restored.base.membership));
        let forming = Forming::new(self.id, self.member(), self.servers);
        self.process = Some(Process { log, forming });
    }

    fn plan(&self, power_cut: Option<u64>) {
        if let Some(call) = power_cut {
            self.disk.crash_at_call(call);
        }
    }

    /// Makes a cluster durable, unless the power is cut in the given call to the disk.
    pub(crate) fn form(&mut self, cluster: ClusterId, membership: Membership, power_cut: Option<u64>) {
        self.plan(power_cut);
        let base = Base::founding(membership.clone());
        let result = self.process.as_mut().unwrap().log.form(cluster, base);
        if self.disk.is_frozen() {
            return self.crash(false);
        }
        self.disk.clear_faults();
        result.unwrap();
        self.formed = Some((cluster, membership));
    }

    /// Kills the process, or cuts the power.
    pub(crate) fn crash(&mut self, kill: bool) {
        self.disk.freeze();
        self.process = None;
        if kill { self.disk.kill() } else { self.disk.crash() }
    }

    /// Loses the data folder.
    pub(crate) fn wipe(&mut self, store: u64) {
        self.crash(false);
        self.store = StoreId(u128::from(store));
        self.disk = SimulatedDisk::new(store);
        self.formed = None;
    }

    /// Answers a greeting; none while no process runs.
    pub(crate) fn greeted(&self) -> Option<Seen> {
        let cluster = self.formed.as_ref().map(|(cluster, _)| *cluster);
        self.runs().then(|| Seen { node: self.id, member: self.member(), cluster })
    }

    /// Answers the question for the founding membership; none while no process runs.
    pub(crate) fn founding(&self) -> Option<Founding> {
        let founding = match self.formed.clone() {
            Some((cluster, membership)) => Founding::Members { cluster, membership },
            None => Founding::None,
        };
        self.runs().then_some(founding)
    }
}

/// A seeded generator (splitmix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    pub(crate) fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}
