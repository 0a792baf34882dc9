//! A crate with a catalogue: with no mutant switched on it does what is right, whether they are built in or not.

#[macro_use]
extern crate raftkit_mutants;

mod mutants {
    raftkit_mutants::catalogue! { "raft-example";
        1 LimitOffByOne "limit-off-by-one" "off by one"
            "One more is taken than the limit says.",
        2 SyncLeftOut "sync-left-out" "missing fsync"
            "What was written is not synced.",
    }
}

use mutants::Mutant;
use raftkit_mutants::BUILT_IN;

#[test]
fn nothing_is_wrong_until_a_mutant_is_switched_on() {
    assert_eq!([mutant!(LimitOffByOne), mutant!(LimitOffByOne | SyncLeftOut)], [false, false]);
    assert_eq!(mutant!(SyncLeftOut, "bug", "right"), "right");
    assert!(Mutant::switched().is_none());
}

#[test]
fn the_catalogue_is_known_to_the_builds_that_have_it() {
    assert_eq!(Mutant::ALL.len(), if BUILT_IN { 2 } else { 0 });
    assert_eq!(Mutant::find("sync-left-out").is_some(), BUILT_IN);
    assert!(Mutant::find("no-such-bug").is_none());
}
