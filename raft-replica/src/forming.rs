//! Forming a cluster: which server founds it, and which cluster the others accept.
//!
//! Of the servers that have found each other, the one with the lowest id founds the cluster: it draws the cluster id
//! and makes it durable together with the members that it sees. That is the decision. The others ask the servers that
//! they find for the founding membership, and accept it if they are among its members, by node id *and* store id. So a
//! cluster is decided in one place, once, and a wiped node that comes back is not mistaken for a founding member.
//!
//! ```text
//!   a server without a cluster at an address ---> saw ---> decide ---> Found: draw an id, make it durable
//!   a server with a cluster ---> saw: Ask ---> its `Founding` ---> place ---> Member: make it durable
//! ```

use std::collections::BTreeMap;

use raftkit_core::{ClusterId, LogId, Member, Membership, Node, NodeId, StoreId};
use serde::{Deserialize, Serialize};

/// A server that belongs to no cluster and looks for the servers that it is to form one with.
#[derive(Clone, Debug)]
pub struct Forming {
    node: NodeId,
    member: Member,
    /// Number of servers that the cluster is to have.
    servers: usize,
    /// Servers without a cluster, by the address at which they were found.
    seen: BTreeMap<String, (NodeId, Member)>,
}

/// A server that has answered a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The server's node id.
    pub node: NodeId,
    /// The server's data folder and address.
    pub member: Member,
    /// The server's cluster; none before it belongs to one.
    pub cluster: Option<ClusterId>,
}

/// The reaction to a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The server belongs to a cluster: ask it for its [`Founding`].
    Ask,
    /// The server belongs to no cluster, or none has answered.
    Noted,
}

/// What the servers that were found lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// This node founds a cluster with these members: it draws a cluster id and makes both durable.
    Found(Membership),
    /// More servers are to be found, or another one of these will found the cluster.
    Wait(Vec<NodeId>),
    /// The server at this address has the id of another one. No cluster is founded while two servers claim one id.
    SameId {
        /// The address.
        address: String,
        /// The id of both.
        node: NodeId,
    },
}

impl Forming {
    /// Creates the search of a node for a cluster of `servers` servers, itself among them.
    #[must_use]
    pub const fn new(node: NodeId, member: Member, servers: usize) -> Self {
        Self { node, member, servers, seen: BTreeMap::new() }
    }

    /// Takes the result of a greeting at an address: the server there, or none if none has answered.
    pub fn saw(&mut self, address: &str, server: Option<Seen>) -> Sight {
        self.seen.remove(address);
        match server {
            Some(Seen { cluster: Some(_), .. }) => return Sight::Ask,
            Some(Seen { node, member, cluster: None }) => {
                self.seen.insert(address.to_owned(), (node, member));
            }
            None => {}
        }
        Sight::Noted
    }

    /// Decides whether this node founds a cluster. Only the lowest id does: two servers that have found each other would
    /// otherwise found two clusters.
    #[must_use]
    pub fn decide(&self) -> Outlook {
        let mut members = BTreeMap::from([(self.node, self.member.clone())]);
        for (address, (node, member)) in &self.seen {
            let other = members.insert(*node, member.clone());
            if other.is_some_and(|other| other.store != member.store) {
                return Outlook::SameId { address: address.clone(), node: *node };
            }
        }
        let lowest = members.keys().next() == Some(&self.node);
        if members.len() >= self.servers && lowest {
            Outlook::Found(Membership::founding(members))
        } else {
            Outlook::Wait(members.into_keys().collect())
        }
    }
}

/// The answer of a server that is asked which members its cluster was founded with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Founding {
    /// The server belongs to no cluster.
    None,
    /// The cluster was founded with these members, and the membership has not changed since.
    Members {
        /// The cluster's id.
        cluster: ClusterId,
        /// The founding membership.
        membership: Membership,
    },
    /// The membership has changed since: a new member must be added by the leader.
    Changed {
        /// The cluster's id.
        cluster: ClusterId,
    },
}

/// The place of a node in a cluster that it has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The server belongs to no cluster.
    None,
    /// The node is a founding member: it makes the cluster id and the membership durable.
    Member {
        /// The cluster's id.
        cluster: ClusterId,
        /// The founding membership.
        membership: Membership,
    },
    /// The cluster was formed without the node, or its membership has changed since.
    Stranger {
        /// The cluster's id.
        cluster: ClusterId,
    },
}

impl Founding {
    /// Returns the answer of a node that belongs to a cluster.
    #[must_use]
    pub fn of(cluster: ClusterId, node: &Node) -> Self {
        if node.membership_index() == LogId::GENESIS.index {
            Self::Members { cluster, membership: node.membership().clone() }
        } else {
            Self::Changed { cluster }
        }
    }

    /// Returns the place of a node in the cluster that this answer is about.
    ///
    /// A founding member is recognised by its node id *and* its data folder. A node that lost its folder has forgotten
    /// its votes and acknowledgements: if it were taken for the member that it was, it could vote a second time in a
    /// term.
    #[must_use]
    pub fn place(self, node: NodeId, store: StoreId) -> Place {
        match self {
            Self::None => Place::None,
            Self::Members { cluster, membership } if membership.store(node) == Some(store) => {
                Place::Member { cluster, membership }
            }
            Self::Members { cluster, .. } | Self::Changed { cluster } => Place::Stranger { cluster },
        }
    }
}

#[cfg(test)]
mod tests {
    use raftkit_core::{Base, Config, HardState, Incarnation, Restored, Time};

    use super::*;

    const CLUSTER: ClusterId = ClusterId(7);

    fn member(id: u64) -> Member {
        Member::new(StoreId(u128::from(id) * 100), format!("host{id}:1"))
    }

    fn members() -> Membership {
        Membership::founding((1..=3).map(|id| (NodeId(id), member(id))).collect())
    }

    fn unformed(id: u64) -> Option<Seen> {
        Some(Seen { node: NodeId(id), member: member(id), cluster: None })
    }

    fn looking(id: u64, at: &[(&str, u64)]) -> Forming {
        let mut forming = Forming::new(NodeId(id), member(id), 3);
        for (address, id) in at {
            assert_eq!(forming.saw(address, unformed(*id)), Sight::Noted);
        }
        forming
    }

    #[test]
    fn the_lowest_id_founds_once_all_servers_are_found() {
        let ids = |ids: &[u64]| Outlook::Wait(ids.iter().copied().map(NodeId).collect());
        assert_eq!(looking(1, &[("b", 2)]).decide(), ids(&[1, 2]), "one is missing");
        assert_eq!(looking(2, &[("a", 1), ("c", 3)]).decide(), ids(&[1, 2, 3]), "node 1 will found it");
        assert_eq!(looking(1, &[("b", 2), ("c", 3)]).decide(), Outlook::Found(members()));
        assert_eq!(looking(1, &[("a", 1), ("b", 2), ("c", 3)]).decide(), Outlook::Found(members()));
    }

    #[test]
    fn a_server_that_is_silent_or_has_a_cluster_is_not_counted_any_more() {
        let mut forming = looking(1, &[("b", 2), ("c", 3)]);
        assert_eq!(forming.saw("c", None), Sight::Noted);
        assert_eq!(forming.decide(), Outlook::Wait(vec![NodeId(1), NodeId(2)]));
        let formed = Seen { node: NodeId(2), member: member(2), cluster: Some(CLUSTER) };
        assert_eq!(forming.saw("b", Some(formed)), Sight::Ask);
        assert_eq!(forming.decide(), Outlook::Wait(vec![NodeId(1)]));
    }

    #[test]
    fn nothing_is_founded_while_two_servers_claim_one_id() {
        let mut forming = looking(1, &[("b", 2), ("c", 3)]);
        let twin = Seen { node: NodeId(2), member: member(9), cluster: None };
        assert_eq!(forming.saw("d", Some(twin)), Sight::Noted);
        assert_eq!(forming.decide(), Outlook::SameId { address: "d".to_owned(), node: NodeId(2) });
    }

    #[test]
    fn a_node_takes_its_place_by_its_data_folder_and_not_by_its_id_alone() {
        let founded = || Founding::Members { cluster: CLUSTER, membership: members() };
        let member = Place::Member { cluster: CLUSTER, membership: members() };
        assert_eq!(founded().place(NodeId(2), StoreId(200)), member);
        let stranger = Place::Stranger { cluster: CLUSTER };
        assert_eq!(founded().place(NodeId(2), StoreId(201)), stranger, "it was wiped");
        assert_eq!(founded().place(NodeId(4), StoreId(200)), stranger, "a folder of another node");
        assert_eq!(founded().place(NodeId(4), StoreId(400)), stranger);
    }

    #[test]
    fn a_node_tells_its_founding_membership_as_long_as_that_is_in_force() {
        let node = |base: Base| {
            let config = Config::new(NodeId(1), StoreId(100), Incarnation(1), 0);
            let hard_state = HardState { term: base.id.term, commit: base.id.index, ..HardState::default() };
            let at = base.id.index;
            let restored = Restored { last: at, applied: at, base, hard_state, ..Restored::default() };
            Node::restore(config, restored, Time(0)).expect("it can be restored")
        };
        let founded = Founding::Members { cluster: CLUSTER, membership: members() };
        assert_eq!(Founding::of(CLUSTER, &node(Base::founding(members()))), founded);
        // The same members, by a later entry.
        let mut bytes = members().encode().to_vec();
        [2_u64, 9].iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        let membership = Membership::decode(&bytes).expect("it is well-formed");
        let later = node(Base { id: LogId::new(2, 9), membership });
        assert_eq!(Founding::of(CLUSTER, &later), Founding::Changed { cluster: CLUSTER });
    }

    #[test]
    fn a_cluster_that_has_changed_since_takes_nobody_in_by_its_founding() {
        let changed = Founding::Changed { cluster: CLUSTER }.place(NodeId(2), StoreId(200));
        assert_eq!(changed, Place::Stranger { cluster: CLUSTER });
        assert_eq!(Founding::None.place(NodeId(2), StoreId(200)), Place::None);
    }
}
