//! The encoding of commands and answers: the bytes are fixed, and decoding does not panic on any input.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use bytes::Bytes;
use common::{delete, delete_tree, delete_tree_up_to, put_if};
use proptest::prelude::*;
use raftkit_kv::{CodecError, Command, Condition, Response};

#[test]
fn bytes_of_commands_are_fixed() {
    let golden: [(Command, &[u8]); 5] = [
        (
            put_if("key", "value", 0x2a, Condition::Always),
            b"\x01\x01\x00\x2a\0\0\0\0\0\0\0\x03\0\0\0keyvalue",
        ),
        (
            put_if("k", "", 0, Condition::Cas(258)),
            b"\x01\x01\x01\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0k",
        ),
        (delete("key", Condition::Cas(7)), b"\x01\x02\x01\x07\0\0\0\0\0\0\0key"),
        (delete_tree("p/"), b"\x01\x03p/"),
        (delete_tree_up_to("p/", 258), b"\x01\x04\x02\x01\0\0p/"),
    ];
    for (command, bytes) in golden {
        assert_eq!(command.encode(), bytes);
        assert_eq!(Command::decode(Bytes::from_static(bytes)).unwrap(), command);
    }
    assert_eq!(Response::Done(true).encode(), &b"\x01\x01\x01"[..]);
    assert_eq!(Response::Done(false).encode(), &b"\x01\x01\x00"[..]);
    assert_eq!(Response::Malformed.encode(), &b"\x01\x02"[..]);
    assert_eq!(Response::TooManyKeys.encode(), &b"\x01\x03"[..]);
}

#[test]
fn value_is_not_copied() {
    let bytes = put_if("key", "value", 0, Condition::Always).encode();
    let Command::Put { value, .. } = Command::decode(bytes.clone()).unwrap() else { panic!("a put") };
    assert_eq!(value.as_ptr(), bytes[bytes.len() - 5..].as_ptr());
}

#[test]
fn forged_length_is_refused() {
    let forged = Bytes::from_static(b"\x01\x01\x00\0\0\0\0\0\0\0\0\xff\xff\xff\xffkey");
    assert_eq!(Command::decode(forged), Err(CodecError::Truncated { wanted: 0xffff_ffff, got: 3 }));
}

#[test]
fn value_above_the_limit_is_refused() {
    let head = put_if("key", "", 0, Condition::Always).encode();
    let with_value = |length: usize| {
        let mut bytes = vec![0; head.len() + length];
        bytes[..head.len()].copy_from_slice(&head);
        Command::decode(bytes.into())
    };
    let limit = raftkit_kv::VALUE_BYTES_MAX;
    assert!(with_value(limit).is_ok());
    assert_eq!(with_value(limit + 1), Err(CodecError::ValueLength { got: limit + 1 }));
}

#[test]
fn every_fault_has_its_name() {
    let error = |bytes: &'static [u8]| Command::decode(Bytes::from_static(bytes)).unwrap_err();
    assert_eq!(error(b""), CodecError::Truncated { wanted: 1, got: 0 });
    assert_eq!(error(b"\x02\x03"), CodecError::UnknownVersion { found: 2 });
    assert_eq!(error(b"\x01\x05"), CodecError::UnknownKind { field: "command", found: 5 });
    assert_eq!(error(b"\x01\x02\x05k"), CodecError::UnknownKind { field: "condition", found: 5 });
    assert_eq!(error(b"\x01\x02\x00"), CodecError::KeyLength { got: 0 });
    assert_eq!(error(b"\x01\x02\x00k\xff"), CodecError::KeyNotUtf8 { valid: 1 });
    let error = |bytes: &'static [u8]| Response::decode(Bytes::from_static(bytes)).unwrap_err();
    assert_eq!(error(b"\x01\x01\x02"), CodecError::UnknownKind { field: "outcome", found: 2 });
    assert_eq!(error(b"\x01\x02\x00"), CodecError::TrailingBytes { got: 1 });
    assert_eq!(error(b"\x01\x07"), CodecError::UnknownKind { field: "answer", found: 7 });
}

fn any_command() -> impl Strategy<Value = Command> {
    let condition = prop_oneof![Just(Condition::Always), any::<u64>().prop_map(Condition::Cas)];
    prop_oneof![
        ("\\PC{1,20}", any::<Vec<u8>>(), any::<u64>(), condition.clone()).prop_map(
            |(key, value, flags, condition)| { Command::Put { key, value: value.into(), flags, condition } }
        ),
        ("\\PC{1,20}", condition).prop_map(|(key, condition)| Command::Delete { key, condition }),
        ("\\PC{0,20}", proptest::option::of(any::<u32>()))
            .prop_map(|(prefix, keys_max)| Command::DeleteTree { prefix, keys_max }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn command_comes_back_from_its_bytes(command in any_command()) {
        prop_assert_eq!(Command::decode(command.encode()).unwrap(), command);
    }

    #[test]
    fn any_bytes_are_a_command_in_one_form_or_none(bytes in any::<Vec<u8>>(), start in 0_usize..4) {
        let mut all = [&[][..], &[1], &[1, 1, 0], &[1, 2, 0]][start].to_vec();
        all.extend_from_slice(&bytes);
        let bytes = Bytes::from(all);
        if let Ok(command) = Command::decode(bytes.clone()) {
            prop_assert_eq!(command.encode(), bytes.clone());
        }
        if let Ok(response) = Response::decode(bytes.clone()) {
            prop_assert_eq!(response.encode(), bytes);
        }
    }

    #[test]
    fn cut_or_changed_command_never_panics(command in any_command(), at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let bytes = command.encode();
        let at = at.index(bytes.len());
        let _ = Command::decode(bytes.slice(..at));
        let mut changed = bytes.to_vec();
        changed[at] ^= mask;
        prop_assert_ne!(Command::decode(changed.into()), Ok(command));
    }
}
