//! Forming a cluster: a new node gets into one alone, or together with the servers that it was told to expect.
//!
//! Of the servers that have found each other, the one with the lowest id founds the cluster: it draws the cluster id
//! and makes it durable together with the members that it sees. That is the decision. The others ask the servers in
//! `join`, and accept a founder's answer if they are among its members, by node id *and* store id. So a cluster is
//! decided in one place, once, and a wiped node that comes back is not mistaken for a founding member.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{Base, ClusterId, Member, Membership, NodeId, StoreId};
use raftkit_log::Store;
use raftkit_net::{HelloError, Inbound, Inbox, RemoteIdentity};
use raftkit_replica::StateMachine;
use tokio::time::timeout;

use super::outreach::Fault;
use super::requests::{self, Founding, OwnRequest};
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

fn found(members: BTreeMap<NodeId, Member>) -> Decision {
    Decision { cluster: ClusterId(super::random()), membership: Membership::founding(members) }
}

/// Looks for the other servers until there is a cluster to found or to accept. All addresses are greeted at the same
/// time, so one that is silent or far away delays nobody.
async fn look_around<M: StateMachine>(shared: &Arc<Shared<M>>, servers: usize, join: &[String]) -> Decision {
    let mut scouts = Scouts::send(&shared.tasks, &shared.transport, join, PAUSE);
    let mut seen: BTreeMap<String, RemoteIdentity> = BTreeMap::new();
    let mut said = 0;
    loop {
        let sighting = scouts.next(TICK).await;
        if let Some(Sighting { address, who }) = sighting {
            seen.remove(&address);
            match who {
                Ok(identity) if identity.cluster.is_some() => match take_over(shared, &address).await {
                    Ok(Some(decision)) => return decision,
                    Ok(None) => {}
                    Err(why) => shared.outreach(|outreach, now| {
                        outreach.failed(now, &address, Fault::Refused, why);
                    }),
                },
                Ok(identity) => {
                    shared.outreach(|outreach, _| outreach.found(&address));
                    seen.insert(address, identity);
                }
                Err(error) => missed(shared, &address, &error),
            }
        }
        say_what_is_missing(shared);
        let Some(members) = members(shared, &seen) else { continue };
        if members.len() != said {
            said = members.len();
            let ids: Vec<String> = members.keys().map(ToString::to_string).collect();
            tracing::info!(
                "found {said} of {servers} servers that are to form a cluster: {}",
                ids.join(", ")
            );
        }
        let lowest = members.keys().next() == Some(&shared.config.node);
        if members.len() >= servers && lowest {
            return found(members);
        }
    }
}

/// The servers that were found, and this node. None while two of them claim one id.
fn members<M: StateMachine>(
    shared: &Arc<Shared<M>>,
    seen: &BTreeMap<String, RemoteIdentity>,
) -> Option<BTreeMap<NodeId, Member>> {
    let mut members = BTreeMap::from([shared.as_member()]);
    for (address, identity) in seen {
        let other = members.insert(identity.node, member(identity));
        if other.is_some_and(|other| other.store != identity.store) {
            let why =
                format!("another server calls itself node {} too; give each an id of its own", identity.node);
            shared.outreach(|outreach, now| outreach.failed(now, address, Fault::Refused, why));
            return None;
        }
    }
    Some(members)
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

fn member(identity: &RemoteIdentity) -> Member {
    Member::new(identity.store, identity.address.clone())
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
    match place(founding, node, store) {
        Place::None => Ok(None),
        Place::Member(decision) => Ok(Some(decision)),
        Place::Stranger { cluster } => Err(format!(
            "the cluster {cluster} there was formed without this node (id {node}, store {store}): \
             it must be added to that cluster, or pointed at another one by join"
        )),
    }
}

/// The place of this node in a cluster that it has found.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// There is no cluster yet.
    None,
    /// This node is a founding member.
    Member(Decision),
    /// The cluster was formed without this node, or its membership has changed since.
    Stranger { cluster: ClusterId },
}

/// A founding member is recognised by its node id *and* its data folder. A node that lost its folder has forgotten
/// its votes and acknowledgements: if it were taken for the member that it was, it could vote a second time in a
/// term.
fn place(founding: Founding, node: NodeId, store: StoreId) -> Place {
    match founding {
        Founding::None => Place::None,
        Founding::Members { cluster, membership } if membership.store(node) == Some(store) => {
            Place::Member(Decision { cluster, membership })
        }
        Founding::Members { cluster, .. } | Founding::Changed { cluster } => Place::Stranger { cluster },
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

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId(7);

    fn members() -> Membership {
        let member =
            |id: u64| (NodeId(id), Member::new(StoreId(u128::from(id) * 100), format!("host{id}:1")));
        Membership::founding((1..=3).map(member).collect())
    }

    fn founded() -> Founding {
        Founding::Members { cluster: CLUSTER, membership: members() }
    }

    #[test]
    fn a_node_takes_its_place_by_its_data_folder_and_not_by_its_id_alone() {
        let member = Place::Member(Decision { cluster: CLUSTER, membership: members() });
        assert_eq!(place(founded(), NodeId(2), StoreId(200)), member);
        let stranger = Place::Stranger { cluster: CLUSTER };
        assert_eq!(place(founded(), NodeId(2), StoreId(201)), stranger, "it was wiped");
        assert_eq!(place(founded(), NodeId(4), StoreId(200)), stranger, "a folder of another node");
        assert_eq!(place(founded(), NodeId(4), StoreId(400)), stranger);
    }

    #[test]
    fn a_cluster_that_has_changed_since_takes_nobody_in_by_its_founding() {
        let changed = place(Founding::Changed { cluster: CLUSTER }, NodeId(2), StoreId(200));
        assert_eq!(changed, Place::Stranger { cluster: CLUSTER });
        assert_eq!(place(Founding::None, NodeId(2), StoreId(200)), Place::None);
    }
}
