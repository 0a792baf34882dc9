//! A node, its disk, and its clock.

use raftkit_core::{Base, Config, Incarnation, LogIndex, Node, NodeId, StoreId, Time};

use crate::disk::Disk;
use std::time::Duration;

use crate::grid::Pause;

pub struct Host {
    pub config: Config,
    /// None while it is down.
    pub node: Option<Node>,
    pub disk: Disk,
    pub applied: LogIndex,
    /// Thousandths of real time.
    pub rate: u64,
    /// When its clock showed 0, in real time.
    pub origin: u64,
    pub pause: Option<Pause>,
    pub busy_until: u64,
    /// The clock reading from before the inputs that are handled at `busy_until` were taken.
    pub read_early: Option<Time>,
    pub armed: Time,
    /// End of the node's promise, on its own clock.
    pub free_at: Time,
}

impl Host {
    /// A node that started when its clock showed 0, with this leader time-out in milliseconds.
    pub fn new(id: u64, rate: u64, timeout: u64, pause: Option<Pause>, base: Base) -> Self {
        let mut host = Self {
            config: Config::new(NodeId(id), StoreId(u128::from(id)), Incarnation(0), 1),
            node: None,
            disk: Disk::founded(base),
            applied: LogIndex(1),
            rate,
            origin: 0,
            pause,
            busy_until: 0,
            read_early: None,
            armed: Time(0),
            free_at: Time(0),
        };
        host.set_timeout(timeout);
        host.start(0);
        host
    }

    /// Sets the leader time-out for the next start, in milliseconds. Clocks drift apart by exactly the clock
    /// error of each node over its own time-out.
    pub fn set_timeout(&mut self, timeout: u64) {
        let timeout = Duration::from_millis(timeout);
        self.config.leader_timeout = timeout;
        self.config.election_timeout = timeout.max(self.config.election_timeout);
        self.config.heartbeat_interval = self.config.heartbeat_interval.min(timeout / 2);
        self.config.clock_error = timeout / 10;
    }

    /// Starts the machine at `now`, in real time; its clock starts at 0.
    pub fn start(&mut self, now: u64) {
        self.config.incarnation.0 += 1;
        (self.origin, self.busy_until, self.read_early) = (now, now, None);
        let restored = self.disk.durable.restored(self.applied);
        let node = Node::restore(self.config.clone(), restored, Time(0)).unwrap();
        (self.armed, self.free_at) = (Time(0), node.promised_until());
        self.node = Some(node);
    }

    pub fn local(&self, real: u64) -> Time {
        Time((real - self.origin) * self.rate / 1000)
    }

    /// The first real moment when the clock shows `local`.
    pub fn real(&self, local: Time) -> u64 {
        self.origin.saturating_add(local.0.saturating_mul(1000).div_ceil(self.rate))
    }
}
