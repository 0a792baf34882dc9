//! The semantics of the KV store, command by command, and compared with the answers of a real Consul.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use common::{apply, delete, delete_tree, delete_tree_up_to, entry, fresh, put, put_if};
use raftkit_core::LogId;
use raftkit_kv::{Command, Condition, KvMachine, Response};
use raftkit_replica::{Applied, MachineError, StateMachine};

use Condition::{Always, Cas};

#[test]
fn create_index_stays_and_modify_index_follows_the_log() {
    let (_disk, mut kv) = fresh(1);
    let (made, _) = apply(&mut kv, &put("a", "1"));
    let (changed, _) = apply(&mut kv, &put("a", "2"));
    let read = kv.reader().get("a").unwrap();
    let entry = read.value.unwrap();
    assert_eq!((entry.create_index, entry.modify_index, read.index), (made, changed, changed));
    assert_eq!(read.applied, LogId::new(1, changed));
}

#[test]
fn unchanged_put_keeps_modify_index_and_answers_true() {
    let (_disk, mut kv) = fresh(1);
    let (made, _) = apply(&mut kv, &put_if("a", "1", 7, Always));
    assert!(apply(&mut kv, &put_if("a", "1", 7, Always)).1);
    assert!(apply(&mut kv, &put_if("a", "1", 7, Cas(made))).1);
    assert_eq!(kv.reader().get("a").unwrap().index, made);
    assert_eq!(kv.reader().get("none").unwrap().index, made, "no key changed, so the table's index stays");
    let (changed, _) = apply(&mut kv, &put_if("a", "1", 8, Always));
    assert_eq!(kv.reader().get("a").unwrap().index, changed, "flags are part of the value");
}

#[test]
fn create_index_restarts_after_delete() {
    let (_disk, mut kv) = fresh(1);
    apply(&mut kv, &put("a", "1"));
    apply(&mut kv, &delete("a", Always));
    let (again, _) = apply(&mut kv, &put("a", "1"));
    let entry = kv.reader().get("a").unwrap().value.unwrap();
    assert_eq!((entry.create_index, entry.modify_index), (again, again));
}

#[test]
fn put_with_cas_zero_only_creates() {
    let (_disk, mut kv) = fresh(1);
    assert!(apply(&mut kv, &put_if("a", "1", 0, Cas(0))).1);
    assert!(!apply(&mut kv, &put_if("a", "2", 0, Cas(0))).1);
    assert!(!apply(&mut kv, &put_if("a", "1", 0, Cas(0))).1, "also when the value is the same");
    assert_eq!(&kv.reader().get("a").unwrap().value.unwrap().value[..], b"1");
}

#[test]
fn put_with_cas_needs_the_current_modify_index() {
    let (_disk, mut kv) = fresh(1);
    let (made, _) = apply(&mut kv, &put("a", "1"));
    assert!(!apply(&mut kv, &put_if("a", "2", 0, Cas(made + 1))).1);
    assert!(apply(&mut kv, &put_if("a", "2", 0, Cas(made))).1);
    assert!(!apply(&mut kv, &put_if("a", "3", 0, Cas(made))).1);
    assert!(!apply(&mut kv, &put_if("absent", "3", 0, Cas(made))).1);
}

#[test]
fn delete_with_cas_zero_never_deletes() {
    let (_disk, mut kv) = fresh(1);
    let (made, _) = apply(&mut kv, &put("a", "1"));
    assert!(!apply(&mut kv, &delete("a", Cas(0))).1);
    assert!(!apply(&mut kv, &delete("a", Cas(made + 1))).1);
    assert!(kv.reader().get("a").unwrap().value.is_some());
    assert!(apply(&mut kv, &delete("a", Cas(made))).1);
    assert!(kv.reader().get("a").unwrap().value.is_none());
}

#[test]
fn deleting_what_is_absent_succeeds_and_moves_no_index() {
    let (_disk, mut kv) = fresh(1);
    let (made, _) = apply(&mut kv, &put("a", "1"));
    assert!(apply(&mut kv, &delete("b", Always)).1);
    assert!(apply(&mut kv, &delete("b", Cas(9))).1);
    assert!(apply(&mut kv, &delete_tree("b")).1);
    assert_eq!(kv.reader().get("none").unwrap().index, made);
    assert_eq!(kv.reader().applied().unwrap(), LogId::new(1, made + 3));
}

#[test]
fn index_of_a_prefix_counts_deleted_keys() {
    let (_disk, mut kv) = fresh(1);
    apply(&mut kv, &put("d/1", "x"));
    apply(&mut kv, &put("d/2", "x"));
    let (deleted, _) = apply(&mut kv, &delete("d/2", Always));
    let (other, _) = apply(&mut kv, &put("e", "x"));
    let reader = kv.reader();
    assert_eq!(reader.list("d/").unwrap().index, deleted);
    assert_eq!(reader.keys("d/", None).unwrap().index, deleted);
    assert_eq!(reader.list("").unwrap().index, other);
    assert_eq!(reader.list("nothing").unwrap().index, other, "where nothing ever was: the table's index");
}

#[test]
fn index_of_an_empty_store_is_one() {
    let (_disk, kv) = fresh(1);
    let reader = kv.reader();
    assert_eq!(reader.get("a").unwrap().index, 1);
    assert_eq!(reader.list("").unwrap().index, 1);
    assert_eq!(reader.applied().unwrap(), LogId::ZERO);
}

#[test]
fn a_tree_with_more_keys_than_the_command_may_delete_stays_as_it_is() {
    let (_, mut kv) = fresh(1);
    for key in ["s", "t/1", "t/2", "t/3", "u"] {
        apply(&mut kv, &put(key, "v"));
    }
    let before = kv.reader().list("").unwrap();
    let mut watch = kv.reader().watch(raftkit_kv::Watched::Prefix(String::new()));
    watch.look(|| ());
    for (prefix, max) in [("t/", 2), ("t/", 0), ("", 4), ("u", 0)] {
        let index = kv.applied().index.0 + 1;
        let answers = kv.apply(&[entry(index, &delete_tree_up_to(prefix, max))]).unwrap();
        assert_eq!(Response::decode(answers[0].clone()).unwrap(), Response::TooManyKeys, "{prefix} {max}");
    }
    let after = kv.reader().list("").unwrap();
    assert_eq!((&after.value, after.index), (&before.value, before.index));
    assert!(watch.unchanged_through().is_some());
    // Trees of exactly the limit and of no keys are deleted. Neighbouring keys are not.
    assert!(apply(&mut kv, &delete_tree_up_to("t/", 3)).1);
    assert!(apply(&mut kv, &delete_tree_up_to("none", 0)).1);
    assert_eq!(kv.reader().keys("", None).unwrap().value, ["s", "u"]);
}

#[test]
fn delete_tree_deletes_thousands_and_spares_neighbours() {
    let (_disk, mut kv) = fresh(1);
    for number in 0..2500 {
        apply(&mut kv, &put(&format!("t/{number:05}"), "x"));
    }
    apply(&mut kv, &put("t", "x"));
    apply(&mut kv, &put("t0", "x"));
    let (deleted, done) = apply(&mut kv, &delete_tree("t/"));
    assert!(done);
    let read = kv.reader().keys("", None).unwrap();
    assert_eq!(read.value, ["t", "t0"]);
    assert_eq!(kv.reader().list("t/02400").unwrap().index, deleted);
    apply(&mut kv, &delete_tree(""));
    assert!(kv.reader().list("").unwrap().value.is_empty());
}

#[test]
fn keys_fold_at_the_separator() {
    let (_disk, mut kv) = fresh(1);
    for key in ["a", "b/1", "b/2", "b/c/d", "b0", "c--1", "c--2", "ä/1"] {
        apply(&mut kv, &put(key, "x"));
    }
    let reader = kv.reader();
    let keys = |prefix: &str, separator: &str| reader.keys(prefix, Some(separator)).unwrap().value;
    assert_eq!(keys("", "/"), ["a", "b/", "b0", "c--1", "c--2", "ä/"]);
    assert_eq!(keys("b/", "/"), ["b/1", "b/2", "b/c/"]);
    assert_eq!(keys("b", "/"), ["b/", "b0"]);
    assert_eq!(keys("c", "--"), ["c--"]);
    assert_eq!(keys("", "").len(), 8, "an empty separator is none");
    assert_eq!(keys("none", "/"), Vec::<String>::new());
}

#[test]
fn malformed_command_is_answered_and_changes_nothing() {
    let (_disk, mut kv) = fresh(1);
    let long = Command::Delete { key: "x".repeat(raftkit_kv::KEY_BYTES_MAX + 1), condition: Always };
    let commands = [
        bytes::Bytes::new(),
        bytes::Bytes::from_static(b"\x01\x09what"),
        bytes::Bytes::from_static(b"\x02\x02\x00key"),
        put("", "no key").encode(),
        delete("", Always).encode(),
        long.encode(),
    ];
    let entries: Vec<_> = (1..)
        .zip(commands)
        .map(|(index, command)| Applied { id: LogId::new(1, index), command: Some(command) })
        .collect();
    for answer in kv.apply(&entries).unwrap() {
        assert_eq!(Response::decode(answer).unwrap(), Response::Malformed);
    }
    assert_eq!(kv.applied(), LogId::new(1, 6));
    assert_eq!(kv.reader().list("").unwrap().index, 1);
}

#[test]
fn entry_without_command_only_moves_applied() {
    let (_disk, mut kv) = fresh(1);
    let noop = Applied { id: LogId::new(1, 1), command: None };
    assert_eq!(kv.apply(&[noop, entry(2, &put("a", "1"))]).unwrap()[0].len(), 0);
    assert_eq!(kv.reader().get("a").unwrap().value.unwrap().create_index, 2);
}

#[test]
fn new_machine_may_begin_after_the_founding_entry() {
    let (_disk, mut kv) = fresh(1);
    kv.apply(&[entry(2, &put("a", "1"))]).unwrap();
    assert_eq!(kv.applied(), LogId::new(1, 2));
}

#[test]
fn gap_repetition_or_older_term_is_refused() {
    let (_disk, mut kv) = fresh(1);
    let refused = |kv: &mut KvMachine, entries: &[Applied]| {
        assert!(matches!(kv.apply(entries), Err(MachineError::Damaged { .. })), "{entries:?}");
    };
    refused(&mut kv, &[entry(3, &put("a", "1"))]);
    apply(&mut kv, &put("a", "1"));
    refused(&mut kv, &[entry(1, &put("a", "2"))]);
    refused(&mut kv, &[entry(3, &put("a", "2"))]);
    refused(&mut kv, &[entry(2, &put("a", "2")), entry(2, &put("a", "3"))]);
    refused(&mut kv, &[Applied { id: LogId::new(0, 2), command: None }]);
    assert_eq!(kv.applied(), LogId::new(1, 1), "a batch is applied as a whole or not at all");
    assert_eq!(&kv.reader().get("a").unwrap().value.unwrap().value[..], b"1");
    assert!(apply(&mut kv, &put("a", "2")).1, "a refused batch leaves the machine sound");
}

#[test]
fn state_survives_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        || KvMachine::open(std::sync::Arc::new(raftkit_disk::RealDisk), &folder.path().join("a/b")).unwrap();
    let mut kv = open();
    apply(&mut kv, &put("a", "1"));
    kv.persist().unwrap();
    drop(kv);
    let kv = open();
    assert_eq!((kv.applied(), kv.durable()), (LogId::new(1, 1), LogId::new(1, 1)));
    assert!(kv.reader().get("a").unwrap().value.is_some());
}

#[test]
fn empty_batch_is_nothing() {
    let (disk, mut kv) = fresh(1);
    let before = disk.calls();
    assert!(kv.apply(&[]).unwrap().is_empty());
    assert_eq!(disk.calls(), before);
}

/// A step, and the answer of a real Consul 1.8.7 to it, recorded from a cluster of three.
enum Step {
    /// The index at which Consul applied the next command.
    At(u64),
    Write(Command, bool),
    /// Key; index in the header; flags, value, create index, modify index.
    Get(&'static str, u64, Option<(u64, &'static str, u64, u64)>),
    /// Prefix; index in the header; keys with their modify index.
    List(&'static str, u64, &'static [(&'static str, u64)]),
    Keys(&'static str, Option<&'static str>, u64, &'static [&'static str]),
}

/// Requests to a Consul server and its answers, with the indexes that it assigned.
fn recorded_steps() -> Vec<Step> {
    const ALL: &[(&str, u64)] = &[
        ("rec/a", 197_218),
        ("rec/b/1", 197_223),
        ("rec/b/2", 197_224),
        ("rec/c", 197_225),
        ("rec/empty", 197_222),
        ("rec/new", 197_221),
    ];
    use Step::{At, Get, Keys, List, Write};
    vec![
        At(197_203),
        Write(put("before", ""), true),
        Get("rec/none", 197_203, None),
        At(197_216),
        Write(put("rec/a", "one"), true),
        Get("rec/a", 197_216, Some((0, "one", 197_216, 197_216))),
        Write(put("rec/a", "one"), true),
        Get("rec/a", 197_216, Some((0, "one", 197_216, 197_216))),
        Write(put_if("rec/a", "two", 42, Always), true),
        Get("rec/a", 197_218, Some((42, "two", 197_216, 197_218))),
        Write(put_if("rec/a", "no", 0, Cas(197_216)), false),
        Write(put_if("rec/a", "no", 0, Cas(0)), false),
        Write(put_if("rec/new", "yes", 0, Cas(0)), true),
        Write(put("rec/empty", ""), true),
        Get("rec/empty", 197_222, Some((0, "", 197_222, 197_222))),
        Write(put("rec/b/1", "x"), true),
        Write(put("rec/b/2", "y"), true),
        Write(put("rec/c", "z"), true),
        List("rec/", 197_225, ALL),
        Keys("rec/", None, 197_225, &["rec/a", "rec/b/1", "rec/b/2", "rec/c", "rec/empty", "rec/new"]),
        Keys("rec/", Some("/"), 197_225, &["rec/a", "rec/b/", "rec/c", "rec/empty", "rec/new"]),
        Keys("rec/none", None, 197_225, &[]),
        List("rec/none", 197_225, &[]),
        Write(delete("rec/b/1", Cas(0)), false),
        Write(delete("rec/b/1", Cas(1)), false),
        Write(delete("rec/b/1", Always), true),
        Write(delete("rec/b/1", Always), true),
        List("rec/b/", 197_228, &[("rec/b/2", 197_224)]),
        Write(delete_tree("rec/b/"), true),
        Get("rec/a", 197_218, Some((42, "two", 197_216, 197_218))),
        At(197_249),
        Write(put("rec/t1", "1"), true),
        Get("rec/t2", 197_249, None),
        Write(delete("rec/nokey", Cas(9)), true),
        Write(delete_tree("rec/t"), true),
    ]
}

#[test]
fn recorded_answers_of_consul_are_given() {
    use Step::{At, Get, Keys, List, Write};
    let (_disk, mut kv) = fresh(1);
    for step in recorded_steps() {
        match step {
            At(next) => skip_to(&mut kv, next),
            Write(command, expected) => assert_eq!(apply(&mut kv, &command).1, expected, "{command:?}"),
            Get(key, index, expected) => {
                let read = kv.reader().get(key).unwrap();
                let found = read.value.as_ref().map(|e| {
                    (e.flags, std::str::from_utf8(&e.value).unwrap(), e.create_index, e.modify_index)
                });
                assert_eq!((read.index, found), (index, expected), "{key}");
            }
            List(prefix, index, expected) => {
                let read = kv.reader().list(prefix).unwrap();
                let found: Vec<_> = read.value.iter().map(|e| (e.key.as_str(), e.modify_index)).collect();
                assert_eq!((read.index, found.as_slice()), (index, expected), "{prefix}");
            }
            Keys(prefix, separator, index, expected) => {
                let read = kv.reader().keys(prefix, separator).unwrap();
                assert_eq!(read.index, index, "{prefix}");
                assert_eq!(read.value, expected, "{prefix}");
            }
        }
    }
}

/// Makes the next command the entry `next`, as if other entries of the log came before it.
fn skip_to(kv: &mut KvMachine, next: u64) {
    let first = kv.applied().index.0 + 1;
    let between: Vec<_> =
        (first..next).map(|index| Applied { id: LogId::new(1, index), command: None }).collect();
    kv.apply(&between).unwrap();
}
