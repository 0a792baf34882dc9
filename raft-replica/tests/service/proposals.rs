//! Commands, transfers and changes of membership: held, forwarded, tried again, given up.

use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, NodeId};
use raftkit_replica::{
    CallerId, ChangeError, ClientRequestId, ProposeError, Reply, ServiceEvent, ServiceOptions, TransferError,
};

use crate::harness::{Fate, Request, STEP, World, command};

const N1: NodeId = NodeId(1);
const UNKNOWN: Reply = Reply::Proposed(Err(ProposeError::Unknown(Duration::from_secs(1))));

fn is_committed(reply: &Reply, command: &'static str) -> bool {
    matches!(reply, Reply::Proposed(Ok(committed)) if committed.response == command)
}

#[test]
fn a_command_is_held_until_a_leader_comes() {
    let mut world = World::new(3);
    let request = world.ask(N1, command("x"));
    assert_eq!(world.replies(N1, request), []);
    assert!(is_committed(&world.reply(N1, request, 1), "x"));
    world.assert_nothing_waits(N1);
}

#[test]
fn without_a_leader_it_fails_at_the_deadline_and_not_before() {
    let mut world = World::new(3);
    world.cut.extend([N1, NodeId(2), NodeId(3)]);
    let requests = [command("x"), Request::Transfer(None)].map(|what| world.ask(N1, what));
    world.run(Duration::from_secs(3) - STEP);
    for request in requests {
        assert_eq!(world.replies(N1, request), []);
    }
    world.run(STEP);
    let no_leader =
        [Reply::Proposed(Err(ProposeError::NoLeader)), Reply::Transferred(Err(TransferError::NoLeader))];
    for (request, reply) in requests.into_iter().zip(no_leader) {
        assert_eq!(world.replies(N1, request), [reply]);
    }
    world.assert_nothing_waits(N1);
}

#[test]
fn commands_that_follow_each_other_are_one_write() {
    let mut world = World::new(1);
    world.leader();
    for (request, text) in [(101, "x"), (102, "y"), (103, "z")] {
        world.give(N1, command(text).named(ClientRequestId(request)));
    }
    let before = world.nodes[&N1].writes.len();
    world.end_round(N1);
    assert_eq!(world.nodes[&N1].writes[before..].iter().map(Vec::len).collect::<Vec<_>>(), [3]);
    assert!(is_committed(&world.reply(N1, ClientRequestId(101), 1), "x"));
    assert!(is_committed(&world.reply(N1, ClientRequestId(103), 1), "z"));
}

#[test]
fn a_follower_forwards_to_the_leader() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    let request = world.ask(follower, command("x"));
    assert!(is_committed(&world.reply(follower, request, 1), "x"));
    world.run(Duration::from_millis(100));
    world.assert_nothing_waits(follower);
    world.assert_nothing_waits(leader);
}

#[test]
fn a_command_that_was_not_sent_goes_to_the_next_leader() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.fates.insert(leader, Fate::NotSent);
    let request = world.ask(follower, command("x"));
    world.run(Duration::from_millis(200));
    assert_eq!(world.replies(follower, request), [], "the leader it knows is tried again");
    world.cut.insert(leader);
    assert!(is_committed(&world.reply(follower, request, 1), "x"));
    assert_ne!(world.leader(), leader);
}

#[test]
fn a_command_that_no_leader_takes_fails_at_the_deadline() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.fates.insert(leader, Fate::NotSent);
    let request = world.ask(follower, command("x"));
    world.run(Duration::from_secs(3) - STEP);
    assert_eq!(world.replies(follower, request), []);
    world.run(STEP * 2);
    assert_eq!(world.replies(follower, request), [Reply::Proposed(Err(ProposeError::NoLeader))]);
    world.assert_nothing_waits(follower);
}

#[test]
fn a_command_whose_answer_is_lost_has_an_unknown_outcome() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.fates.insert(leader, Fate::Lost);
    let request = world.ask(follower, command("x"));
    world.run(STEP * 2);
    assert_eq!(world.replies(follower, request), [UNKNOWN]);
    world.assert_nothing_waits(follower);
}

#[test]
fn a_call_without_an_answer_is_given_up_after_the_commit_time_out_and_the_way_back() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.fates.insert(leader, Fate::Vanishes);
    let request = world.ask(follower, command("x"));
    world.run(Duration::from_millis(1100) - STEP);
    assert_eq!(world.replies(follower, request), []);
    world.run(STEP);
    assert_eq!(world.replies(follower, request), [UNKNOWN]);
    assert_eq!(world.nodes[&follower].hung_up.len(), 1);
    world.assert_nothing_waits(follower);
}

#[test]
fn a_call_to_a_leader_that_is_replaced_is_given_up_when_its_answer_could_be_back() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.cut.insert(leader);
    world.run(Duration::from_millis(300));
    world.fates.insert(leader, Fate::Vanishes);
    let request = world.ask(follower, command("x"));
    let asked = world.now;
    world.leader();
    let replaced = world.now;
    assert_eq!(world.replies(follower, request), []);
    world.reply(follower, request, 1);
    assert_eq!(world.replies(follower, request), [UNKNOWN]);
    assert!(world.now.since(asked) < Duration::from_millis(1100), "it waited for a leader that is gone");
    assert!(world.now.since(replaced) <= Duration::from_millis(100));
    world.assert_nothing_waits(follower);
}

#[test]
fn after_the_commit_time_out_the_outcome_is_unknown_and_a_late_answer_is_dropped() {
    let mut world = World::new(1);
    world.leader();
    world.node(N1).log_frozen = true;
    let request = world.ask(N1, command("x"));
    world.run(Duration::from_secs(1) - STEP);
    assert_eq!(world.replies(N1, request), []);
    world.run(STEP);
    assert_eq!(world.replies(N1, request), [UNKNOWN]);
    world.node(N1).log_frozen = false;
    let before = world.applied(N1);
    world.until("it is applied all the same", |world| world.applied(N1) > before);
    world.run(Duration::from_millis(50));
    assert_eq!(world.replies(N1, request).len(), 1);
    world.assert_nothing_waits(N1);
}

#[test]
fn the_leader_answers_a_peer_within_the_commit_time_out_also_when_it_does_not_know() {
    let mut world = World::new(1);
    world.leader();
    world.node(N1).log_frozen = true;
    let (caller, body) = (CallerId(7), Bytes::from_static(b"\x01x"));
    let mut out = Vec::new();
    let now = world.now;
    world.node(N1).service.handle(now, ServiceEvent::Asked { caller, body }, &mut out);
    world.node(N1).service.end_round(now.after(Duration::from_secs(1)), &mut out);
    let answered = out.iter().any(|action| {
        matches!(action, raftkit_replica::ServiceAction::Respond { caller: CallerId(7), body } if body[..] == [5])
    });
    assert!(answered);
    assert_eq!(world.nodes[&N1].service.waiting(), 0, "nothing is kept for a peer that may be gone");
}

#[test]
fn a_command_that_is_too_large_is_refused() {
    let options = ServiceOptions { command_bytes_max: 2, ..ServiceOptions::default() };
    let mut world = World::with(1, options, &[]);
    let request = world.ask(N1, command("xyz"));
    let error = ProposeError::TooLarge { got: 3, limit: 2 };
    assert_eq!(world.replies(N1, request), [Reply::Proposed(Err(error))]);
}

#[test]
fn more_requests_than_may_wait_are_refused() {
    let options = ServiceOptions { waiters_max: 2, ..ServiceOptions::default() };
    let mut world = World::with(3, options, &[]);
    let held = [command("x"), command("y")].map(|what| world.ask(N1, what));
    let refused = world.ask(N1, command("z"));
    assert_eq!(world.replies(N1, refused), [Reply::Proposed(Err(ProposeError::Overloaded))]);
    let mut out = Vec::new();
    let (now, body) = (world.now, Bytes::from_static(b"\x01x"));
    world.node(N1).service.handle(now, ServiceEvent::Asked { caller: CallerId(7), body }, &mut out);
    assert!(matches!(&out[..], [raftkit_replica::ServiceAction::Respond { body, .. }] if body[..] == [3]));
    for request in held {
        world.reply(N1, request, 1);
    }
    let request = world.ask(N1, command("z"));
    assert!(is_committed(&world.reply(N1, request, 1), "z"));
}

#[test]
fn a_body_that_is_not_known_gets_an_empty_answer() {
    let mut world = World::new(1);
    let mut out = Vec::new();
    let (now, body) = (world.now, Bytes::from_static(b"\x02"));
    world.node(N1).service.handle(now, ServiceEvent::Asked { caller: CallerId(7), body }, &mut out);
    assert!(matches!(&out[..], [raftkit_replica::ServiceAction::Respond { body, .. }] if body.is_empty()));
}

#[test]
fn leadership_is_handed_over_from_any_node() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    let request = world.ask(follower, Request::Transfer(Some(follower)));
    assert_eq!(world.reply(follower, request, 1), Reply::Transferred(Ok(follower)));
    let request = world.ask(follower, Request::Transfer(Some(leader)));
    assert_eq!(world.reply(follower, request, 1), Reply::Transferred(Ok(leader)));
}

#[test]
fn a_change_of_membership_is_done_on_the_leader_alone() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    let seen = world.nodes[&leader].service.replica().node().membership().clone();
    let change = |seen: LogId, target| Request::Change { seen, target };
    let target = seen.clone().without(follower);
    let request = world.ask(follower, change(seen.id(), target.clone()));
    let elsewhere = Reply::Changed(Err(ChangeError::NotLeader(Some(leader))));
    assert_eq!(world.replies(follower, request), [elsewhere]);
    let request = world.ask(leader, change(seen.id(), target.clone()));
    let Reply::Changed(Ok(id)) = world.reply(leader, request, 1) else { panic!("two voters can change it") };
    let request = world.ask(leader, change(seen.id(), target));
    assert_eq!(world.reply(leader, request, 1), Reply::Changed(Err(ChangeError::Conflict(id))));
}

#[test]
fn a_client_that_does_not_wait_any_more_leaves_nothing_behind() {
    let mut world = World::new(3);
    let held = world.ask(N1, command("x"));
    world.give(N1, ServiceEvent::Forget(held));
    let (leader, follower) = (world.leader(), world.follower());
    let here = world.ask(leader, command("y"));
    world.give(leader, ServiceEvent::Forget(here));
    world.fates.insert(leader, Fate::Vanishes);
    let there = world.ask(follower, command("z"));
    world.give(follower, ServiceEvent::Forget(there));
    assert_eq!(world.nodes[&follower].hung_up.len(), 1);
    world.fates.insert(leader, Fate::NotSent);
    let paused = world.ask(follower, command("z"));
    world.run(STEP * 2);
    world.give(follower, ServiceEvent::Forget(paused));
    world.give(follower, ServiceEvent::Forget(paused));
    for (id, request) in [(N1, held), (leader, here), (follower, there), (follower, paused)] {
        assert_eq!(world.replies(id, request), []);
    }
    for id in [follower, leader] {
        world.assert_nothing_waits(id);
    }
}

#[test]
fn a_forwarded_command_that_is_larger_than_the_leader_takes_is_refused_and_says_so() {
    let small = ServiceOptions { command_bytes_max: 10, ..ServiceOptions::default() };
    // The node that leads accepts less than the others.
    for leading in [N1, NodeId(2), NodeId(3)] {
        let options = |id| if id == leading { small } else { ServiceOptions::default() };
        let mut world = World::with_each(3, options, &[]);
        if world.leader() != leading {
            continue;
        }
        let follower = world.follower();
        let request = world.ask(follower, command("eleven byte"));
        let too_large = ProposeError::TooLarge { got: 11, limit: 10 };
        assert_eq!(world.reply(follower, request, 1), Reply::Proposed(Err(too_large)));
        let request = world.ask(follower, command("ten bytes."));
        assert!(is_committed(&world.reply(follower, request, 1), "ten bytes."));
        return;
    }
    panic!("one of three leads");
}

#[test]
fn a_follower_forwards_no_more_than_the_leader_answers_in_time() {
    const OVERLOADED: Reply = Reply::Proposed(Err(ProposeError::Overloaded));
    let mut world = World::new(3);
    let (leader, follower) = (world.leader(), world.follower());
    world.fates.insert(leader, Fate::Vanishes);
    let large = || Request::Propose(vec![0; 1 << 20].into());
    let mut refused = Vec::new();
    for _ in 0..8 {
        let request = world.ask(follower, large());
        refused.push(world.replies(follower, request) == [OVERLOADED]);
    }
    assert_eq!(refused, [false, false, false, true, true, true, true, true], "no pace is known");
    // Those requests are given up, and may still be under way for a while.
    world.run(Duration::from_secs(2));
    world.fates.remove(&leader);
    for _ in 0..2 {
        let request = world.ask(follower, large());
        refused.push(world.replies(follower, request) == [OVERLOADED]);
        world.run(Duration::from_secs(3));
    }
    assert_eq!(refused[8..], [true, false]);
    // Answers show the pace.
    for _ in 0..20 {
        let requests: Vec<ClientRequestId> = (0..3).map(|_| world.ask(follower, large())).collect();
        for request in requests {
            assert!(matches!(world.reply(follower, request, 1), Reply::Proposed(Ok(_))));
        }
    }
    // The pace is 3 MiB in about 20 ms, so more is answered in time.
    let requests: Vec<ClientRequestId> = (0..20).map(|_| world.ask(follower, large())).collect();
    let refused =
        requests.iter().filter(|request| world.replies(follower, **request) == [OVERLOADED]).count();
    assert_eq!(refused, 0);
    world.run(Duration::from_secs(2));
    world.assert_nothing_waits(follower);
}

#[test]
fn a_node_that_stood_still_takes_in_what_waits_before_it_gives_anything_up() {
    let mut world = World::new(1);
    world.leader();
    let request = world.ask(N1, command("x"));
    // The whole process stands still for longer than the command may take; its disk has answered meanwhile.
    world.now = world.now.after(Duration::from_secs(3));
    world.end_round(N1);
    assert_eq!(world.replies(N1, request), []);
    assert!(is_committed(&world.reply(N1, request, 1), "x"));
    // The deadline is put off once. A request that is not answered then is given up.
    world.node(N1).log_frozen = true;
    let request = world.ask(N1, command("y"));
    for _ in 0..3 {
        world.now = world.now.after(Duration::from_secs(3));
        world.end_round(N1);
    }
    assert_eq!(world.replies(N1, request), [UNKNOWN]);
}
