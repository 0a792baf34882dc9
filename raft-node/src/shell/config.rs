//! What a server is told at its start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use raftkit_core::{Config, Incarnation, NodeId, StoreId};
use raftkit_net::TlsFiles;
use raftkit_replica::{ReplicaOptions, ServiceOptions};

/// A server's settings.
#[derive(Clone)]
pub struct ServerConfig {
    /// Its id, from 1, unique in the cluster.
    pub node: NodeId,
    /// Where everything durable is kept.
    pub data_dir: PathBuf,
    /// Where the transport listens (UDP).
    pub listen: SocketAddr,
    /// Where others reach it, `host:port`; none: the address that it listens on.
    pub advertise: Option<String>,
    /// CA, certificate and key.
    pub tls: TlsFiles,
    /// How a node that belongs to no cluster gets into one.
    pub formation: Formation,
    /// Where to look for members that have moved, `host:port`, besides the addresses in [`Formation::Expect`].
    pub join: Vec<String>,
    /// What the node tells others of itself, shown in its status.
    pub attributes: BTreeMap<String, String>,
    /// See [`Config::leader_timeout`].
    pub leader_timeout: Duration,
    /// See [`Config::election_timeout`].
    pub election_timeout: Duration,
    /// See [`Config::heartbeat_interval`].
    pub heartbeat_interval: Duration,
    /// See [`Config::clock_error`].
    pub clock_error: Duration,
    /// See [`Config::write_stall`].
    pub write_stall: Duration,
    /// See [`Config::batch_bytes_max`].
    pub batch_bytes_max: usize,
    /// How long a proposed command may take until its outcome is reported as unknown.
    pub commit_timeout: Duration,
    /// How long a request waits for a leader to be there.
    pub hold_timeout: Duration,
    /// The largest command taken, in bytes.
    pub command_bytes_max: usize,
    /// Compaction and persistence.
    pub replica: ReplicaOptions,
}

/// How a node that belongs to no cluster gets into one. A node that belongs to one just rejoins it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formation {
    /// Not by itself: it waits.
    Rejoin,
    /// This node alone forms a new cluster.
    Alone,
    /// Servers that find each other form one.
    Expect {
        /// How many it takes, this one included.
        servers: usize,
        /// Where to look for them, `host:port`; this node's own address may be among them.
        join: Vec<String>,
    },
}

impl ServerConfig {
    /// The defaults, for this node.
    #[must_use]
    pub fn new(
        node: NodeId,
        data_dir: PathBuf,
        listen: SocketAddr,
        tls: TlsFiles,
        formation: Formation,
    ) -> Self {
        let core = Config::new(node, StoreId(0), Incarnation(0), 0);
        Self {
            node,
            data_dir,
            listen,
            advertise: None,
            tls,
            formation,
            join: Vec::new(),
            attributes: BTreeMap::new(),
            leader_timeout: core.leader_timeout,
            election_timeout: core.election_timeout,
            heartbeat_interval: core.heartbeat_interval,
            clock_error: core.clock_error,
            write_stall: core.write_stall,
            batch_bytes_max: core.batch_bytes_max,
            commit_timeout: Duration::from_millis(1000),
            hold_timeout: Duration::from_millis(3000),
            command_bytes_max: 1 << 20,
            replica: ReplicaOptions::default(),
        }
    }

    /// All addresses at which other servers may be.
    pub(crate) fn join(&self) -> Vec<String> {
        match &self.formation {
            Formation::Expect { join, .. } => {
                let more = self.join.iter().filter(|address| !join.contains(address));
                join.iter().chain(more).cloned().collect()
            }
            Formation::Rejoin | Formation::Alone => self.join.clone(),
        }
    }

    /// What the service is told.
    pub(crate) fn service(&self) -> ServiceOptions {
        ServiceOptions {
            hold_timeout: self.hold_timeout,
            commit_timeout: self.commit_timeout,
            election_timeout: self.election_timeout,
            command_bytes_max: self.command_bytes_max,
            ..ServiceOptions::default()
        }
    }

    /// The protocol's settings for this life of this data folder.
    pub(crate) fn core(&self, store: StoreId, incarnation: Incarnation, seed: u64) -> Config {
        Config {
            leader_timeout: self.leader_timeout,
            election_timeout: self.election_timeout,
            heartbeat_interval: self.heartbeat_interval,
            clock_error: self.clock_error,
            write_stall: self.write_stall,
            batch_bytes_max: self.batch_bytes_max,
            // Half of what clients wait for is planned for, as a pace changes.
            commit_budget: self.commit_timeout / 2,
            ..Config::new(self.node, store, incarnation, seed)
        }
    }
}
