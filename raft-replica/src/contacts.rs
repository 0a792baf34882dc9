//! Which nodes a transport keeps connections to: those that its node may have something to tell.

use std::collections::BTreeMap;

use raftkit_core::{Member, Membership, Node, NodeId, StoreId};

/// Follows a node's membership, for its transport.
///
/// ```text
/// after each round    update -> whom to keep connections to, if that has changed
/// then                the round's messages are sent: the last one to a removed member is among them
/// then                the connections of those that are not kept any more end
/// ```
///
/// Beside the members there are those that the membership does not name and that have something to ask: it may be old,
/// and a leader that was added since is known by its messages alone; a log of which nothing is left names nobody. They
/// are answered as long as they are reached, each time that there is something to answer.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    /// The membership that was looked at last, and whether it was committed.
    known: Option<(Membership, bool)>,
    named: BTreeMap<NodeId, Member>,
    /// Others that have dialled this node: where they are, and whether they are dialled.
    callers: BTreeMap<NodeId, Caller>,
}

#[derive(Clone, Debug)]
struct Caller {
    store: StoreId,
    address: String,
    is_dialled: bool,
}

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactChange {
    /// Those to keep a connection to, each with its data folder and address. Most are kept already.
    pub keep: Vec<(NodeId, Member)>,
    /// Those that are not named any more, once the messages of this round are sent.
    pub let_go: Vec<NodeId>,
}

impl Contacts {
    /// A node of this cluster has dialled this one.
    pub fn called(&mut self, node: NodeId, store: StoreId, address: &str) {
        if !self.named.contains_key(&node) {
            let is_dialled = self
                .callers
                .get(&node)
                .is_some_and(|it| it.is_dialled && it.store == store && it.address == address);
            self.callers.insert(node, Caller { store, address: address.to_owned(), is_dialled });
        }
    }

    /// There is something to tell `node`. Where to dial it first, if it is not dialled and has said where it is.
    pub fn tells(&mut self, node: NodeId) -> Option<Member> {
        if self.named.contains_key(&node) {
            return None;
        }
        let caller = self.callers.get_mut(&node).filter(|caller| !caller.is_dialled)?;
        caller.is_dialled = true;
        Some(Member::new(caller.store, caller.address.clone()))
    }

    /// `node` was lost or could not be reached. True when it is to be let go: it is no member, and dialled only because it
    /// once called.
    pub fn unreachable(&mut self, node: NodeId) -> bool {
        let caller = self.callers.get_mut(&node);
        caller.is_some_and(|caller| std::mem::take(&mut caller.is_dialled))
    }

    /// What has changed since the last call; none if nothing has.
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
        // Not by its entry's index: a log of which nothing was left starts with a membership of nobody, which claims the
        // same index as the founding one.
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
                // It may ask yet, on the connection that it has dialled already.
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
        // Its own connection may stand: what it asks is answered.
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
