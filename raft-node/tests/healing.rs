//! A node with a damaged log heals, through the whole shell: real threads, real QUIC, simulated disks.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod servers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{Base, HardState, Health, LogId, LogIndex, StoreId, Write};
use raftkit_disk::SimulatedDisk;
use raftkit_log::{OpenOptions, Store};
use raftkit_node::{Consistency, ReadError, ReadRefused, Server, ServerConfig, StartError};
use raftkit_replica::{Application, InMemory, InMemoryReader, MachineError};
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

const DIR: &str = "/data";

struct Nodes {
    configs: Vec<ServerConfig>,
    disks: Vec<SimulatedDisk>,
    servers: BTreeMap<usize, Server<Machine>>,
}

impl Nodes {
    async fn start(port: u16) -> Self {
        let mut configs = servers::three(port);
        for config in &mut configs {
            // Only a clean stop makes the state durable.
            config.replica.persist_interval = Duration::from_secs(3600);
        }
        let disks = (1..=3).map(SimulatedDisk::new).collect();
        let mut nodes = Self { configs, disks, servers: BTreeMap::new() };
        for at in 0..3 {
            nodes.open(at).await;
        }
        nodes
    }

    async fn open(&mut self, at: usize) {
        let server = loop {
            let disk = Arc::new(self.disks[at].clone());
            match Server::start(self.configs[at].clone(), disk, Machine::open).await {
                // The socket of the previous run closes once its tasks have ended.
                Err(StartError::Transport(_)) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        };
        self.servers.insert(at, server);
    }

    async fn put(&self, at: usize, key: u64, value: u64) -> LogIndex {
        let command = Machine::encode(&(key, value)).unwrap();
        self.servers[&at].handle().propose(command).await.unwrap().id.index
    }

    async fn read(&self, at: usize, how: Consistency) -> Result<(Register, LogId), ReadError> {
        let query = |state: &InMemoryReader<Register>| -> Result<_, MachineError> {
            let (value, seen) = state.read(Clone::clone);
            Ok(((value, seen), seen))
        };
        self.servers[&at].handle().read(how, query).await.map(|fresh| fresh.value)
    }

    fn health(&self, at: usize) -> Health {
        self.servers[&at].handle().status().health
    }

    /// Cuts the power of one node.
    async fn lose_power(&mut self, at: usize) {
        self.disks[at].freeze();
        self.servers.remove(&at).unwrap().crash().await;
        self.disks[at].crash_losing_all_unsynced();
    }

    /// Changes the log of a stopped node.
    fn damage(&self, at: usize, write: impl FnOnce(HardState) -> Write) {
        let options = OpenOptions::new(self.configs[at].node, StoreId(0));
        let (mut store, restored) =
            Store::open(Arc::new(self.disks[at].clone()), Path::new(DIR), options).unwrap();
        store.queue(write(HardState { health: Health::Damaged, ..restored.hard_state }));
        store.flush().unwrap();
    }
}

/// Nothing is left of the node's log, so it knows no peer. It learns of the peers from those that dial it.
#[tokio::test]
async fn a_node_that_lost_its_whole_log_learns_of_its_peers_and_heals() {
    let mut nodes = Nodes::start(7140).await;
    nodes.read(0, Consistency::Consistent).await.unwrap();
    for key in 0..20 {
        nodes.put(0, key, key).await;
    }
    let victim = 2;
    let (before, seen) = nodes.read(victim, Consistency::Consistent).await.unwrap();
    assert_eq!(before.values.len(), 20);
    nodes.servers.remove(&victim).unwrap().stop().await;
    nodes.damage(victim, |hard_state| Write {
        reset_to: Some(Base::default().into()),
        hard_state: Some(hard_state),
        ..Write::default()
    });
    nodes.open(victim).await;
    // The read is answered once the node has healed.
    let (after, shown) = nodes.read(victim, Consistency::Stale).await.unwrap();
    assert!(shown.index >= seen.index, "{shown} after {seen}");
    assert_eq!(after.values, before.values);
    let status = nodes.servers[&victim].handle().status();
    assert_eq!((status.health, status.members.len()), (Health::Sound, 3));
    // The node counts again: without one of the others its vote and its copy are needed for a quorum.
    nodes.lose_power(0).await;
    nodes.put(victim, 5, 500).await;
    assert_eq!(nodes.read(victim, Consistency::Consistent).await.unwrap().0.values[&5], 500);
}

#[tokio::test]
async fn a_damaged_node_answers_no_stale_read_that_shows_less_than_one_before() {
    let mut nodes = Nodes::start(7150).await;
    nodes.read(0, Consistency::Consistent).await.unwrap();
    let victim = 2;
    let first = nodes.put(0, 1, 1).await;
    let last = nodes.put(0, 1, 2).await;
    nodes.read(victim, Consistency::Default).await.unwrap();
    let (_, shown) = nodes.read(victim, Consistency::Stale).await.unwrap();
    assert!(shown.index >= last);
    for at in 0..3 {
        nodes.lose_power(at).await;
    }
    // The node lost the second write, and has since stored the commit index that it still knows.
    nodes.damage(victim, |hard_state| Write {
        truncate_from: Some(last),
        hard_state: Some(HardState { commit: first, ..hard_state }),
        ..Write::default()
    });
    nodes.configs[victim].hold_timeout = Duration::from_millis(300);
    nodes.open(victim).await;
    assert_eq!(nodes.health(victim), Health::Damaged);
    let refused = nodes.read(victim, Consistency::Stale).await;
    assert!(matches!(refused, Err(ReadError::Refused(ReadRefused::NotConfirmed))), "{refused:?}");

    nodes.open(0).await;
    nodes.open(1).await;
    nodes.read(0, Consistency::Consistent).await.unwrap();
    let healed = loop {
        match nodes.read(victim, Consistency::Stale).await {
            // The node has healed, and has applied everything that was committed then.
            Ok((register, seen)) => break (register.values[&1], seen),
            Err(ReadError::Refused(ReadRefused::NotConfirmed)) => {}
            Err(other) => panic!("{other}"),
        }
    };
    assert!(healed.0 == 2 && healed.1 >= shown, "{healed:?} after {shown}");
    assert_eq!(nodes.health(victim), Health::Sound);
}
