//! Watches on a machine: a change fires the watches that it concerns, and only those, once readers can see it.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use common::{Twin, apply, delete, delete_tree, entry, fresh, open, put, put_if, state_bytes};
use proptest::prelude::*;
use raftkit_core::LogId;
use raftkit_kv::{Command, Condition, KvReader, Step, Watch, Watched};
use raftkit_replica::StateMachine;

const KEYS: [&str; 6] = ["a", "a/b", "a/c", "b", "ü/1", "never"];
const PREFIXES: [&str; 7] = ["", "a", "a/", "a/b", "a/b/c", "ü", "none"];

fn command() -> impl Strategy<Value = Command> {
    let key = || proptest::sample::select(vec!["a", "a/", "a/b", "a/b/c", "a/c", "b", "ü/1", "ü/2"]);
    let when = || prop_oneof![3 => Just(Condition::Always), 1 => (0_u64..30).prop_map(Condition::Cas)];
    prop_oneof![
        6 => (key(), "[xy]?", 0_u64..2, when()).prop_map(|(key, value, flags, when)| put_if(key, &value, flags, when)),
        3 => (key(), when()).prop_map(|(key, when)| delete(key, when)),
        2 => proptest::sample::select(vec!["", "a/", "a/b", "b", "ü", "none"]).prop_map(delete_tree),
    ]
}

fn watches(reader: &KvReader) -> Vec<(Watched, Watch)> {
    let keys = KEYS.iter().map(|key| Watched::Key((*key).to_owned()));
    let prefixes = PREFIXES.iter().map(|prefix| Watched::Prefix((*prefix).to_owned()));
    keys.chain(prefixes)
        .map(|watched| {
            let mut watch = reader.watch(watched.clone());
            watch.look(|| ());
            (watched, watch)
        })
        .collect()
}

/// Everything that a watch covers: every key and every deletion.
fn seen(twin: &Twin, watched: &Watched) -> (Vec<raftkit_kv::KvEntry>, usize) {
    let under = |key: &str| match watched {
        Watched::Key(watched) => key == watched,
        Watched::Prefix(prefix) => key.starts_with(prefix.as_str()),
    };
    let entries = twin.entries.values().filter(|entry| under(&entry.key)).cloned().collect();
    (entries, twin.graves.iter().filter(|(key, _)| under(key)).count())
}

/// Whether a deletion of the tree `prefix` may concern a watch, whichever keys exist.
fn related(prefix: &str, watched: &Watched) -> bool {
    match watched {
        Watched::Key(key) => key.starts_with(prefix),
        Watched::Prefix(watched) => watched.starts_with(prefix) || prefix.starts_with(watched.as_str()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_fires_what_it_changes_and_nothing_else(
        batches in proptest::collection::vec(proptest::collection::vec(command(), 1..4), 1..12),
    ) {
        let (_, mut machine) = fresh(1);
        let mut twin = Twin::default();
        let mut index = 0;
        for batch in batches {
            let watches = watches(&machine.reader());
            let before = twin.clone();
            let entries: Vec<_> = batch.iter().map(|command| {
                index += 1;
                twin.apply(index, command);
                entry(index, command)
            }).collect();
            machine.apply(&entries).unwrap();
            for (watched, watch) in watches {
                let fired = watch.unchanged_through().is_none();
                let changed = seen(&before, &watched) != seen(&twin, &watched);
                prop_assert!(fired || !changed, "{:?} missed {:?}", watched, batch);
                // A deleted tree may not have contained a watched key.
                let deleted = |command: &Command| match command {
                    Command::DeleteTree { prefix, .. } => related(prefix, &watched),
                    Command::Put { .. } | Command::Delete { .. } => false,
                };
                // A key that is put and deleted in one batch leaves a tombstone. All other changes are visible at the end.
                prop_assert!(!fired || changed || batch.iter().any(deleted), "{:?} fired by {:?}", watched, batch);
            }
        }
    }
}

/// A waker that reads the state when it is woken.
struct Looks {
    reader: KvReader,
    seen: AtomicU64,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        self.seen.store(self.reader.applied().unwrap().index.0, SeqCst);
    }
}

#[test]
fn who_is_woken_sees_the_change() {
    let (_, mut machine) = fresh(1);
    for (watched, command) in [
        (Watched::Key("k".into()), put("k", "1")),
        (Watched::Prefix("k".into()), put("k", "2")),
        (Watched::Key("k".into()), delete("k", Condition::Always)),
    ] {
        let looks = Arc::new(Looks { reader: machine.reader(), seen: AtomicU64::new(0) });
        let mut watch = machine.reader().watch(watched.clone());
        watch.look(|| ());
        let mut changed = pin!(watch.changed());
        let waker = Waker::from(Arc::clone(&looks));
        assert_eq!(changed.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
        let (index, _) = apply(&mut machine, &command);
        assert_eq!(looks.seen.load(SeqCst), index, "{watched:?}");
        assert_eq!(changed.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
    }
}

#[test]
fn what_changes_nothing_wakes_nobody() {
    let (_, mut machine) = fresh(1);
    apply(&mut machine, &put("a/b", "1"));
    let watches = watches(&machine.reader());
    for command in [
        put("a/b", "1"),
        put_if("a/b", "2", 0, Condition::Cas(0)),
        delete("a/b", Condition::Cas(99)),
        delete("a/c", Condition::Always),
        delete_tree("a/c"),
    ] {
        apply(&mut machine, &command);
    }
    let end = machine.applied();
    machine.apply(&[raftkit_replica::Applied { id: LogId::new(1, end.index.0 + 1), command: None }]).unwrap();
    for (watched, watch) in watches {
        assert_eq!(watch.unchanged_through(), Some(machine.applied().index), "{watched:?}");
    }
}

#[test]
fn a_restored_snapshot_fires_everything() {
    let (_, mut source) = fresh(1);
    apply(&mut source, &put("k", "1"));
    let bytes = state_bytes(&mut source);
    let (_, mut machine) = fresh(2);
    let watches = watches(&machine.reader());
    machine.restore(source.applied(), &mut bytes.as_slice()).unwrap();
    for (watched, watch) in watches {
        assert_eq!(watch.unchanged_through(), None, "{watched:?}");
    }
    // A watch that is armed afterwards knows how recent the state is.
    let mut watch = machine.reader().watch(Watched::Key("k".into()));
    assert_eq!(watch.look(|| watch_through(&machine.reader())), source.applied().index.0);
    assert_eq!(watch.unchanged_through(), Some(source.applied().index));
}

fn watch_through(reader: &KvReader) -> u64 {
    reader.applied().unwrap().index.0
}

#[test]
fn a_machine_that_is_opened_again_knows_up_to_where_nothing_has_changed() {
    let (disk, mut machine) = fresh(1);
    apply(&mut machine, &put("k", "1"));
    machine.persist().unwrap();
    let applied = machine.applied();
    drop(machine);
    let machine = open(&disk).unwrap();
    let mut watch = machine.reader().watch(Watched::Key("k".into()));
    watch.look(|| ());
    assert_eq!(watch.unchanged_through(), Some(applied.index));
}

/// A waker that unparks the waiting thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until the watch fires.
fn wait(watch: &mut Watch) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut changed = pin!(watch.changed());
    while changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        std::thread::park();
    }
}

/// Watchers run on threads of their own while a machine applies as fast as it can. Each must see the last change.
#[test]
fn no_watcher_is_left_asleep_beside_a_machine_that_applies() {
    const WRITES: u64 = 400;
    let (_, mut machine) = fresh(1);
    std::thread::scope(|scope| {
        for watched in ["k/0", "k/1"].map(|key| Watched::Key(key.to_owned())) {
            let reader = machine.reader();
            scope.spawn(move || {
                let Watched::Key(key) = watched.clone() else { unreachable!("a key") };
                let mut watch = reader.watch(watched);
                // The last write of each key is marked. If a wake-up is missed, this thread waits forever.
                while watch.look(|| reader.get(&key)).unwrap().value.is_none_or(|entry| entry.flags == 0) {
                    wait(&mut watch);
                }
            });
        }
        for number in 0..WRITES {
            let key = format!("k/{}", number % 2);
            let last = u64::from(number + 2 >= WRITES);
            apply(&mut machine, &put_if(&key, &number.to_string(), last, Condition::Always));
        }
    });
}

#[test]
fn a_listing_shows_one_state_whatever_is_written_between_its_steps() {
    let (_, mut machine) = fresh(1);
    for number in 0..9 {
        apply(&mut machine, &put(&format!("p/{number}"), "old"));
    }
    apply(&mut machine, &put("q", "old"));
    let expected = machine.reader().list("p/").unwrap();
    let mut listing = machine.reader().listing("p/").unwrap();
    let mut found = Vec::new();
    let index = loop {
        let mut one = |entry: raftkit_kv::KvEntryRef<'_>| {
            found.push(entry.to_entry());
            if found.len() % 2 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match listing.step(&mut one).unwrap() {
            Step::End { index } => break index,
            Step::More => {}
        }
        apply(&mut machine, &delete_tree(&format!("p/{}", found.len())));
        apply(&mut machine, &put(&format!("p/{}x", found.len()), "new"));
    };
    assert_eq!((found, index, listing.applied()), (expected.value.clone(), expected.index, expected.applied));
    // Repeat everything from the beginning.
    let mut again = listing.again();
    let mut count = 0;
    let counted = |_: raftkit_kv::KvEntryRef<'_>| {
        count += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(again.step(counted).unwrap(), Step::End { index });
    assert_eq!(count, expected.value.len());
}
