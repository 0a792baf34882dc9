//! The rules of the receiver, one by one; `receiver_timing.rs` has those about time.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use bytes::Bytes;
use common::manifest;
use common::receiver::*;
use raftkit_core::LogIndex;
use raftkit_snapshot::{ChunkNumber, ReceiverInput, ReceiverOutput, Refusal, SnapshotMessage};

#[test]
fn receiver_takes_a_snapshot_from_offer_to_install() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 6));
    let manifest = file.manifest().clone();
    assert_eq!(bench.offer(A, &manifest), [ReceiverOutput::Open(manifest.clone()), working(A, id(9))]);
    assert_eq!(bench.give(opened(&[1])), [0, 2, 3, 4].map(|chunk| want(A, id(9), chunk)), "a window of four");
    assert_eq!(bench.chunk(A, &file, 3), [store(&file, 3)]);
    assert_eq!(bench.chunk(A, &file, 3), [], "a second copy");
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(3) }), [want(A, id(9), 5)]);
    for chunk in [0, 2, 4, 5] {
        bench.chunk(A, &file, chunk);
    }
    for chunk in [0, 2, 4] {
        assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(chunk) }), []);
    }
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(5) }), [ReceiverOutput::Finish]);
    assert_eq!(bench.give(ReceiverInput::Finished), [ReceiverOutput::Install(manifest)]);
    assert_eq!(bench.tick(1), [working(A, id(9))], "a long install is no silence");
    assert_eq!(
        bench.give(ReceiverInput::Installed),
        [say(A, SnapshotMessage::Installed { snapshot: id(9) })]
    );
    assert_eq!((bench.receiver.receiving(), bench.receiver.next_deadline()), (None, None));
}

#[test]
fn what_is_not_needed_is_refused_with_what_is_there() {
    let mut bench = Bench::new();
    for index in [2, 3] {
        let expected = refused(A, id(index), Refusal::NotNeeded { have: LogIndex(3) });
        assert_eq!(bench.offer(A, &manifest(id(index), 2)), [expected]);
    }
    assert_eq!(bench.receiver.receiving(), None);
}

#[test]
fn other_offers_are_refused_while_one_is_older_or_work_is_in_hand() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    let newer = manifest(id(10), 2);
    let busy = |index| refused(B, id(index), Refusal::Busy);
    assert_eq!(bench.offer(B, &newer), [busy(10)], "while opening");
    bench.give(opened(&[]));
    assert_eq!(bench.offer(B, &manifest(id(8), 2)), [busy(8)]);
    assert_eq!(bench.offer(B, &manifest(id(9), 2)), [busy(9)], "the same name with other bytes");
    bench.chunk(A, &file, 0);
    assert_eq!(bench.offer(B, &newer), [busy(10)], "while storing");
    bench.give(ReceiverInput::Stored { chunk: ChunkNumber(0) });
    let expected = [
        ReceiverOutput::Discard,
        refused(A, id(9), Refusal::Busy),
        ReceiverOutput::Open(newer.clone()),
        working(B, id(10)),
    ];
    assert_eq!(bench.offer(B, &newer), expected, "a newer one takes over");
}

#[test]
fn same_snapshot_of_another_node_goes_on_with_that_one() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[0]));
    assert_eq!(bench.offer(A, file.manifest()), [working(A, id(9))], "the same offer again changes nothing");
    let expected = [working(B, id(9)), want(B, id(9), 1), want(B, id(9), 2)];
    assert_eq!(bench.offer(B, file.manifest()), expected);
    assert_eq!(bench.chunk(A, &file, 1), [store(&file, 1)], "a good chunk is taken from anyone");
}

#[test]
fn chunk_with_a_wrong_hash_is_asked_for_again_and_then_given_up() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 2));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    let bad = |chunk| SnapshotMessage::Chunk {
        snapshot: id(9),
        chunk: ChunkNumber(chunk),
        bytes: Bytes::from_static(b"no"),
    };
    assert_eq!(bench.hear(B, bad(1)), [], "not from whom it was asked of");
    for _ in 0..3 {
        assert_eq!(bench.hear(A, bad(1)), [want(A, id(9), 1)]);
    }
    assert_eq!(bench.hear(A, bad(1)), [ReceiverOutput::Discard, refused(A, id(9), Refusal::Failed)]);
}

#[test]
fn chunk_that_was_not_asked_for_is_dropped() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 6));
    assert_eq!(bench.chunk(A, &file, 0), [], "no transfer");
    bench.offer(A, file.manifest());
    assert_eq!(bench.chunk(A, &file, 0), [], "not open yet");
    bench.give(opened(&[]));
    assert_eq!(bench.chunk(A, &file, 5), [], "outside of the window");
    let other = snapshot(8, 6);
    assert_eq!(bench.chunk(A, &other, 0), [], "of another snapshot");
    let (snapshot, bytes) = (id(9), Bytes::new());
    assert_eq!(
        bench.hear(A, SnapshotMessage::Chunk { snapshot, chunk: ChunkNumber(99), bytes }),
        [],
        "no such chunk"
    );
}

#[test]
fn sender_that_is_gone_ends_the_transfer_once_chunks_in_hand_are_stored() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    let gone = |index| SnapshotMessage::Refused { snapshot: id(index), reason: Refusal::Gone };
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.chunk(A, &file, 0);
    assert_eq!(bench.hear(B, gone(9)), [], "another node's");
    assert_eq!(bench.hear(A, gone(8)), [], "another snapshot's");
    assert_eq!(bench.hear(A, gone(9)), []);
    assert_eq!(bench.receiver.next_deadline(), None);
    assert_eq!(bench.chunk(A, &file, 1), [], "it is over");
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(0) }), [ReceiverOutput::Discard]);
    assert_eq!(bench.receiver.receiving(), None);
}

#[test]
fn offer_of_the_same_snapshot_revives_a_transfer_that_was_ending() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.chunk(A, &file, 0);
    bench.hear(A, SnapshotMessage::Refused { snapshot: id(9), reason: Refusal::Gone });
    let expected = [working(B, id(9)), want(B, id(9), 1), want(B, id(9), 2)];
    assert_eq!(bench.offer(B, file.manifest()), expected);
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(0) }), []);
}

#[test]
fn transfer_that_the_log_has_overtaken_is_dropped() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 2));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.applied = LogIndex(9);
    let not_needed = refused(A, id(9), Refusal::NotNeeded { have: LogIndex(9) });
    assert_eq!(bench.chunk(A, &file, 0), [ReceiverOutput::Discard, not_needed.clone()]);

    let mut bench = Bench::new();
    bench.offer(A, file.manifest());
    assert_eq!(bench.give(opened(&[0, 1])), [ReceiverOutput::Finish]);
    bench.applied = LogIndex(12);
    assert_eq!(bench.offer(A, file.manifest()), [working(A, id(9))]);
    let not_needed = refused(A, id(9), Refusal::NotNeeded { have: LogIndex(12) });
    assert_eq!(
        bench.give(ReceiverInput::Finished),
        [ReceiverOutput::Discard, not_needed],
        "nothing is installed"
    );
}

#[test]
fn failure_of_our_own_is_told_in_every_phase() {
    let file = snapshot(9, 1);
    for phase in 0..4 {
        let mut bench = Bench::new();
        bench.offer(A, file.manifest());
        let inputs = [opened(&[]), opened(&[0]), ReceiverInput::Finished];
        for input in inputs.into_iter().skip(usize::from(phase > 1)).take(phase.min(2)) {
            bench.give(input);
        }
        let expected = [ReceiverOutput::Discard, refused(A, id(9), Refusal::Failed)];
        assert_eq!(bench.give(ReceiverInput::Failed), expected, "phase {phase}");
        assert_eq!(bench.give(ReceiverInput::Failed), [], "said once");
        assert_eq!(bench.give(ReceiverInput::Installed), [], "too late");
    }
}
