//! The rules of the receiver, one by one.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use common::{data, manifest, source};
use raftkit_core::{LogId, LogIndex, NodeId, Time};
use raftkit_snapshot::{
    Manifest, Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput, Refusal, SnapshotFile,
    SnapshotMessage,
};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn id(index: u64) -> LogId {
    LogId::new(1, index)
}

fn seconds(count: u64) -> Time {
    Time::default().after(Duration::from_secs(count))
}

/// A receiver and its last outputs.
struct Bench {
    receiver: Receiver,
    now: Time,
    applied: LogIndex,
}

impl Bench {
    fn new() -> Self {
        Self {
            receiver: Receiver::new(ReceiverOptions::default()),
            now: Time::default(),
            applied: LogIndex(3),
        }
    }

    fn give(&mut self, input: ReceiverInput) -> Vec<ReceiverOutput> {
        let mut out = Vec::new();
        self.receiver.handle(self.now, input, &mut out);
        out
    }

    fn hear(&mut self, from: NodeId, message: SnapshotMessage) -> Vec<ReceiverOutput> {
        let applied = self.applied;
        self.give(ReceiverInput::Message { from, message, applied })
    }

    fn offer(&mut self, from: NodeId, manifest: &Manifest) -> Vec<ReceiverOutput> {
        self.hear(from, SnapshotMessage::Offer(manifest.clone()))
    }

    fn chunk(&mut self, from: NodeId, file: &SnapshotFile, chunk: u32) -> Vec<ReceiverOutput> {
        let (snapshot, bytes) = (file.manifest().id, file.read_chunk(chunk).unwrap());
        self.hear(from, SnapshotMessage::Chunk { snapshot, chunk, bytes })
    }

    fn tick(&mut self, after: u64) -> Vec<ReceiverOutput> {
        self.now = self.now.after(Duration::from_secs(after));
        self.give(ReceiverInput::Tick)
    }
}

fn say(to: NodeId, message: SnapshotMessage) -> ReceiverOutput {
    ReceiverOutput::Send { to, message }
}

fn want(to: NodeId, snapshot: LogId, chunk: u32) -> ReceiverOutput {
    say(to, SnapshotMessage::Want { snapshot, chunk })
}

fn working(to: NodeId, snapshot: LogId) -> ReceiverOutput {
    say(to, SnapshotMessage::Working { snapshot })
}

fn refused(to: NodeId, snapshot: LogId, reason: Refusal) -> ReceiverOutput {
    say(to, SnapshotMessage::Refused { snapshot, reason })
}

fn store(file: &SnapshotFile, chunk: u32) -> ReceiverOutput {
    ReceiverOutput::Store { chunk, bytes: file.read_chunk(chunk).unwrap() }
}

fn opened(have: &[u32]) -> ReceiverInput {
    ReceiverInput::Opened { have: have.iter().copied().collect::<BTreeSet<_>>() }
}

fn snapshot(index: u64, chunks: usize) -> SnapshotFile {
    source(id(index), &data(chunks * common::CHUNK as usize, index))
}

#[test]
fn receiver_takes_a_snapshot_from_offer_to_install() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 6));
    let manifest = file.manifest().clone();
    assert_eq!(bench.offer(A, &manifest), [ReceiverOutput::Open(manifest.clone()), working(A, id(9))]);
    assert_eq!(bench.give(opened(&[1])), [0, 2, 3, 4].map(|chunk| want(A, id(9), chunk)), "a window of four");
    assert_eq!(bench.chunk(A, &file, 3), [store(&file, 3)]);
    assert_eq!(bench.chunk(A, &file, 3), [], "a second copy");
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: 3 }), [want(A, id(9), 5)]);
    for chunk in [0, 2, 4, 5] {
        bench.chunk(A, &file, chunk);
    }
    for chunk in [0, 2, 4] {
        assert_eq!(bench.give(ReceiverInput::Stored { chunk }), []);
    }
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: 5 }), [ReceiverOutput::Finish]);
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
    bench.give(ReceiverInput::Stored { chunk: 0 });
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
    let bad = |chunk| SnapshotMessage::Chunk { snapshot: id(9), chunk, bytes: Bytes::from_static(b"no") };
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
    assert_eq!(bench.hear(A, SnapshotMessage::Chunk { snapshot, chunk: 99, bytes }), [], "no such chunk");
}

#[test]
fn late_chunks_are_asked_for_again_and_no_progress_is_the_end() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    assert_eq!(bench.tick(1), [working(A, id(9))]);
    bench.chunk(A, &file, 1);
    bench.give(ReceiverInput::Stored { chunk: 1 });
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
        bench.give(ReceiverInput::Stored { chunk: 0 }),
        [],
        "the window shrinks: three are enough on the way"
    );
    bench.tick(4);
    bench.chunk(A, &file, 1);
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: 1 }), [], "two");
    bench.tick(3);
    bench.chunk(A, &file, 2);
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: 2 }), [want(A, id(9), 4)]);
    // The next chunk takes 3 s. The 10 s of the one before still count half, so the wait is four times 5 s: do not ask
    // again yet.
    bench.tick(3);
    bench.chunk(A, &file, 4);
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: 4 }), [want(A, id(9), 5)]);
    let asked_again = |out: Vec<ReceiverOutput>| out.contains(&want(A, id(9), 5));
    assert!(!asked_again(bench.tick(19)));
    assert!(asked_again(bench.tick(1)));
    // Good chunks were up to 4 s apart, so giving up takes 30 s; after one that came 29 s later, it takes 232 s.
    bench.tick(9);
    bench.chunk(A, &file, 5);
    bench.give(ReceiverInput::Stored { chunk: 5 });
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
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: 0 }), [ReceiverOutput::Finish]);
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
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: 0 }), [ReceiverOutput::Discard]);
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
    assert_eq!(bench.give(ReceiverInput::Stored { chunk: 0 }), []);
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
    let next = bench.give(ReceiverInput::Stored { chunk: 0 });
    assert_eq!(next, [want(A, id(9), 4)], "a window of four, as before");
}

#[test]
fn time_to_give_up_counts_from_when_a_slow_disk_has_stored_a_chunk() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 3));
    bench.offer(A, file.manifest());
    bench.give(opened(&[]));
    bench.chunk(A, &file, 0);
    bench.tick(29);
    bench.give(ReceiverInput::Stored { chunk: 0 });
    bench.tick(29);
    assert_eq!(bench.receiver.receiving(), Some(file.manifest()));
    bench.tick(1);
    assert_eq!(bench.receiver.receiving(), None);
}

#[test]
fn sender_that_takes_over_has_all_the_time_and_no_faults() {
    let (mut bench, file) = (Bench::new(), snapshot(9, 2));
    let bad = || SnapshotMessage::Chunk { snapshot: id(9), chunk: 1, bytes: Bytes::from_static(b"no") };
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
    bench.give(ReceiverInput::Stored { chunk: 0 });
    bench.tick(30);
    assert_eq!(bench.receiver.receiving(), None);
    bench.offer(A, file.manifest());
    bench.give(opened(&[0]));
    bench.tick(29);
    assert_eq!(bench.receiver.receiving(), Some(file.manifest()));
    bench.tick(1);
    assert_eq!(bench.receiver.receiving(), None);
}
