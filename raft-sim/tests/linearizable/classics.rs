//! What goes wrong in real systems, and what only looks as if it did.

use raftkit_sim::linearizable::{KvCall, KvInput, Verdict};

use crate::*;

#[track_caller]
pub(crate) fn accepts(history: &[KvOperation]) {
    let verdict = verdict(history);
    assert!(verdict.is_linearizable(), "{verdict}");
}

#[track_caller]
pub(crate) fn refuses(history: &[KvOperation]) -> String {
    let verdict = verdict(history);
    assert!(matches!(verdict, Verdict::Violation(_)), "{verdict}");
    verdict.to_string()
}

#[test]
fn nothing_is_linearizable() {
    accepts(&[]);
}

#[test]
fn one_after_the_other() {
    accepts(&[
        operation(1, (0, 1), get(0), absent()),
        operation(1, (2, 3), put(0, 10), done(5)),
        operation(2, (4, 5), get(0), shows(10, 5, 5)),
        operation(2, (6, 7), put_if(0, 11, 5), done(6)),
        operation(1, (8, 9), get(0), shows(11, 6, 5)),
    ]);
}

#[test]
fn stale_read() {
    let mut history = vec![
        operation(1, (0, 10), put(0, 1), done(5)),
        operation(1, (20, 30), put(0, 2), done(6)),
        operation(2, (40, 50), get(0), shows(1, 5, 5)),
    ];
    refuses(&history);
    history[2].called = 29;
    accepts(&history); // it overlaps the second put
    history[2].called = 30;
    accepts(&history); // equal times overlap
    history[2].called = 31;
    refuses(&history);
}

#[test]
fn read_before_any_write() {
    refuses(&[operation(1, (0, 10), get(0), shows(1, 5, 5)), operation(2, (20, 30), put(0, 1), done(5))]);
}

#[test]
fn lost_update() {
    refuses(&[operation(1, (0, 10), put(0, 1), done(5)), operation(1, (20, 30), get(0), absent())]);
    // Both saw version 5, both wrote.
    refuses(&[
        operation(1, (0, 10), put(0, 1), done(5)),
        operation(1, (20, 40), put_if(0, 2, 5), done(6)),
        operation(2, (20, 40), put_if(0, 3, 5), done(7)),
    ]);
}

#[test]
fn read_that_goes_back() {
    // Both reads overlap the put: the first may see it, but then so must the second.
    let history = |first, second| {
        [
            operation(1, (0, 10), put(0, 1), done(5)),
            operation(1, (20, 90), put(0, 2), done(6)),
            operation(2, (30, 40), get(0), first),
            operation(3, (50, 60), get(0), second),
        ]
    };
    accepts(&history(shows(1, 5, 5), shows(2, 6, 5)));
    accepts(&history(shows(2, 6, 5), shows(2, 6, 5)));
    refuses(&history(shows(2, 6, 5), shows(1, 5, 5)));
}

#[test]
fn unknown_write_seen_later() {
    accepts(&[
        operation(1, (0, 10), put(0, 1), done(5)),
        unanswered(2, 20, put(0, 2)),
        operation(1, (30, 40), get(0), shows(1, 5, 5)),
        operation(1, (50, 60), put(0, 3), done(7)),
        operation(1, (70, 80), get(0), shows(2, 9, 5)),
        operation(1, (90, 99), get(0), shows(2, 9, 5)),
    ]);
}

#[test]
fn unknown_write_takes_effect_after_its_caller_gave_up() {
    let mut late = operation(2, (0, 10), put(0, 2), None);
    let read = operation(1, (20, 30), get(0), absent());
    let later = operation(1, (40, 50), get(0), shows(2, 4, 4));
    accepts(&[late.clone(), read.clone(), later.clone()]);
    late.returned = None;
    accepts(&[late.clone(), read.clone(), later.clone()]);
    late.called = 51;
    refuses(&[late, read, later]);
}

#[test]
fn unknown_write_seen_and_then_unseen() {
    refuses(&[
        operation(1, (0, 10), put(0, 1), done(5)),
        unanswered(2, 20, put(0, 2)),
        operation(1, (30, 40), get(0), shows(2, 6, 5)),
        operation(1, (50, 60), get(0), shows(1, 5, 5)),
    ]);
}

#[test]
fn unknown_write_happens_once() {
    refuses(&[
        unanswered(2, 0, put(0, 2)),
        operation(1, (10, 20), get(0), shows(2, 3, 3)),
        operation(1, (30, 40), put(0, 1), done(5)),
        operation(1, (50, 60), get(0), shows(2, 7, 3)),
    ]);
}

#[test]
fn unknown_write_has_one_index() {
    let history = |modified, created| {
        [
            operation(1, (0, 10), put(0, 1), done(5)),
            unanswered(2, 20, put(0, 2)),
            operation(1, (30, 40), put_if(0, 3, 2), refused(9)),
            operation(1, (50, 60), get(0), shows(2, modified, created)),
            operation(3, (70, 80), get(0), shows(2, 8, 5)),
        ]
    };
    accepts(&history(8, 5));
    refuses(&history(7, 5)); // not what the next read says
    refuses(&history(8, 4));
    // Above the index of what it overwrote, and not that of the refused write, whose entry it was not.
    for index in [4, 5, 9] {
        let mut history = history(index, 5).to_vec();
        history.pop();
        refuses(&history);
        history.push(unanswered(4, 90, put(0, 2))); // now it could be either put, as far as the value tells
        refuses(&history);
    }
}

#[test]
fn create_index_of_an_unknown_write_is_bound_by_what_overwrote_it() {
    let history = |created| {
        [
            unanswered(2, 0, put(0, 1)),
            operation(1, (10, 20), put(0, 2), done(6)),
            operation(1, (30, 40), get(0), shows(2, 6, created)),
        ]
    };
    accepts(&history(6)); // the unknown one did not come before
    accepts(&history(5));
    accepts(&history(1));
    refuses(&history(7));
}

#[test]
fn same_value_keeps_its_index() {
    accepts(&[
        operation(1, (0, 10), put(0, 1), done(5)),
        operation(1, (20, 30), put(0, 1), done(6)),
        operation(1, (40, 50), get(0), shows(1, 5, 5)),
        operation(1, (60, 70), put_if(0, 2, 5), done(7)),
    ]);
    refuses(&[
        operation(1, (0, 10), put(0, 1), done(5)),
        operation(1, (20, 30), put(0, 1), done(6)),
        operation(1, (40, 50), get(0), shows(1, 6, 5)),
    ]);
}

#[test]
fn cas_twice_on_one_version() {
    let history = |second| {
        [
            operation(1, (0, 10), put(0, 1), done(5)),
            operation(1, (20, 40), put_if(0, 2, 5), done(6)),
            operation(2, (20, 40), put_if(0, 3, 5), second),
        ]
    };
    refuses(&history(done(7)));
    accepts(&history(refused(7)));
    // Refused, but as the earlier entry: then the other one was not the reason.
    let mut early = history(refused(6));
    early[1].output = done(7);
    refuses(&early);
}

#[test]
fn cas_refused_without_a_reason() {
    let cas = operation(1, (20, 30), put_if(0, 2, 5), refused(7));
    let first = operation(1, (0, 10), put(0, 1), done(5));
    refuses(&[first.clone(), cas.clone()]);
    accepts(&[first.clone(), unanswered(2, 5, put(0, 9)), cas.clone()]);
    accepts(&[first.clone(), unanswered(2, 5, delete(0)), cas.clone()]);
    refuses(&[first, unanswered(2, 31, delete(0)), cas]);
}

#[test]
fn cas_zero_stores_only_what_is_not_there() {
    accepts(&[
        operation(1, (0, 10), put_if(0, 1, 0), done(1)),
        operation(1, (20, 30), put_if(0, 2, 0), refused(2)),
        operation(1, (40, 50), delete(0), done(3)),
        operation(1, (60, 70), put_if(0, 3, 0), done(4)),
        operation(1, (80, 90), get(0), shows(3, 4, 4)),
    ]);
    refuses(&[
        operation(1, (0, 10), put_if(0, 1, 0), done(1)),
        operation(2, (0, 10), put_if(0, 2, 0), done(2)),
    ]);
}

#[test]
fn deletions() {
    let delete_if = |index| KvInput { key: 0, call: KvCall::Delete { cas: Some(index) } };
    accepts(&[
        operation(1, (0, 10), delete_if(9), done(1)), // not there: done, whatever the condition
        operation(1, (20, 30), put(0, 1), done(2)),
        operation(1, (40, 50), delete_if(0), refused(3)),
        operation(1, (60, 70), delete_if(1), refused(4)),
        operation(1, (80, 90), delete_if(2), done(5)),
        operation(1, (91, 92), get(0), absent()),
        operation(1, (93, 94), put(0, 1), done(6)),
        operation(1, (95, 96), get(0), shows(1, 6, 6)),
    ]);
    // A deleted value comes back.
    refuses(&[
        operation(1, (0, 10), put(0, 1), done(2)),
        operation(1, (20, 30), delete(0), done(3)),
        operation(1, (40, 50), get(0), shows(1, 2, 2)),
    ]);
    // The create index of a life before.
    refuses(&[
        operation(1, (0, 10), put(0, 1), done(2)),
        operation(1, (20, 30), delete(0), done(3)),
        operation(1, (40, 50), put(0, 1), done(4)),
        operation(1, (60, 70), get(0), shows(1, 4, 2)),
    ]);
}

#[test]
fn indexes_follow_time() {
    refuses(&[operation(1, (0, 10), put(0, 1), done(6)), operation(1, (20, 30), put(0, 2), done(5))]);
    refuses(&[operation(1, (0, 10), put(0, 1), done(5)), operation(2, (0, 10), put(0, 2), done(5))]);
}

#[test]
fn keys_do_not_touch_each_other() {
    let history = [
        operation(1, (0, 10), put(0, 1), done(6)),
        operation(1, (20, 30), put(1, 2), done(7)),
        operation(1, (40, 50), get(0), shows(1, 6, 6)),
        operation(1, (60, 70), get(1), shows(2, 7, 7)),
        operation(1, (80, 90), get(2), absent()),
    ];
    accepts(&history);
    let mut broken = history;
    broken[3].output = shows(1, 6, 6);
    assert_eq!(verdict(&broken).violation().unwrap().key, 1);
}

#[test]
fn answered_without_a_known_return() {
    // It was done at some time, so it may still be.
    let mut write = operation(1, (0, 10), put(0, 1), done(5));
    write.returned = None;
    let read = |output| operation(2, (20, 30), get(0), output);
    accepts(&[write.clone(), read(absent())]);
    accepts(&[write.clone(), read(shows(1, 5, 5))]);
    refuses(&[write, read(shows(1, 6, 6))]);
}
