//! The bytes of each kind of frame, because nodes of different builds must understand each other. A change of these bytes
//! is a change of the protocol and needs another `PROTOCOL_VERSION`.
#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use raftkit_core::{
    AppendEntries, AppendEntriesResponse, AppendOutcome, Body, CampaignReason, ClusterId, Entry, Health,
    Incarnation, LogId, LogIndex, Message, NodeId, Payload, PreVote, PreVoteResponse, ReadIndex,
    ReadIndexResponse, ReadMode, RequestId, RequestNumber, RequestVote, RequestVoteResponse, Round, StoreId,
    Term, TimeoutNow, Vote,
};
use raftkit_net::{Frame, Hello, Lane, Refusal, decode, encode_frame};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Compares a frame with `golden`, in which spaces do not count, and decodes it again.
fn check(frame: &Frame, golden: &str) {
    let mut buffer = BytesMut::new();
    encode_frame(frame, &mut buffer).unwrap();
    assert_eq!(hex(&buffer), golden.replace([' ', '\n'], ""), "{frame:?}");
    assert_eq!(decode(buffer.freeze()).unwrap(), *frame);
}

fn check_body(body: Body, golden: &str) {
    let message = Message {
        from: NodeId(1),
        from_store: StoreId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
        from_incarnation: Incarnation(2),
        to: NodeId(3),
        term: Term(4),
        body,
    };
    check(&Frame::Message(message), golden);
}

const REQUEST: RequestId = RequestId { incarnation: Incarnation(0x11), number: RequestNumber(0x12) };

#[test]
fn pre_vote() {
    check_body(
        Body::PreVote(PreVote { campaign_term: Term(5), last: LogId::new(6, 7), request: REQUEST }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         00 0500000000000000 0600000000000000 0700000000000000 1100000000000000 1200000000000000
         00000000000000000000",
    );
}

#[test]
fn pre_vote_response() {
    check_body(
        Body::PreVoteResponse(PreVoteResponse {
            vote: Vote::Refused,
            campaign_term: Term(5),
            request: REQUEST,
        }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         01 01 0500000000000000 1100000000000000 1200000000000000
         00000000000000000000000000000000000000000000000000",
    );
}

#[test]
fn request_vote() {
    check_body(
        Body::RequestVote(RequestVote {
            last: LogId::new(6, 7),
            reason: CampaignReason::Transfer,
            request: REQUEST,
        }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         02 0600000000000000 0700000000000000 01 1100000000000000 1200000000000000
         0000000000000000000000000000000000",
    );
}

#[test]
fn request_vote_response() {
    check_body(
        Body::RequestVoteResponse(RequestVoteResponse { vote: Vote::Granted, request: REQUEST }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         03 00 1100000000000000 1200000000000000
         000000000000000000000000000000000000000000000000000000000000000000",
    );
}

#[test]
fn append_entries() {
    check_body(
        Body::AppendEntries(AppendEntries {
            prev: LogId::new(6, 7),
            entries: vec![
                Entry { id: LogId::new(6, 8), payload: Payload::Noop },
                Entry { id: LogId::new(6, 9), payload: Payload::Command(Bytes::from_static(b"abc")) },
            ]
            .into(),
            commit: LogIndex(8),
            round: Round(9),
        }),
        "99000000 04 00000000 8d000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         04 0600000000000000 0700000000000000 0800000000000000 0900000000000000
         000000000000000000000000000000000000
         0600000000000000 0800000000000000 00 00000000
         0600000000000000 0900000000000000 01 03000000
         616263",
    );
}

#[test]
fn append_entries_response_match() {
    check_body(
        Body::AppendEntriesResponse(AppendEntriesResponse {
            outcome: AppendOutcome::Match(LogIndex(8)),
            round: Round(9),
            to_incarnation: Incarnation(10),
            promise: Duration::from_millis(500),
            health: Health::Sound,
        }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         05 00 0800000000000000 00000000000000000000000000000000 0900000000000000 0a00000000000000
         0065cd1d0000000000",
    );
}

#[test]
fn append_entries_response_heard() {
    check_body(
        Body::AppendEntriesResponse(AppendEntriesResponse {
            outcome: AppendOutcome::Heard,
            round: Round(9),
            to_incarnation: Incarnation(10),
            promise: Duration::ZERO,
            health: Health::Sound,
        }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         05 01 000000000000000000000000000000000000000000000000 0900000000000000 0a00000000000000
         000000000000000000",
    );
}

#[test]
fn append_entries_response_conflict() {
    check_body(
        Body::AppendEntriesResponse(AppendEntriesResponse {
            outcome: AppendOutcome::Conflict { refused: LogIndex(8), hint: LogId::new(6, 7) },
            round: Round(9),
            to_incarnation: Incarnation(10),
            promise: Duration::ZERO,
            health: Health::Sound,
        }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         05 02 0800000000000000 0600000000000000 0700000000000000 0900000000000000 0a00000000000000
         000000000000000000",
    );
}

#[test]
fn read_index() {
    check_body(
        Body::ReadIndex(ReadIndex { mode: ReadMode::Quorum, asker: Health::Damaged, request: REQUEST }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         06 01 01 1100000000000000 1200000000000000
         0000000000000000000000000000000000000000000000000000000000000000",
    );
}

#[test]
fn read_index_response() {
    check_body(
        Body::ReadIndexResponse(ReadIndexResponse { index: Some(LogIndex(8)), request: REQUEST }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         07 01 0800000000000000 1100000000000000 1200000000000000
         00000000000000000000000000000000000000000000000000",
    );
}

#[test]
fn read_index_response_without_an_index() {
    check_body(
        Body::ReadIndexResponse(ReadIndexResponse { index: None, request: REQUEST }),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         07 00 0000000000000000 1100000000000000 1200000000000000
         00000000000000000000000000000000000000000000000000",
    );
}

#[test]
fn timeout_now() {
    check_body(
        Body::TimeoutNow(TimeoutNow {}),
        "6c000000 04 00000000 63000000
         0100000000000000 000102030405060708090a0b0c0d0e0f 0200000000000000 0300000000000000 0400000000000000
         08
         0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    );
}

#[test]
fn hello() {
    check(
        &Frame::Hello(Hello {
            lane: Lane::Bulk,
            cluster: Some(ClusterId(5)),
            node: NodeId(1),
            store: StoreId(2),
            incarnation: Incarnation(3),
            process: 4,
            address: "a:1".to_owned(),
            attributes: Bytes::from_static(b"xy"),
        }),
        "54000000 01 00000000 46000000
         02000000 01 01 05000000000000000000000000000000 0100000000000000 02000000000000000000000000000000
         0300000000000000 0400000000000000 03000000 02000000
         613a31 7879",
    );
}

#[test]
fn hello_ack() {
    check(
        &Frame::HelloAck(Hello {
            lane: Lane::Discovery,
            cluster: None,
            node: NodeId(1),
            store: StoreId(2),
            incarnation: Incarnation(3),
            process: 4,
            address: "a:1".to_owned(),
            attributes: Bytes::from_static(b"xy"),
        }),
        "54000000 02 00000000 46000000
         02000000 02 00 00000000000000000000000000000000 0100000000000000 02000000000000000000000000000000
         0300000000000000 0400000000000000 03000000 02000000
         613a31 7879",
    );
}

#[test]
fn refusals_of_another_version_cluster_or_store() {
    check(
        &Frame::Refused(Refusal::Version { refuser: 1, refused: 2 }),
        "3a000000 03 00000000 31000000
         00 01000000 02000000
         00000000000000000000000000000000000000000000000000000000000000000000000000000000",
    );
    check(
        &Frame::Refused(Refusal::OtherCluster {
            refuser: NodeId(1),
            refuser_cluster: ClusterId(2),
            refused: NodeId(3),
            refused_cluster: ClusterId(4),
        }),
        "3a000000 03 00000000 31000000
         01 0100000000000000 02000000000000000000000000000000 0300000000000000
         04000000000000000000000000000000",
    );
    check(
        &Frame::Refused(Refusal::OtherStore {
            refuser: NodeId(1),
            refused: NodeId(2),
            expected: StoreId(3),
            claimed: StoreId(4),
        }),
        "3a000000 03 00000000 31000000
         02 0100000000000000 0200000000000000 03000000000000000000000000000000
         04000000000000000000000000000000",
    );
}

#[test]
fn refusals_of_a_node_that_is_not_who_it_says() {
    check(
        &Frame::Refused(Refusal::Twin {
            node: NodeId(1),
            refuser_store: StoreId(2),
            refused_store: StoreId(3),
        }),
        "3a000000 03 00000000 31000000
         03 0100000000000000 02000000000000000000000000000000 03000000000000000000000000000000
         0000000000000000",
    );
    check(
        &Frame::Refused(Refusal::Myself { node: NodeId(1) }),
        "3a000000 03 00000000 31000000
         04 0100000000000000 00000000000000000000000000000000000000000000000000000000000000000000000000000000",
    );
    check(
        &Frame::Refused(Refusal::Certificate { refuser: NodeId(1), refused: NodeId(2) }),
        "3a000000 03 00000000 31000000
         05 0100000000000000 0200000000000000
         0000000000000000000000000000000000000000000000000000000000000000",
    );
    check(
        &Frame::Refused(Refusal::Stale {
            refuser: NodeId(1),
            refused: NodeId(2),
            newest: Incarnation(3),
            claimed: Incarnation(4),
        }),
        "3a000000 03 00000000 31000000
         06 0100000000000000 0200000000000000 0300000000000000 0400000000000000
         00000000000000000000000000000000",
    );
    check(
        &Frame::Refused(Refusal::OtherNode { refuser: NodeId(1), expected: NodeId(2), refused: NodeId(3) }),
        "3a000000 03 00000000 31000000
         07 0100000000000000 0200000000000000 0300000000000000
         000000000000000000000000000000000000000000000000",
    );
    check(
        &Frame::Refused(Refusal::Copy {
            refuser: NodeId(1),
            refused: NodeId(2),
            incarnation: Incarnation(3),
        }),
        "3a000000 03 00000000 31000000
         08 0100000000000000 0200000000000000 0300000000000000
         000000000000000000000000000000000000000000000000",
    );
}

#[test]
fn request() {
    check(
        &Frame::Request { id: 7, body: Bytes::from_static(b"abc") },
        "18000000 05 00000000 0c000000
         0700000000000000 03000000
         616263",
    );
}

#[test]
fn response() {
    check(
        &Frame::Response { id: 7, body: Some(Bytes::from_static(b"abc")) },
        "19000000 06 00000000 0d000000
         0700000000000000 00 03000000
         616263",
    );
}

#[test]
fn response_without_an_answer() {
    check(
        &Frame::Response { id: 7, body: None },
        "16000000 06 00000000 0d000000
         0700000000000000 01 00000000",
    );
}

#[test]
fn bulk() {
    check(
        &Frame::Bulk { body: Bytes::from_static(b"abc") },
        "10000000 07 00000000 04000000
         03000000
         616263",
    );
}
