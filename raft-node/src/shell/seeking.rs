//! Looks at the addresses in `join` for members that cannot be reached where the membership says. If all members move
//! at once, the membership's addresses lead nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::NodeId;
use raftkit_net::{RemoteIdentity, Transport};
use raftkit_replica::StateMachine;

use super::Shared;
use super::formation::{missed, say_what_is_missing};
use super::node_loop::LoopEvent;
use super::outreach::Fault;
use super::scouts::{Scouts, Sighting};

/// Interval between two checks for missing members, and pause between two greetings at one address.
const PAUSE: Duration = Duration::from_secs(1);
/// Number of checks in a row at which a member must be missing before it is looked for.
const LOOKS: u32 = 2;

/// Runs for as long as the node does.
pub(crate) async fn seek<M: StateMachine>(shared: Arc<Shared<M>>) {
    let join = shared.config.join();
    if join.is_empty() {
        return;
    }
    let mut missing: BTreeMap<NodeId, u32> = BTreeMap::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        let now_missing = unreached(&shared.transport);
        missing.retain(|node, _| now_missing.contains(node));
        for node in now_missing {
            *missing.entry(node).or_default() += 1;
        }
        if missing.values().any(|looks| *looks >= LOOKS) {
            look(&shared, &join).await;
            missing.clear();
        }
    }
}

/// Greets the addresses until every member is reached.
async fn look<M: StateMachine>(shared: &Arc<Shared<M>>, join: &[String]) {
    let mut scouts = Scouts::send(&shared.tasks, &shared.transport, join, PAUSE);
    while !unreached(&shared.transport).is_empty() {
        if let Some(Sighting { address, who }) = scouts.next(PAUSE).await {
            match who {
                Ok(identity) => found(shared, &address, identity),
                Err(error) => missed(shared, &address, &error),
            }
        }
        // With a leader the cluster works, and each lost peer is logged elsewhere.
        if shared.leader().is_none() {
            say_what_is_missing(shared);
        }
    }
    shared.outreach(|outreach, _| outreach.clear());
}

fn found<M: StateMachine>(shared: &Shared<M>, address: &str, identity: RemoteIdentity) {
    match shared.member_store(identity.node) {
        Some(store) if store == identity.store => {
            shared.outreach(|outreach, _| outreach.found(address));
            // If the loop has ended, nobody needs to know.
            let _ = shared.events.send(LoopEvent::Found(Box::new(identity)));
        }
        Some(_) | None => {
            let why = format!(
                "node {} with store {} is there, which is no member of this cluster",
                identity.node, identity.store
            );
            shared.outreach(|outreach, now| outreach.failed(now, address, Fault::Refused, why));
        }
    }
}

fn unreached(transport: &Transport) -> BTreeSet<NodeId> {
    transport.stats().into_iter().filter(|peer| !peer.connected).map(|peer| peer.node).collect()
}
