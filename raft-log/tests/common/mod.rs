//! What several tests use.

#![allow(dead_code, reason = "each test uses some of it")]

use std::path::Path;
use std::sync::Arc;

use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

pub(crate) const DIR: &str = "/data/log";
pub(crate) const FILE: &str = "/data/log/log.redb";

pub(crate) fn options() -> OpenOptions {
    OpenOptions::new(NodeId(1), StoreId(11))
}

pub(crate) fn open(disk: &SimulatedDisk) -> Result<(Store, Restored), OpenError> {
    Store::open(Arc::new(disk.clone()), Path::new(DIR), options())
}

pub(crate) fn command(term: u64, index: u64, len: usize) -> Entry {
    let fill = u8::try_from((term * 31 + index) % 251).unwrap();
    Entry { id: LogId::new(term, index), payload: Payload::Command(vec![fill; len].into()) }
}

pub(crate) fn member(term: u64, index: u64, node: u64) -> Entry {
    Entry { id: LogId::new(term, index), payload: Payload::Membership(membership(node)) }
}

pub(crate) fn membership(node: u64) -> Membership {
    let member = Member { store: StoreId(u128::from(node) * 100), address: format!("host{node}:1") };
    Membership::founding([(NodeId(node), member)].into())
}

pub(crate) fn base(term: u64, index: u64) -> Base {
    Base { id: LogId::new(term, index), membership: membership(term * 1000 + index) }
}

pub(crate) fn read(store: &Store, first: u64, last: u64) -> ReadResult {
    store.reader().read(LogIndex(first), LogIndex(last), usize::MAX).unwrap()
}
