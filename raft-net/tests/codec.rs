//! Frames: encoded frames are decoded again, and bytes that are no frame are refused without a panic.
#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use raftkit_core::{
    AppendEntries, AppendEntriesResponse, AppendOutcome, Body, CampaignReason, ClusterId, Entry, Health,
    Incarnation, LogId, LogIndex, Member, Membership, Message, NodeId, Payload, PreVote, PreVoteResponse,
    ReadIndex, ReadIndexResponse, ReadMode, RequestId, RequestNumber, RequestVote, RequestVoteResponse,
    Round, StoreId, Term, TimeoutNow, Vote,
};
use raftkit_net::frame::{PREFIX_BYTES, encode_bulk_prefix};
use raftkit_net::{
    FRAME_BYTES_MAX, Frame, FrameError, Hello, Lane, Refusal, decode, decode_message, encode_frame,
    encode_message, split,
};

fn log_id() -> impl Strategy<Value = LogId> {
    any::<(u64, u64)>().prop_map(|(term, index)| LogId::new(term, index))
}

fn request_id() -> impl Strategy<Value = RequestId> {
    any::<(u64, u64)>().prop_map(|(life, number)| RequestId {
        incarnation: Incarnation(life),
        number: RequestNumber(number),
    })
}

fn vote() -> impl Strategy<Value = Vote> {
    prop_oneof![Just(Vote::Granted), Just(Vote::Refused)]
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Sound), Just(Health::Damaged)]
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn membership() -> impl Strategy<Value = Membership> {
    let member = (any::<u128>(), "[a-zé:0-9]{0,12}", any::<bool>(), any::<bool>());
    proptest::collection::btree_map(any::<u64>(), member, 0..5).prop_map(|members| {
        let named: BTreeMap<_, _> = members
            .iter()
            .map(|(id, (store, address, ..))| (NodeId(*id), Member::new(StoreId(*store), address.clone())))
            .collect();
        let half = |pick: fn(&(u128, String, bool, bool)) -> bool| -> BTreeSet<_> {
            members.iter().filter(|(_, member)| pick(member)).map(|(id, _)| NodeId(*id)).collect()
        };
        Membership::joint(named, half(|member| member.2), half(|member| member.3)).unwrap()
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let payload = prop_oneof![
        Just(Payload::Noop),
        bytes(300).prop_map(Payload::Command),
        membership().prop_map(|it| Payload::Membership(Arc::new(it))),
    ];
    (log_id(), payload).prop_map(|(id, payload)| Entry { id, payload })
}

fn body() -> impl Strategy<Value = Body> {
    let index = || any::<u64>().prop_map(LogIndex);
    let outcome = prop_oneof![
        index().prop_map(AppendOutcome::Match),
        Just(AppendOutcome::Heard),
        (index(), log_id()).prop_map(|(refused, hint)| AppendOutcome::Conflict { refused, hint }),
    ];
    prop_oneof![
        (any::<u64>(), log_id(), request_id()).prop_map(|(term, last, request)| Body::PreVote(PreVote {
            campaign_term: Term(term),
            last,
            request
        })),
        (vote(), any::<u64>(), request_id()).prop_map(|(vote, term, request)| {
            Body::PreVoteResponse(PreVoteResponse { vote, campaign_term: Term(term), request })
        }),
        (log_id(), any::<bool>(), request_id()).prop_map(|(last, transfer, request)| {
            let reason = if transfer { CampaignReason::Transfer } else { CampaignReason::LeaderTimeout };
            Body::RequestVote(RequestVote { last, reason, request })
        }),
        (vote(), request_id())
            .prop_map(|(vote, request)| Body::RequestVoteResponse(RequestVoteResponse { vote, request })),
        (log_id(), proptest::collection::vec(entry(), 0..6), index(), any::<u64>()).prop_map(
            |(prev, entries, commit, round)| Body::AppendEntries(AppendEntries {
                prev,
                entries: entries.into(),
                commit,
                round: Round(round)
            })
        ),
        (outcome, any::<[u64; 3]>(), health()).prop_map(|(outcome, [round, life, promise], health)| {
            Body::AppendEntriesResponse(AppendEntriesResponse {
                outcome,
                round: Round(round),
                to_incarnation: Incarnation(life),
                promise: Duration::from_nanos(promise),
                health,
            })
        }),
        (0_u8..3, health(), request_id()).prop_map(|(mode, asker, request)| {
            Body::ReadIndex(ReadIndex {
                mode: [ReadMode::Lease, ReadMode::Quorum, ReadMode::Stale][usize::from(mode)],
                asker,
                request,
            })
        }),
        (proptest::option::of(index()), request_id())
            .prop_map(|(index, request)| Body::ReadIndexResponse(ReadIndexResponse { index, request })),
        Just(Body::TimeoutNow(TimeoutNow {})),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (any::<[u64; 4]>(), any::<u128>(), body()).prop_map(|([from, life, to, term], store, body)| Message {
        from: NodeId(from),
        from_store: StoreId(store),
        from_incarnation: Incarnation(life),
        to: NodeId(to),
        term: Term(term),
        body,
    })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    (any::<[u64; 4]>(), any::<[u128; 2]>(), 0..9u8).prop_map(|([a, b, c, d], [x, y], kind)| {
        let (refuser, refused) = (NodeId(a), NodeId(b));
        match kind {
            0 => Refusal::version(u32::try_from(a & 0xffff).unwrap()),
            1 => Refusal::OtherCluster {
                refuser,
                refuser_cluster: ClusterId(x),
                refused,
                refused_cluster: ClusterId(y),
            },
            2 => Refusal::OtherStore { refuser, refused, expected: StoreId(x), claimed: StoreId(y) },
            3 => Refusal::Twin { node: refuser, refuser_store: StoreId(x), refused_store: StoreId(y) },
            4 => Refusal::Myself { node: refuser },
            5 => Refusal::Certificate { refuser, refused },
            6 => Refusal::Copy { refuser, refused, incarnation: Incarnation(c) },
            7 => Refusal::Stale { refuser, refused, newest: Incarnation(c), claimed: Incarnation(d) },
            _ => Refusal::OtherNode { refuser, expected: NodeId(c), refused },
        }
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    let lane = prop_oneof![Just(Lane::Control), Just(Lane::Bulk), Just(Lane::Discovery)];
    (
        lane,
        proptest::option::of(any::<u128>()),
        any::<[u64; 3]>(),
        any::<u128>(),
        "[a-zé:0-9]{0,30}",
        bytes(100),
    )
        .prop_map(|(lane, cluster, [node, incarnation, process], store, address, attributes)| Hello {
            lane,
            cluster: cluster.map(ClusterId),
            node: NodeId(node),
            store: StoreId(store),
            incarnation: Incarnation(incarnation),
            process,
            address,
            attributes,
        })
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        4 => message().prop_map(Frame::Message),
        1 => hello().prop_map(Frame::Hello),
        1 => hello().prop_map(Frame::HelloAck),
        1 => refusal().prop_map(Frame::Refused),
        1 => (any::<u64>(), bytes(200)).prop_map(|(id, body)| Frame::Request { id, body }),
        1 => (any::<u64>(), proptest::option::of(bytes(200))).prop_map(|(id, body)| Frame::Response { id, body }),
        1 => bytes(200).prop_map(|body| Frame::Bulk { body }),
    ]
}

fn encoded(frame: &Frame) -> Bytes {
    let mut buffer = BytesMut::new();
    encode_frame(frame, &mut buffer).unwrap();
    buffer.freeze()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_frame_comes_back_as_it_was(frame in frame()) {
        prop_assert_eq!(decode(encoded(&frame)).unwrap(), frame);
    }

    #[test]
    fn frames_are_cut_out_of_a_stream_however_it_is_torn(
        frames in proptest::collection::vec(frame(), 1..6),
        piece in 1usize..200,
    ) {
        let mut stream = BytesMut::new();
        frames.iter().for_each(|frame| encode_frame(frame, &mut stream).unwrap());
        let (mut arrived, mut got) = (BytesMut::new(), Vec::new());
        for piece in stream.chunks(piece) {
            arrived.extend_from_slice(piece);
            while let Some(frame) = split(&mut arrived, FRAME_BYTES_MAX).unwrap() {
                got.push(decode(frame).unwrap());
            }
        }
        prop_assert!(arrived.is_empty());
        prop_assert_eq!(got, frames);
    }

    #[test]
    fn random_bytes_never_panic(bytes in bytes(400)) {
        let _ = decode(bytes.clone());
        let _ = split(&mut BytesMut::from(&bytes[..]), FRAME_BYTES_MAX);
    }

    #[test]
    fn random_headers_of_every_kind_never_panic(kind in 0u8..9, header in bytes(300), payload in bytes(60)) {
        let _ = decode(raw(kind, 0, &header, &payload));
    }

    #[test]
    fn a_damaged_frame_never_panics(
        frame in frame(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = encoded(&frame).to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decode(bytes.clone().into());
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(decode(bytes.into()).is_err(), "a frame that was cut off was accepted");
    }
}

/// Returns a frame with an arbitrary header and payload, whose outer lengths are right.
fn raw(kind: u8, group: u32, header: &[u8], payload: &[u8]) -> Bytes {
    let length = u32::try_from(9 + header.len() + payload.len()).unwrap();
    let mut frame = length.to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend(group.to_le_bytes());
    frame.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    frame.extend(header);
    frame.extend(payload);
    frame.into()
}

fn append(entries: Vec<Entry>) -> Message {
    Message {
        from: NodeId(1),
        from_store: StoreId(2),
        from_incarnation: Incarnation(3),
        to: NodeId(4),
        term: Term(5),
        body: Body::AppendEntries(AppendEntries {
            prev: LogId::new(6, 7),
            entries: entries.into(),
            commit: LogIndex(8),
            round: Round(9),
        }),
    }
}

#[test]
fn payloads_are_slices_of_what_came_in() {
    let payload = Payload::Command(Bytes::from_static(b"a command that is not copied"));
    let frame = encoded(&Frame::Message(append(vec![Entry { id: LogId::new(5, 8), payload }])));
    let inside = frame.as_ptr_range();
    let Body::AppendEntries(append) = decode_message(frame.clone()).unwrap().body else {
        panic!("another body")
    };
    let Payload::Command(command) = &append.entries[0].payload else { panic!("another payload") };
    assert!(inside.contains(&command.as_ptr()), "the command was copied");
}

#[test]
fn a_forged_length_is_refused_before_anything_is_reserved() {
    let mut stream = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
    let capacity = stream.capacity();
    let error = split(&mut stream, 1000).unwrap_err();
    assert_eq!(error, FrameError::TooLong { got: 4_294_967_299, max: 1000 });
    assert_eq!(stream.capacity(), capacity);
    assert!(matches!(
        split(&mut BytesMut::from(&[0u8; 4][..]), 1000),
        Err(FrameError::TooShort { got: 4, .. })
    ));
}

#[test]
fn a_length_within_the_limit_reserves_nothing_before_its_bytes_arrive() {
    let mut stream = BytesMut::from(&u32::try_from(FRAME_BYTES_MAX - 4).unwrap().to_le_bytes()[..]);
    assert_eq!(split(&mut stream, FRAME_BYTES_MAX), Ok(None));
    assert!(stream.capacity() < 1024);
}

#[test]
fn forged_payload_lengths_are_refused() {
    let payload = Payload::Command(Bytes::from_static(b"12345678"));
    let frame = encoded(&Frame::Message(append(vec![Entry { id: LogId::new(5, 8), payload }])));
    // The entry's length is the last field of the header.
    let at = frame.len() - 8 - 4;
    for forged in [0u32, 7, 9, u32::MAX] {
        let mut bytes = frame.to_vec();
        bytes[at..at + 4].copy_from_slice(&forged.to_le_bytes());
        let error = decode(bytes.into()).unwrap_err();
        assert_eq!(error, FrameError::PayloadMismatch { announced: forged.into(), got: 8 });
    }
}

#[test]
fn forged_payload_lengths_whose_sum_would_wrap_are_refused() {
    let entry =
        |index| Entry { id: LogId::new(5, index), payload: Payload::Command(Bytes::from_static(b"1234")) };
    let mut bytes = encoded(&Frame::Message(append(vec![entry(8), entry(9)]))).to_vec();
    // The length is the last of the 21 bytes of each entry's header. Together they are 8, and 2^32 more.
    let second = bytes.len() - 8 - 4;
    bytes[second - 21..second - 17].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[second..second + 4].copy_from_slice(&9u32.to_le_bytes());
    let announced = u64::from(u32::MAX) + 9;
    assert_eq!(decode(bytes.into()), Err(FrameError::PayloadMismatch { announced, got: 8 }));
}

#[test]
fn bodies_of_another_length_than_announced_are_refused() {
    let (id, body) = (7, Bytes::from_static(b"12345678"));
    for frame in [
        Frame::Bulk { body: body.clone() },
        Frame::Request { id, body: body.clone() },
        Frame::Response { id, body: Some(body.clone()) },
    ] {
        let bytes = encoded(&frame);
        let (head, _) = bytes.split_at(bytes.len() - body.len());
        for length in [0, 7, 9] {
            let error = decode(raw(frame.kind(), 0, &head[PREFIX_BYTES..], &vec![1; length])).unwrap_err();
            assert_eq!(error, FrameError::PayloadMismatch { announced: 8, got: length });
        }
    }
}

#[test]
fn frames_of_other_kinds_and_groups_are_refused() {
    assert_eq!(decode(raw(99, 0, &[], &[])), Err(FrameError::UnexpectedKind { kind: 99 }));
    assert_eq!(decode(raw(7, 3, &[], &[])), Err(FrameError::UnknownGroup { group: 3 }));
    assert_eq!(decode(raw(7, 0, &[1], &[])), Err(FrameError::BadHeader { kind: 7, got: 1 }));
    let bulk = encoded(&Frame::Bulk { body: Bytes::new() });
    assert_eq!(decode_message(bulk), Err(FrameError::UnexpectedKind { kind: 7 }));
}

#[test]
fn a_greeting_of_another_version_is_told_apart_whatever_follows_it() {
    let error = decode(raw(1, 0, &[9, 0, 0, 0, 1, 2, 3], b"unknown")).unwrap_err();
    assert_eq!(error, FrameError::OtherVersion { got: 9 });
}

#[test]
fn what_is_too_long_for_a_frame_is_not_encoded() {
    let payload = Payload::Command(Bytes::from(vec![0; FRAME_BYTES_MAX]));
    let mut buffer = BytesMut::from(&b"before"[..]);
    let error =
        encode_message(&append(vec![Entry { id: LogId::new(5, 8), payload }]), &mut buffer).unwrap_err();
    assert!(matches!(error, FrameError::TooLong { .. }));
    assert_eq!(&buffer[..], b"before");
}

#[test]
fn a_bulk_prefix_and_its_body_make_a_bulk_frame() {
    let body = Bytes::from_static(b"body");
    let mut buffer = BytesMut::new();
    encode_bulk_prefix(body.len(), &mut buffer).unwrap();
    assert_eq!(buffer.len(), PREFIX_BYTES + 4);
    buffer.extend_from_slice(&body);
    assert_eq!(buffer.freeze(), encoded(&Frame::Bulk { body }));
}
