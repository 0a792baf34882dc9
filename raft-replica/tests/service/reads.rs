//! Reads: when they are answered, and with which freshness.

use std::time::Duration;

use raftkit_core::{Health, LogId, NodeId};
use raftkit_replica::{
    ClientRequestId, Consistency, Event, Freshness, MachineReport, ReadRefused, Reply, ServiceEvent,
    ServiceOptions,
};

use crate::harness::{Request, STEP, World, command};

const N1: NodeId = NodeId(1);
const VOUCHED: Reply = Reply::ReadNow(Freshness { known_leader: true, last_contact: Some(Duration::ZERO) });

fn read(consistency: Consistency) -> Request {
    Request::Read(consistency)
}

fn seen(world: &mut World, id: NodeId, request: raftkit_replica::ClientRequestId) {
    let at = world.applied(id);
    world.give(id, ServiceEvent::Seen { request, at });
    world.end_round(id);
}

#[test]
fn a_leader_with_a_lease_reads_at_once_and_a_quorum_takes_a_round() {
    let mut world = World::new(3);
    let leader = world.leader();
    world.run(Duration::from_millis(300));
    let lease = world.ask(leader, read(Consistency::Default));
    assert_eq!(world.replies(leader, lease), [VOUCHED]);
    let quorum = world.ask(leader, read(Consistency::Consistent));
    assert_eq!(world.replies(leader, quorum), []);
    assert_eq!(world.reply(leader, quorum, 1), VOUCHED);
    world.assert_nothing_waits(leader);
}

#[test]
fn a_follower_asks_the_leader_and_waits_until_it_has_applied_so_much() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.node(follower).machine_frozen = true;
    let write = world.ask(leader, command("x"));
    world.reply(leader, write, 1);
    let reads = [Consistency::Default, Consistency::Consistent].map(|how| world.ask(follower, read(how)));
    world.run(Duration::from_millis(200));
    for request in reads {
        assert_eq!(world.replies(follower, request), []);
    }
    world.node(follower).machine_frozen = false;
    for request in reads {
        assert_eq!(world.reply(follower, request, 1), VOUCHED);
    }
    world.assert_nothing_waits(follower);
}

#[test]
fn a_read_that_waits_for_an_index_goes_on_when_a_snapshot_brings_it() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.node(follower).machine_frozen = true;
    let write = world.ask(leader, command("x"));
    world.reply(leader, write, 1);
    let request = world.ask(follower, read(Consistency::Consistent));
    world.run(Duration::from_millis(200));
    assert_eq!(world.replies(follower, request), []);
    let (index, node) = (world.applied(leader).next(), world.nodes[&follower].service.replica().node());
    let (id, membership) = (LogId { term: node.term(), index }, node.membership().clone());
    world.give(follower, ServiceEvent::Replica(Event::Machine(MachineReport::Restored { id, membership })));
    world.end_round(follower);
    assert_eq!(world.replies(follower, request), [VOUCHED]);
}

#[test]
fn what_is_not_applied_in_time_is_not_confirmed() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.node(follower).machine_frozen = true;
    let write = world.ask(leader, command("x"));
    world.reply(leader, write, 1);
    let request = world.ask(follower, read(Consistency::Default));
    world.run(Duration::from_secs(3) - STEP);
    assert_eq!(world.replies(follower, request), []);
    world.run(STEP);
    assert_eq!(world.replies(follower, request), [Reply::ReadRefused(ReadRefused::NotConfirmed)]);
    world.assert_nothing_waits(follower);
}

#[test]
fn a_read_is_held_until_a_leader_comes_and_fails_without_one() {
    let mut world = World::new(3);
    let request = world.ask(N1, read(Consistency::Default));
    assert_eq!(world.replies(N1, request), []);
    assert_eq!(world.reply(N1, request, 1), VOUCHED);
    world.cut.insert(N1);
    world.run(Duration::from_secs(2));
    let request = world.ask(N1, read(Consistency::Consistent));
    world.run(Duration::from_secs(3));
    assert_eq!(world.replies(N1, request), [Reply::ReadRefused(ReadRefused::NoLeader)]);
    world.assert_nothing_waits(N1);
}

#[test]
fn a_read_goes_on_with_the_next_leader() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.cut.insert(leader);
    let request = world.ask(follower, read(Consistency::Consistent));
    assert_eq!(world.reply(follower, request, 1), VOUCHED);
    assert_ne!(world.leader(), leader);
    world.assert_nothing_waits(follower);
}

#[test]
fn a_stale_read_needs_no_leader_and_says_so() {
    let mut world = World::new(3);
    let request = world.ask(N1, read(Consistency::Stale));
    assert_eq!(
        world.replies(N1, request),
        [Reply::ReadNow(Freshness { known_leader: false, last_contact: None })]
    );
    seen(&mut world, N1, request);
    let shown = Reply::Show(Freshness { known_leader: false, last_contact: None });
    assert_eq!(world.replies(N1, request)[1..], [shown]);

    let follower = world.follower();
    world.cut.extend([N1, NodeId(2), NodeId(3)]);
    let heard = world.nodes[&follower].service.replica().node().leader_heard().unwrap();
    world.run(Duration::from_millis(100));
    let request = world.ask(follower, read(Consistency::Stale));
    let last_contact = Some(world.now.since(heard));
    assert_eq!(
        world.replies(follower, request),
        [Reply::ReadNow(Freshness { known_leader: true, last_contact })]
    );
}

#[test]
fn a_stale_read_is_shown_once_its_commit_is_durable() {
    let mut world = World::new(1);
    world.leader();
    let write = world.ask(N1, command("x"));
    world.reply(N1, write, 1);
    world.node(N1).log_frozen = true;
    let (durable, applied) = (world.nodes[&N1].service.replica().node().durable_commit(), world.applied(N1));
    assert!(durable < applied, "the commit index is written with the next entry, or when it is asked for");
    let request = world.ask(N1, read(Consistency::Stale));
    let other = world.ask(N1, read(Consistency::Stale));
    for request in [request, other] {
        assert_eq!(world.replies(N1, request).len(), 1);
        seen(&mut world, N1, request);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.replies(N1, request).len(), 1, "a power cut could take back what it shows");
    world.node(N1).log_frozen = false;
    let shown = Reply::Show(Freshness { known_leader: true, last_contact: Some(Duration::ZERO) });
    assert_eq!(world.reply(N1, request, 2), shown);
    assert_eq!(world.reply(N1, other, 2), shown);
    world.assert_nothing_waits(N1);
}

#[test]
fn a_stale_read_that_looks_before_it_asks_shows_neither_more_nor_less() {
    let mut world = World::new(1);
    world.leader();
    let write = world.ask(N1, command("x"));
    world.reply(N1, write, 1);
    world.node(N1).log_frozen = true;
    let service = &world.nodes[&N1].service;
    let durable = service.replica().node().durable_commit();
    let shown = Freshness { known_leader: true, last_contact: Some(Duration::ZERO) };
    assert_eq!(service.show_now(world.now, durable), Some(shown));
    assert_eq!(service.show_now(world.now, durable.next()), None, "a power cut could take it back");
    let before = LogId::GENESIS.index.previous().unwrap();
    assert_eq!(service.show_now(world.now, before), None, "the node has shown more than this");

    let damaged = World::with(1, ServiceOptions::default(), &[N1]);
    assert_eq!(damaged.nodes[&N1].service.show_now(damaged.now, LogId::GENESIS.index), None);
}

#[test]
fn a_stale_read_whose_commit_does_not_become_durable_fails_at_its_deadline() {
    let mut world = World::new(1);
    world.leader();
    let write = world.ask(N1, command("x"));
    world.reply(N1, write, 1);
    world.node(N1).log_frozen = true;
    let [slow, quick] = [(), ()].map(|()| world.ask(N1, read(Consistency::Stale)));
    seen(&mut world, N1, quick);
    world.run(Duration::from_secs(3));
    assert_eq!(world.replies(N1, quick)[1..], [Reply::ReadRefused(ReadRefused::NotConfirmed)]);
    assert_eq!(world.replies(N1, slow).len(), 1, "its client is not done");
    seen(&mut world, N1, slow);
    assert_eq!(world.replies(N1, slow)[1..], [Reply::ReadRefused(ReadRefused::NotConfirmed)]);
}

#[test]
fn a_damaged_node_answers_no_stale_read_until_it_has_healed() {
    let damaged = NodeId(3);
    let mut world = World::with(3, ServiceOptions::default(), &[damaged]);
    world.cut.insert(damaged);
    let request = world.ask(damaged, read(Consistency::Stale));
    world.run(Duration::from_secs(3) - STEP);
    assert_eq!(world.replies(damaged, request), []);
    world.run(STEP);
    assert_eq!(world.replies(damaged, request), [Reply::ReadRefused(ReadRefused::NotConfirmed)]);

    let request = world.ask(damaged, read(Consistency::Stale));
    world.cut.clear();
    world.until("it has healed", |world| {
        world.nodes[&damaged].service.replica().node().health() == Health::Sound
    });
    assert!(matches!(world.reply(damaged, request, 1), Reply::ReadNow(_)));
    assert!(world.applied(damaged) > LogId::GENESIS.index, "it shows what the others have committed");
    seen(&mut world, damaged, request);
    assert!(matches!(world.reply(damaged, request, 2), Reply::Show(_)));
    world.assert_nothing_waits(damaged);
}

#[test]
fn a_client_that_does_not_wait_for_a_read_any_more_leaves_nothing_behind() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.node(follower).machine_frozen = true;
    let write = world.ask(leader, command("x"));
    world.reply(leader, write, 1);
    let asked = world.ask(follower, read(Consistency::Consistent));
    world.give(follower, ServiceEvent::Forget(asked));
    let applying = world.ask(follower, read(Consistency::Consistent));
    world.run(Duration::from_millis(100));
    world.give(follower, ServiceEvent::Forget(applying));
    let looking = world.ask(follower, read(Consistency::Stale));
    world.give(follower, ServiceEvent::Forget(looking));
    seen(&mut world, follower, looking);
    assert_eq!(world.replies(follower, looking).len(), 1, "nothing is said to who does not wait");
    world.node(leader).log_frozen = true;
    let showing = world.ask(leader, read(Consistency::Stale));
    seen(&mut world, leader, showing);
    world.give(leader, ServiceEvent::Forget(showing));
    world.node(leader).log_frozen = false;
    world.node(follower).machine_frozen = false;
    world.assert_nothing_waits(follower);
    world.assert_nothing_waits(leader);
}

/// The process stands still while it takes an event from its queue. Only the time that its clock shows after that
/// counts.
#[test]
fn a_leader_that_stood_still_while_it_took_a_read_in_does_not_answer_by_the_lease_that_it_had() {
    for stood_ms in [0, 300, 2000] {
        let mut world = World::new(3);
        let leader = world.leader();
        world.run(Duration::from_millis(300));
        let now = std::cell::Cell::new(world.now);
        let request = ClientRequestId(77);
        let event = read(Consistency::Default).named(request);
        let events = std::iter::once(event).inspect(|_| {
            now.set(now.get().after(Duration::from_millis(stood_ms)));
        });
        let mut out = Vec::new();
        world.node(leader).service.round(events, || now.get(), &mut out);
        let answered = out.iter().any(|action| {
            matches!(action, raftkit_replica::ServiceAction::Reply { request: ClientRequestId(77), reply } if *reply == VOUCHED)
        });
        // A follower's answer carries a promise of 500 ms; 50 ms of that are left for the clock error.
        assert_eq!(answered, stood_ms < 400, "it stood still for {stood_ms} ms");
    }
}

/// A round moves the deadline: a driver that waits by the one before would sleep through work that is due.
#[test]
fn the_time_to_wait_is_asked_for_before_each_wait() {
    let mut world = World::new(3);
    let leader = world.leader();
    world.run(Duration::from_millis(300));
    let now = world.now;
    let idle = world.node(leader).service.idle_for(now);
    assert!(idle <= Duration::from_millis(100), "a heartbeat is due");
    // No peer answers any more: each wait ends with work that is due, until the node leads no more.
    let (mut at, mut rounds) = (now, 0);
    while world.node(leader).service.replica().node().is_leader() {
        at = at.after(world.node(leader).service.idle_for(at));
        let mut out = Vec::new();
        world.node(leader).service.round(std::iter::empty(), || at, &mut out);
        rounds += 1;
        assert!(rounds < 100, "it does not move");
    }
    assert!(rounds >= 5, "{rounds} rounds");
    assert!(at <= now.after(Duration::from_millis(1000)), "at {at:?}");
}
