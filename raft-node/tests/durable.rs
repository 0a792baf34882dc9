//! Acknowledged writes are durable, through the whole shell: three servers with real threads and real QUIC over simulated disks,
//! whose syncs a test can hold back. `kill -9` cannot show this, because the page cache survives it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "test")]

mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{LogId, NodeId};
use raftkit_disk::SimulatedDisk;
use raftkit_node::{Consistency, Handle, ProposeError, Server, ServerConfig, StartError};
use raftkit_replica::{Application, InMemory};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Register {
    values: BTreeMap<u64, u64>,
}

impl Application for Register {
    type Command = (u64, u64);
    type Response = u64;

    fn apply(&mut self, id: LogId, (key, value): (u64, u64)) -> u64 {
        self.values.insert(key, value);
        id.index.0
    }
}

type Machine = InMemory<Register>;

struct Nodes {
    configs: Vec<ServerConfig>,
    disks: Vec<SimulatedDisk>,
    servers: Vec<Server<Machine>>,
}

impl Nodes {
    async fn start(port: u16) -> Self {
        let mut configs = servers::three(port);
        for config in &mut configs {
            // A disk that is held back on purpose must not be taken for a broken one.
            config.write_stall = Duration::from_secs(60);
        }
        let mut nodes =
            Self { configs, disks: (1..=3).map(SimulatedDisk::new).collect(), servers: Vec::new() };
        nodes.open().await;
        nodes
    }

    async fn open(&mut self) {
        for (config, disk) in self.configs.iter().zip(&self.disks) {
            let server = loop {
                match Server::start(config.clone(), Arc::new(disk.clone()), Machine::open).await {
                    // The socket of the previous run closes once its tasks have ended.
                    Err(StartError::Transport(_)) => tokio::task::yield_now().await,
                    other => break other.unwrap(),
                }
            };
            self.servers.push(server);
        }
    }

    fn handle(&self, at: usize) -> Handle<Machine> {
        self.servers[at].handle()
    }

    /// The leader's position among the three.
    async fn leader(&self) -> usize {
        // A linearizable read returns once there is a leader.
        let read = self.handle(0).read(Consistency::Consistent, |state| Ok(state.read(|_| ()))).await;
        read.expect("a cluster of three elects a leader within the hold time-out");
        let leader = self.handle(0).status().leader.expect("it was just confirmed");
        usize::try_from(leader.0 - 1).unwrap()
    }

    /// Cuts the power of all nodes at once: only synced data is left.
    async fn lose_power(&mut self) {
        for disk in &self.disks {
            disk.freeze();
        }
        for server in self.servers.drain(..) {
            server.crash().await;
        }
        for disk in &self.disks {
            disk.crash_losing_all_unsynced();
        }
        self.open().await;
    }
}

fn put(key: u64, value: u64) -> bytes::Bytes {
    Machine::encode(&(key, value)).unwrap()
}

#[tokio::test]
async fn with_syncs_held_on_two_of_three_nodes_nothing_is_acknowledged() {
    let nodes = Nodes::start(7100).await;
    let leader = nodes.leader().await;
    nodes.handle(leader).propose(put(1, 1)).await.expect("a healthy cluster commits");
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    for at in &others {
        nodes.disks[*at].hold_syncs();
    }
    let outcome = nodes.handle(leader).propose(put(1, 2)).await;
    assert_eq!(
        outcome,
        Err(ProposeError::Unknown(Duration::from_millis(1000))),
        "one durable copy is no quorum"
    );
    assert_eq!(nodes.handle(leader).status().leader, Some(NodeId(leader as u64 + 1)), "heartbeats go on");

    nodes.disks[others[0]].release_syncs();
    nodes.handle(leader).propose(put(1, 3)).await.expect("two durable copies are a quorum");

    // The leader's own copy counts only once it is durable.
    nodes.disks[leader].hold_syncs();
    let outcome = nodes.handle(leader).propose(put(1, 4)).await;
    assert_eq!(outcome, Err(ProposeError::Unknown(Duration::from_millis(1000))));
    for disk in &nodes.disks {
        disk.release_syncs();
    }
    nodes.handle(leader).propose(put(1, 5)).await.expect("all disks work again");
}

#[tokio::test]
async fn losing_all_that_is_unsynced_on_all_nodes_at_once_loses_no_acknowledged_write() {
    let mut nodes = Nodes::start(7110).await;
    let mut acknowledged = BTreeMap::new();
    for round in 0..3u64 {
        nodes.leader().await;
        let writers: Vec<_> = (0..3usize)
            .map(|at| {
                let handle = nodes.handle(at);
                tokio::spawn(async move {
                    let mut written = BTreeMap::new();
                    for number in 0..40u64 {
                        let key = at as u64 * 100 + number % 10;
                        let value = round * 1000 + number;
                        if handle.propose(put(key, value)).await.is_ok() {
                            written.insert(key, value);
                        }
                    }
                    written
                })
            })
            .collect();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        assert!(!acknowledged.is_empty());
        nodes.lose_power().await;
        nodes.leader().await;
        for at in 0..3 {
            let read = |state: &raftkit_replica::InMemoryReader<Register>| Ok(state.read(Clone::clone));
            let held = nodes.handle(at).read(Consistency::Consistent, read).await.unwrap().value;
            for (key, value) in &acknowledged {
                assert_eq!(held.values.get(key), Some(value), "key {key} on node {}", at + 1);
            }
        }
    }
}
