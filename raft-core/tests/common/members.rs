//! Members of hand-made clusters: node 1 has the data folder 1, and so on.

use std::collections::{BTreeMap, BTreeSet};

use raftkit_core::{Member, Membership, NodeId, StoreId};

/// A test member. The only place that depends on the fields of a member.
pub fn member(id: u64) -> Member {
    Member::new(StoreId(u128::from(id)), "")
}

pub fn members(ids: impl IntoIterator<Item = u64>) -> BTreeMap<NodeId, Member> {
    ids.into_iter().map(|id| (NodeId(id), member(id))).collect()
}

/// A membership in which all of these vote.
pub fn voters(ids: &[u64]) -> Membership {
    Membership::founding(members(ids.iter().copied()))
}

/// The joint membership of a change from `outgoing` to `incoming`.
pub fn joint(incoming: &[u64], outgoing: &[u64]) -> Membership {
    let set = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<BTreeSet<_>>();
    let all = members(incoming.iter().chain(outgoing).copied());
    Membership::joint(all, set(incoming), set(outgoing)).expect("every voter is a member")
}
