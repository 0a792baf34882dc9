//! Members that have moved: the leader brings the membership up to date, once, through the log.

use std::time::Duration;

use raftkit_core::{Member, NodeId, StoreId, Suffrage};
use raftkit_replica::{Reply, ServiceEvent, Source};

use crate::harness::{Request, World};

fn greeted(node: NodeId, source: Source) -> ServiceEvent {
    let store = StoreId(u128::from(node.0) + 100);
    ServiceEvent::Greeted { node, store, address: format!("moved-{node}"), source }
}

fn address_at(world: &World, at: NodeId, of: NodeId) -> String {
    world.nodes[&at].service.replica().node().membership().members()[&of].address.clone()
}

fn all_show(world: &World, moved: NodeId) -> bool {
    world.nodes.keys().all(|at| address_at(world, *at, moved) == format!("moved-{moved}"))
}

#[test]
fn the_leader_has_the_membership_show_where_a_member_has_moved() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.give(leader, greeted(follower, Source::Reached));
    world.until("all show it", |world| all_show(world, follower));
    assert_eq!(address_at(&world, follower, leader), format!("node-{leader}"), "the others have not moved");
    let entry = world.nodes[&leader].service.replica().node().membership().id();
    world.give(leader, greeted(follower, Source::Reached));
    world.run(Duration::from_secs(5));
    let later = world.nodes[&leader].service.replica().node().membership().id();
    assert_eq!(later, entry, "it is changed once");
    // The leader corrects its own address too: in a cluster of one nobody else could.
    world.give(leader, greeted(leader, Source::Reached));
    world.until("all show it", |world| all_show(world, leader));
}

#[test]
fn a_follower_leaves_the_membership_alone_until_it_leads() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    for node in [follower, leader] {
        world.give(follower, greeted(node, Source::Reached));
    }
    world.run(Duration::from_secs(5));
    assert_eq!(address_at(&world, follower, follower), format!("node-{follower}"));
    let request = world.ask(follower, Request::Transfer(Some(follower)));
    assert_eq!(world.reply(follower, request, 1), Reply::Transferred(Ok(follower)));
    world.until("all show both", |world| all_show(world, follower) && all_show(world, leader));
}

#[test]
fn an_address_that_was_only_named_is_dialled_and_not_told_to_others() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.give(leader, greeted(follower, Source::Named));
    world.run(Duration::from_secs(5));
    assert_eq!(address_at(&world, leader, follower), format!("node-{follower}"));
    let service = &world.nodes[&leader].service;
    let member = &service.replica().node().membership().members()[&follower];
    assert_eq!(service.address_of(follower, member), format!("moved-{follower}"));
}

#[test]
fn a_move_that_meets_another_change_is_told_after_it() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    let seen = world.nodes[&leader].service.replica().node().membership().clone();
    let preferred = Member { priority: 200, ..seen.members()[&leader].clone() };
    let target = seen.clone().with(leader, preferred, Suffrage::Voter);
    let request = world.ask(leader, Request::Change { seen: seen.id(), target });
    world.give(leader, greeted(follower, Source::Reached));
    world.end_round(leader);
    assert!(matches!(world.reply(leader, request, 1), Reply::Changed(Ok(_))), "the change goes its way");
    world.until("all show it", |world| all_show(world, follower));
    let membership = world.nodes[&leader].service.replica().node().membership();
    assert_eq!(membership.priority(leader), 200, "the change before it stays");
}
