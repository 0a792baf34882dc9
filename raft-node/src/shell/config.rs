//! The settings of a server.

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
    /// The node's id: at least 1, and unique in the cluster.
    pub node: NodeId,
    /// The data folder, which holds everything durable.
    pub data_dir: PathBuf,
    /// The UDP address that the transport listens on.
    pub listen: SocketAddr,
    /// The address at which other nodes reach this one, `host:port`; none: the address that it listens on.
    pub advertise: Option<String>,
    /// The CA, the certificate and the key.
    pub tls: TlsFiles,
    /// The way in which a node without a cluster gets into one.
    pub formation: Formation,
    /// Addresses at which to look for members that have moved, `host:port`, besides those in [`Formation::Expect`].
    pub join: Vec<String>,
    /// Attributes that the node publishes in its status.
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
    /// Time after which the outcome of a proposed command is reported as unknown.
    pub commit_timeout: Duration,
    /// Time that a request waits for a leader to be known.
    pub hold_timeout: Duration,
    /// Upper bound on the size of a command, in bytes.
    pub command_bytes_max: usize,
    /// Settings for compaction and persistence.
    pub replica: ReplicaOptions,
}

/// The way in which a node without a cluster gets into one. A node that belongs to a cluster just rejoins it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formation {
    /// The node forms no cluster: it waits.
    Rejoin,
    /// This node alone forms a new cluster.
    Alone,
    /// Servers that find each other form a new cluster.
    Expect {
        /// Number of servers that it takes, this one included.
        servers: usize,
        /// Addresses of those servers, `host:port`. The address of this node may be among them.
        join: Vec<String>,
    },
}

impl ServerConfig {
    /// The default settings, for this node.
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

    /// All addresses at which other servers may be found.
    pub(crate) fn join(&self) -> Vec<String> {
        match &self.formation {
            Formation::Expect { join, .. } => {
                let more = self.join.iter().filter(|address| !join.contains(address));
                join.iter().chain(more).cloned().collect()
            }
            Formation::Rejoin | Formation::Alone => self.join.clone(),
        }
    }

    /// The settings of the service.
    pub(crate) fn service(&self) -> ServiceOptions {
        ServiceOptions {
            hold_timeout: self.hold_timeout,
            commit_timeout: self.commit_timeout,
            election_timeout: self.election_timeout,
            command_bytes_max: self.command_bytes_max,
            ..ServiceOptions::default()
        }
    }

    /// The settings of the protocol, for this incarnation of the data folder.
    pub(crate) fn core(&self, store: StoreId, incarnation: Incarnation, seed: u64) -> Config {
        Config {
            leader_timeout: self.leader_timeout,
            election_timeout: self.election_timeout,
            heartbeat_interval: self.heartbeat_interval,
            clock_error: self.clock_error,
            write_stall: self.write_stall,
            batch_bytes_max: self.batch_bytes_max,
            // The budget is half of the time that clients wait, because the measured pace changes.
            commit_budget: self.commit_timeout / 2,
            ..Config::new(self.node, store, incarnation, seed)
        }
    }
}
