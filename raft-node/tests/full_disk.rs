//! A full disk, through the whole shell: the node reports it and ends, the others continue, and with space the node returns.
//! Three servers with real threads and real QUIC over simulated disks.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::LogId;
use raftkit_disk::SimulatedDisk;
use raftkit_node::{Consistency, Handle, Server, ServerConfig, StartError, Stopped};
use raftkit_replica::{Application, InMemory, InMemoryReader};
use serde::{Deserialize, Serialize};
use tokio::time::{error::Elapsed, timeout};

/// Size of a value, in bytes. A few of them need more than the space that a node reserves.
const VALUE: usize = 100_000;
const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Register {
    lengths: BTreeMap<u64, usize>,
}

impl Application for Register {
    type Command = (u64, Vec<u8>);
    type Response = u64;

    fn apply(&mut self, id: LogId, (key, value): (u64, Vec<u8>)) -> u64 {
        self.lengths.insert(key, value.len());
        id.index.0
    }
}

type Machine = InMemory<Register>;

struct Nodes {
    configs: Vec<ServerConfig>,
    disks: Vec<SimulatedDisk>,
    servers: Vec<Server<Machine>>,
    /// The writes to all keys below this one were acknowledged.
    written: u64,
}

impl Nodes {
    async fn start(port: u16) -> Self {
        let configs = servers::three(port);
        let disks = (1..=3).map(SimulatedDisk::new).collect();
        let mut nodes = Self { configs, disks, servers: Vec::new(), written: 0 };
        for at in 0..3 {
            let server = nodes.open(at).await;
            nodes.servers.push(server);
        }
        nodes
    }

    async fn open(&self, at: usize) -> Server<Machine> {
        loop {
            let disk = Arc::new(self.disks[at].clone());
            match Server::start(self.configs[at].clone(), disk, Machine::open).await {
                // The socket of the previous run closes once its tasks have ended.
                Err(StartError::Transport(_)) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        }
    }

    fn handle(&self, at: usize) -> Handle<Machine> {
        self.servers[at].handle()
    }

    /// The leader's position among the three, as this node knows it after a read that the leader confirmed.
    async fn leader(&self, asked: usize) -> usize {
        self.read(asked).await;
        let leader = self.handle(asked).status().leader.expect("it was just confirmed");
        usize::try_from(leader.0 - 1).unwrap()
    }

    /// The keys that a node has. The read is repeated while the cluster has no leader.
    async fn read(&self, at: usize) -> Register {
        let read = async {
            loop {
                let query = |state: &InMemoryReader<Register>| Ok(state.read(Clone::clone));
                if let Ok(fresh) = self.handle(at).read(Consistency::Consistent, query).await {
                    break fresh.value;
                }
            }
        };
        timeout(LONG, read).await.expect("a majority elects a leader")
    }

    /// Writes through `at` until the node `full` has ended, and returns the reason. `may_fail` says whether a write may fail
    /// meanwhile.
    async fn write_until_ended(&mut self, at: usize, full: usize, may_fail: bool) -> Stopped {
        let handle = self.handle(at);
        let mut written = self.written;
        let writing = async {
            loop {
                let command = Machine::encode(&(written, vec![0; VALUE])).unwrap();
                match handle.propose(command).await {
                    Ok(_) => written += 1,
                    Err(error) => assert!(may_fail, "write {written}: {error}"),
                }
            }
        };
        let ended = timeout(LONG, async {
            tokio::select! {
                why = self.servers[full].stopped() => why,
                never = writing => never,
            }
        });
        let why: Result<Stopped, Elapsed> = ended.await;
        self.written = written;
        why.expect("a node whose disk is full ends")
    }

    /// Asserts that this node has every acknowledged write.
    async fn holds_all(&self, at: usize) {
        let held = self.read(at).await;
        for key in 0..self.written {
            assert_eq!(held.lengths.get(&key), Some(&VALUE), "key {key} on node {}", at + 1);
        }
    }

    /// Fills the disk of `full`, and then frees space on it.
    async fn lives_through(&mut self, full: usize, through: usize, may_fail: bool) {
        // Existing bytes may still be overwritten.
        self.disks[full].set_capacity(Some(0));
        let why = self.write_until_ended(through, full, may_fail).await;
        assert!(matches!(&why, Stopped::Failed(text) if text.contains("full")), "{why:?}");
        // The others continue without it.
        self.holds_all(through).await;
        self.handle(through)
            .propose(Machine::encode(&(self.written, vec![0; VALUE])).unwrap())
            .await
            .unwrap();
        self.written += 1;

        self.disks[full].set_capacity(None);
        let again = async {
            let ended = self.servers.remove(full);
            ended.crash().await;
            let server = self.open(full).await;
            self.servers.insert(full, server);
        };
        timeout(LONG, again).await.expect("it starts as soon as there is space");
        for at in 0..3 {
            self.holds_all(at).await;
        }
    }
}

#[tokio::test]
async fn a_follower_whose_disk_is_full_says_so_and_ends_and_comes_back_with_space() {
    let mut nodes = Nodes::start(7200).await;
    let leader = nodes.leader(0).await;
    nodes.lives_through((leader + 1) % 3, leader, false).await;
}

#[tokio::test]
async fn a_leader_whose_disk_is_full_ends_and_the_others_elect_another() {
    let mut nodes = Nodes::start(7210).await;
    let leader = nodes.leader(0).await;
    nodes.lives_through(leader, (leader + 1) % 3, true).await;
}
