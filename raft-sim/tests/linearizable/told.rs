//! What a violation says to a person.

use crate::*;

#[test]
fn violation_is_told_in_full() {
    let history = [
        operation(1, (0, 10), put(7, 1), done(5)),
        operation(2, (5, 40), put_if(7, 2, 5), done(6)),
        operation(3, (12, 20), get(7), shows(2, 6, 5)),
        operation(1, (25, 35), get(7), shows(1, 5, 5)),
        operation(4, (22, 60), get(7), shows(2, 6, 5)),
        unanswered(5, 30, put(7, 9)),
        unanswered(5, 70, put(7, 10)),
    ];
    let expected = "\
key 7: no order of its 7 operations explains every answer. One that goes furthest, with 4:
     1 client 1 |---|                   0 to 10: put 1 -> done at 5  =>  1, modified 5, created 5
     2 client 2   |---------------|     5 to 40: put 2 if at 5 -> done at 6  =>  2, modified 6, created 5
     3 client 3       |-|               12 to 20: get -> 2, modified 6, created 5  =>  2, modified 6, created 5
     4 client 4           |----------|  22 to 60: get -> 2, modified 6, created 5  =>  2, modified 6, created 5
orders like this lead to:
       an unseen value, modified 7 or later, created 5
       2, modified 6, created 5
nothing of which explains:
     ! client 1             |---|       25 to 35: get -> 1, modified 5, created 5
pending, but of no help:
     ? client 5               |-------> 30 to ..: put 9 -> unknown
";
    let told = verdict(&history).to_string();
    assert_eq!(told, expected, "\n{told}");

    let verdict = verdict(&history);
    let violation = verdict.violation().unwrap();
    assert_eq!((violation.key, violation.operations, violation.order.len()), (7, 7, 4));
    assert_eq!(violation.misfits, vec![history[3].clone()]);
    assert_eq!(violation.pending, vec![history[5].clone()]);
}

#[test]
fn violation_of_indexes_names_what_has_to_come_before() {
    let told =
        verdict(&[operation(1, (0, 10), put(0, 1), done(6)), operation(2, (20, 30), put(0, 2), done(5))])
            .to_string();
    let expected = "\
key 0: no order of its 2 operations explains every answer. One that goes furthest, with 0:
orders like this lead to:
       none
nothing of which explains:
     ! client 1 |-|       0 to 10: put 1 -> done at 6
the first of which comes right after, by its own answer:
       client 2     |--|  20 to 30: put 2 -> done at 5
";
    assert_eq!(told, expected, "\n{told}");
}

#[test]
fn long_violation_shows_its_end() {
    let mut history: Vec<_> =
        (0..100).map(|n| operation(1, (10 * n, 10 * n + 5), put(0, n + 1), done(n + 1))).collect();
    history.extend((0..30).map(|n| unanswered(2, n, put(0, 1_000 + n))));
    history.push(operation(3, (2_000, 2_001), get(0), shows(1, 1, 1)));
    let told = verdict(&history).to_string();
    assert!(told.contains("... 88 operations before\n    89 client 1"), "{told}");
    assert!(told.contains("... and 18 more"), "{told}");
    assert!(told.lines().count() < 40, "{told}");
}

#[test]
fn an_acknowledgement_without_its_index_has_an_effect_all_the_same() {
    let acknowledged = |done| Some(KvOutput::Acknowledged { done });
    let begin = operation(1, (0, 10), put(0, 1), done(5));
    let first = operation(1, (20, 30), put_if(0, 2, 5), acknowledged(true));
    assert!(verdict(&[begin.clone(), first.clone()]).is_linearizable());
    for impossible in [
        // The same condition holds twice.
        operation(2, (20, 30), put_if(0, 3, 5), acknowledged(true)),
        // It was refused although nothing had changed, or is done and not seen.
        operation(2, (12, 15), put_if(0, 3, 5), acknowledged(false)),
        operation(2, (40, 50), get(0), shows(1, 5, 5)),
        operation(2, (40, 50), get(0), absent()),
        operation(2, (40, 50), get(0), shows(2, 5, 5)),
    ] {
        let told = verdict(&[begin.clone(), first.clone(), impossible.clone()]);
        assert!(told.violation().is_some(), "{impossible:?} is explained");
    }
    let later = [
        operation(2, (20, 30), put_if(0, 3, 5), acknowledged(false)),
        operation(2, (40, 50), get(0), shows(2, 9, 5)),
        operation(2, (60, 70), delete(0), acknowledged(true)),
        operation(2, (80, 90), get(0), absent()),
    ];
    let all = [vec![begin, first], later.to_vec()].concat();
    let told = verdict(&all);
    assert!(told.is_linearizable(), "{told}");
}
