//! Helpers shared by the tests.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part")]

pub(crate) mod receiver;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use raftkit_core::{LogId, Member, Membership, NodeId, StoreId};
use raftkit_disk::SimulatedDisk;
use raftkit_snapshot::{Manifest, SnapshotDir, SnapshotFile};

/// The chunk size in the tests, in bytes.
pub(crate) const CHUNK: u32 = 1000;

/// The folder of snapshots on a simulated disk.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from("/data/snapshots")
}

/// Opens the folder.
pub(crate) fn open(disk: &SimulatedDisk) -> std::io::Result<SnapshotDir> {
    Ok(SnapshotDir::new(Arc::new(disk.clone()), folder())?.with_chunk_bytes(CHUNK))
}

/// A membership with one voter and one learner.
pub(crate) fn membership() -> Membership {
    let member = |store, address: &str| Member::new(StoreId(store), address);
    let members = BTreeMap::from([(NodeId(1), member(7, "a:1")), (NodeId(2), member(8, "b:2"))]);
    Membership::new(members, [NodeId(1)].into()).expect("the voter is a member")
}

/// Bytes that look random, and are the same for the same seed.
pub(crate) fn data(length: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng(seed);
    (0..length).map(|_| rng.next().to_le_bytes()[0]).collect()
}

/// Writes a snapshot.
pub(crate) fn write(dir: &SnapshotDir, id: LogId, data: &[u8]) -> SnapshotFile {
    let mut writer = dir.create(membership()).expect("the disk is sound");
    writer.write_all(data).expect("the disk is sound");
    writer.finish(id).expect("the disk is sound")
}

/// A snapshot in a folder of its own.
pub(crate) fn source(id: LogId, data: &[u8]) -> SnapshotFile {
    write(&open(&SimulatedDisk::new(0)).expect("the disk is sound"), id, data)
}

/// A manifest of which only the id and the number of chunks matter.
pub(crate) fn manifest(id: LogId, chunks: usize) -> Manifest {
    source(id, &data(chunks * CHUNK as usize, id.index.0)).manifest().clone()
}

/// Returns the bytes of a whole snapshot.
pub(crate) fn content(file: &SnapshotFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.reader().read_to_end(&mut bytes).expect("the file is sound");
    bytes
}

/// A small random number generator (SplitMix64).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}
