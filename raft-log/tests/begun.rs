//! Rot in the newest record, when the power was cut while the next record or the witness was being written: either of them
//! proves that the rotten record was durable.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use raftkit_core::*;
use raftkit_disk::SimulatedDisk;

/// Makes a small flush, and one of many sectors that a power cut interrupts. Returns the state after the small one, the
/// position of its record in the journal, and whether the beginning of the second record is there.
fn torn(seed: u64) -> (SimulatedDisk, Model, u64, bool) {
    let disk = SimulatedDisk::new(seed);
    let (mut store, mut model) = formed(&disk);
    flush_one(&mut store, &mut model, 1);
    store.witness().unwrap();
    let vote = HardState {
        term: Term(7),
        vote: Some(NodeId(2)),
        commit: LogIndex(1),
        promise: Duration::from_millis(900),
        ..HardState::default()
    };
    let write = Write { hard_state: Some(vote), ..append(3, vec![command(7, 3, 700)]) };
    model.apply(&write);
    store.queue(write);
    store.flush().unwrap();
    disk.crash_at_call(0);
    store.queue(append(4, vec![command(7, 4, 5000)]));
    store.flush().unwrap_err();
    disk.freeze();
    drop(store);
    disk.crash();
    // The payload begins in the record's first sector.
    let record = places_of(&disk, JOURNAL, &command(7, 3, 700))[0] / 512 * 512;
    let journal = disk.durable(Path::new(JOURNAL)).unwrap();
    let seq = |sector: &[u8]| u64::from_le_bytes(sector[24..32].try_into().unwrap());
    let own = seq(&journal[usize::try_from(record).unwrap()..]);
    let is_begun = journal[8192..].chunks(512).any(|it| it.starts_with(b"RKJ2") && seq(it) == own + 1);
    (disk, model, record, is_begun)
}

#[test]
fn a_rotten_record_behind_which_another_was_begun_is_not_taken_for_a_torn_one() {
    let mut begun = 0;
    for seed in 0..60 {
        // In each field of the head, in the hard state, in the payload, and in the record's second sector.
        for place in [0, 4, 8, 16, 24, 32, 44, 70, 200, 600] {
            let (disk, model, record, is_begun) = torn(seed);
            assert!(disk.rot(Path::new(JOURNAL), record + place, 1));
            let (_, restored) = open(&disk).unwrap();
            if is_begun {
                begun += 1;
                let health = restored.hard_state.health;
                assert_eq!(
                    health,
                    Health::Damaged,
                    "seed {seed}, byte {place}: acknowledged, lost, and not told"
                );
                let kept = |hard: HardState| (hard.term, hard.vote, hard.promise);
                assert_eq!(kept(restored.hard_state), kept(model.hard_state), "seed {seed}, byte {place}");
            }
            assert!(restored.last < LogIndex(3), "what is rotten is not taken");
        }
    }
    assert!((100..500).contains(&begun), "{begun} of 600 with the next record begun");
}

#[test]
fn a_torn_record_behind_a_whole_one_is_dropped_and_nothing_else() {
    for seed in 0..60 {
        let (disk, model, ..) = torn(seed);
        let (store, restored) = open(&disk).unwrap();
        assert_eq!(restored.hard_state.health, Health::Sound, "seed {seed}");
        assert!(store.report().damage.is_none(), "seed {seed}");
        let whole = restored.last == LogIndex(4);
        assert!(whole || restored == model.restored(), "seed {seed}: {restored:?}");
    }
}

/// The witness that confirms a record is missing or torn. The older witness must still be right about everything
/// before.
#[test]
fn a_record_that_rots_while_its_witness_is_written_takes_nothing_before_it_along() {
    let mut told = 0;
    for nth in 0..3 {
        for seed in 0..8 {
            let disk = SimulatedDisk::new(seed);
            let (mut store, mut model) = formed(&disk);
            flush_one(&mut store, &mut model, 1);
            store.witness().unwrap();
            let before = model.clone();
            flush_one(&mut store, &mut model, 1);
            disk.crash_at_call(nth);
            let is_witnessed = store.witness().is_ok();
            disk.freeze();
            drop(store);
            disk.crash();
            let last = model.entries.last().unwrap();
            let at = places_of(&disk, JOURNAL, last)[0];
            assert!(disk.rot(Path::new(JOURNAL), at + 9, 1));
            let (store, restored) = open(&disk).unwrap();
            if is_witnessed {
                assert_eq!(restored.hard_state.health, Health::Damaged, "the witness knows of it");
                told += 1;
            }
            assert_eq!(restored.last, before.last().index);
            assert_eq!(read(&store, 2, 2), before.read(2, 2, usize::MAX).unwrap());
        }
    }
    assert!(told > 0);
}
