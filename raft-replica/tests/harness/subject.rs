//! State machines as the crash tests use them, and the test that cuts the power at every call.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, NodeId};
use raftkit_replica::StateMachine;

use super::{Cluster, OpenMachine, small_options};

/// The acknowledged writes: key to (value, entry).
pub type Acknowledged = BTreeMap<u64, (u64, LogId)>;

/// A test's view of a state machine: a command that puts a value at a key, and a check of the state on all nodes.
pub struct Subject<M: StateMachine> {
    pub open: OpenMachine<M>,
    pub put: fn(u64, u64) -> Bytes,
    pub check: fn(&Cluster<M>, &Acknowledged, &str),
}

impl<M: StateMachine> Subject<M> {
    /// Writes values, one after the other, to the keys 0 to 4 in turn.
    pub fn write(&self, cluster: &mut Cluster<M>, values: Range<u64>, acknowledged: &mut Acknowledged) {
        for value in values {
            if let Some(id) = cluster.commit(&(self.put)(value % 5, value)) {
                acknowledged.insert(value % 5, (value, id));
            }
            cluster.run(Duration::from_millis(30));
        }
    }

    /// Cuts the power of each of three nodes at each call that changes its disk, while it applies, persists,
    /// compacts, and sends or receives a snapshot; every third time that of the other nodes too. Returns the number
    /// of such calls.
    pub fn crash_everywhere(&self) -> u64 {
        let points = |victim| (0..).take_while(|point| self.crash_at(victim, *point)).count() as u64;
        [1, 2, 3].map(NodeId).into_iter().map(points).sum()
    }

    /// True if the run reached that call.
    fn crash_at(&self, victim: NodeId, point: u64) -> bool {
        let mut acknowledged = Acknowledged::new();
        let mut cluster = Cluster::new(3, self.open, small_options());
        let leader = cluster.until_leader();
        let away = NodeId(if leader == NodeId(3) { 2 } else { 3 });
        // One node is away until the others have compacted entries that it lacks; it comes back by a snapshot.
        self.write(&mut cluster, 0..2, &mut acknowledged);
        cluster.nodes.get_mut(&away).unwrap().crash(true);
        self.write(&mut cluster, 2..14, &mut acknowledged);
        cluster.nodes.get_mut(&away).unwrap().start(cluster.now).unwrap();
        cluster.nodes[&victim].disk.crash_at_call(point);
        cluster.run(Duration::from_millis(1000));
        self.write(&mut cluster, 14..17, &mut acknowledged);
        let met = cluster.nodes[&victim].running.is_none();
        cluster.nodes[&victim].disk.clear_faults();
        if point.is_multiple_of(3) {
            for node in cluster.nodes.values_mut().filter(|node| node.running.is_some()) {
                node.crash(true);
            }
        }
        cluster.start_all();
        self.write(&mut cluster, 17..19, &mut acknowledged);
        cluster.settle();
        (self.check)(&cluster, &acknowledged, &format!("node {victim} lost power at call {point}"));
        met
    }
}
