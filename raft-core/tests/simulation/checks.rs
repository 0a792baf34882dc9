//! Checks after every step.

use raftkit_core::invariants::Before;
use raftkit_core::{Effects, Health, NodeId, Payload, Write};

use crate::harm::is_quorum;
use crate::marks::Mark;
use crate::tickets::Moment;
use crate::world::World;

impl World {
    /// Gives the writes to the disk. Checks that the membership in force is the newest in the log, and that a
    /// leader has at most one uncommitted membership of its own term.
    pub fn write(&mut self, id: NodeId, before: &Before, effects: &mut Effects) {
        let mut touched = false;
        for write in effects.writes.drain(..) {
            touched |= write.truncate_from.is_some() || write.reset_to.is_some();
            self.note_write(id, before, &write);
            self.host(id).disk.queue(write);
        }
        let host = &self.hosts[&id];
        let node = host.node.as_ref().expect("it was given an input");
        if touched || node.membership_index() != before.membership_index() {
            assert_eq!(
                node.membership(),
                host.disk.view.membership(),
                "{id} has another membership in force than its log"
            );
        }
        if node.is_leader() && node.membership_index() > node.commit() {
            let entries = host.disk.view.entries.iter().rev();
            let open = entries.take_while(|entry| entry.id.index > node.commit());
            let own = open.filter(|entry| entry.id.term == node.term());
            let changes = own.filter(|entry| matches!(entry.payload, Payload::Membership(_))).count();
            assert!(changes <= 1, "{id} leads with {changes} changes that are not committed");
        }
    }

    fn note_write(&mut self, id: NodeId, before: &Before, write: &Write) {
        if let Some(from) = write.truncate_from {
            self.marks.hit(Mark::Truncated);
            self.marks.hit_if(before.membership_index() >= from, Mark::MembershipTruncated);
        }
        self.marks.hit_if(write.reset_to.is_some(), Mark::SnapshotInstalled);
        for entry in &write.append {
            if let Payload::Membership(membership) = &entry.payload {
                assert_eq!(membership.id(), entry.id, "{id} appends a membership under another entry's name");
                let known = self.truth.appended.entry(entry.id).or_insert_with(|| (**membership).clone());
                assert_eq!(known, &**membership, "two memberships stand in one entry");
            }
        }
    }

    pub fn check(&mut self, id: NodeId, before: &Before) {
        let Self { truth, hosts, ghosts, now, .. } = self;
        let host = &hosts[&id];
        let node = host.node.as_ref().expect("it was given an input");
        if node.health() == Health::Sound && before.health() == Health::Damaged {
            ghosts.remove(&(id, host.config.store));
        }
        let healed = before.health() != node.health();
        let holds = |id: NodeId, store, entry| match ghosts.get(&(id, store)) {
            Some(ghost) => ghost.holds(entry),
            None => hosts.get(&id).is_some_and(|h| h.config.store == store && h.disk.durable.holds(entry)),
        };
        if healed {
            truth.check_healed(id, holds);
        }
        let committed = truth.check_commit(before, node, &host.disk, holds);
        if node.is_leader() {
            if !before.is_leader() || before.term() != node.term() {
                truth.check_leader(id, host.config.store, node, &host.disk);
                self.marks.hit(Mark::Elected);
                // Entries of earlier terms do not count: they are committed with the first entry of the new
                // term.
                let old =
                    host.disk.view.entries.iter().rev().skip(1).find(|entry| entry.id.term < node.term());
                let on_quorum = old.is_some_and(|entry| {
                    let membership = node.membership();
                    let held = |id| membership.store(id).is_some_and(|store| holds(id, store, entry.id));
                    entry.id.index > truth.last() && is_quorum(membership, held)
                });
                self.marks.hit_if(on_quorum, Mark::OldTermNotCounted);
            }
            // While a lease holds on its holder's clock, no other node leads a later term.
            for (other, peer) in hosts.iter().filter(|(other, _)| **other != id) {
                let Some(other_node) = peer.node.as_ref().filter(|node| node.is_leader()) else { continue };
                let (holder, of) =
                    if other_node.term() < node.term() { (other_node, peer) } else { (node, host) };
                let valid = holder.lease_until().is_some_and(|until| of.local(*now) < until);
                assert!(!valid, "{id} and {other} both lead, and the older one still has a lease");
            }
        }
        for entry in committed {
            self.note_committed(entry);
        }
    }

    pub fn check_answers(&mut self, id: NodeId, before: &Before, effects: &mut Effects) {
        let Self { truth, tickets, marks, hosts, .. } = self;
        let after = hosts[&id].node.as_ref().expect("it was given an input").membership();
        let moment = Moment { id, before, after };
        for done in effects.done.drain(..) {
            tickets.check(&moment, done.ticket, done.outcome, truth, marks);
        }
    }
}
