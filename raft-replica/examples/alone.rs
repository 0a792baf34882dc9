//! A replica of its own, driven by hand in one thread: a command is proposed, made durable on a simulated disk, committed and
//! applied. A driver of several nodes also carries messages, snapshots and reads of the log.
//!
//! ```text
//! cargo run -p raftkit-replica --example alone
//! ```

use std::{path::Path, sync::Arc, time::Duration};

use raftkit_core::{
    Base, ClusterId, Config, LogId, Member, Membership, NodeId, Proposal, StoreId, Ticket, Time,
};
use raftkit_disk::{Disk, SimulatedDisk};
use raftkit_log::{OpenOptions, Store};
use raftkit_replica::{Action, Application, InMemory, LogReport, Opened, Output, ReplicaOptions};
use raftkit_snapshot::SnapshotDir;

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Sum(i64);

impl Application for Sum {
    type Command = i64;
    type Response = i64;

    fn apply(&mut self, _id: LogId, add: i64) -> i64 {
        self.0 += add;
        self.0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (node, store_id, dir) = (NodeId(1), StoreId(7), Path::new("/data"));
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
    let (mut store, _) = Store::open(Arc::clone(&disk), dir, OpenOptions::new(node, store_id))?;
    let members = [(node, Member::new(store_id, "nowhere"))].into();
    store.form(ClusterId(5), Base::founding(Membership::founding(members)))?;
    let (restored, incarnation) = (store.restored(), store.identity().incarnation);
    let machine = InMemory::<Sum>::open(Arc::clone(&disk), dir)?;
    let snapshots = SnapshotDir::new(disk, dir.join("snapshots"))?;
    let (config, options) = (Config::new(node, store_id, incarnation, 1), ReplicaOptions::default());
    let Opened { mut replica, mut log, mut applier, .. } =
        Opened::new(config, options, Time(0), (store, restored), machine, snapshots)?;

    let (mut now, mut out, mut events) = (Time(0), Vec::new(), Vec::new());
    let mut command = Some(InMemory::<Sum>::encode(&42)?);
    loop {
        now = now.after(Duration::from_millis(10));
        replica.tick(now, &mut out);
        // It elects itself: it is the only voter.
        if let Some(command) = command.take_if(|_| replica.node().is_leader()) {
            replica.propose(now, vec![Proposal { ticket: Ticket(1), command }], &mut out);
        }
        for output in out.drain(..) {
            match output {
                Output::Do(Action::Log(write)) => {
                    log.queue(write);
                    events.extend(log.flush()?.map(|seq| LogReport::Persisted(seq).into()));
                }
                Output::Do(Action::Machine(work)) => applier.run(vec![work], &mut |event| events.push(event)),
                Output::Do(_) => {}
                Output::Answer { answer, .. } => {
                    println!("{answer:?}; the sum is {}", applier.reader().read(|sum| sum.0).0);
                    return Ok(());
                }
            }
        }
        for event in events.drain(..) {
            replica.handle(now, event, &mut out);
        }
    }
}
