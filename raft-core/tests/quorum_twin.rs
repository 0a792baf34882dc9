//! Quorum arithmetic against a model that is too simple to be wrong: it tries every subset of the voters.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]

#[path = "common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use raftkit_core::quorum::{Tally, agreed, holds, tally};
use raftkit_core::{Membership, NodeId, Vote};

fn membership(voters: &BTreeSet<u64>, outgoing: &BTreeSet<u64>) -> Membership {
    let ids = |set: &BTreeSet<u64>| set.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    // Everyone is a member; some are learners, who must not count.
    Membership::joint(members::members(1..=9), ids(voters), ids(outgoing)).unwrap()
}

/// All subsets of `set` that hold more than half of it.
fn majorities(set: &BTreeSet<u64>) -> Vec<BTreeSet<u64>> {
    let items: Vec<u64> = set.iter().copied().collect();
    (0_u32..1 << items.len())
        .map(|bits| {
            items.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, id)| *id).collect()
        })
        .filter(|subset: &BTreeSet<u64>| subset.len() * 2 > items.len())
        .collect()
}

/// All sets that are a quorum: a majority of each half.
fn quorums(voters: &BTreeSet<u64>, outgoing: &BTreeSet<u64>) -> Vec<BTreeSet<u64>> {
    let incoming = majorities(voters);
    if outgoing.is_empty() {
        return incoming;
    }
    let outgoing = majorities(outgoing);
    incoming
        .iter()
        .flat_map(|one| outgoing.iter().map(move |two| one.union(two).copied().collect()))
        .collect()
}

fn some_nodes(least: usize) -> impl Strategy<Value = BTreeSet<u64>> {
    proptest::collection::btree_set(1_u64..=9, least..=5)
}

proptest! {
    #[test]
    fn what_is_agreed_is_the_best_that_any_quorum_reaches(
        voters in some_nodes(0),
        outgoing in some_nodes(0),
        values in proptest::collection::vec(0_u64..6, 10),
    ) {
        let value = |id: u64| values[usize::try_from(id).unwrap()];
        let best = quorums(&voters, &outgoing)
            .iter()
            .map(|quorum| quorum.iter().map(|id| value(*id)).min().unwrap_or(0))
            .max()
            .filter(|_| !voters.is_empty());
        prop_assert_eq!(agreed(&membership(&voters, &outgoing), |node| value(node.0)), best);
    }

    #[test]
    fn a_quorum_holds_exactly_when_some_quorum_holds(
        voters in some_nodes(1),
        outgoing in some_nodes(0),
        who in some_nodes(0),
    ) {
        let twin = quorums(&voters, &outgoing).iter().any(|quorum| quorum.is_subset(&who));
        prop_assert_eq!(holds(&membership(&voters, &outgoing), |node| who.contains(&node.0)), twin);
    }

    #[test]
    fn an_election_is_open_exactly_while_both_ends_are_possible(
        voters in some_nodes(1),
        outgoing in some_nodes(0),
        votes in proptest::collection::btree_map(1_u64..=9, any::<bool>(), 0..=9),
    ) {
        let with = |missing: bool| -> BTreeSet<u64> {
            let votes: BTreeMap<_, _> = (1..=9).map(|id| (id, *votes.get(&id).unwrap_or(&missing))).collect();
            votes.into_iter().filter(|(_, granted)| *granted).map(|(id, _)| id).collect()
        };
        let wins = |who: BTreeSet<u64>| quorums(&voters, &outgoing).iter().any(|quorum| quorum.is_subset(&who));
        let twin = match (wins(with(false)), wins(with(true))) {
            (true, _) => Tally::Won,
            (false, true) => Tally::Open,
            (false, false) => Tally::Lost,
        };
        let vote = |granted: &bool| if *granted { Vote::Granted } else { Vote::Refused };
        prop_assert_eq!(tally(&membership(&voters, &outgoing), |node| votes.get(&node.0).map(vote)), twin);
    }

    #[test]
    fn any_two_quorums_share_a_voter(voters in some_nodes(1), outgoing in some_nodes(0)) {
        let all = quorums(&voters, &outgoing);
        let membership = membership(&voters, &outgoing);
        for one in &all {
            let others: BTreeSet<u64> = (1..=9).filter(|id| !one.contains(id)).collect();
            prop_assert!(!holds(&membership, |node| others.contains(&node.0)));
        }
    }
}
