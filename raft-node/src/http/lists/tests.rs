//! Lists over a machine that applies meanwhile.

use std::path::Path;

use bytes::Bytes;
use http_body_util::BodyExt;
use raftkit_disk::SimulatedDisk;
use raftkit_kv::{Command, Condition, KvMachine};
use raftkit_replica::{Applied, StateMachine};
use tokio::time::Instant;

use super::*;

const CLIENT: Client = Client(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn machine() -> KvMachine {
    KvMachine::open(Arc::new(SimulatedDisk::new(1)), Path::new("/state")).unwrap()
}

fn put(machine: &mut KvMachine, key: &str, value: &[u8]) -> LogIndex {
    let index = machine.applied().index.0 + 1;
    let command = Command::Put {
        key: key.into(),
        value: Bytes::copy_from_slice(value),
        flags: index,
        condition: Condition::Always,
    };
    machine.apply(&[Applied { id: LogId::new(1, index), command: Some(command.encode()) }]).unwrap();
    LogIndex(index)
}

fn lists(machine: &KvMachine, budget: usize) -> Lists {
    Lists::new(machine.reader(), Readers::with_threads(2), Budget::new(budget))
}

fn recurse(prefix: &str) -> ListKey {
    ListKey { what: What::Entries, prefix: prefix.into(), layout: Layout::Compact }
}

fn pieces(list: &List) -> &Arc<[Bytes]> {
    match &list.body {
        ListBody::Whole(pieces) => pieces,
        other @ (ListBody::Empty | ListBody::Long(_)) => panic!("not whole: {other:?}"),
    }
}

async fn body(list: List, lists: &Lists) -> Bytes {
    let mut body = list.into_response(lists, CLIENT).unwrap().into_body();
    let mut all = Vec::new();
    // Each piece is let go of, as by a connection that has written it.
    while let Some(frame) = body.frame().await {
        all.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    all.into()
}

/// More than is held as a whole.
fn fill_long(machine: &mut KvMachine) -> LogIndex {
    for number in 0..WHOLE_BYTES_MAX / 100_000 {
        put(machine, &format!("p/{number:03}"), &vec![b'v'; 100_000]);
    }
    machine.applied().index
}

#[tokio::test]
async fn many_who_ask_for_the_same_share_one_list() {
    let mut machine = machine();
    for number in 0..3000 {
        put(&mut machine, &format!("p/{number}"), b"value");
    }
    let (lists, key, since) = (lists(&machine, 10 << 20), recurse("p/"), machine.applied().index);
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let (lists, key) = (lists.clone(), key.clone());
            tokio::spawn(async move { lists.list(CLIENT, &key, since).await.unwrap() })
        })
        .collect();
    let mut all = Vec::new();
    for one in asked {
        all.push(one.await.unwrap());
    }
    assert!(all.iter().all(|one| Arc::ptr_eq(pieces(one), pieces(&all[0]))), "made once");
    let held = lists.budget.used();
    assert!(held > 100_000 && held < 2 * pieces(&all[0]).iter().map(Bytes::len).sum::<usize>(), "{held}");
    // Other parameters are another list.
    let pretty = ListKey { layout: Layout::Pretty, ..key };
    let other = lists.list(CLIENT, &pretty, since).await.unwrap();
    assert_ne!(pieces(&other)[0], pieces(&all[0])[0]);
}

#[tokio::test]
async fn a_list_is_kept_until_something_under_it_changes() {
    let mut machine = machine();
    put(&mut machine, "p/a", b"1");
    let (lists, key) = (lists(&machine, 10 << 20), recurse("p/"));
    let first = lists.list(CLIENT, &key, machine.applied().index).await.unwrap();
    let since = put(&mut machine, "q", b"1");
    let again = lists.list(CLIENT, &key, since).await.unwrap();
    assert!(Arc::ptr_eq(pieces(&first), pieces(&again)));
    assert_eq!((again.index, again.applied.index), (first.index, since), "the same, in a newer state");
    let since = put(&mut machine, "p/b", b"1");
    let changed = lists.list(CLIENT, &key, since).await.unwrap();
    assert_eq!(changed.index, since.0);
    assert!(body(changed, &lists).await.len() > body(again, &lists).await.len());
    // Who asked before the change may be told either; who asked after it may not.
    assert_eq!(lists.list(CLIENT, &key, LogIndex(1)).await.unwrap().index, since.0);
}

#[tokio::test]
async fn a_list_that_took_its_time_is_taken_by_those_who_waited_for_it() {
    let mut machine = machine();
    let since = put(&mut machine, "p/a", b"1");
    let (lists, key) = (lists(&machine, 10 << 20), recurse("p/"));
    let first = lists.list(CLIENT, &key, since).await.unwrap();
    // As if the change had come while the list was made, and others waited who asked before it.
    let after = put(&mut machine, "p/a", b"2");
    let waited = lists.list(CLIENT, &key, since).await.unwrap();
    assert!(Arc::ptr_eq(pieces(&first), pieces(&waited)));
    assert_eq!(lists.list(CLIENT, &key, after).await.unwrap().index, after.0);
}

#[tokio::test]
async fn what_changed_or_is_not_asked_for_is_freed() {
    let mut machine = machine();
    put(&mut machine, "p/a", &[b'v'; 50_000]);
    put(&mut machine, "q/a", &[b'v'; 50_000]);
    let lists = lists(&machine, 10 << 20);
    let since = machine.applied().index;
    for prefix in ["p/", "q/"] {
        drop(lists.list(CLIENT, &recurse(prefix), since).await.unwrap());
    }
    let now = Instant::now();
    lists.sweep(now);
    let both = lists.budget.used();
    put(&mut machine, "p/a", b"changed");
    lists.sweep(now);
    let one = lists.budget.used();
    assert!(one > 60_000 && one < both, "{one} of {both}");
    assert_eq!(machine.reader().watching(), 1);
    lists.sweep(now + Duration::from_secs(9));
    assert_eq!(lists.budget.used(), one);
    lists.sweep(now + Duration::from_secs(11));
    assert_eq!((lists.budget.used(), machine.reader().watching()), (0, 0));
}

#[tokio::test]
async fn what_is_kept_for_nobody_gives_way() {
    let mut machine = machine();
    let mut since = LogIndex(0);
    for number in 0..20 {
        since = put(&mut machine, &format!("{number:02}/a"), &[b'v'; 50_000]);
    }
    // Room for two of them: three quarters of it are for what begins.
    let lists = lists(&machine, 220_000);
    for number in 0..20 {
        let list = lists.list(CLIENT, &recurse(&format!("{number:02}/")), since).await.unwrap();
        assert!(!pieces(&list).is_empty());
    }
    // What a client holds does not.
    let held = lists.list(CLIENT, &recurse("00/"), since).await.unwrap();
    let other = lists.list(CLIENT, &recurse("01/"), since).await.unwrap();
    let third = lists.list(CLIENT, &recurse("02/"), since).await.unwrap();
    assert!(matches!(third.body, ListBody::Long(_)), "there is no room to hold it");
    let refused = third.into_response(&lists, CLIENT).unwrap_err();
    assert_eq!(refused.status(), axum::http::StatusCode::SERVICE_UNAVAILABLE);
    drop((held, other));
    let third = lists.list(CLIENT, &recurse("02/"), since).await.unwrap();
    assert!(body(third, &lists).await.len() > 60_000);
}

#[tokio::test]
async fn a_long_list_is_streamed_from_the_state_that_it_was_asked_of() {
    let mut machine = machine();
    let since = fill_long(&mut machine);
    let (lists, key) = (lists(&machine, 10 << 20), recurse("p/"));
    let expected = {
        let read = machine.reader().list("p/").unwrap();
        let all: Vec<_> =
            read.value.iter().map(|entry| crate::http::entry::EntryJson::from(entry.borrowed())).collect();
        crate::http::answer::to_json(&all, Layout::Compact).unwrap()
    };
    let (one, other) =
        (lists.list(CLIENT, &key, since).await.unwrap(), lists.list(CLIENT, &key, since).await.unwrap());
    assert!(matches!(one.body, ListBody::Long(_)));
    let changed = put(&mut machine, "p/000", b"changed");
    assert_eq!(body(one, &lists).await, expected);
    assert_eq!((other.index, body(other, &lists).await), (since.0, expected.clone()));
    let now = lists.list(CLIENT, &key, changed).await.unwrap();
    assert_eq!(now.index, changed.0);
    assert!(body(now, &lists).await.len() < expected.len());
}

#[tokio::test]
async fn the_state_of_a_long_list_is_not_held_open_and_its_index_is_known() {
    let mut machine = machine();
    let since = fill_long(&mut machine);
    let (lists, key) = (lists(&machine, 10 << 20), recurse("p/"));
    drop(lists.list(CLIENT, &key, since).await.unwrap());
    lists.sweep(Instant::now() + Duration::from_secs(1));
    let later = put(&mut machine, "q", b"1");
    let again = lists.list(CLIENT, &key, later).await.unwrap();
    assert_eq!((again.index, again.applied.index), (since.0, later), "opened anew");
    let changed = put(&mut machine, "p/000", b"1");
    assert_eq!(lists.list(CLIENT, &key, changed).await.unwrap().index, changed.0);
}

#[tokio::test]
async fn a_stream_holds_a_few_pieces_and_ends_with_its_client() {
    let mut machine = machine();
    let since = fill_long(&mut machine);
    let (lists, key) = (lists(&machine, 10 << 20), recurse("p/"));
    let list = lists.list(CLIENT, &key, since).await.unwrap();
    lists.shelf.free();
    assert_eq!(lists.budget.used(), 0);
    let mut body = list.into_response(&lists, CLIENT).unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap();
    // Values of 100 kB make pieces of more than their share each: both of them, and what they exceed it by.
    let most = 2 * (64 << 10) + 2 * 140_000;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(lists.budget.used() <= most, "{}", lists.budget.used());
    }
    // Two pieces are on their way as long as the client holds them, whatever it asks for.
    let second = body.frame().await.unwrap().unwrap();
    let third = tokio::time::timeout(Duration::from_millis(100), body.frame()).await;
    assert!(third.is_err(), "a third piece was made");
    drop(second);
    let third = body.frame().await.unwrap().unwrap();
    drop((first, third, body));
    let freed = async {
        while lists.budget.used() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), freed).await.expect("nothing is left of it");
}

#[tokio::test]
async fn no_list_is_older_than_a_write_that_was_answered_before() {
    let mut machine = machine();
    put(&mut machine, "p/k", b"0");
    let (lists, reader) = (lists(&machine, 10 << 20), machine.reader());
    let applied = Arc::new(std::sync::atomic::AtomicU64::new(machine.applied().index.0));
    let shown = Arc::clone(&applied);
    let writing = tokio::task::spawn_blocking(move || {
        for number in 0..2000_u64 {
            // Every third write is to another prefix.
            let key = if number % 3 == 0 { "q" } else { "p/k" };
            let index = put(&mut machine, key, &number.to_le_bytes());
            shown.store(index.0, std::sync::atomic::Ordering::SeqCst);
        }
    });
    while !writing.is_finished() {
        let answered = applied.load(std::sync::atomic::Ordering::SeqCst);
        // What one read has seen, the list shows as well, though its write may not be answered yet.
        let before = reader.get("p/k").unwrap();
        let since = reader.applied().unwrap().index;
        let list = lists.list(CLIENT, &recurse("p/"), since).await.unwrap();
        let modified = list.index;
        assert!(modified >= before.index, "{modified} after {}", before.index);
        assert!(list.applied.index.0 >= answered && list.applied.index >= since);
        let json: serde_json::Value = serde_json::from_slice(&body(list, &lists).await).unwrap();
        assert_eq!(json[0]["ModifyIndex"].as_u64(), Some(modified));
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_place_knows_for_whom_its_list_is_made() {
    let place = Place::default();
    let other = Client(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2)));
    let (one, again, another) = (place.wait(CLIENT), place.wait(CLIENT), place.wait(other));
    assert_eq!(place.clients().into_iter().collect::<Vec<_>>(), [CLIENT, other]);
    drop((one, another));
    assert_eq!(place.clients().into_iter().collect::<Vec<_>>(), [CLIENT]);
    drop(again);
    assert!(place.clients().is_empty());
}

#[tokio::test]
async fn a_change_right_after_a_list_was_opened_is_in_the_next_one() {
    let mut machine = machine();
    let since = put(&mut machine, "p/a", b"1");
    let (lists, key) = (lists(&machine, 10 << 20), recurse("p/"));
    // The write comes as soon as the making of the list waits for something.
    let (list, changed) =
        tokio::join!(lists.list(CLIENT, &key, since), async { put(&mut machine, "p/b", b"2") });
    assert_eq!(list.unwrap().index, since.0);
    assert_eq!(lists.list(CLIENT, &key, changed).await.unwrap().index, changed.0);
}

#[tokio::test]
async fn a_change_that_is_visible_and_has_fired_nothing_yet_is_not_passed_over() {
    // Two machines with the same entries stand for two moments of one: the watch knows of the first three entries, readers
    // see the fourth, which is under the prefix, as they do between a commit and its publishing.
    let (mut before, mut after) = (machine(), machine());
    for machine in [&mut before, &mut after] {
        for key in ["p/a", "q", "r"] {
            put(machine, key, b"1");
        }
    }
    let lists = lists(&before, 10 << 20);
    let since = before.applied().index;
    let (mut kept, _) = lists.make(&place(CLIENT), &recurse("p/")).await.unwrap();
    let same = kept.list(&after.reader(), &recurse("p/"), since).unwrap();
    assert!(same.is_some_and(|list| list.index == 1));
    let changed = put(&mut after, "p/a", b"2");
    assert!(kept.list(&after.reader(), &recurse("p/"), changed).unwrap().is_none());
}

fn place(client: Client) -> Place {
    let place = Place::default();
    // As if the client waited for as long as the test runs.
    std::mem::forget(place.wait(client));
    place
}
