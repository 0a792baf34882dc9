//! The tokio shell. It gives a service a clock, threads for its replica's workers, and a transport. The only
//! decisions made here are those of forming a cluster.

mod asking;
mod calls;
mod clock;
mod config;
mod distance;
mod expiry;
mod formation;
mod intake;
mod machine;
mod node_loop;
mod outreach;
mod replies;
mod requests;
mod scouts;
mod seeking;
mod server;
mod tasks;
mod troubles;
mod workers;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use raftkit_core::{ClusterId, Health, Incarnation, LogIndex, Member, Membership, NodeId, RoleName, StoreId};
use raftkit_net::Transport;
use raftkit_replica::{Event, Founding, Service, StateMachine};
use tokio::sync::{mpsc, watch};

pub use config::{Formation, ServerConfig};
pub use server::{Server, StartError, Stopped};

use crate::{ClusterName, MemberStatus, NodeStatus};
use node_loop::LoopEvent;
use outreach::Outreach;
use tasks::Tasks;
use troubles::Troubles;

/// The state that handles, the loop and the answers to other nodes share.
pub(crate) struct Shared<M: StateMachine> {
    pub(crate) config: ServerConfig,
    pub(crate) store: StoreId,
    incarnation: Incarnation,
    pub(crate) transport: Transport,
    /// The address at which other nodes reach this one.
    address: String,
    pub(crate) reader: M::Reader,
    pub(crate) events: mpsc::UnboundedSender<LoopEvent>,
    applied: watch::Sender<LogIndex>,
    /// Set once the node belongs to a cluster; `formed` announces that.
    running: OnceLock<Running>,
    formed: watch::Sender<bool>,
    /// Failed attempts to reach a server at the addresses in `join`.
    outreach: Mutex<Outreach>,
    started: std::time::Instant,
    next_request: AtomicU64,
    /// Starts tasks and threads beside the loop, and knows whether the node has ended.
    pub(crate) tasks: Tasks,
    /// Background work that fails and is tried again.
    troubles: Mutex<Troubles>,
}

struct Running {
    cluster: ClusterId,
    service: Mutex<Service>,
}

impl<M: StateMachine> Shared<M> {
    /// The service. Only the loop and status requests lock it, each for a moment.
    pub(crate) fn service(&self) -> MutexGuard<'_, Service> {
        let running = self.running.get().expect("the loop starts after the service is there");
        running.service.lock().unwrap_or_else(|poisoned| {
            // The user that panicked may have left the service half changed, and a node must not go on from there.
            self.tasks.panicked("a user of the service", "its state may be half changed");
            poisoned.into_inner()
        })
    }

    /// Starts to give requests to the loop, as the node belongs to a cluster.
    fn begin(&self, cluster: ClusterId, service: Service) {
        self.show_applied(service.replica().applied());
        let running = Running { cluster, service: Mutex::new(service) };
        assert!(self.running.set(running).is_ok(), "a node begins once");
        self.formed.send_replace(true);
    }

    /// Publishes the applied index.
    pub(crate) fn show_applied(&self, applied: LogIndex) {
        self.applied.send_if_modified(|shown| {
            let risen = applied > *shown;
            *shown = applied.max(*shown);
            risen
        });
    }

    /// Checks a report of a worker, and logs failures.
    pub(crate) fn hear(&self, event: &Event) {
        // Most reports are about writes and applied batches, and take no lock.
        let line = Troubles::concern(event).then(|| self.troubles().hear(event, Instant::now()));
        if let Some(Some(line)) = line {
            tracing::warn!("{line}");
        }
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }

    /// Calls `act` with what is known of the addresses in `join`, and the time since the start.
    pub(crate) fn outreach<T>(&self, act: impl FnOnce(&mut Outreach, Duration) -> T) -> T {
        act(&mut self.outreach.lock().unwrap_or_else(PoisonError::into_inner), self.started.elapsed())
    }

    /// The leader that this node knows, itself included.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.running.get().and_then(|_| self.service().replica().node().leader())
    }

    /// The membership as this node knows it; none while the node belongs to no cluster.
    pub(crate) fn membership(&self) -> Option<Membership> {
        self.running.get().map(|_| self.service().replica().node().membership().clone())
    }

    /// The store id under which a node is a member.
    pub(crate) fn member_store(&self, node: NodeId) -> Option<StoreId> {
        self.running.get().and_then(|_| self.service().replica().node().membership().store(node))
    }

    /// Warnings for the operator.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.outreach(|outreach, now| outreach.warnings(now));
        let certificates = self.transport.certificates();
        warnings.extend(self.troubles().shown(Instant::now()));
        warnings.extend(expiry::warnings(self.config.node, &certificates, expiry::now()).into_values());
        warnings
    }

    /// See [`Handle::set_tls`](crate::Handle::set_tls).
    pub(crate) fn set_tls(&self, files: &raftkit_net::TlsFiles) -> Result<(), StartError> {
        let identity = raftkit_net::TlsIdentity::parse(files)?;
        Ok(self.transport.set_tls(&identity)?)
    }

    pub(crate) fn as_member(&self) -> (NodeId, Member) {
        (self.config.node, Member::new(self.store, self.address.clone()))
    }

    pub(crate) fn founding(&self) -> Founding {
        let Some(running) = self.running.get() else { return Founding::None };
        Founding::of(running.cluster, self.service().replica().node())
    }

    pub(crate) fn status(&self) -> NodeStatus {
        let mut status = NodeStatus {
            node: self.config.node,
            store: self.store,
            cluster: self.running.get().map(|running| ClusterName(running.cluster)),
            incarnation: self.incarnation.0,
            role: RoleName::Follower,
            term: raftkit_core::Term(0),
            leader: None,
            last_contact_ms: None,
            base: LogIndex::ZERO,
            last: LogIndex::ZERO,
            commit: LogIndex::ZERO,
            applied: LogIndex::ZERO,
            durable: LogIndex::ZERO,
            health: Health::Sound,
            raft_addr: self.address.clone(),
            attributes: self.config.attributes.clone(),
            members: Vec::new(),
            membership_index: LogIndex::ZERO,
            warnings: self.warnings(),
        };
        if self.running.get().is_some() {
            let service = self.service();
            let replica = service.replica();
            let core = replica.status();
            // Zero on the leader itself; none if no leader was ever heard.
            let heard = replica.node().leader_heard().map(|heard| clock::now().since(heard));
            let contact = if core.role == RoleName::Leader { Some(Duration::ZERO) } else { heard };
            status.role = core.role;
            status.term = core.term;
            status.leader = core.leader;
            status.last_contact_ms =
                contact.map(|contact| u64::try_from(contact.as_millis()).unwrap_or(u64::MAX));
            status.base = core.base.index;
            status.last = core.last.index;
            status.commit = core.commit;
            status.applied = replica.applied();
            status.durable = replica.durable();
            status.health = core.health;
            status.membership_index = core.membership_index;
            status.members = members(&core, &self.transport);
        }
        status
    }
}

fn members(core: &raftkit_core::Status, transport: &Transport) -> Vec<MemberStatus> {
    let peers = transport.stats();
    let round_trip_us = |node: NodeId| {
        let peer = peers.iter().find(|peer| peer.node == node && peer.connected)?;
        u64::try_from(peer.rtt.as_micros()).ok()
    };
    core.membership
        .members()
        .iter()
        .map(|(node, member)| MemberStatus {
            node: *node,
            address: member.address.clone(),
            voter: core.membership.is_voter(*node),
            matched: core.peers.get(node).map(|peer| peer.match_index),
            round_trip_us: round_trip_us(*node),
        })
        .collect()
}

/// A random number for ids and seeds.
fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    u128::from_le_bytes(bytes)
}

/// The present time by the wall clock, as certificates have it.
#[cfg(feature = "server")]
pub(crate) fn seconds_since_1970() -> i64 {
    expiry::now()
}

/// A sentence on the end of a certificate that is valid until this second since 1970, if that is near.
#[cfg(feature = "server")]
pub(crate) fn ends_soon(until: i64) -> Option<String> {
    expiry::ends_soon(until, expiry::now())
}

/// A handle on a server that was just started.
fn handle<M: StateMachine>(shared: &Arc<Shared<M>>) -> crate::Handle<M> {
    crate::Handle { shared: Arc::clone(shared) }
}
