//! The rules of the receiver about time: when it asks again, gives up, or takes another sender.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use bytes::Bytes;
use common::manifest;
use common::receiver::*;
use raftkit_snapshot::{ChunkNumber, ReceiverInput, ReceiverOutput, Refusal, SnapshotMessage};

#[test]
fn late_chunks_are_asked_for_again_and_no_progress_is_the_end() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    assert_eq!(bench.tick(1), [working(A, id(9))]);
    bench.chunk(A, &file, 1);
    bench.give(ReceiverInput::Stored { chunk: ChunkNumber(1) });
    assert_eq!(bench.tick(3), [want(A, id(9), 0), want(A, id(9), 2)]);
    assert_eq!(bench.receiver.next_deadline(), Some(seconds(5)));
    assert_eq!(bench.tick(4), [working(A, id(9))], "each time after twice as long");
    assert_eq!(bench.tick(4), [want(A, id(9), 0), want(A, id(9), 2)]);
    bench.tick(16);
    bench.tick(2);
    assert_eq!(bench.receiver.next_deadline(), Some(seconds(31)), "30 s after the last good chunk");
    assert_eq!(bench.tick(1), [ReceiverOutput::Discard, refused(A, id(9), Refusal::Failed)]);
    assert_eq!(bench.receiver.next_deadline(), None);
}

#[test]
fn time_outs_follow_the_rate_at_which_chunks_come() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 6));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.tick(3);
    bench.chunk(A, &file, 0);
    assert_eq!(
        bench.give(ReceiverInput::Stored { chunk: ChunkNumber(0) }),
        [],
        "the window shrinks: three are enough on the way"
    );
    bench.tick(4);
    bench.chunk(A, &file, 1);
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(1) }), [], "two");
    bench.tick(3);
    bench.chunk(A, &file, 2);
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(2) }), [want(A, id(9), 4)]);
    // The next chunk takes 3 s. The 10 s of the one before still count half, so the wait is four times 5 s: do not ask
    // again yet.
    bench.tick(3);
    bench.chunk(A, &file, 4);
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(4) }), [want(A, id(9), 5)]);
    let asked_again = |out: Vec<ReceiverOutput>| out.contains(&want(A, id(9), 5));
    assert!(!asked_again(bench.tick(19)));
    assert!(asked_again(bench.tick(1)));
    // Good chunks were up to 4 s apart, so giving up takes 30 s; after one that came 29 s later, it takes 232 s.
    bench.tick(9);
    bench.chunk(A, &file, 5);
    bench.give(ReceiverInput::Stored { chunk: ChunkNumber(5) });
    bench.tick(231);
    assert_eq!(bench.receiver.receiving(), Some(file.manifest()));
    bench.tick(1);
    assert_eq!(bench.receiver.receiving(), None);
}

#[test]
fn sender_that_fell_silent_gives_way_to_an_older_snapshot_of_another_node() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.tick(9);
    let older = manifest(id(8), 2);
    assert_eq!(bench.offer(B, &older), [refused(B, id(8), Refusal::Busy)]);
    // A message about another snapshot does not count for this one.
    bench.hear(A, SnapshotMessage::Refused { snapshot: id(7), reason: Refusal::Gone });
    bench.tick(1);
    let taken = bench.offer(B, &older);
    assert_eq!(taken[2..], [ReceiverOutput::Open(older), working(B, id(8))]);

    // A sender that keeps talking is not replaced.
    let mut bench = Bench::new();
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.tick(9);
    bench.offer(A, file.manifest());
    bench.tick(9);
    assert_eq!(bench.offer(B, &manifest(id(8), 2)), [refused(B, id(8), Refusal::Busy)]);
}

#[test]
fn slow_disk_of_our_own_is_no_lack_of_progress() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 1));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.chunk(A, &file, 0);
    for _ in 0..30 {
        assert_eq!(bench.tick(1), [working(A, id(9))]);
    }
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: ChunkNumber(0) }), [ReceiverOutput::Finish]);
}

#[test]
fn message_of_another_node_is_no_sign_of_the_sender() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.tick(9);
    bench.hear(B, SnapshotMessage::Refused { snapshot: id(9), reason: Refusal::Gone });
    bench.tick(1);
    let older = manifest(id(8), 2);
    let taken = bench.offer(B, &older);
    assert_eq!(taken[2..], [ReceiverOutput::Open(older), working(B, id(8))]);
}

#[test]
fn chunk_that_was_asked_for_twice_says_nothing_of_the_link() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 8));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    // The first request may have been lost, or the answer may have taken 4 s: nobody knows.
    assert_eq!(bench.tick(4)[..4], [0, 1, 2, 3].map(|chunk| want(A, id(9), chunk)));
    bench.chunk(A, &file, 0);
    let next = bench.give(ReceiverInput::Stored { chunk: ChunkNumber(0) });
    assert_eq!(next, [want(A, id(9), 4)], "a window of four, as before");
}

#[test]
fn time_to_give_up_counts_from_when_a_slow_disk_has_stored_a_chunk() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.chunk(A, &file, 0);
    bench.tick(29);
    bench.give(ReceiverInput::Stored { chunk: ChunkNumber(0) });
    bench.tick(29);
    assert_eq!(bench.receiver.receiving(), Some(file.manifest()));
    bench.tick(1);
    assert_eq!(bench.receiver.receiving(), None);
}

#[test]
fn sender_that_takes_over_has_all_the_time_and_no_faults() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 2));
    let bad = || SnapshotMessage::Chunk {
        snapshot: id(9),
        chunk: ChunkNumber(1),
        bytes: Bytes::from_static(b"no"),
    };
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    for _ in 0..3 {
        bench.hear(A, bad());
    }
    bench.tick(29);
    bench.offer(B, file.manifest());
    assert_eq!(bench.hear(B, bad()), [want(B, id(9), 1)], "its first wrong chunk");
    bench.tick(29);
    assert_eq!(bench.receiver.receiving(), Some(file.manifest()));
    bench.tick(1);
    assert_eq!(bench.receiver.receiving(), None);
}

#[test]
fn transfer_that_failed_after_chunks_came_gives_the_next_one_no_more_time() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.chunk(A, &file, 0);
    bench.give(ReceiverInput::Stored { chunk: ChunkNumber(0) });
    bench.tick(30);
    assert_eq!(bench.receiver.receiving(), None);
    bench.offer(A, file.manifest());
    bench.give(opened(&[0]));
    bench.tick(29);
    assert_eq!(bench.receiver.receiving(), Some(file.manifest()));
    bench.tick(1);
    assert_eq!(bench.receiver.receiving(), None);
}
