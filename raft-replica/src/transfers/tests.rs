//! Which snapshots are made, sent and kept, event by event.

#![allow(clippy::unwrap_used, reason = "test")]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use raftkit_core::{Health, Membership, PeerState};
use raftkit_disk::SimulatedDisk;
use raftkit_snapshot::{ChunkNumber, Refusal, SnapshotDir};

use crate::MachineWork;

use super::*;

const PEER: NodeId = NodeId(2);

fn snapshot(index: u64) -> SnapshotFile {
    let dir = SnapshotDir::new(Arc::new(SimulatedDisk::new(1)), PathBuf::from("/snapshots")).unwrap();
    dir.create(Membership::default()).unwrap().finish(LogId::new(2, index)).unwrap()
}

#[test]
fn the_log_is_needed_from_the_making_of_a_snapshot_until_its_peer_has_caught_up() {
    let (mut transfers, mut out) = (Transfers::new(), Vec::new());
    assert_eq!(transfers.needed(), None);
    transfers.wanted(Time(0), PEER, LogIndex(5), LogIndex(8), &mut out);
    assert_eq!(transfers.needed(), Some(LogIndex(8)), "its view may be as old as that");
    let manifest = snapshot(9).manifest().clone();
    transfers.built(Time(1), Ok(manifest), LogIndex(12), &mut out);
    assert_eq!(transfers.needed(), Some(LogIndex(9)));
    let installed = SnapshotMessage::Installed { snapshot: LogId::new(2, 9) }.encode();
    let ended = transfers.message(Time(2), PEER, installed, LogIndex(12), &mut out);
    assert_eq!(ended, [(PEER, SnapshotSent::Installed(LogId::new(2, 9)))]);
    // The peer needs the entries that have come since, until it has read those too.
    for (at, index, needed) in [(3, 0, Some(9)), (4, 9, Some(9)), (5, 11, Some(11)), (6, 12, None)] {
        transfers.follow(Time(at), LogIndex(12), || holding(index));
        assert_eq!(transfers.needed(), needed.map(LogIndex), "it holds all up to {index}");
    }
}

#[test]
fn whoever_waits_for_a_snapshot_that_cannot_be_made_has_failed() {
    let (mut transfers, mut out) = (Transfers::new(), Vec::new());
    for peer in [2, 3] {
        transfers.wanted(Time(0), NodeId(peer), LogIndex(5), LogIndex(8), &mut out);
    }
    let ended = transfers.built(Time(1), Err("no space".to_owned()), LogIndex(8), &mut out);
    assert_eq!(ended, [2, 3].map(|peer| (NodeId(peer), SnapshotSent::Failed)));
    assert_eq!(transfers.needed(), None);
}

#[test]
fn a_snapshot_is_told_to_be_installed_once_the_state_machine_has_switched() {
    let (mut transfers, mut out) = (Transfers::new(), Vec::new());
    let file = snapshot(9);
    let offer = SnapshotMessage::Offer(file.manifest().clone()).encode();
    transfers.message(Time(0), PEER, offer, LogIndex(1), &mut out);
    transfers.partial_opened(Time(1), Ok(BTreeSet::new()), &mut out);
    transfers.whole(Time(2), Ok(file), &mut out);
    assert!(matches!(out.last(), Some(Output::Do(Action::Machine(MachineWork::Restore(_))))));
    let says_installed = |out: &[Output]| {
        let says = SnapshotMessage::Installed { snapshot: LogId::new(2, 9) }.encode();
        out.iter()
            .any(|it| matches!(it, Output::Do(Action::SendBulk { to: PEER, body, .. }) if *body == says))
    };
    assert!(!says_installed(&out));
    transfers.restored(Time(3), LogId::new(2, 9), None, &mut out);
    assert!(says_installed(&out));
}

/// A leader's status of its one peer.
fn holding(index: u64) -> BTreeMap<NodeId, PeerStatus> {
    let (match_index, next_index) = (LogIndex(index), LogIndex(index + 1));
    let (state, health) = (PeerState::Replicate, Health::Sound);
    let (inflight_bytes, inflight_messages, heard) = (0, 0, None);
    let status =
        PeerStatus { match_index, next_index, state, inflight_bytes, inflight_messages, health, heard };
    BTreeMap::from([(PEER, status)])
}

fn keeps(out: &[Output]) -> Vec<Vec<u64>> {
    let keep = |action: &Output| {
        let Output::Do(Action::Snapshot(SnapshotWork::Keep(keep))) = action else { return None };
        Some(keep.iter().map(|id| id.index.0).collect())
    };
    out.iter().filter_map(keep).collect()
}

#[test]
fn a_snapshot_is_kept_from_the_moment_that_it_is_written_on() {
    let (mut transfers, mut out) = (Transfers::new(), Vec::new());
    transfers.wanted(Time(0), PEER, LogIndex(1), LogIndex(5), &mut out);
    transfers.viewed(LogId::new(2, 5));
    transfers.built(Time(1), Ok(snapshot(5).manifest().clone()), LogIndex(5), &mut out);
    transfers.wanted(Time(2), NodeId(3), LogIndex(8), LogIndex(9), &mut out);
    transfers.viewed(LogId::new(2, 9));
    let installed = SnapshotMessage::Installed { snapshot: LogId::new(2, 5) }.encode();
    transfers.message(Time(3), PEER, installed, LogIndex(9), &mut out);
    // By the time this work is done, snapshot 9 may have its name.
    assert_eq!(keeps(&out), [[9]]);
    transfers.built(Time(4), Err("no space".to_owned()), LogIndex(9), &mut out);
    assert_eq!(keeps(&out), [vec![9], vec![]]);
}

fn ms(count: u64) -> Time {
    Time(count * 1000)
}

/// The peers that a snapshot is offered to, and how often the state machine is asked for a view.
fn offers_and_views(out: &[Output]) -> (Vec<NodeId>, usize) {
    let offer = |action: &Output| {
        let Output::Do(Action::SendBulk { to, body, .. }) = action else { return None };
        let message = SnapshotMessage::decode(body.clone()).unwrap();
        matches!(message, SnapshotMessage::Offer(_)).then_some(*to)
    };
    let views =
        out.iter().filter(|action| matches!(action, Output::Do(Action::Machine(MachineWork::View)))).count();
    (out.iter().filter_map(offer).collect(), views)
}

/// Snapshot 9, made for the one peer, and the actions for it.
fn offered() -> (Transfers, Vec<Output>) {
    let (mut transfers, mut out) = (Transfers::new(), Vec::new());
    transfers.wanted(ms(0), PEER, LogIndex(5), LogIndex(8), &mut out);
    transfers.viewed(LogId::new(2, 9));
    transfers.built(ms(0), Ok(snapshot(9).manifest().clone()), LogIndex(9), &mut out);
    assert_eq!(offers_and_views(&out), (vec![PEER], 1));
    (transfers, Vec::new())
}

fn refuse(transfers: &mut Transfers, now: Time, out: &mut Vec<Output>) {
    let refused = SnapshotMessage::Refused { snapshot: LogId::new(2, 9), reason: Refusal::Busy };
    let ended = transfers.message(now, PEER, refused.encode(), LogIndex(12), out);
    assert_eq!(ended, [(PEER, SnapshotSent::Failed)]);
}

#[test]
fn a_busy_peer_is_offered_the_same_snapshot_a_second_later_and_never_makes_another_one_due() {
    let (mut transfers, mut out) = offered();
    for second in 0..100 {
        refuse(&mut transfers, ms(1000 * second), &mut out);
        assert_eq!(transfers.needed(), Some(LogIndex(9)), "the log behind it is kept meanwhile");
        // The core asks again with each answer to a heartbeat.
        let now = ms(1000 * second + 100);
        transfers.wanted(now, PEER, LogIndex(5), LogIndex(12), &mut out);
        assert_eq!(offers_and_views(&out), (vec![], 0), "not at once");
        let again = ms(1000 * second + 1000);
        assert_eq!(transfers.next_deadline(), Some(again));
        transfers.tick(again, LogIndex(12), &mut out);
        assert_eq!(offers_and_views(&out), (vec![PEER], 0));
        assert_eq!(keeps(&out), Vec::<Vec<u64>>::new());
        out.clear();
    }
}

#[test]
fn for_a_peer_that_is_gone_the_snapshot_and_the_log_behind_it_are_kept_for_half_a_minute() {
    let (mut transfers, mut out) = offered();
    refuse(&mut transfers, ms(0), &mut out);
    transfers.tick(ms(29_999), LogIndex(12), &mut out);
    assert_eq!((transfers.needed(), keeps(&out).len()), (Some(LogIndex(9)), 0));
    assert_eq!(transfers.next_deadline(), Some(ms(30_000)));
    transfers.tick(ms(30_000), LogIndex(12), &mut out);
    assert_eq!((transfers.needed(), keeps(&out)), (None, vec![vec![]]));
    assert_eq!(transfers.next_deadline(), None);
}

#[test]
fn a_snapshot_that_cannot_be_read_is_made_anew_for_the_next_try() {
    let (mut transfers, mut out) = offered();
    let want = SnapshotMessage::Want { snapshot: LogId::new(2, 9), chunk: ChunkNumber(0) }.encode();
    transfers.message(ms(1), PEER, want, LogIndex(12), &mut out);
    let rotten = Err("chunk 0 is damaged".to_owned());
    let ended = transfers.chunk_read(ms(2), (PEER, LogId::new(2, 9), ChunkNumber(0)), rotten, &mut out);
    assert_eq!(ended, [(PEER, SnapshotSent::Failed)]);
    transfers.wanted(ms(2000), PEER, LogIndex(5), LogIndex(12), &mut out);
    assert_eq!(offers_and_views(&out), (vec![], 1));
}

#[test]
fn a_snapshot_that_cannot_be_made_is_tried_again_a_second_later() {
    let (mut transfers, mut out) = (Transfers::new(), Vec::new());
    transfers.wanted(ms(0), PEER, LogIndex(5), LogIndex(8), &mut out);
    transfers.built(ms(100), Err("no space".to_owned()), LogIndex(8), &mut out);
    transfers.wanted(ms(200), PEER, LogIndex(5), LogIndex(8), &mut out);
    assert_eq!(offers_and_views(&out).1, 1);
    transfers.tick(ms(1100), LogIndex(8), &mut out);
    assert_eq!(offers_and_views(&out).1, 2);
}

#[test]
fn a_snapshot_behind_which_the_log_was_cut_is_of_no_use_and_a_new_one_is_made() {
    let (mut transfers, mut out) = offered();
    refuse(&mut transfers, ms(0), &mut out);
    transfers.wanted(ms(2000), PEER, LogIndex(10), LogIndex(12), &mut out);
    assert_eq!(offers_and_views(&out), (vec![], 1));
    assert_eq!((transfers.needed(), keeps(&out)), (Some(LogIndex(12)), vec![vec![]]));
}

#[test]
fn what_fails_of_a_transfer_that_was_given_up_does_not_end_the_next_one() {
    let (mut transfers, mut out) = (Transfers::new(), Vec::new());
    let dir = SnapshotDir::new(Arc::new(SimulatedDisk::new(1)), PathBuf::from("/snapshots")).unwrap();
    let mut writer = dir.with_chunk_bytes(10).create(Membership::default()).unwrap();
    writer.write_all(&[7; 40]).unwrap();
    let file = writer.finish(LogId::new(2, 9)).unwrap();
    let snapshot = file.manifest().id;
    let tell = |transfers: &mut Transfers, message: SnapshotMessage| {
        let mut out = Vec::new();
        transfers.message(ms(1), PEER, message.encode(), LogIndex(1), &mut out);
        out
    };
    let offer = SnapshotMessage::Offer(file.manifest().clone());
    tell(&mut transfers, offer.clone());
    transfers.partial_opened(ms(1), Ok(BTreeSet::new()), &mut out);
    for chunk in (0..2).map(ChunkNumber) {
        let bytes = file.read_chunk(chunk).unwrap();
        tell(&mut transfers, SnapshotMessage::Chunk { snapshot, chunk, bytes });
    }
    let full = || Err("no space".to_owned());
    transfers.chunk_stored(ms(2), full(), &mut out);
    let failed = SnapshotMessage::Refused { snapshot, reason: Refusal::Failed }.encode();
    assert!(out.iter().any(|it| matches!(it, Output::Do(Action::SendBulk { body, .. }) if *body == failed)));
    assert_eq!(tell(&mut transfers, offer).len(), 2, "it is offered again, and opened");
    out.clear();
    transfers.chunk_stored(ms(3), full(), &mut out);
    assert!(out.is_empty(), "the other chunk of the first try");
    transfers.partial_opened(ms(4), Ok(BTreeSet::from([ChunkNumber(0)])), &mut out);
    assert_eq!(out.len(), 3, "it asks for the three that are missing");
}

/// The offers and chunks whose leaving the transport is to report: the chunk's number, and the name.
fn cargo(out: &[Output]) -> Vec<(Option<u32>, BulkId)> {
    let named = |action: &Output| {
        let Output::Do(Action::SendBulk { to: PEER, body, id: Some(id) }) = action else { return None };
        match SnapshotMessage::decode(body.clone()).unwrap() {
            SnapshotMessage::Offer(_) => Some((None, *id)),
            SnapshotMessage::Chunk { chunk, .. } => Some((Some(chunk.0), *id)),
            other @ (SnapshotMessage::Want { .. }
            | SnapshotMessage::Working { .. }
            | SnapshotMessage::Installed { .. }
            | SnapshotMessage::Refused { .. }) => panic!("{other:?} has a few bytes"),
        }
    };
    out.iter().filter_map(named).collect()
}

/// The chunks that the snapshot worker shall read.
fn reads(out: &[Output]) -> Vec<u32> {
    let read = |action: &Output| {
        let Output::Do(Action::Snapshot(SnapshotWork::ReadChunk { chunk, .. })) = action else { return None };
        Some(chunk.0)
    };
    out.iter().filter_map(read).collect()
}

#[test]
fn chunks_that_have_not_left_are_bounded_and_not_sent_twice_by_the_next_try() {
    let dir = SnapshotDir::new(Arc::new(SimulatedDisk::new(1)), PathBuf::from("/snapshots")).unwrap();
    let mut writer = dir.with_chunk_bytes(10).create(Membership::default()).unwrap();
    writer.write_all(&[7; 60]).unwrap();
    let file = writer.finish(LogId::new(2, 9)).unwrap();
    let snapshot = LogId::new(2, 9);
    let (mut transfers, mut out) = (Transfers::new(), Vec::new());
    transfers.wanted(ms(0), PEER, LogIndex(5), LogIndex(8), &mut out);
    transfers.viewed(snapshot);
    transfers.built(ms(0), Ok(file.manifest().clone()), LogIndex(9), &mut out);
    let want = |transfers: &mut Transfers, out: &mut Vec<Output>| {
        for chunk in (0..6).map(ChunkNumber) {
            let want = SnapshotMessage::Want { snapshot, chunk }.encode();
            transfers.message(ms(1), PEER, want, LogIndex(12), out);
        }
    };
    want(&mut transfers, &mut out);
    assert_eq!(reads(&out), [0, 1]);
    out.clear();
    for chunk in [0, 1].map(ChunkNumber) {
        let bytes = file.read_chunk(chunk).unwrap();
        transfers.chunk_read(ms(1), (PEER, snapshot, chunk), Ok(bytes), &mut out);
    }
    let [(Some(0), first), (Some(1), second)] = cargo(&out)[..] else { panic!("{:?}", cargo(&out)) };
    assert_eq!(reads(&out), Vec::<u32>::new());
    out.clear();

    // The peer gives up and gets the offer again, while both messages are still on their way.
    refuse(&mut transfers, ms(2), &mut out);
    transfers.wanted(ms(1500), PEER, LogIndex(5), LogIndex(12), &mut out);
    assert_eq!(offers_and_views(&out), (vec![PEER], 0));
    want(&mut transfers, &mut out);
    assert_eq!(reads(&out), Vec::<u32>::new(), "there is no room, and two need not be read at all");
    transfers.left(ms(1600), first, &mut out);
    assert_eq!(reads(&out), [2]);
    transfers.left(ms(1600), first, &mut out);
    assert_eq!(reads(&out), [2], "it has left once");
    transfers.left(ms(1700), second, &mut out);
    assert_eq!(reads(&out), [2, 3]);
}
