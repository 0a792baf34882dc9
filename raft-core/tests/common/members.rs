//! Members of hand-made clusters: node 1 has the data folder 1, and so on.

use std::collections::{BTreeMap, BTreeSet};

use raftkit_core::{Base, LogId, Member, Membership, NodeId, StoreId};

/// The one place that knows what a member is made of.
pub fn member(id: u64) -> Member {
    Member::new(StoreId(u128::from(id)), "")
}

pub fn members(ids: impl IntoIterator<Item = u64>) -> BTreeMap<NodeId, Member> {
    ids.into_iter().map(|id| (NodeId(id), member(id))).collect()
}

/// All of them vote.
pub fn voters(ids: &[u64]) -> Membership {
    Membership::founding(members(ids.iter().copied()))
}

/// A change from `outgoing` to `incoming` that is under way.
pub fn joint(incoming: &[u64], outgoing: &[u64]) -> Membership {
    let set = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<BTreeSet<_>>();
    let all = members(incoming.iter().chain(outgoing).copied());
    Membership::joint(all, set(incoming), set(outgoing)).expect("every voter is a member")
}

/// Where the log of a newly founded cluster starts.
pub fn founding(membership: Membership) -> Base {
    Base { id: LogId::GENESIS, membership }
}
