//! A half of a store that ends amid a step.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

/// A flush of two records ends after the first one. The witness that is written as the store closes must not hold the
/// state after the second record, which was never written.
#[test]
fn store_that_ends_amid_a_flush_leaves_no_trace_of_what_it_did_not_write() {
    let disk = SimulatedDisk::new(1);
    let (store, model) = formed(&disk);
    let (flusher, settler) = store.split();
    let mut flushing = Flushing::new(flusher);
    // A record is at most a quarter of the journal's 32 KiB, so the two writes do not share one.
    let write = |index: u64| {
        let hard_state = Some(HardState { term: Term(index), ..model.hard_state });
        Write { hard_state, ..append(index, vec![command(1, index, 7000)]) }
    };
    flushing.take([write(2), write(3)].into_iter());
    let Next::Do(chore) = flushing.next(Duration::ZERO) else { panic!("there is something to flush") };
    flushing.begin(chore);
    let written = flushing.end(Duration::ZERO).written;
    assert!(matches!(written, Some(Written::Persisted(WriteSeq(2)))), "{written:?}");
    drop((flushing, settler));
    // Without its database, the log has the newest hard state that journal and witness know of.
    disk.put(Path::new(FILE), b"");
    assert_eq!(open(&disk).unwrap().1.hard_state.term, Term(2));
}

/// The database holds what the flushing half does not know to be settled, so no more may be built on it.
#[test]
fn store_whose_settling_half_ends_amid_a_step_takes_no_more_writes() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    flush_one(&mut store, &mut model, 1);
    let (mut flusher, settler) = store.split();
    let mut settling = Settling::new(settler);
    settling.begin(Chore::Settle);
    drop(settling);
    flusher.queue(append(3, vec![command(1, 3, 10)]));
    assert!(matches!(flusher.flush(), Err(StoreError::Ended)));
    drop(flusher);
    let (store, _) = open(&disk).unwrap();
    model.check(&store);
}
