//! A service that stops, on request or because its replica has ended: every request is answered, once.

use std::time::Duration;

use bytes::Bytes;
use raftkit_core::NodeId;
use raftkit_replica::{
    CallerId, Consistency, Event, LogReport, ProposeError, ReadRefused, Reply, ServiceAction, ServiceEvent,
    TransferError,
};

use crate::harness::{Fate, Request, STEP, World, command};

const N1: NodeId = NodeId(1);
const UNKNOWN: Reply = Reply::Proposed(Err(ProposeError::Unknown(Duration::from_secs(1))));
const STOPPING: Reply = Reply::Proposed(Err(ProposeError::Stopping));
const READ_STOPPING: Reply = Reply::ReadRefused(ReadRefused::Stopping);

#[test]
fn a_leader_that_stops_hands_over_and_answers_what_it_took() {
    let mut world = World::new(3);
    let leader = world.leader();
    let taken = world.ask(leader, command("x"));
    world.give(leader, ServiceEvent::Stop);
    world.end_round(leader);
    // Requests that come during the transfer go to the next leader.
    let during = world.ask(leader, command("y"));
    world.until("it stops", |world| world.nodes[&leader].stopped);
    for request in [taken, during] {
        assert!(matches!(world.replies(leader, request), [Reply::Proposed(Ok(_))]));
    }
    let after = world.ask(leader, command("z"));
    assert_eq!(world.replies(leader, after), [STOPPING]);
    assert_ne!(world.leader(), leader);
}

#[test]
fn a_follower_that_stops_waits_for_what_it_has_forwarded() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    let others: Vec<NodeId> = world.nodes.keys().copied().filter(|id| *id != leader).collect();
    others.iter().for_each(|id| world.node(*id).log_frozen = true);
    let forwarded = world.ask(follower, command("x"));
    world.give(follower, ServiceEvent::Stop);
    world.run(Duration::from_millis(300));
    assert!(!world.nodes[&follower].stopped);
    let late = world.ask(follower, Request::Read(Consistency::Stale));
    assert_eq!(world.replies(follower, late), [READ_STOPPING]);
    others.iter().for_each(|id| world.node(*id).log_frozen = false);
    assert!(matches!(world.reply(follower, forwarded, 1), Reply::Proposed(Ok(_))));
    world.run(STEP);
    assert!(world.nodes[&follower].stopped, "it does not wait longer than it must");
}

#[test]
fn a_leader_that_stops_answers_what_was_forwarded_to_it() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.node(leader).machine_frozen = true;
    let forwarded = world.ask(follower, command("x"));
    world.run(STEP * 2);
    world.give(leader, ServiceEvent::Stop);
    // This is less than a follower waits for an answer once another node leads.
    world.run(STEP * 4);
    assert!(!world.nodes[&leader].stopped, "a peer waits for its answer");
    world.node(leader).machine_frozen = false;
    world.until("it stops", |world| world.nodes[&leader].stopped);
    assert!(matches!(world.reply(follower, forwarded, 1), Reply::Proposed(Ok(_))));
}

#[test]
fn what_is_not_answered_when_the_time_is_up_is_told_whether_it_may_have_been_done() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.fates.insert(leader, Fate::Vanishes);
    let forwarded = world.ask(follower, command("x"));
    let transfer = world.ask(follower, Request::Transfer(None));
    let looking = world.ask(follower, Request::Read(Consistency::Stale));
    world.run(STEP);
    world.fates.insert(leader, Fate::NotSent);
    let nowhere = world.ask(follower, command("y"));
    world.give(follower, ServiceEvent::Stop);
    world.run(Duration::from_secs(1) - STEP);
    assert!(!world.nodes[&follower].stopped);
    world.run(STEP);
    assert!(world.nodes[&follower].stopped);
    assert_eq!(world.replies(follower, forwarded), [UNKNOWN]);
    assert_eq!(world.replies(follower, transfer), [Reply::Transferred(Err(TransferError::Failed))]);
    assert_eq!(world.nodes[&follower].hung_up.len(), 2);
    assert_eq!(world.replies(follower, nowhere), [STOPPING]);
    assert_eq!(world.replies(follower, looking)[1..], [READ_STOPPING]);
}

#[test]
fn a_peer_that_asks_a_stopping_node_is_told_that_nothing_was_done() {
    let mut world = World::new(1);
    world.leader();
    world.give(N1, ServiceEvent::Stop);
    let mut out = Vec::new();
    let (now, body) = (world.now, Bytes::from_static(b"\x01x"));
    world.node(N1).service.handle(now, ServiceEvent::Asked { caller: CallerId(7), body }, &mut out);
    assert!(matches!(&out[..], [ServiceAction::Respond { body, .. }] if body[..] == [6]));
}

#[test]
fn when_the_replica_ends_everybody_is_answered_at_once() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.node(leader).log_frozen = true;
    let here = world.ask(leader, command("x"));
    let read = world.ask(leader, Request::Read(Consistency::Consistent));
    world.give(leader, ServiceEvent::Replica(Event::Log(LogReport::Failed("the disk is gone".into()))));
    assert_eq!(world.replies(leader, here), [UNKNOWN]);
    assert_eq!(world.replies(leader, read), [READ_STOPPING]);
    let after = world.ask(leader, command("y"));
    assert_eq!(world.replies(leader, after), [STOPPING]);

    world.fates.insert(leader, Fate::Vanishes);
    let there = world.ask(follower, command("x"));
    world.give(follower, ServiceEvent::Replica(Event::Log(LogReport::Failed("the disk is gone".into()))));
    assert_eq!(world.replies(follower, there), [UNKNOWN]);
    assert_eq!(world.nodes[&follower].hung_up.len(), 1);
    for id in [leader, follower] {
        assert!(!world.nodes[&id].stopped);
        world.give(id, ServiceEvent::Stop);
        world.end_round(id);
        assert!(world.nodes[&id].stopped);
    }
}
