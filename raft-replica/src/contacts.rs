//! Contacts: the nodes that a transport keeps connections to, because this node may have to send them something.

use std::collections::BTreeMap;

use raftkit_core::{Member, Membership, Node, NodeId, StoreId};

/// Derives from a node's membership which connections its transport keeps.
///
/// ```text
/// after each round    update -> whom to keep connections to, if that has changed
/// then                the round's messages are sent: the last one to a removed member is among them
/// then                the connections of those that are not kept any more end
/// ```
///
/// Nodes that the membership does not name may have to be answered too. This node's membership may be old, so that a
/// leader added since is known only by its messages; and a log that has lost everything names no member at all. Such
/// nodes are dialled whenever there is something to answer, as long as they can be reached.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    /// The membership that the contacts were last derived from, and whether it was committed.
    known: Option<(Membership, bool)>,
    named: BTreeMap<NodeId, Member>,
    /// Nodes outside the membership that have dialled this one, with their addresses.
    callers: BTreeMap<NodeId, Caller>,
}

#[derive(Clone, Debug)]
struct Caller {
    store: StoreId,
    address: String,
    is_dialled: bool,
}

/// The difference between two sets of contacts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactChange {
    /// Nodes to keep a connection to, with data folder and address. Most connections are there already.
    pub keep: Vec<(NodeId, Member)>,
    /// Nodes whose connection ends once the messages of this round are sent.
    pub let_go: Vec<NodeId>,
}

impl Contacts {
    /// Records that a node of this cluster has dialled this one.
    pub fn called(&mut self, node: NodeId, store: StoreId, address: &str) {
        if !self.named.contains_key(&node) {
            let is_dialled = self
                .callers
                .get(&node)
                .is_some_and(|it| it.is_dialled && it.store == store && it.address == address);
            self.callers.insert(node, Caller { store, address: address.to_owned(), is_dialled });
        }
    }

    /// There is a message for `node`. Returns the member to dial first, if `node` is outside the membership, is not
    /// dialled yet, and has said where it is.
    pub fn tells(&mut self, node: NodeId) -> Option<Member> {
        if self.named.contains_key(&node) {
            return None;
        }
        let caller = self.callers.get_mut(&node).filter(|caller| !caller.is_dialled)?;
        caller.is_dialled = true;
        Some(Member::new(caller.store, caller.address.clone()))
    }

    /// The connection to `node` was lost, or `node` could not be reached. True if the transport shall stop dialling
    /// it: it is no member, and is dialled only because it had dialled this node.
    pub fn unreachable(&mut self, node: NodeId) -> bool {
        let caller = self.callers.get_mut(&node);
        caller.is_some_and(|caller| std::mem::take(&mut caller.is_dialled))
    }

    /// The contacts, if they have changed since the last call.
    pub fn update(&mut self, node: &Node) -> Option<ContactChange> {
        self.follow(node.membership(), node.membership_is_committed(), || {
            node.contacts().map(|(id, member)| (id, member.clone())).collect()
        })
    }

    fn follow(
        &mut self,
        membership: &Membership,
        committed: bool,
        contacts: impl FnOnce() -> Vec<(NodeId, Member)>,
    ) -> Option<ContactChange> {
        // The memberships are compared, not their indexes: the empty membership of a log that lost everything claims
        // the same index as the founding one.
        if self.known.as_ref().is_some_and(|(known, was)| known == membership && *was == committed) {
            return None;
        }
        self.known = Some((membership.clone(), committed));
        let keep = contacts();
        let named: BTreeMap<NodeId, Member> = keep.iter().cloned().collect();
        let mut let_go = Vec::new();
        for (id, member) in &self.named {
            if !named.contains_key(id) {
                let_go.push(*id);
                // It may still send requests on the connection that it dialled.
                let Member { store, address, .. } = member.clone();
                self.callers.insert(*id, Caller { store, address, is_dialled: false });
            }
        }
        self.callers.retain(|id, _| !named.contains_key(id));
        self.named = named;
        Some(ContactChange { keep, let_go })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use raftkit_core::StoreId;

    use super::*;

    fn members(ids: &[u64]) -> Vec<(NodeId, Member)> {
        ids.iter()
            .map(|id| (NodeId(*id), Member::new(StoreId(u128::from(*id)), format!("node-{id}"))))
            .collect()
    }

    fn membership(ids: &[u64]) -> Membership {
        Membership::founding(members(ids).into_iter().collect())
    }

    fn let_go(contacts: &mut Contacts, now: &[u64], committed: bool, contacted: &[u64]) -> Vec<u64> {
        let change = contacts.follow(&membership(now), committed, || members(contacted)).unwrap();
        assert_eq!(change.keep, members(contacted));
        change.let_go.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn a_removed_member_is_let_go_once_its_removal_is_committed() {
        let mut contacts = Contacts::default();
        assert_eq!(let_go(&mut contacts, &[1, 2, 3], true, &[2, 3]), [0; 0]);
        assert!(contacts.follow(&membership(&[1, 2, 3]), true, || panic!("nothing has changed")).is_none());
        assert_eq!(let_go(&mut contacts, &[1, 2], false, &[2, 3]), [0; 0], "it is told of its removal");
        assert_eq!(let_go(&mut contacts, &[1, 2], true, &[2]), [3]);
        assert!(contacts.tells(NodeId(3)).is_some(), "it may ask on the connection that it has dialled");
        assert!(contacts.unreachable(NodeId(3)));
        assert_eq!(let_go(&mut contacts, &[1, 2, 3], true, &[2, 3]), [0; 0], "it is back");
    }

    #[test]
    fn a_removal_that_is_truncated_lets_nobody_go() {
        let mut contacts = Contacts::default();
        let_go(&mut contacts, &[1, 2, 3], true, &[2, 3]);
        let_go(&mut contacts, &[1, 2], false, &[2, 3]);
        assert_eq!(let_go(&mut contacts, &[1, 2, 3], true, &[2, 3]), [0; 0]);
    }

    #[test]
    fn whoever_calls_and_is_not_named_is_answered_as_long_as_it_is_reached() {
        let mut contacts = Contacts::default();
        let_go(&mut contacts, &[1, 2], true, &[2]);
        assert_eq!(contacts.tells(NodeId(9)), None, "nobody knows where it is");
        contacts.called(NodeId(9), StoreId(90), "there");
        assert_eq!(contacts.tells(NodeId(9)), Some(Member::new(StoreId(90), "there")));
        contacts.called(NodeId(9), StoreId(90), "there");
        assert_eq!(contacts.tells(NodeId(9)), None, "it is dialled already");
        assert!(contacts.unreachable(NodeId(9)));
        assert!(!contacts.unreachable(NodeId(9)), "once");
        // Its own connection may still stand, and its requests are answered.
        assert_eq!(contacts.tells(NodeId(9)), Some(Member::new(StoreId(90), "there")));
        contacts.called(NodeId(9), StoreId(91), "there");
        assert_eq!(contacts.tells(NodeId(9)), Some(Member::new(StoreId(91), "there")), "another folder");
    }

    #[test]
    fn a_member_is_dialled_whether_it_is_reached_or_not() {
        let mut contacts = Contacts::default();
        contacts.called(NodeId(2), StoreId(2), "elsewhere");
        assert!(contacts.tells(NodeId(2)).is_some(), "a log that names nobody");
        assert_eq!(let_go(&mut contacts, &[1, 2], true, &[2]), [0; 0]);
        contacts.called(NodeId(2), StoreId(2), "elsewhere");
        assert_eq!((contacts.tells(NodeId(2)), contacts.unreachable(NodeId(2))), (None, false));
    }
}
