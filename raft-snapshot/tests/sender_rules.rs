//! The rules of the sender, one by one.

#![allow(missing_docs, reason = "test")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::manifest;
use raftkit_core::{LogId, LogIndex, NodeId, SnapshotSent, Time};
use raftkit_snapshot::{
    Cargo, ChunkNumber, Manifest, Refusal, Sender, SenderInput, SenderOptions, SenderOutput, SnapshotMessage,
};

/// The node that receives.
const B: NodeId = NodeId(2);

fn id(index: u64) -> LogId {
    LogId::new(1, index)
}

fn seconds(count: u64) -> Time {
    Time::default().after(Duration::from_secs(count))
}

/// A started sender, and its outputs.
fn sender(manifest: &Manifest) -> (Sender, Vec<SenderOutput>) {
    let mut sender = Sender::new(B, manifest.clone(), SenderOptions::default());
    let out = give(&mut sender, 0, SenderInput::Start);
    (sender, out)
}

fn give(sender: &mut Sender, at: u64, input: SenderInput) -> Vec<SenderOutput> {
    let mut out = Vec::new();
    sender.handle(seconds(at), input, &mut out);
    out
}

fn hear(sender: &mut Sender, at: u64, message: SnapshotMessage) -> Vec<SenderOutput> {
    give(sender, at, SenderInput::Message(message))
}

#[test]
fn sender_offers_reads_what_is_wanted_and_ends() {
    let manifest = manifest(id(9), 2);
    let (mut sender, out) = sender(&manifest);
    assert_eq!(out, [SenderOutput::Send(SnapshotMessage::Offer(manifest))]);
    let want = SnapshotMessage::Want { snapshot: id(9), chunk: ChunkNumber(1) };
    assert_eq!(hear(&mut sender, 0, want.clone()), [SenderOutput::ReadChunk { chunk: ChunkNumber(1) }]);
    assert_eq!(hear(&mut sender, 0, want), [], "it is being read");
    let bytes = Bytes::from_static(b"x");
    let chunk = SnapshotMessage::Chunk { snapshot: id(9), chunk: ChunkNumber(1), bytes: bytes.clone() };
    let read = SenderInput::ChunkRead { chunk: ChunkNumber(1), bytes };
    assert_eq!(give(&mut sender, 0, read.clone()), [SenderOutput::Send(chunk)]);
    assert_eq!(give(&mut sender, 0, read), [], "read once, sent once");
    assert_eq!(
        hear(&mut sender, 0, SnapshotMessage::Want { snapshot: id(9), chunk: ChunkNumber(2) }),
        [],
        "no such chunk"
    );
    assert_eq!(hear(&mut sender, 0, SnapshotMessage::Installed { snapshot: id(8) }), [], "another snapshot");
    let installed = SnapshotMessage::Installed { snapshot: id(9) };
    assert_eq!(hear(&mut sender, 0, installed.clone()), [SenderOutput::Done(SnapshotSent::Installed(id(9)))]);
    assert_eq!(hear(&mut sender, 0, installed), [], "said once");
    assert_eq!(sender.next_deadline(), None);
}

/// The input that an offer or chunk has left.
fn left(chunk: Option<u32>) -> SenderInput {
    SenderInput::Left {
        snapshot: id(9),
        cargo: chunk.map_or(Cargo::Offer, |chunk| Cargo::Chunk(ChunkNumber(chunk))),
    }
}

#[test]
fn sender_offers_again_and_fails_after_silence() {
    let manifest = manifest(id(9), 2);
    let (mut sender, _) = sender(&manifest);
    assert_eq!(sender.next_deadline(), None, "the offer has not left");
    give(&mut sender, 0, left(None));
    assert_eq!(sender.next_deadline(), Some(seconds(2)));
    assert_eq!(give(&mut sender, 1, SenderInput::Tick), []);
    assert_eq!(give(&mut sender, 2, SenderInput::Tick).len(), 1, "the offer");
    give(&mut sender, 2, left(None));
    hear(&mut sender, 3, SnapshotMessage::Working { snapshot: id(9) });
    assert_eq!(sender.next_deadline(), Some(seconds(5)));
    assert_eq!(give(&mut sender, 12, SenderInput::Tick).len(), 1, "not before ten seconds of silence");
    give(&mut sender, 12, left(None));
    assert_eq!(give(&mut sender, 13, SenderInput::Tick), [SenderOutput::Done(SnapshotSent::Failed)]);
}

#[test]
fn offer_that_takes_long_to_leave_is_no_silence_and_is_not_made_twice() {
    let (mut sender, _) = sender(&manifest(id(9), 2));
    assert_eq!(give(&mut sender, 60, SenderInput::Tick), []);
    give(&mut sender, 60, SenderInput::Left { snapshot: id(8), cargo: Cargo::Offer });
    assert_eq!(sender.next_deadline(), None, "the offer of another snapshot");
    give(&mut sender, 60, left(None));
    assert_eq!(give(&mut sender, 69, SenderInput::Tick).len(), 1, "ten seconds from when it had left");
    assert_eq!(sender.next_deadline(), None);
    give(&mut sender, 69, left(None));
    assert_eq!(give(&mut sender, 70, SenderInput::Tick), [SenderOutput::Done(SnapshotSent::Failed)]);
}

#[test]
fn sender_understands_refusals() {
    let manifest = manifest(id(9), 2);
    let not_needed = |have| Refusal::NotNeeded { have: LogIndex(have) };
    let table = [
        (not_needed(9), Some(SnapshotSent::Installed(id(9)))),
        (not_needed(100), Some(SnapshotSent::Installed(id(9)))),
        (not_needed(8), Some(SnapshotSent::Failed)),
        (Refusal::Busy, Some(SnapshotSent::Failed)),
        (Refusal::Failed, Some(SnapshotSent::Failed)),
        (Refusal::Gone, None),
    ];
    for (reason, expected) in table {
        let (mut sender, _) = sender(&manifest);
        let out = hear(&mut sender, 1, SnapshotMessage::Refused { snapshot: id(9), reason });
        assert_eq!(out, expected.map(SenderOutput::Done).into_iter().collect::<Vec<_>>(), "{reason:?}");
    }
}

#[test]
fn sender_that_cannot_read_says_so() {
    let (mut sender, _) = sender(&manifest(id(9), 2));
    let gone = SnapshotMessage::Refused { snapshot: id(9), reason: Refusal::Gone };
    let expected = [SenderOutput::Send(gone), SenderOutput::Done(SnapshotSent::Failed)];
    assert_eq!(give(&mut sender, 0, SenderInput::ReadFailed), expected);
}

/// The chunks that a sender's outputs ask to read.
fn reads(out: &[SenderOutput]) -> Vec<u32> {
    let read =
        |it: &SenderOutput| if let SenderOutput::ReadChunk { chunk } = it { Some(chunk.0) } else { None };
    out.iter().filter_map(read).collect()
}

#[test]
fn sender_holds_two_chunks_and_reads_the_next_when_one_has_left() {
    let (mut sender, _) = sender(&manifest(id(9), 200));
    let want = |chunk| SnapshotMessage::Want { snapshot: id(9), chunk: ChunkNumber(chunk) };
    let read: Vec<u32> = (0..200).flat_map(|chunk| reads(&hear(&mut sender, 0, want(chunk)))).collect();
    assert_eq!(read, [0, 1]);
    let bytes = Bytes::from_static(b"x");
    for chunk in [0, 1] {
        let out =
            give(&mut sender, 0, SenderInput::ChunkRead { chunk: ChunkNumber(chunk), bytes: bytes.clone() });
        assert_eq!(
            (out.len(), reads(&out)),
            (1, vec![]),
            "it is sent, and takes its place until it has left"
        );
        assert_eq!(hear(&mut sender, 0, want(chunk)), [], "it is on its way");
    }
    assert_eq!(give(&mut sender, 0, left(Some(7))), [], "what is not on its way cannot leave");
    assert_eq!(reads(&give(&mut sender, 0, left(Some(1)))), [2]);
    assert_eq!(reads(&give(&mut sender, 0, left(Some(0)))), [3]);
    hear(&mut sender, 0, want(1));
    // The requests waiting at a sender are bounded; the receiver repeats the others.
    let mut served = 4;
    for chunk in 2.. {
        give(&mut sender, 0, SenderInput::ChunkRead { chunk: ChunkNumber(chunk), bytes: bytes.clone() });
        match reads(&give(&mut sender, 0, left(Some(chunk))))[..] {
            [] => break,
            ref next => served += next.len(),
        }
    }
    assert_eq!(served, 2 + 64 + 1, "the last is the one that left and was asked for again");
}

#[test]
fn chunks_of_an_earlier_try_that_have_not_left_are_not_sent_again_and_take_their_place() {
    let mut sender = Sender::new(B, manifest(id(9), 9), SenderOptions::default())
        .after([(id(9), ChunkNumber(3)), (id(8), ChunkNumber(0))]);
    give(&mut sender, 0, SenderInput::Start);
    let want = |chunk| SnapshotMessage::Want { snapshot: id(9), chunk: ChunkNumber(chunk) };
    assert_eq!(hear(&mut sender, 0, want(3)), []);
    assert_eq!(hear(&mut sender, 0, want(4)), []);
    let other = SenderInput::Left { snapshot: id(8), cargo: Cargo::Chunk(ChunkNumber(0)) };
    assert_eq!(reads(&give(&mut sender, 0, other)), [4]);
    assert_eq!(reads(&give(&mut sender, 0, left(Some(3)))), []);
    assert_eq!(reads(&hear(&mut sender, 0, want(3))), [3], "it has left, so it may be lost");
}

#[test]
fn sender_does_nothing_before_its_start() {
    let mut sender = Sender::new(B, manifest(id(9), 1), SenderOptions::default());
    assert_eq!(hear(&mut sender, 0, SnapshotMessage::Want { snapshot: id(9), chunk: ChunkNumber(0) }), []);
    assert_eq!((sender.next_deadline(), sender.to()), (None, B));
}

#[test]
fn sign_of_the_receiver_does_not_repeat_an_offer_that_has_not_left() {
    let (mut sender, _) = sender(&manifest(id(9), 2));
    hear(&mut sender, 1, SnapshotMessage::Working { snapshot: id(9) });
    assert_eq!(sender.next_deadline(), None, "a second offer would only wait behind the first");
    assert_eq!(give(&mut sender, 5, SenderInput::Tick), []);
    give(&mut sender, 5, left(None));
    assert_eq!(sender.next_deadline(), Some(seconds(7)));
}
