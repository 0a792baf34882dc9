//! Addresses of members: those in the membership, and those that members name themselves.
//!
//! A member that has moved names its new address in its greeting; its certificate and its store id prove that it is
//! the same member. So the address that it names is preferred to the one in the membership, and the leader brings the
//! membership up to date:
//!
//! ```text
//!   greets with another address  ---->  it is dialled there  ---->  it answers there  ---->  the leader changes the
//!                                                                                           membership through the log
//! ```
//!
//! Only an address at which the member has answered enters the membership: an address that it was given by mistake
//! must not replace one that works.

use std::collections::BTreeMap;

use raftkit_core::{Member, Membership, NodeId, StoreId};

/// The way in which an address was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The node named it in a greeting.
    Named,
    /// This node dialled it, and the node answered there.
    Reached,
}

/// The last address that a node named for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    store: StoreId,
    address: String,
    source: Source,
}

/// Addresses that members named for themselves. Nodes outside the membership have none here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    said: BTreeMap<NodeId, Said>,
}

impl Addresses {
    /// Records that `node` has named an address. The address is dropped if `node` is no member with this store id.
    pub fn learn(
        &mut self,
        membership: &Membership,
        node: NodeId,
        store: StoreId,
        address: &str,
        source: Source,
    ) {
        self.said.retain(|node, said| membership.store(*node) == Some(said.store));
        if membership.store(node) != Some(store) {
            return;
        }
        let before = self.said.get(&node).filter(|said| said.address == address && said.store == store);
        // A later greeting does not undo that the node has answered at this address.
        let source =
            before.map_or(source, |said| if said.source == Source::Reached { said.source } else { source });
        self.said.insert(node, Said { store, address: address.to_owned(), source });
    }

    /// The address to dial a member at: the one that it named itself, else the one in the membership.
    #[must_use]
    pub fn of<'a>(&'a self, node: NodeId, member: &'a Member) -> &'a str {
        match self.said.get(&node) {
            Some(said) if said.store == member.store => &said.address,
            Some(_) | None => &member.address,
        }
    }

    /// The membership with the addresses at which its members have answered. None if it has those addresses already,
    /// or while a change of membership is under way.
    #[must_use]
    pub fn correct(&self, membership: &Membership) -> Option<Membership> {
        if membership.is_joint() {
            return None;
        }
        let mut corrected = None;
        for (node, member) in membership.members() {
            let moved = |said: &&Said| {
                said.store == member.store && said.source == Source::Reached && said.address != member.address
            };
            let (Some(said), Some(suffrage)) =
                (self.said.get(node).filter(moved), membership.suffrage(*node))
            else {
                continue;
            };
            let member = Member { address: said.address.clone(), ..member.clone() };
            corrected = Some(corrected.unwrap_or_else(|| membership.clone()).with(*node, member, suffrage));
        }
        corrected
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use raftkit_core::Suffrage;

    use super::*;

    const STORE: StoreId = StoreId(20);

    fn membership() -> Membership {
        let member = |id: u64| (NodeId(id), Member::new(StoreId(u128::from(id) * 10), format!("old-{id}")));
        let learner = Member { priority: 7, ..member(4).1 };
        Membership::founding((1..=3).map(member).collect()).with(NodeId(4), learner, Suffrage::Staging)
    }

    fn learned(node: u64, store: StoreId, address: &str, source: Source) -> Addresses {
        let mut addresses = Addresses::default();
        addresses.learn(&membership(), NodeId(node), store, address, source);
        addresses
    }

    fn dialled(addresses: &Addresses, node: u64) -> String {
        let membership = membership();
        addresses.of(NodeId(node), &membership.members()[&NodeId(node)]).to_owned()
    }

    #[test]
    fn a_member_is_dialled_where_it_says_that_it_is() {
        let addresses = learned(2, STORE, "new-2", Source::Named);
        assert_eq!(dialled(&addresses, 2), "new-2");
        assert_eq!(dialled(&addresses, 3), "old-3");
    }

    #[test]
    fn another_data_folder_or_no_member_is_not_believed() {
        assert_eq!(learned(2, StoreId(99), "new-2", Source::Reached), Addresses::default());
        assert_eq!(learned(9, STORE, "new-9", Source::Reached), Addresses::default());
        // The member was added again with another data folder.
        let addresses = learned(2, STORE, "new-2", Source::Reached);
        let again = membership().with(NodeId(2), Member::new(StoreId(21), "again"), Suffrage::Voter);
        assert_eq!(addresses.of(NodeId(2), &again.members()[&NodeId(2)]), "again");
        assert_eq!(addresses.correct(&again), None);
    }

    #[test]
    fn only_where_it_has_answered_comes_into_the_membership() {
        let mut addresses = learned(2, STORE, "new-2", Source::Named);
        assert_eq!(addresses.correct(&membership()), None);
        addresses.learn(&membership(), NodeId(2), STORE, "new-2", Source::Reached);
        addresses.learn(&membership(), NodeId(2), STORE, "new-2", Source::Named);
        let corrected = addresses.correct(&membership()).expect("it has moved");
        let moved = Member::new(STORE, "new-2");
        assert_eq!(corrected, membership().with(NodeId(2), moved, Suffrage::Voter));
        assert_eq!(addresses.correct(&corrected), None, "it is there already");
        addresses.learn(&membership(), NodeId(2), STORE, "newer-2", Source::Named);
        assert_eq!(addresses.correct(&membership()), None, "it has moved on, and has not answered there");
    }

    #[test]
    fn a_correction_changes_addresses_and_nothing_else() {
        let mut addresses = Addresses::default();
        for node in 1..=4 {
            let store = StoreId(u128::from(node) * 10);
            addresses.learn(&membership(), NodeId(node), store, &format!("new-{node}"), Source::Reached);
        }
        let corrected = addresses.correct(&membership()).expect("all have moved");
        for (node, member) in corrected.members() {
            let membership = membership();
            let before = &membership.members()[node];
            assert_eq!(member, &Member { address: format!("new-{node}"), ..before.clone() });
            assert_eq!(corrected.suffrage(*node), membership.suffrage(*node));
        }
    }

    #[test]
    fn nothing_is_corrected_while_a_change_is_joint() {
        let from = membership();
        let voters = from.voters().clone();
        let joint = Membership::joint(from.members().clone(), voters, BTreeSet::from([NodeId(1)]));
        let addresses = learned(2, STORE, "new-2", Source::Reached);
        assert_eq!(addresses.correct(&joint.expect("all are members")), None);
    }
}
