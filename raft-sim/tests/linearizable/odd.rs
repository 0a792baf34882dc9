//! Histories that no client makes.

use crate::classics::{accepts, refuses};
use crate::*;

#[test]
fn no_history_is_too_odd() {
    // Returns before its call, the highest and lowest times and indexes, answers of another kind.
    let extreme = [
        operation(1, (u64::MAX, 0), put(0, 1), done(u64::MAX)),
        operation(1, (0, u64::MAX), put(0, 1), refused(0)),
        operation(u64::MAX, (5, 5), get(0), done(1)),
        operation(1, (5, 5), put(0, 3), shows(1, 0, u64::MAX)),
        unanswered(2, u64::MAX, put(0, 7)),
        unanswered(2, 0, delete(0)),
        unanswered(2, 0, get(0)),
    ];
    refuses(&extreme);
    // What returns before its call counts as an instant at the call, also as a witness for others.
    accepts(&[
        unanswered(1, 0, put(0, 1)),
        operation(2, (9, 2), get(0), shows(1, 1, 1)),
        operation(3, (4, 5), get(0), absent()),
    ]);
    for one in &extreme[..4] {
        let _ = verdict(std::slice::from_ref(one)).to_string();
    }
    accepts(&extreme[4..]);
    accepts(&[
        operation(1, (0, 1), put(0, 1), done(u64::MAX)),
        unanswered(2, 2, put(0, 7)),
        operation(1, (3, 4), get(0), shows(1, u64::MAX, u64::MAX)),
    ]);
}
