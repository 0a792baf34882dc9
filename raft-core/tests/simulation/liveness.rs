//! Liveness: what must happen once the faults have ended.

use std::collections::BTreeSet;

use raftkit_core::{Health, Membership, Node, NodeId, ReadMode};

use crate::harm::voters;
use crate::world::{MS, World};

const SECOND: u64 = 1000 * MS;

/// Once faults end, a leader is elected, every change completes, damaged nodes recover, staging learners are
/// promoted, the highest priority leads, every ticket is answered, and all nodes reach the same commit index.
pub fn check_liveness(world: &mut World) {
    world.heal();
    if world.faults.reckless {
        return world.run_for(3 * SECOND);
    }
    // An election caused by earlier faults, such as a leader that stood still until now, is allowed.
    world.run_for(SECOND);
    world.run_until(60 * SECOND, 100 * MS, |world| world.unsettled().is_none());
    if let Some(why) = world.unsettled() {
        panic!("a healed cluster does not settle: {why}\n{}", world.describe());
    }
    let leader = world.leader().expect("it is settled");
    let term = world.running(leader).term();
    let (acknowledged, reads) = (world.tickets.acknowledged, world.tickets.reads);
    world.propose(leader, 1);
    world.read(leader, ReadMode::Lease);
    world.read(leader, ReadMode::Quorum);
    let members: Vec<NodeId> = world.running(leader).membership().members().keys().copied().collect();
    for id in &members {
        world.read(*id, ReadMode::Quorum);
    }
    world.run_for(1500 * MS);
    assert_eq!(world.leader(), Some(leader), "a healed cluster keeps its leader\n{}", world.describe());
    assert_eq!(world.running(leader).term(), term, "nobody disturbs a healed cluster");
    assert_eq!(world.tickets.acknowledged, acknowledged + 1, "a healed cluster commits");
    let read = world.tickets.reads - reads;
    assert_eq!(read, 2 + members.len() as u64, "a healed cluster reads\n{}", world.describe());
    if let Some(why) = world.unsettled() {
        panic!("a settled cluster is so no more: {why}\n{}", world.describe());
    }
}

impl World {
    /// A node that is running.
    pub fn running(&self, id: NodeId) -> &Node {
        self.hosts[&id].node.as_ref().expect("it runs")
    }

    /// The first condition that does not hold yet.
    pub fn unsettled(&self) -> Option<String> {
        let down = self.hosts.iter().find(|(_, host)| host.node.is_none());
        if let Some((id, _)) = down {
            return Some(format!("{id} is down"));
        }
        let Some(leader) = self.leader() else { return Some("nobody leads".to_owned()) };
        let node = self.running(leader);
        let membership = node.membership();
        let highest = voters(membership).map(|id| membership.priority(id)).max();
        let strangers = self.strangers(membership);
        let open: usize = self.tickets.open.values().map(std::collections::BTreeMap::len).sum();
        let rules = [
            (membership.is_joint(), "the membership is joint".to_owned()),
            (node.membership_index() > node.commit(), "the membership is not committed".to_owned()),
            (!strangers.is_empty(), format!("{strangers:?} have other stores than the membership names")),
            (!membership.staging().is_empty(), format!("{:?} are not promoted", membership.staging())),
            (!membership.is_voter(leader), "the leader does not vote".to_owned()),
            (
                Some(membership.priority(leader)) != highest,
                format!("{leader} is not of the highest priority"),
            ),
            (!self.returning.is_empty(), format!("{:?} are not back", self.returning)),
            (open > 0, format!("not answered: {:?}", self.tickets.open)),
        ];
        let broken = rules.into_iter().find(|(broken, _)| *broken).map(|(_, why)| why);
        broken.or_else(|| membership.members().keys().find_map(|id| self.lagging(*id, membership)))
    }

    /// The condition that a member does not meet yet.
    fn lagging(&self, id: NodeId, membership: &Membership) -> Option<String> {
        let (host, node) = (&self.hosts[&id], self.running(id));
        let rules = [
            (node.leader() != self.leader(), "follows another leader or none"),
            (node.health() == Health::Damaged, "has not healed"),
            (node.commit() != self.truth.last(), "is behind"),
            (host.applied != node.commit(), "has not applied all"),
            (node.durable_commit() != node.commit(), "has not made its commit index durable"),
            (node.membership() != membership, "has another membership"),
        ];
        rules.into_iter().find(|(broken, _)| *broken).map(|(_, why)| format!("{id} {why}"))
    }

    /// Every node's state, for a failure's message.
    pub fn describe(&self) -> String {
        let states = self.hosts.iter().map(|(id, host)| match &host.node {
            None => format!("{id}: down\n"),
            Some(node) => {
                let status = node.status();
                let peers: Vec<_> = status.peers.iter().map(|(id, peer)| format!("{id}: {peer:?}")).collect();
                format!(
                    "{id}: store {} {:?} {:?} term {} base {} last {} commit {} durable {} applied {} writes {}\n  {}\n  {}\n",
                    host.config.store.0,
                    status.role,
                    status.health,
                    status.term,
                    status.base,
                    status.last,
                    status.commit,
                    host.disk.durable.last(),
                    status.applied,
                    host.disk.queued(),
                    in_words(&status.membership),
                    peers.join("\n  ")
                )
            }
        });
        states.collect()
    }
}

/// A membership in words, for a failure's message.
pub fn in_words(membership: &Membership) -> String {
    let ids = |set: &BTreeSet<NodeId>| set.iter().map(|id| id.0).collect::<Vec<_>>();
    let members: Vec<_> =
        membership.members().iter().map(|(id, it)| (id.0, it.store.0, it.priority)).collect();
    format!(
        "{}: voters {:?} outgoing {:?} staging {:?} leaving {:?} (id, store, priority) {members:?}",
        membership.id(),
        ids(membership.voters()),
        ids(membership.outgoing()),
        ids(membership.staging()),
        ids(membership.leaving()),
    )
}
