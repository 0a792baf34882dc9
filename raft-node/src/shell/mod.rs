//! The tokio shell: gives a replica a clock, threads for its workers, and a transport. All decisions are elsewhere.

mod clock;
mod config;
mod formation;
mod node_loop;
mod requests;
mod routing;
mod server;
mod workers;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use raftkit_core::{ClusterId, Health, Incarnation, LogIndex, Member, NodeId, RoleName, StoreId};
use raftkit_net::Transport;
use raftkit_replica::{Ended, Replica, StateMachine};
use tokio::sync::{mpsc, watch};

pub use config::{Formation, ServerConfig};
pub use server::{Server, StartError, Stopped};

use crate::{ClusterName, MemberStatus, NodeStatus};
use node_loop::LoopEvent;
use requests::Founding;

/// What handles, the loop and requests of other nodes share.
pub(crate) struct Shared<M: StateMachine> {
    pub(crate) config: ServerConfig,
    pub(crate) store: StoreId,
    incarnation: Incarnation,
    pub(crate) transport: Transport,
    /// Where others reach this node.
    address: String,
    pub(crate) reader: M::Reader,
    pub(crate) events: mpsc::UnboundedSender<LoopEvent>,
    pub(crate) view: watch::Sender<View>,
    applied: watch::Sender<LogIndex>,
    /// Filled once the node belongs to a cluster.
    running: OnceLock<Running>,
    end: watch::Sender<Option<Option<Ended>>>,
}

struct Running {
    cluster: ClusterId,
    replica: Mutex<Replica>,
}

/// What requests wait on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) leader: Option<NodeId>,
    pub(crate) durable_commit: LogIndex,
    pub(crate) applied: LogIndex,
    /// A stale read shows no less: what was known to be committed when the node started, or when it had healed. None
    /// while it is damaged: what it showed before may be among what it lost.
    pub(crate) stale_from: Option<LogIndex>,
    pub(crate) health: Health,
}

impl Default for View {
    /// That of a node that belongs to no cluster yet: its state is empty.
    fn default() -> Self {
        Self {
            leader: None,
            durable_commit: LogIndex::ZERO,
            applied: LogIndex::ZERO,
            stale_from: Some(LogIndex::ZERO),
            health: Health::Sound,
        }
    }
}

impl<M: StateMachine> Shared<M> {
    /// Lets `use_it` have the replica. Only the loop and status take it, each for a moment.
    pub(crate) fn with_replica<T>(&self, use_it: impl FnOnce(&mut Replica) -> T) -> T {
        let running = self.running.get().expect("the loop starts after the replica is there");
        use_it(&mut running.replica.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Shows readers what has changed.
    pub(crate) fn publish(&self) {
        let now = self.with_replica(|replica| {
            let node = replica.node();
            let health = node.health();
            View {
                leader: node.leader(),
                durable_commit: node.durable_commit(),
                applied: replica.applied(),
                stale_from: (health == Health::Sound).then(|| node.commit()),
                health,
            }
        });
        let applied = now.applied;
        self.view.send_if_modified(|view| {
            if view.health == Health::Damaged && now.health == Health::Sound {
                tracing::info!("the node has healed: it holds everything that is committed, and votes again");
            }
            let now = View { stale_from: view.stale_from.or(now.stale_from), ..now };
            let changed = *view != now;
            *view = now;
            changed
        });
        self.applied.send_if_modified(|shown| {
            let risen = applied > *shown;
            *shown = applied.max(*shown);
            risen
        });
    }

    pub(crate) fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }

    /// Ends the node: by itself with a reason, or because it was told to.
    pub(crate) fn end(&self, why: Option<Ended>) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(why);
            }
            first
        });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    pub(crate) fn as_member(&self) -> (NodeId, Member) {
        (self.config.node, Member::new(self.store, self.address.clone()))
    }

    pub(crate) fn founding(&self) -> Founding {
        let Some(running) = self.running.get() else { return Founding::None };
        let cluster = running.cluster;
        self.with_replica(|replica| {
            if replica.node().membership_index() == raftkit_core::LogId::GENESIS.index {
                Founding::Members { cluster, membership: replica.node().membership().clone() }
            } else {
                Founding::Changed { cluster }
            }
        })
    }

    /// How long ago the leader was heard: zero on the leader itself, the longest time where it never was.
    pub(crate) fn last_contact(&self) -> Duration {
        if self.running.get().is_none() {
            return Duration::MAX;
        }
        let (leads, heard) =
            self.with_replica(|replica| (replica.node().is_leader(), replica.node().leader_heard()));
        if leads {
            return Duration::ZERO;
        }
        heard.map_or(Duration::MAX, |heard| clock::now().since(heard))
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
        };
        if self.running.get().is_some() {
            let (core, applied, durable) =
                self.with_replica(|replica| (replica.status(), replica.applied(), replica.durable()));
            let contact = self.last_contact();
            status.role = core.role;
            status.term = core.term;
            status.leader = core.leader;
            status.last_contact_ms =
                (contact != Duration::MAX).then(|| u64::try_from(contact.as_millis()).unwrap_or(u64::MAX));
            status.base = core.base.index;
            status.last = core.last.index;
            status.commit = core.commit;
            status.applied = applied;
            status.durable = durable;
            status.health = core.health;
            status.membership_index = core.membership_index;
            status.members = members(&core);
        }
        status
    }
}

fn members(core: &raftkit_core::Status) -> Vec<MemberStatus> {
    core.membership
        .members()
        .iter()
        .map(|(node, member)| MemberStatus {
            node: *node,
            address: member.address.clone(),
            voter: core.membership.is_voter(*node),
            matched: core.peers.get(node).map(|peer| peer.match_index),
        })
        .collect()
}

/// A random number for ids and seeds.
fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    u128::from_le_bytes(bytes)
}

/// A handle's part of a server that was just started.
fn handle<M: StateMachine>(shared: &Arc<Shared<M>>) -> crate::Handle<M> {
    crate::Handle { shared: Arc::clone(shared) }
}
