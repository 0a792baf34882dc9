//! What the model's states know of indexes that no answer has told.

use raftkit_sim::linearizable::{KvInput, KvModel, KvOutput, KvState, Model};

use crate::*;

/// The state after these, which are possible.
fn state(steps: &[(KvInput, Option<KvOutput>)]) -> KvState {
    let step = |state: KvState, (input, output): &(KvInput, Option<KvOutput>)| {
        KvModel::step(&state, input, output.as_ref()).expect("it is possible")
    };
    steps.iter().fold(KvModel::initial(), step)
}

/// Whether a read can show this.
fn can_show(state: &KvState, value: u64, modified: u64, created: u64) -> bool {
    KvModel::step(state, &get(0), shows(value, modified, created).as_ref()).is_some()
}

#[test]
fn index_of_an_unknown_put_lies_between_those_of_its_neighbours() {
    let state = state(&[(put(0, 1), done(5)), (put(0, 2), None), (put_if(0, 3, 1), refused(9))]);
    let possible: Vec<u64> = (0..20).filter(|&index| can_show(&state, 2, index, 5)).collect();
    assert_eq!(possible, [6, 7, 8]);
    assert!(!can_show(&state, 2, 7, 4) && !can_show(&state, 1, 5, 5));
}

#[test]
fn refused_cas_rules_out_its_index_at_the_ends_of_a_range() {
    let base = [(put(0, 1), done(5)), (put(0, 2), None), (put_if(0, 3, 1), refused(9))];
    let mut steps = base.to_vec();
    steps.push((put_if(0, 3, 6), refused(10)));
    steps.push((put_if(0, 3, 8), refused(11)));
    let only = state(&steps);
    assert_eq!(only.version.unwrap().modified, (7, 7));
    assert!(KvModel::step(&only, &put_if(0, 3, 7), refused(12).as_ref()).is_none());
    assert!(KvModel::step(&only, &put_if(0, 3, 7), done(12).as_ref()).is_some());
    assert!(KvModel::step(&only, &put_if(0, 3, 8), done(12).as_ref()).is_none());
}

#[test]
fn create_index_is_below_the_modify_index() {
    // Created by a put of unknown outcome, overwritten by another one.
    let state = state(&[(put(0, 1), None), (put(0, 2), None)]);
    assert!(can_show(&state, 2, 4, 3) && can_show(&state, 2, 4, 1));
    assert!(!can_show(&state, 2, 4, 4) && !can_show(&state, 2, 4, 5));
    assert!(!can_show(&state, 2, 1, 1), "there is none below it");
}

#[test]
fn create_index_is_the_modify_index_until_a_change() {
    let state = state(&[(put(0, 1), None)]);
    assert!(can_show(&state, 1, 4, 4) && !can_show(&state, 1, 4, 3));
}

#[test]
fn cas_that_was_done_tells_an_index() {
    let state = state(&[(put(0, 1), None), (put_if(0, 2, 4), done(9))]);
    assert!(can_show(&state, 2, 9, 4));
    assert!(!can_show(&state, 2, 9, 3));
}

#[test]
fn read_is_a_floor_for_what_follows() {
    let state = state(&[(put(0, 1), None), (get(0), shows(1, 7, 7)), (put(0, 2), None)]);
    assert!(can_show(&state, 2, 8, 7) && !can_show(&state, 2, 7, 7));
    assert!(KvModel::step(&state, &put(0, 3), done(8).as_ref()).is_none(), "7, then 8 at least, then this");
    assert!(KvModel::step(&state, &put(0, 3), done(9).as_ref()).is_some());
}
