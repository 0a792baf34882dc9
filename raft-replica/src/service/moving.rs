//! Members that have moved. They are dialled at the address that they name, and the leader brings the membership up
//! to date.

use std::time::Duration;

use raftkit_core::{Member, MembershipChange, NodeId, StoreId, Time};

use super::stopping::Phase;
use super::{Service, ServiceAction};
use crate::addresses::Source;

/// Interval at which a leader checks whether the membership needs a correction. A correction that was refused,
/// because another change was under way, is tried again this way.
const LOOK: Duration = Duration::from_secs(1);

impl Service {
    /// The address to dial a member at: the one that it named itself, else the one in the membership.
    #[must_use]
    pub fn address_of<'a>(&'a self, node: NodeId, member: &'a Member) -> &'a str {
        self.addresses.of(node, member)
    }

    pub(super) fn learn_address(&mut self, node: NodeId, store: StoreId, address: &str, source: Source) {
        self.addresses.learn(self.replica.node().membership(), node, store, address, source);
    }

    /// Corrects the membership if a member has moved and this node leads. Nobody waits for the outcome: a correction
    /// that fails is tried again.
    pub(super) fn correct_addresses(&mut self, now: Time, out: &mut Vec<ServiceAction>) {
        if now < self.look_at_addresses || self.phase != Phase::Running || !self.replica.node().is_leader() {
            return;
        }
        self.look_at_addresses = now.after(LOOK);
        let membership = self.replica.node().membership();
        let Some(target) = self.addresses.correct(membership) else { return };
        let seen = membership.id();
        let ticket = self.ticket();
        let change = MembershipChange { ticket, seen, target };
        self.with_replica(now, out, |replica, out| replica.change(now, change, out));
    }
}
