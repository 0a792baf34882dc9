//! The encodings of manifests and messages: pinned, and safe against arbitrary bytes.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use bytes::Bytes;
use common::{data, manifest, membership};
use proptest::prelude::*;
use raftkit_core::{LogId, LogIndex};
use raftkit_snapshot::{
    CHUNK_BYTES_MAX, ChunkNumber, Manifest, ManifestError, MessageError, Refusal, SnapshotMessage,
};
use sha2::{Digest, Sha256};

/// Encodes a manifest by hand, with a correct checksum.
fn by_hand(length: u64, chunk_bytes: u32, count: u32, chunks: &[[u8; 32]]) -> Vec<u8> {
    let membership = membership().encode();
    let mut bytes = b"RKSM\x01\0\0\0\x02\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&u32::try_from(membership.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&membership);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&chunk_bytes.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(chunks.as_flattened());
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

#[test]
fn bytes_of_a_manifest_are_fixed() {
    let manifest = Manifest {
        id: LogId::new(2, 7),
        membership: membership(),
        length: 1500,
        chunk_bytes: 1000,
        chunks: vec![[1; 32], [2; 32]],
    };
    let bytes = by_hand(1500, 1000, 2, &[[1; 32], [2; 32]]);
    assert_eq!(manifest.encode(), bytes);
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    assert_eq!(manifest.chunk_length(ChunkNumber(0)), Some(1000));
    assert_eq!(manifest.chunk_length(ChunkNumber(1)), Some(500));
    assert_eq!(manifest.chunk_length(ChunkNumber(2)), None);
}

#[test]
fn bytes_of_messages_are_fixed() {
    let snapshot = LogId::new(2, 7);
    let id = b"\x02\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0";
    let refused = |reason| SnapshotMessage::Refused { snapshot, reason };
    let offered = manifest(snapshot, 3);
    let golden: [(SnapshotMessage, Vec<u8>); 9] = [
        (SnapshotMessage::Offer(offered.clone()), [b"\x01\x01", &offered.encode()[..]].concat()),
        (
            SnapshotMessage::Want { snapshot, chunk: ChunkNumber(258) },
            [b"\x01\x02", &id[..], b"\x02\x01\0\0"].concat(),
        ),
        (
            SnapshotMessage::Chunk { snapshot, chunk: ChunkNumber(3), bytes: Bytes::from_static(b"abc") },
            [b"\x01\x03", &id[..], b"\x03\0\0\0abc"].concat(),
        ),
        (SnapshotMessage::Working { snapshot }, [b"\x01\x04", &id[..]].concat()),
        (SnapshotMessage::Installed { snapshot }, [b"\x01\x05", &id[..]].concat()),
        (
            refused(Refusal::NotNeeded { have: LogIndex(9) }),
            [b"\x01\x06", &id[..], b"\x01\x09\0\0\0\0\0\0\0"].concat(),
        ),
        (refused(Refusal::Busy), [b"\x01\x06", &id[..], b"\x02"].concat()),
        (refused(Refusal::Failed), [b"\x01\x06", &id[..], b"\x03"].concat()),
        (refused(Refusal::Gone), [b"\x01\x06", &id[..], b"\x04"].concat()),
    ];
    for (message, bytes) in golden {
        assert_eq!(message.encode(), bytes, "{message:?}");
        assert_eq!(message.snapshot(), snapshot);
        assert_eq!(SnapshotMessage::decode(bytes.into()).unwrap(), message);
    }
}

#[test]
fn manifests_that_contradict_themselves_are_refused() {
    let error = |bytes: &[u8]| Manifest::decode(bytes).unwrap_err();
    let hashes = [[1; 32]; 2];
    let contradiction = |length, chunk_bytes, count| {
        let error = error(&by_hand(length, chunk_bytes, count, &hashes));
        assert!(matches!(error, ManifestError::Contradiction { .. }), "{error}");
    };
    contradiction(2001, 1000, 2);
    contradiction(1000, 1000, 2);
    contradiction(u64::MAX, 1000, 2);
    contradiction(1500, 1000, 3);
    let out_of_bounds = |chunk_bytes, count| {
        let error = error(&by_hand(1500, chunk_bytes, count, &hashes));
        assert!(matches!(error, ManifestError::OutOfBounds { .. }), "{error}");
    };
    out_of_bounds(0, 2);
    out_of_bounds(CHUNK_BYTES_MAX + 1, 2);
    out_of_bounds(1, u32::MAX);
    let good = by_hand(1500, 1000, 2, &hashes);
    let body = &good[..good.len() - 32];
    assert_eq!(error(&sealed([body, b"x"].concat())), ManifestError::TrailingBytes { got: 1 });
    assert!(matches!(error(&sealed(body[..body.len() - 1].to_vec())), ManifestError::Truncated { .. }));
    assert_eq!(
        error(&by_hand(900 * 1000, 1000, 900, &hashes)),
        ManifestError::Truncated { wanted: 28800, got: 96 }
    );
    assert_eq!(error(b"RKSM\x02\0\0\0"), ManifestError::OtherFormat { found: 2 });
    assert_eq!(error(b"XXXX"), ManifestError::NoManifest);
    let mut membership = body.to_vec();
    membership[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        error(&sealed(membership)),
        ManifestError::OutOfBounds { field: "membership length", .. }
    ));
}

#[test]
fn chunk_above_the_limit_is_refused_and_others_are_not_copied() {
    let snapshot = LogId::new(1, 1);
    let bytes = Bytes::from(vec![0; CHUNK_BYTES_MAX as usize + 1]);
    let message =
        |bytes: &Bytes| SnapshotMessage::Chunk { snapshot, chunk: ChunkNumber(0), bytes: bytes.clone() };
    let refused = SnapshotMessage::decode(message(&bytes).encode());
    assert_eq!(refused, Err(MessageError::ChunkTooLong { got: bytes.len() }));
    let encoded = message(&bytes.slice(1..)).encode();
    let SnapshotMessage::Chunk { bytes, .. } = SnapshotMessage::decode(encoded.clone()).unwrap() else {
        panic!("a chunk")
    };
    assert_eq!(bytes.as_ptr(), encoded[22..].as_ptr());
}

fn any_message() -> impl Strategy<Value = SnapshotMessage> {
    let id = (any::<u64>(), any::<u64>()).prop_map(|(term, index)| LogId::new(term, index));
    let reason = prop_oneof![
        any::<u64>().prop_map(|have| Refusal::NotNeeded { have: LogIndex(have) }),
        Just(Refusal::Busy),
        Just(Refusal::Failed),
        Just(Refusal::Gone),
    ];
    prop_oneof![
        (1_u64..20, 0_usize..5)
            .prop_map(|(index, chunks)| SnapshotMessage::Offer(manifest(LogId::new(1, index), chunks))),
        (id.clone(), any::<u32>())
            .prop_map(|(snapshot, chunk)| SnapshotMessage::Want { snapshot, chunk: ChunkNumber(chunk) }),
        (id.clone(), any::<u32>(), 0_usize..300).prop_map(|(snapshot, chunk, size)| SnapshotMessage::Chunk {
            snapshot,
            chunk: ChunkNumber(chunk),
            bytes: data(size, 1).into()
        }),
        id.clone().prop_map(|snapshot| SnapshotMessage::Working { snapshot }),
        id.clone().prop_map(|snapshot| SnapshotMessage::Installed { snapshot }),
        (id, reason).prop_map(|(snapshot, reason)| SnapshotMessage::Refused { snapshot, reason }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn message_comes_back_from_its_bytes(message in any_message()) {
        prop_assert_eq!(SnapshotMessage::decode(message.encode()).unwrap(), message);
    }

    #[test]
    fn any_bytes_are_a_message_in_one_form_or_none(bytes in any::<Vec<u8>>(), kind in 0_u8..8, start in any::<bool>()) {
        let bytes = if start { [&[1, kind][..], &bytes].concat() } else { bytes };
        let _ = Manifest::decode(&bytes);
        let _ = Manifest::decode(&sealed([b"RKSM\x01\0\0\0", &bytes[..]].concat()));
        let bytes = Bytes::from(bytes);
        if let Ok(message) = SnapshotMessage::decode(bytes.clone()) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn cut_or_changed_message_never_panics_nor_reads_the_same(
        message in any_message(),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
    ) {
        let bytes = message.encode();
        let at = at.index(bytes.len());
        let _ = SnapshotMessage::decode(bytes.slice(..at));
        let mut changed = bytes.to_vec();
        changed[at] ^= mask;
        prop_assert_ne!(SnapshotMessage::decode(changed.into()), Ok(message));
    }

    #[test]
    fn changed_manifest_is_refused(at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let mut bytes = manifest(LogId::new(1, 3), 4).encode();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert!(Manifest::decode(&bytes).is_err());
    }
}
