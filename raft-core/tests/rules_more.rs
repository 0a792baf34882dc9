//! More rules with hand-made messages: those that only a mutant showed to be untested (`mutation/raft-core`).

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

#[path = "common/driven.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod driven;
#[path = "common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
#[path = "common/messages.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod messages;

use std::time::Duration;

use bytes::Bytes;
use driven::Driven;
use members::{joint, members, voters};
use messages::{answer, append, entry, matches, request_vote, vote_response};
use raftkit_core::*;

const MS: u64 = 1000;

/// Paper, section 5.1: messages of an earlier term do not count in the current one.
#[test]
fn a_vote_given_in_an_earlier_term_does_not_count() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let old = it.campaign(&[2]);
    it.persist();
    let new = it.campaign(&[2]);
    it.persist();
    assert_eq!(it.node.term(), Term(3));
    it.hear(2, 2, vote_response(Vote::Granted, old));
    assert!(!it.node.is_leader());
    it.hear(2, 3, vote_response(Vote::Granted, old));
    assert!(!it.node.is_leader(), "it answers another request");
    it.hear(2, 3, vote_response(Vote::Granted, new));
    assert!(it.node.is_leader());
}

#[test]
fn the_answer_to_an_earlier_pre_vote_does_not_count() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let mut ask = || {
        it.now = it.now.after(Duration::from_millis(750));
        it.give(Input::Tick);
        let Some(Body::PreVote(ask)) = it.bodies().pop() else { panic!("it asks for pre-votes") };
        ask
    };
    let (old, new) = (ask(), ask());
    for (asked, expected) in [(old, RoleName::PreCandidate), (new, RoleName::Candidate)] {
        let PreVote { campaign_term, request, .. } = asked;
        let answer = PreVoteResponse { vote: Vote::Granted, campaign_term, request };
        it.hear(2, 1, Body::PreVoteResponse(answer));
        assert_eq!(it.node.role(), expected);
    }
}

/// Paper, Figure 2: a follower that grants a vote restarts its election timer, to give the candidate a chance
/// to win.
#[test]
fn granting_a_vote_puts_off_the_own_campaign() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.now = Time(it.node.next_deadline().0 - 1);
    it.hear(2, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes_when_durable(), [Vote::Granted]);
    assert!(it.node.next_deadline() >= it.now.after(Duration::from_millis(500)));
}

/// A learner may have been promoted by an entry that it lacks, and its vote may be needed to elect a node
/// that has it.
#[test]
fn a_learner_that_is_asked_for_its_vote_gives_it() {
    let only = [NodeId(2), NodeId(3)].into_iter().collect();
    let mut it = Driven::founded(Membership::new(members([1, 2, 3]), only).unwrap());
    assert_eq!(it.node.role(), RoleName::Learner);
    it.now = Time(600 * MS);
    it.hear(2, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes_when_durable(), [Vote::Granted]);
}

/// Thesis, section 3.8: a node votes once in a term, across any number of restarts.
#[test]
fn a_vote_is_remembered_over_a_restart() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.now = Time(600 * MS);
    it.hear(2, 2, request_vote(LogId::GENESIS));
    let hard_state = it.effects.writes[0].hard_state.unwrap();
    let restored = Restored { hard_state, ..Restored::founded(voters(&[1, 2, 3])) };
    let config = Config::new(NodeId(1), StoreId(1), Incarnation(6), 1);
    it.node = Node::restore(config, restored, it.now).unwrap();
    it.now = it.now.after(Duration::from_millis(500));
    it.hear(3, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes_when_durable(), [Vote::Refused]);
}

/// Index 3 was acknowledged to the leader of term 2, and has been overwritten since.
#[test]
fn an_acknowledgement_of_an_earlier_term_does_not_count() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    let command = Bytes::from_static(b"lost");
    it.give(Input::Propose(vec![Proposal { ticket: Ticket(1), command }])).persist();
    it.hear(3, 3, append(LogId::GENESIS, vec![entry(3, 2)], 1, 1)).persist();
    let request = it.campaign(&[2]);
    it.persist();
    it.hear(2, 4, vote_response(Vote::Granted, request)).persist();
    assert_eq!((it.node.is_leader(), it.node.status().last), (true, LogId::new(4, 3)));
    it.hear(2, 2, answer(matches(3), 1));
    assert_eq!(it.node.commit(), LogIndex(1));
    it.hear(2, 4, answer(matches(3), 1));
    assert_eq!(it.node.commit(), LogIndex(3));
}

/// A crash between truncation and append would leave a log that no leader ever sent.
#[test]
fn a_tail_is_cut_and_rewritten_in_one_write() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2), entry(2, 3)], 1, 1)).persist();
    it.hear(3, 3, append(LogId::GENESIS, vec![entry(3, 2)], 1, 1));
    let [write] = &it.effects.writes[..] else { panic!("{:?}", it.effects.writes) };
    assert_eq!((write.truncate_from, &write.append[..]), (Some(LogIndex(2)), &[entry(3, 2)][..]));
    assert_eq!(write.hard_state.map(|hard| hard.term), Some(Term(3)));
}

/// A node that forgot the term in a crash could vote in an earlier one, against what it acknowledged.
#[test]
fn nothing_is_acknowledged_in_a_term_that_the_disk_lacks() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1));
    assert_eq!(it.outcomes(), [AppendOutcome::Heard]);
    assert_eq!(it.persist().outcomes(), [matches(1)]);
}

#[test]
fn a_leader_whose_log_is_wholly_compacted_sends_a_snapshot() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    it.give(Input::Applied(LogIndex(2))).give(Input::Compact(LogIndex(2)));
    assert_eq!((it.node.status().base, it.node.status().last), (LogId::new(2, 2), LogId::new(2, 2)));
    let refused = AppendOutcome::Conflict { refused: LogIndex(1), hint: LogId::ZERO };
    it.hear(3, 2, answer(refused, 1));
    let [SnapshotEffect::Send { to, at_least }] = it.effects.snapshots[..] else {
        panic!("no snapshot is sent: {:?}", it.effects)
    };
    assert_eq!((to, at_least), (NodeId(3), LogIndex(2)));
}

/// hashicorp/raft#212: if the log after a snapshot in transfer is compacted, the peer needs another snapshot,
/// and so on.
#[test]
fn the_log_behind_a_snapshot_on_its_way_is_wanted_until_that_ends() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    it.give(Input::Applied(LogIndex(2))).give(Input::Compact(LogIndex(2))).persist();
    it.hear(3, 2, answer(AppendOutcome::Conflict { refused: LogIndex(1), hint: LogId::ZERO }, 1));
    assert_eq!(it.effects.snapshots.len(), 1);
    it.propose(1, "behind it").persist();
    it.hear(2, 2, answer(matches(3), 1)).give(Input::Applied(LogIndex(3)));
    assert_eq!(it.node.compactable(), LogIndex(2), "the snapshot may be of index 2");
    it.give(Input::SnapshotSent { to: NodeId(3), result: SnapshotSent::Failed });
    assert_eq!(it.node.compactable(), LogIndex(3));
}

#[test]
fn a_log_is_cut_no_further_than_the_state_machine_is() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let log: Vec<Entry> = (2..=5).map(|index| entry(2, index)).collect();
    it.hear(2, 2, append(LogId::GENESIS, log, 5, 1)).persist();
    it.give(Input::Applied(LogIndex(3))).give(Input::Compact(LogIndex(5)));
    assert_eq!(it.effects.writes[0].compact_to, Some(LogIndex(3)));
}

#[test]
fn a_snapshot_below_what_is_compacted_changes_nothing() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let log: Vec<Entry> = (2..=5).map(|index| entry(2, index)).collect();
    it.hear(2, 2, append(LogId::GENESIS, log, 5, 1)).persist();
    it.give(Input::Applied(LogIndex(5))).give(Input::Compact(LogIndex(5))).persist();
    it.give(Input::SnapshotInstalled { base: LogId::new(2, 3), membership: voters(&[1]).into() });
    assert!(it.effects.is_empty(), "{:?}", it.effects);
    assert_eq!((it.node.status().base, it.node.commit()), (LogId::new(2, 5), LogIndex(5)));
}

#[test]
fn the_term_of_a_snapshot_does_not_take_the_own_term_back() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 9, append(LogId::GENESIS, vec![], 1, 1)).persist();
    it.give(Input::SnapshotInstalled { base: LogId::new(4, 40), membership: voters(&[1, 2, 3]).into() });
    assert_eq!((it.node.term(), it.node.commit()), (Term(9), LogIndex(40)));
}

/// A damaged node may have lost acknowledged entries, so comparing its log with the candidate's proves
/// nothing.
#[test]
fn a_damaged_node_gives_no_vote() {
    let votes = |health| {
        let mut it = Driven::founded(voters(&[1, 2, 3]));
        let hard_state = HardState { health, ..HardState::default() };
        let restored = Restored { hard_state, ..Restored::founded(voters(&[1, 2, 3])) };
        let config = Config::new(NodeId(1), StoreId(1), Incarnation(6), 1);
        it.node = Node::restore(config, restored, Time(0)).unwrap();
        it.now = Time(600 * MS);
        it.hear(2, 2, request_vote(LogId::GENESIS));
        it.votes_when_durable()
    };
    assert_eq!(votes(Health::Damaged), [Vote::Refused]);
    assert_eq!(votes(Health::Sound), [Vote::Granted]);
}

/// Ending joint consensus is the leader's task, which no caller can perform or prevent.
#[test]
fn a_change_to_a_joint_membership_is_refused() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    let target = joint(&[1, 2], &[1, 2, 3]);
    let change = MembershipChange { ticket: Ticket(7), seen: LogId::GENESIS, target };
    it.give(Input::Change(Box::new(change)));
    let outcome = Outcome::Refused(ChangeRefused::Joint);
    assert_eq!(it.effects.done, [Done { ticket: Ticket(7), outcome }]);
}

/// A lease lasts for a leader time-out less the clock error, and is renewed a heartbeat and a round trip later.
#[test]
fn settings_that_leave_no_time_for_a_round_trip_are_refused() {
    let config = |heartbeat, clock_error| Config {
        heartbeat_interval: Duration::from_millis(heartbeat),
        clock_error: Duration::from_millis(clock_error),
        ..Config::new(NodeId(1), StoreId(1), Incarnation(1), 1)
    };
    let bears = |config: Config| (config.validate(), config.round_trip_max().as_millis());
    assert_eq!(bears(config(100, 50)), (Ok(()), 250), "half of the leader time-out");
    assert_eq!(bears(config(250, 100)), (Ok(()), 150));
    assert_eq!(bears(config(250, 200)), (Ok(()), 50));
    assert_eq!(bears(config(250, 201)), (Err(ConfigError::NoRoundTrip), 49));
    let far = Config { leader_timeout: Duration::from_secs(4), ..config(100, 50) };
    assert_eq!(far.round_trip_max(), Duration::from_millis(500), "half of the election time-out");
}

/// A removed voter is replicated to until its removal is committed (thesis, section 4.2.3). The input that
/// commits it emits the final message to it, and only then may a transport close its connection.
#[test]
fn a_removed_peer_is_a_contact_until_its_removal_is_committed() {
    let contacts = |it: &Driven| it.node.contacts().map(|(id, _)| id.0).collect::<Vec<_>>();
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    assert_eq!((contacts(&it), it.node.membership_is_committed()), (vec![2, 3], true));
    let target = voters(&[1, 2]);
    let change = MembershipChange { ticket: Ticket(7), seen: it.node.membership().id(), target };
    it.give(Input::Change(Box::new(change))).persist();
    assert!(!it.node.membership().contains(NodeId(3)));
    assert_eq!((contacts(&it), it.node.membership_is_committed()), (vec![2, 3], false));
    it.hear(2, 2, answer(matches(3), 1));
    assert_eq!((contacts(&it), it.node.membership_is_committed()), (vec![2], true));
    let last: Vec<_> = it.appends().into_iter().filter(|(to, _)| *to == NodeId(3)).collect();
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!(last[0].1.commit, LogIndex(3));
}

/// The membership names the data folder that this node lost, from which it may have voted and acknowledged.
#[test]
fn a_node_does_not_campaign_from_another_data_folder() {
    let campaigns = |store| {
        let mut it = Driven::founded(voters(&[1, 2, 3]));
        let restored = Restored::founded(voters(&[1, 2, 3]));
        let config = Config::new(NodeId(1), StoreId(store), Incarnation(6), 1);
        it.node = Node::restore(config, restored, it.now).unwrap();
        !it.wait().effects.messages.is_empty()
    };
    assert_eq!([campaigns(1), campaigns(9)], [true, false]);
}

/// The leader may have sent it before it knew that the node is a learner.
#[test]
fn a_learner_that_is_told_to_campaign_does_not() {
    let told = |voting: &[u64]| {
        let voting = voting.iter().copied().map(NodeId).collect();
        let mut it = Driven::founded(Membership::new(members([1, 2, 3]), voting).unwrap());
        it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1)).persist();
        it.hear(2, 2, Body::TimeoutNow(TimeoutNow {}));
        it.node.role()
    };
    assert_eq!([told(&[1, 2, 3]), told(&[2, 3])], [RoleName::Candidate, RoleName::Learner]);
}

/// Both are in their first incarnation. An answer to a request of the old folder must not be taken for one of
/// the new folder.
#[test]
fn a_wiped_node_asks_under_other_names_than_before() {
    let asked = |store| {
        let restored = Restored::founded(voters(&[1, 2, 3]));
        let config = Config::new(NodeId(1), StoreId(store), Incarnation(1), 1);
        let mut it = Driven::founded(voters(&[1, 2, 3]));
        it.node = Node::restore(config, restored, it.now).unwrap();
        it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1)).persist();
        it.give(Input::Read { ticket: Ticket(1), mode: ReadMode::Quorum });
        let Some(Body::ReadIndex(ask)) = it.bodies().pop() else { panic!("{:?}", it.effects) };
        ask.request
    };
    assert_ne!(asked(1), asked(9));
}

/// Its answer to a heartbeat reports the damage as well, but may be lost. From its read-index request on it
/// does not count.
#[test]
fn a_damaged_peer_that_asks_how_far_to_heal_does_not_count_for_the_answer() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(3, 2, answer(matches(2), 1));
    let request = RequestId { incarnation: Incarnation(6), number: 1 };
    it.hear(3, 2, Body::ReadIndex(ReadIndex { mode: ReadMode::Quorum, asker: Health::Damaged, request }));
    assert_eq!(it.node.status().peers[&NodeId(3)].health, Health::Damaged);
}

#[test]
fn a_damaged_node_heals_by_the_answer_to_its_own_question() {
    let hard_state = HardState { health: Health::Damaged, ..HardState::default() };
    let restored = Restored { hard_state, ..Restored::founded(voters(&[1, 2, 3])) };
    let mut it = Driven::restored(restored);
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1));
    let ask = it.bodies().into_iter().find_map(|body| match body {
        Body::ReadIndex(ask) => Some(ask),
        _ => None,
    });
    let own = ask.expect("it asks").request;
    it.persist();
    let other = RequestId { number: own.number + 1, ..own };
    for (request, expected) in [(other, Health::Damaged), (own, Health::Sound)] {
        it.hear(2, 2, Body::ReadIndexResponse(ReadIndexResponse { index: Some(LogIndex(1)), request }));
        assert_eq!(it.node.health(), expected);
    }
}

#[test]
fn what_a_peer_acknowledged_while_it_was_damaged_counts_once_it_has_healed() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(3, 2, answer(matches(1), 1));
    for health in [Health::Damaged, Health::Sound] {
        let Body::AppendEntriesResponse(said) = answer(matches(2), 1) else { panic!("an answer") };
        it.hear(3, 2, Body::AppendEntriesResponse(AppendEntriesResponse { health, ..said }));
        let expected = if health == Health::Sound { 2 } else { 1 };
        assert_eq!(it.node.commit(), LogIndex(expected));
    }
}

#[test]
fn an_index_to_read_at_is_taken_from_the_leader_alone() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1)).persist();
    it.give(Input::Read { ticket: Ticket(1), mode: ReadMode::Quorum });
    let Some(Body::ReadIndex(ask)) = it.bodies().pop() else { panic!("{:?}", it.effects) };
    let answer = ReadIndexResponse { index: Some(LogIndex(1)), request: ask.request };
    assert_eq!(it.hear(3, 2, Body::ReadIndexResponse(answer)).effects.done, []);
    assert_eq!(it.hear(2, 2, Body::ReadIndexResponse(answer)).effects.done.len(), 1);
}

#[test]
fn so_many_reads_may_wait_and_no_more() {
    let overloaded = |mut it: Driven| {
        let mut effects = Effects::default();
        for ticket in 0..=1 << 16 {
            let read = Input::Read { ticket: Ticket(ticket), mode: ReadMode::Quorum };
            it.node.handle(it.now, read, &mut effects);
        }
        effects.done
    };
    let mut leader = Driven::founded(voters(&[1, 2, 3]));
    leader.elect(&[2]).hear(2, 2, answer(matches(2), 1));
    let mut follower = Driven::founded(voters(&[1, 2, 3]));
    follower.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1));
    for refused in [overloaded(leader), overloaded(follower)] {
        assert_eq!(refused, [Done { ticket: Ticket(1 << 16), outcome: Outcome::Overloaded }]);
    }
}
