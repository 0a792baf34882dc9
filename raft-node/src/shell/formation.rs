//! How a new node gets into a cluster: alone, or with the others that it was told to expect.
//!
//! Of the servers that have found each other, the one with the lowest id founds the cluster: it draws the cluster's id
//! and makes it durable with the members it sees. That is the decision. The others ask whom they were told to join, and
//! take over what a founder says if they are among its members, by node id *and* store id. So a cluster is decided in
//! one place, once, and a wiped node that comes back is not mistaken for a founding member.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{ClusterId, Member, Membership, NodeId};
use raftkit_log::Store;
use raftkit_net::{Inbound, RemoteIdentity};
use raftkit_replica::{StateMachine, founding_base};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::requests::{self, Founding, OwnRequest};
use super::{Formation, Shared, StartError};

/// How long one server is given to answer.
const ANSWER: Duration = Duration::from_millis(500);
/// How long to wait before looking around again.
const ROUND: Duration = Duration::from_millis(50);

/// What to found or take over.
struct Decision {
    cluster: ClusterId,
    membership: Membership,
}

/// Returns once `store` belongs to a cluster.
pub(crate) async fn form<M: StateMachine>(
    shared: &Arc<Shared<M>>,
    store: &mut Store,
    inbound: &mut mpsc::Receiver<Inbound>,
) -> Result<(), StartError> {
    let decision = match &shared.config.formation {
        Formation::Alone => found(BTreeMap::from([shared.as_member()])),
        Formation::Expect { servers, join } => {
            tokio::select! {
                decision = look_around(shared, *servers, join) => decision,
                () = answer(shared, inbound) => return Err(StartError::Stopped),
            }
        }
        Formation::Rejoin => {
            tracing::warn!(
                "this node belongs to no cluster and was not told how to form one: \
                 start it with bootstrap, or with bootstrap-expect and join"
            );
            answer(shared, inbound).await;
            return Err(StartError::Stopped);
        }
    };
    store.form(decision.cluster, founding_base(decision.membership.clone()))?;
    shared.transport.set_cluster(decision.cluster);
    tracing::info!(
        cluster = decision.cluster.to_string(),
        members = decision.membership.members().len(),
        "this node belongs to a cluster now"
    );
    Ok(())
}

fn found(members: BTreeMap<NodeId, Member>) -> Decision {
    Decision { cluster: ClusterId(super::random()), membership: Membership::founding(members) }
}

/// Looks for the others until there is something to found or to take over.
async fn look_around<M: StateMachine>(shared: &Arc<Shared<M>>, servers: usize, join: &[String]) -> Decision {
    let mut said = usize::MAX;
    loop {
        let mut found_members = BTreeMap::from([shared.as_member()]);
        for address in join {
            match timeout(ANSWER, shared.transport.hello(address)).await {
                Ok(Ok(identity)) if identity.node == shared.config.node => {}
                Ok(Ok(identity)) if identity.cluster.is_some() => {
                    if let Some(decision) = take_over(shared, address).await {
                        return decision;
                    }
                }
                Ok(Ok(identity)) => {
                    found_members.insert(identity.node, member(&identity));
                }
                Ok(Err(error)) => tracing::debug!(address, "not found yet: {error}"),
                Err(_) => tracing::debug!(address, "no answer yet"),
            }
        }
        if found_members.len() != said {
            said = found_members.len();
            let ids: Vec<String> = found_members.keys().map(ToString::to_string).collect();
            tracing::info!(
                "found {said} of {servers} servers that are to form a cluster: {}",
                ids.join(", ")
            );
        }
        let lowest = found_members.keys().next() == Some(&shared.config.node);
        if found_members.len() >= servers && lowest {
            return found(found_members);
        }
        tokio::time::sleep(ROUND).await;
    }
}

fn member(identity: &RemoteIdentity) -> Member {
    Member::new(identity.store, identity.address.clone())
}

/// Takes over what the node at `address` was founded with, if this node is a part of it.
async fn take_over<M: StateMachine>(shared: &Arc<Shared<M>>, address: &str) -> Option<Decision> {
    let request = shared.transport.request_at(address, OwnRequest::Founding.encode());
    let (_, answer) = timeout(ANSWER, request).await.ok()?.ok()?;
    let (node, store) = (shared.config.node, shared.store);
    match requests::founding(&answer)? {
        Founding::None => None,
        Founding::Members { cluster, membership } if membership.store(node) == Some(store) => {
            Some(Decision { cluster, membership })
        }
        Founding::Members { cluster, .. } | Founding::Changed { cluster } => {
            tracing::warn!(
                "the cluster {cluster} at {address} was formed without this node (id {node}, store {store}): \
                 it must be added to that cluster, or pointed at another one by join"
            );
            None
        }
    }
}

/// Answers what others ask while this node looks for a cluster.
async fn answer<M: StateMachine>(shared: &Arc<Shared<M>>, inbound: &mut mpsc::Receiver<Inbound>) {
    while let Some(event) = inbound.recv().await {
        match event {
            Inbound::Request { from: _, body, reply } => reply.send(requests::serve(shared, &body)),
            // The protocol begins when there is a cluster.
            Inbound::Message(_) | Inbound::Bulk { .. } | Inbound::Unreachable(_) | Inbound::Connected(_) => {}
        }
    }
}
