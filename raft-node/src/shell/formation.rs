//! Forming a cluster: a new node gets into one alone, or together with the servers that it was told to expect.
//!
//! `raftkit_replica::Forming` decides who founds it and who accepts it. This file greets the servers at the addresses in
//! `join`, asks those that belong to a cluster, and makes the decision durable.

use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{Base, ClusterId, Member, Membership, NodeId};
use raftkit_log::Store;
use raftkit_net::{HelloError, Inbound, Inbox, RemoteIdentity};
use raftkit_replica::{Forming, Outlook, Place, Seen, Sight, StateMachine};
use tokio::time::timeout;

use super::outreach::Fault;
use super::requests::{self, OwnRequest};
use super::scouts::{Scouts, Sighting, fault};
use super::{Formation, Shared, StartError};

/// Time that a server has for answering which members it was founded with.
const ANSWER: Duration = Duration::from_secs(5);
/// Pause between two greetings at one address.
const PAUSE: Duration = Duration::from_millis(50);
/// Interval at which to check for due warnings while nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// The cluster to found, or to accept from its founder.
#[derive(Debug, PartialEq, Eq)]
struct Decision {
    cluster: ClusterId,
    membership: Membership,
}

/// Returns once `store` belongs to a cluster.
pub(crate) async fn form<M: StateMachine>(
    shared: &Arc<Shared<M>>,
    store: &mut Store,
    inbound: &mut Inbox,
) -> Result<(), StartError> {
    let decision = match &shared.config.formation {
        Formation::Alone => found(Membership::founding([shared.as_member()].into())),
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
    shared.outreach(|outreach, _| outreach.clear());
    store.form(decision.cluster, Base::founding(decision.membership.clone()))?;
    shared.transport.set_cluster(decision.cluster);
    tracing::info!(
        cluster = decision.cluster.to_string(),
        members = decision.membership.members().len(),
        "this node belongs to a cluster now"
    );
    Ok(())
}

fn found(membership: Membership) -> Decision {
    Decision { cluster: ClusterId(super::random()), membership }
}

/// Looks for the other servers until there is a cluster to found or to accept. All addresses are greeted at the same
/// time, so one that is silent or far away delays nobody.
async fn look_around<M: StateMachine>(shared: &Arc<Shared<M>>, servers: usize, join: &[String]) -> Decision {
    let mut scouts = Scouts::send(&shared.tasks, &shared.transport, join, PAUSE);
    let (node, member) = shared.as_member();
    let mut forming = Forming::new(node, member, servers);
    let mut said = 0;
    loop {
        if let Some(Sighting { address, who }) = scouts.next(TICK).await
            && let Some(decision) = saw(shared, &mut forming, &address, who).await
        {
            return decision;
        }
        say_what_is_missing(shared);
        match forming.decide() {
            Outlook::Found(membership) => {
                say_who_was_found(&mut said, servers, membership.members().keys());
                return found(membership);
            }
            Outlook::Wait(ids) => say_who_was_found(&mut said, servers, ids.iter()),
            Outlook::SameId { address, node } => {
                let why = format!("another server calls itself node {node} too; give each an id of its own");
                shared.outreach(|outreach, now| outreach.failed(now, &address, Fault::Refused, why));
            }
        }
    }
}

/// Takes the result of a greeting. Returns the decision if a founder's cluster is accepted.
async fn saw<M: StateMachine>(
    shared: &Arc<Shared<M>>,
    forming: &mut Forming,
    address: &str,
    who: Result<RemoteIdentity, HelloError>,
) -> Option<Decision> {
    let server = who.as_ref().ok().map(|identity| Seen {
        node: identity.node,
        member: Member::new(identity.store, identity.address.clone()),
        cluster: identity.cluster,
    });
    if forming.saw(address, server) == Sight::Ask {
        return take_over(shared, address).await.unwrap_or_else(|why| {
            shared.outreach(|outreach, now| outreach.failed(now, address, Fault::Refused, why));
            None
        });
    }
    match who {
        Ok(_) => shared.outreach(|outreach, _| outreach.found(address)),
        Err(error) => missed(shared, address, &error),
    }
    None
}

/// Logs which servers were found, when their number has changed.
fn say_who_was_found<'a>(said: &mut usize, servers: usize, ids: impl ExactSizeIterator<Item = &'a NodeId>) {
    if ids.len() == *said {
        return;
    }
    *said = ids.len();
    let ids: Vec<String> = ids.map(ToString::to_string).collect();
    tracing::info!("found {said} of {servers} servers that are to form a cluster: {}", ids.join(", "));
}

/// Records that no server was reached at an address.
pub(super) fn missed<M: StateMachine>(shared: &Shared<M>, address: &str, error: &HelloError) {
    shared.outreach(|outreach, now| match fault(error) {
        Some(fault) => outreach.failed(now, address, fault, error.to_string()),
        None => outreach.found(address),
    });
}

/// Logs the addresses at which no server was reached, as often as that is due.
pub(super) fn say_what_is_missing<M: StateMachine>(shared: &Shared<M>) {
    for line in shared.outreach(|outreach, now| outreach.lines(now)) {
        tracing::warn!(node = shared.config.node.0, "{line}");
    }
}

/// Accepts the founding membership of the node at `address`, if this node is a member of it. None if that node gives
/// no answer.
///
/// # Errors
/// This node is no member of that cluster; the reason in words.
async fn take_over<M: StateMachine>(
    shared: &Arc<Shared<M>>,
    address: &str,
) -> Result<Option<Decision>, String> {
    let request = shared.transport.request_at(address, OwnRequest::Founding.encode());
    let Ok(Ok((_, answer))) = timeout(ANSWER, request).await else { return Ok(None) };
    let (node, store) = (shared.config.node, shared.store);
    let Some(founding) = requests::founding(&answer) else { return Ok(None) };
    match founding.place(node, store) {
        Place::None => Ok(None),
        Place::Member { cluster, membership } => Ok(Some(Decision { cluster, membership })),
        Place::Stranger { cluster } => Err(format!(
            "the cluster {cluster} there was formed without this node (id {node}, store {store}): \
             it must be added to that cluster, or pointed at another one by join"
        )),
    }
}

/// Answers requests of other nodes while this node looks for a cluster.
async fn answer<M: StateMachine>(shared: &Arc<Shared<M>>, inbound: &mut Inbox) {
    while let Some(event) = inbound.recv().await {
        match event {
            Inbound::Request { from: _, body, reply } => reply.send(requests::serve(shared, &body)),
            // The protocol starts once there is a cluster.
            Inbound::Message(_) | Inbound::Bulk { .. } | Inbound::Unreachable(_) | Inbound::Connected(_) => {}
        }
    }
}
