//! Two nodes that are fed the same inputs emit the same effects, bit for bit; a clone behaves like its
//! original; and no input, however wild, makes a node panic or break an invariant.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

#[path = "common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use raftkit_core::invariants::{check_delta, check_state};
use raftkit_core::*;

fn restored() -> Restored {
    Restored::founded(members::voters(&[1, 2, 3]))
}

fn node(health: Health) -> Node {
    let mut config = Config::new(NodeId(1), StoreId(1), Incarnation(2), 3);
    config.tail_bytes_max = 100;
    let mut state = restored();
    state.hard_state.health = health;
    Node::restore(config, state, Time(0)).unwrap()
}

/// A number that is mostly small and sometimes extreme.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0_u64..8, 1 => Just(u64::MAX), 1 => Just(1 << 62), 1 => any::<u64>()]
}

fn log_id() -> impl Strategy<Value = LogId> {
    (number(), number()).prop_map(|(term, index)| LogId::new(term, index))
}

fn request() -> impl Strategy<Value = RequestId> {
    (0_u64..4, number()).prop_map(|(life, number)| RequestId {
        incarnation: Incarnation(life),
        number: RequestNumber(number),
    })
}

fn vote() -> impl Strategy<Value = Vote> {
    prop_oneof![Just(Vote::Granted), Just(Vote::Refused)]
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![9 => Just(Health::Sound), 1 => Just(Health::Damaged)]
}

/// A membership of five servers in any suffrage, joint or not.
fn membership() -> impl Strategy<Value = Membership> {
    let one = (0_u8..5, 0_u8..4, 1_u128..4);
    (proptest::collection::vec(one, 1..5), any::<bool>()).prop_map(|(members, joint)| {
        let mut membership = Membership::default();
        let mut outgoing = BTreeSet::new();
        for (id, (kind, priority, store)) in (1..).map(NodeId).zip(members) {
            let suffrage = match kind {
                0 => Suffrage::NonVoter,
                1 => Suffrage::Staging,
                _ => Suffrage::Voter,
            };
            if joint && kind == 4 {
                outgoing.insert(id);
            }
            let store = if store == 3 { StoreId(9) } else { StoreId(u128::from(id.0)) };
            let member = Member { priority: priority * 50, ..Member::new(store, "") };
            membership = membership.with(id, member, suffrage);
        }
        if outgoing.is_empty() {
            return membership;
        }
        Membership::joint(membership.members().clone(), membership.voters().clone(), outgoing).unwrap()
    })
}

fn mode() -> impl Strategy<Value = ReadMode> {
    prop_oneof![Just(ReadMode::Lease), Just(ReadMode::Quorum), Just(ReadMode::Stale)]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (log_id(), 0_u8..3, membership()).prop_map(|(id, kind, membership)| Entry {
        id,
        payload: match kind {
            0 => Payload::Noop,
            1 => Payload::Command(Bytes::from_static(b"x")),
            _ => Payload::Membership(Arc::new(membership)),
        },
    });
    let consecutive = (log_id(), 0_u64..4).prop_map(|(first, count)| {
        (0..count)
            .map(|at| LogId { term: first.term, index: LogIndex(first.index.0.wrapping_add(at)) })
            .map(|id| Entry { id, payload: Payload::Noop })
            .collect()
    });
    prop_oneof![3 => consecutive, 1 => proptest::collection::vec(entry, 0..4)]
}

fn body() -> impl Strategy<Value = Body> {
    let outcome = prop_oneof![
        number().prop_map(|index| AppendOutcome::Match(LogIndex(index))),
        Just(AppendOutcome::Heard),
        (number(), log_id())
            .prop_map(|(refused, hint)| AppendOutcome::Conflict { refused: LogIndex(refused), hint }),
    ];
    prop_oneof![
        (number(), log_id(), request()).prop_map(|(term, last, request)| Body::PreVote(PreVote {
            campaign_term: Term(term),
            last,
            request
        })),
        (vote(), number(), request()).prop_map(|(vote, term, request)| {
            Body::PreVoteResponse(PreVoteResponse { vote, campaign_term: Term(term), request })
        }),
        (log_id(), any::<bool>(), request()).prop_map(|(last, transfer, request)| {
            let reason = if transfer { CampaignReason::Transfer } else { CampaignReason::LeaderTimeout };
            Body::RequestVote(RequestVote { last, reason, request })
        }),
        (vote(), request())
            .prop_map(|(vote, request)| Body::RequestVoteResponse(RequestVoteResponse { vote, request })),
        (log_id(), entries(), number(), number(), any::<bool>()).prop_map(
            |(prev, entries, commit, round, fits)| {
                let index = entries.first().and_then(|first| first.id.index.previous());
                let prev = LogId { index: index.filter(|_| fits).unwrap_or(prev.index), ..prev };
                Body::AppendEntries(AppendEntries {
                    prev,
                    entries: entries.into(),
                    commit: LogIndex(commit),
                    round: Round(round),
                })
            }
        ),
        (outcome, number(), 0_u64..4, number(), health()).prop_map(
            |(outcome, round, life, promise, health)| {
                Body::AppendEntriesResponse(AppendEntriesResponse {
                    outcome,
                    round: Round(round),
                    to_incarnation: Incarnation(life),
                    promise: Duration::from_micros(promise),
                    health,
                })
            }
        ),
        (mode(), health(), request()).prop_map(|(mode, asker, request)| Body::ReadIndex(ReadIndex {
            mode,
            asker,
            request
        })),
        (proptest::option::of(number()), request()).prop_map(|(index, request)| {
            Body::ReadIndexResponse(ReadIndexResponse { index: index.map(LogIndex), request })
        }),
        Just(Body::TimeoutNow(TimeoutNow {})),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (0_u64..5, 1_u128..5, 0_u64..4, prop_oneof![9 => Just(1_u64), 1 => 0_u64..4], number(), body()).prop_map(
        |(from, store, life, to, term, body)| Message {
            from: NodeId(from),
            from_store: StoreId(if store == 4 { store } else { u128::from(from) }),
            from_incarnation: Incarnation(life),
            to: NodeId(to),
            term: Term(term),
            body,
        },
    )
}

fn input() -> impl Strategy<Value = Input> {
    let fetched =
        prop_oneof![entries().prop_map(Fetched::Entries), Just(Fetched::Compacted), Just(Fetched::Damaged)];
    let sent = prop_oneof![log_id().prop_map(SnapshotSent::Installed), Just(SnapshotSent::Failed)];
    prop_oneof![
        6 => Just(Input::Tick),
        12 => message().prop_map(Input::Message),
        3 => (1_u64..4).prop_map(|count| Input::Propose(
            (0..count).map(|at| Proposal { ticket: Ticket(at), command: Bytes::from_static(b"y") }).collect()
        )),
        2 => mode().prop_map(|mode| Input::Read { ticket: Ticket(9), mode }),
        1 => proptest::option::of(0_u64..5)
            .prop_map(|to| Input::Transfer { ticket: Ticket(10), to: to.map(NodeId) }),
        2 => (log_id(), any::<bool>(), membership()).prop_map(|(seen, fits, target)| {
            let seen = if fits { LogId::GENESIS } else { seen };
            Input::Change(Box::new(MembershipChange { ticket: Ticket(11), seen, target }))
        }),
        1 => Just(Input::PersistCommit),
        1 => number().prop_map(|to| Input::Compact(LogIndex(to))),
        6 => number().prop_map(|seq| Input::Persisted(WriteSeq(seq))),
        2 => number().prop_map(|to| Input::Applied(LogIndex(to))),
        1 => (number(), fetched).prop_map(|(id, result)| Input::Fetched { id: FetchId(id), result }),
        1 => (log_id(), membership())
            .prop_map(|(base, membership)| Input::SnapshotInstalled { base, membership: membership.into() }),
        1 => (0_u64..5, sent).prop_map(|(to, result)| Input::SnapshotSent { to: NodeId(to), result }),
        1 => (0_u64..5).prop_map(|to| Input::Unreachable(NodeId(to))),
    ]
}

/// Inputs that make node 1 leader of term 2, so that wild inputs meet a leader, too.
fn elect(node: &mut Node, now: &mut Time) -> Vec<Message> {
    let mut effects = Effects::default();
    *now = node.next_deadline();
    node.handle(*now, Input::Tick, &mut effects);
    for _ in 0..2 {
        for message in std::mem::take(&mut effects.messages) {
            let answer = match message.body {
                Body::PreVote(ask) => Body::PreVoteResponse(PreVoteResponse {
                    vote: Vote::Granted,
                    campaign_term: ask.campaign_term,
                    request: ask.request,
                }),
                Body::RequestVote(ask) => Body::RequestVoteResponse(RequestVoteResponse {
                    vote: Vote::Granted,
                    request: ask.request,
                }),
                other => panic!("{other:?} is no question"),
            };
            let answer = Message {
                from: message.to,
                from_store: StoreId(u128::from(message.to.0)),
                from_incarnation: Incarnation(1),
                to: message.from,
                term: message.term,
                body: answer,
            };
            node.handle(*now, Input::Message(answer), &mut effects);
        }
    }
    let seq = effects.writes.last().unwrap().seq;
    node.handle(*now, Input::Persisted(seq), &mut effects);
    assert!(node.is_leader());
    effects.messages
}

/// All effects as bytes, to be compared.
fn bytes(effects: &Effects) -> Vec<u8> {
    format!("{effects:?}").into_bytes()
}

fn sorted(effects: &Effects) -> BTreeMap<&'static str, usize> {
    [("done", effects.done.len()), ("messages", effects.messages.len())].into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn two_nodes_and_a_clone_do_the_same_and_nothing_panics(
        leads in any::<bool>(),
        health in health(),
        branch_at in 0_usize..60,
        inputs in proptest::collection::vec((0_u64..400_000, input()), 1..120),
    ) {
        let (mut one, mut two) = (node(health), node(health));
        let mut now = Time(0);
        if leads && health == Health::Sound {
            let mut again = Time(0);
            prop_assert_eq!(elect(&mut one, &mut now), elect(&mut two, &mut again));
        }
        let mut branch: Option<Node> = None;
        for (at, (wait, input)) in inputs.into_iter().enumerate() {
            if at == branch_at {
                branch = Some(one.clone());
            }
            // Time that goes back counts as standing still.
            now = Time((now.0 + wait).saturating_sub(100_000));
            let before = one.clone();
            let (mut first, mut second) = (Effects::default(), Effects::default());
            one.handle(now, input.clone(), &mut first);
            two.handle(now, input.clone(), &mut second);
            prop_assert_eq!(&first, &second, "{:?}", sorted(&first));
            prop_assert_eq!(bytes(&first), bytes(&second));
            if let Some(branch) = &mut branch {
                let mut third = Effects::default();
                branch.handle(now, input, &mut third);
                prop_assert_eq!(bytes(&first), bytes(&third));
                prop_assert_eq!(branch.status(), one.status());
            }
            prop_assert_eq!(one.next_deadline(), two.next_deadline());
            prop_assert_eq!(check_state(&one), Ok(()));
            prop_assert_eq!(check_delta(&before, &one), Ok(()));
        }
    }
}
