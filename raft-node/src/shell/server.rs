//! A running node: it is started, watched and stopped here.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use raftkit_core::{Health, LogIndex, NodeId, StoreId};
use raftkit_disk::{DirLock, Disk};
use raftkit_log::{FolderLock, OpenOptions, OpenReport, Store};
use raftkit_net::{Inbox, LocalIdentity, TlsIdentity, Transport, TransportConfig};
use raftkit_replica::{MachineError, Opened, Repair, Service, StateMachine, in_words};
use raftkit_snapshot::SnapshotDir;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::node_loop::{LoopEvent, NodeLoop};
use super::tasks::Tasks;
use super::workers::Workers;
use super::{ServerConfig, Shared, clock, distance, expiry, formation, handle, random, seeking};
use crate::Handle;

/// A node of a cluster, running in this process. Dropping it ends the node abruptly, as a crash would.
pub struct Server<M: StateMachine> {
    shared: Arc<Shared<M>>,
    running: JoinHandle<()>,
    end: watch::Receiver<Option<Stopped>>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("the data folder {} cannot be used: {error}", dir.display())]
    DataDir {
        /// The folder.
        dir: PathBuf,
        /// The error of the file system.
        error: std::io::Error,
    },
    /// Another process uses the data folder.
    #[error("the data folder {} is in use by another process: stop that one, or give this node a folder of its own", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] raftkit_log::OpenError),
    /// The cluster's identity cannot be stored.
    #[error(transparent)]
    Form(#[from] raftkit_log::FormError),
    /// The state machine cannot be opened.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Log, state machine and snapshots do not fit together.
    #[error(transparent)]
    Replica(#[from] raftkit_replica::OpenReplicaError),
    /// CA, certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] raftkit_net::TlsError),
    /// The transport cannot be started.
    #[error(transparent)]
    Transport(#[from] raftkit_net::StartError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// The node was stopped before it belonged to a cluster.
    #[error("the node was stopped before it belonged to a cluster")]
    Stopped,
}

/// Why a node is not running any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The node was asked to stop.
    OnRequest,
    /// The node ended by itself, for this reason.
    Failed(String),
    /// A thread or task of the node panicked, which is a bug: its name and its message. Nothing that was acknowledged
    /// is lost; start the node again.
    Panicked(String),
}

/// Name of the task that forms a cluster and then runs the node.
const LOOP: &str = "the node's loop";

/// Number of the transport's events that may wait before the transport pushes back on the peers.
const INBOUND_MAX: usize = 4_096;

impl<M: StateMachine> Server<M> {
    /// Opens the data folder, starts the transport, and returns as soon as requests are taken; the node then joins or
    /// forms its cluster by itself. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The folder is in use, belongs to another node, is damaged, or cannot be written; the address is in use; the
    /// certificates do not fit.
    pub async fn start(
        config: ServerConfig,
        disk: Arc<dyn Disk>,
        open: impl FnOnce(Arc<dyn Disk>, &Path) -> Result<M, MachineError>,
    ) -> Result<Self, StartError> {
        let dir = config.data_dir.clone();
        let lock = lock(&disk, &dir)?;
        let (store, restored) = Store::open(
            Arc::clone(&disk),
            &dir,
            OpenOptions {
                lock: FolderLock::HeldByCaller,
                ..OpenOptions::new(config.node, StoreId(random()))
            },
        )?;
        tell(store.report());
        let machine = open(Arc::clone(&disk), &dir)?;
        let snapshots = SnapshotDir::new(Arc::clone(&disk), dir.join("snapshots"))
            .map_err(|error| StartError::DataDir { dir: dir.join("snapshots"), error })?;
        let (transport, inbound, address) = transport(&config, &store)?;
        let identity = *store.identity();
        let (events_sender, events) = mpsc::unbounded_channel();
        let (applied, _) = watch::channel(LogIndex::ZERO);
        let tasks = Tasks::new(events_sender.clone());
        let ended = tasks.subscribe();
        watch_transport(&tasks, &transport);
        let shared = Arc::new(Shared {
            config,
            store: identity.store,
            incarnation: identity.incarnation,
            transport,
            address,
            reader: machine.reader(),
            events: events_sender,
            applied,
            running: OnceLock::new(),
            formed: watch::channel(false).0,
            outreach: std::sync::Mutex::default(),
            started: std::time::Instant::now(),
            next_request: AtomicU64::new(1),
            tasks: tasks.clone(),
            troubles: Mutex::default(),
        });
        tasks.start("the watch over certificates", expiry::tell(Arc::downgrade(&shared)));
        let parts = Parts { store, restored, machine, snapshots, events, inbound, lock };
        let running = match parts.store.identity().cluster {
            Some(_) => {
                let node_loop = begin(&shared, parts)?;
                tasks.start(LOOP, node_loop)
            }
            None => tasks.start(LOOP, form_and_run(Arc::clone(&shared), parts)),
        };
        Ok(Self { shared, running, end: ended })
    }

    /// A handle for requests.
    #[must_use]
    pub fn handle(&self) -> Handle<M> {
        handle(&self.shared)
    }

    /// The id of this node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.config.node
    }

    /// The address that the transport listens on.
    #[must_use]
    pub fn raft_addr(&self) -> std::net::SocketAddr {
        self.shared.transport.local_addr()
    }

    /// Returns when the node has ended, by itself or on request.
    pub async fn stopped(&self) -> Stopped {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why)) => why.clone(),
            Ok(None) | Err(_) => Stopped::OnRequest,
        }
    }

    /// Stops the node cleanly: leadership is handed over, the applied state is made durable, and peers are informed.
    pub async fn stop(self) {
        if self.shared.events.send(LoopEvent::Stop).is_err() || self.shared.running.get().is_none() {
            self.running.abort();
        }
        let _ = self.running.await;
        self.shared.transport.close().await;
    }

    /// Ends the node at once, as a crash would: nothing is handed over and nothing more is made durable. For tests.
    pub async fn crash(self) {
        self.running.abort();
        let _ = self.running.await;
        self.shared.transport.close().await;
    }
}

/// Ends the node when its transport cannot go on.
fn watch_transport(tasks: &Tasks, transport: &Transport) {
    let (mut end, failed) = (tasks.subscribe(), transport.failed());
    let ending = tasks.clone();
    tasks.start("the watch over the transport", async move {
        tokio::select! {
            why = failed => ending.end(Stopped::Panicked(format!("the transport cannot go on: {why}"))),
            _ = end.wait_for(Option::is_some) => {}
        }
    });
}

/// The parts of a node, until it runs.
struct Parts<M> {
    store: Store,
    restored: raftkit_core::Restored,
    machine: M,
    snapshots: SnapshotDir,
    events: mpsc::UnboundedReceiver<LoopEvent>,
    inbound: Inbox,
    lock: Box<dyn DirLock>,
}

/// Logs what opening the log found and did, if anything.
fn tell(report: &OpenReport) {
    let said = report.to_string();
    if report.damage.is_some() {
        tracing::error!("opening the log: {said}");
    } else if !said.is_empty() {
        tracing::info!("opening the log: {said}");
    }
}

fn lock(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Box<dyn DirLock>, StartError> {
    let unusable = |error| StartError::DataDir { dir: dir.to_owned(), error };
    disk.create_dir_all(dir).map_err(unusable)?;
    disk.lock_dir(dir).map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            StartError::InUse { dir: dir.to_owned() }
        } else {
            unusable(error)
        }
    })
}

fn transport(config: &ServerConfig, store: &Store) -> Result<(Transport, Inbox, String), StartError> {
    let identity = store.identity();
    let address = config.advertise.clone().unwrap_or_else(|| config.listen.to_string());
    let local = LocalIdentity {
        node: config.node,
        store: identity.store,
        incarnation: identity.incarnation,
        cluster: identity.cluster,
        address: address.clone(),
        attributes: bytes::Bytes::new(),
    };
    let mut settings = TransportConfig::new(config.listen, TlsIdentity::parse(&config.tls)?, local);
    settings.batch_bytes_max = config.batch_bytes_max;
    settings.peer_timeout = config.election_timeout;
    settings.inbound_max = INBOUND_MAX;
    let (transport, inbound) = Transport::start(settings)?;
    Ok((transport, inbound, address))
}

async fn form_and_run<M: StateMachine>(shared: Arc<Shared<M>>, mut parts: Parts<M>) {
    let formed = formation::form(&shared, &mut parts.store, &mut parts.inbound).await;
    let begun = formed.and_then(|()| {
        // The state read at opening is older than the cluster that was just formed.
        parts.restored = parts.store.restored();
        begin(&shared, parts)
    });
    match begun {
        Ok(node_loop) => node_loop.await,
        Err(StartError::Stopped) => shared.tasks.end(Stopped::OnRequest),
        Err(error) => {
            let why = in_words(&error);
            tracing::error!("the node cannot start: {why}");
            shared.tasks.end(Stopped::Failed(format!("the node cannot start: {why}")));
        }
    }
}

/// Assembles the node. The future runs it.
fn begin<M: StateMachine>(
    shared: &Arc<Shared<M>>,
    parts: Parts<M>,
) -> Result<impl Future<Output = ()> + Send + use<M>, StartError> {
    let Parts { store, restored, machine, snapshots, events, inbound, lock } = parts;
    let identity = *store.identity();
    let cluster = identity.cluster.ok_or(StartError::Stopped)?;
    #[expect(clippy::cast_possible_truncation, reason = "any 64 of the random bits will do")]
    let seed = random() as u64;
    let core = shared.config.core(identity.store, identity.incarnation, seed);
    let health = restored.hard_state.health;
    let last = restored.last;
    let opened =
        Opened::new(core, shared.config.replica, clock::now(), (store, restored), machine, snapshots)?;
    match opened.repaired {
        None => {}
        Some(Repair::LogReset(id)) => {
            tracing::warn!("an interrupted snapshot install was finished: the log starts after {id}");
        }
        Some(Repair::LogBehindState { agreed, state }) => {
            tracing::warn!(
                "the log is certain up to {agreed} and the state machine holds {state}, which stays"
            );
        }
    }
    if health == Health::Damaged {
        tracing::warn!(
            "the log is damaged and ends with {last}: the node fetches what it lost from its peers, \
             and neither votes nor answers stale reads until it has it"
        );
    }
    let workers = Workers::start(opened.log, opened.applier, opened.snapshots, &shared.events, &shared.tasks)
        .map_err(StartError::Thread)?;
    shared.begin(cluster, Service::new(opened.replica, shared.config.service()));
    shared.tasks.start("the watch over distances to peers", distance::watch(Arc::downgrade(shared)));
    let node_loop = NodeLoop::new(Arc::clone(shared), workers, events, inbound);
    let seeking = shared.tasks.watched("the search for members", seeking::seek(Arc::clone(shared)));
    Ok(async move {
        // The search for members ends with the loop.
        let mut seekers = JoinSet::new();
        #[expect(clippy::disallowed_methods, reason = "the task is watched")]
        seekers.spawn(seeking);
        node_loop.run().await;
        // Only now may another process use the folder.
        drop(lock);
    })
}
