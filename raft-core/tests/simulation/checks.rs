//! What must hold after every step.

use raftkit_core::{Node, NodeId};

use crate::world::World;

impl World {
    pub fn check(&mut self, id: NodeId, before: &Node) {
        let host = &self.hosts[&id];
        let node = host.node.as_ref().expect("it was given an input");
        let voters = self.hosts.iter().filter(|(id, _)| self.voters.contains(id)).map(|(_, host)| &host.disk);
        self.truth.check_commit(node, before.commit(), &host.disk, voters);
        if !node.is_leader() {
            return;
        }
        if !before.is_leader() || before.term() != node.term() {
            self.truth.check_leader(id, node, &host.disk);
        }
        // While a lease holds on its holder's clock, no other node leads a later term.
        for (other, peer) in self.hosts.iter().filter(|(other, _)| **other != id) {
            let Some(other_node) = peer.node.as_ref().filter(|node| node.is_leader()) else { continue };
            let (holder, of) =
                if other_node.term() < node.term() { (other_node, peer) } else { (node, host) };
            let valid = holder.lease_until().is_some_and(|until| of.local(self.now) < until);
            assert!(!valid, "{id} and {other} both lead, and the older one still has a lease");
        }
    }
}
