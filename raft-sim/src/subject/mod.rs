//! The interface of a simulated state machine: its commands, the requests of clients, and their answers.

pub(crate) mod kv;

use std::fmt::Debug;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_disk::Disk;
use raftkit_replica::{MachineError, StateMachine};
use xxhash_rust::xxh3::Xxh3;

use crate::Settings;
use crate::rng::Rng;

/// A state machine of yours, as the simulator sees it. [`Kv`](crate::Kv) is the one of raft-kv; `examples/bank.rs` puts
/// one in that is made up.
///
/// With [`open`](Self::open), [`ask`](Self::ask) and [`look`](Self::look) alone every promise of replication is checked:
/// the state at an index is the same on all nodes and that of a machine that never failed, what is acknowledged is kept,
/// reads are fresh.
pub trait Subject: 'static {
    /// The state machine.
    type Machine: StateMachine;
    /// A request of a client, in a type of your own.
    type Ask: Clone + Debug;
    /// The result of a read.
    type Found: Clone + Debug;

    /// Opens the machine in a folder, or makes a new one.
    ///
    /// # Errors
    /// As of the machine.
    fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self::Machine, MachineError>;

    /// What a client asks next. `number` is another one each time: put it into a write to make it like no other. Of a
    /// thousand requests [`Settings::reads`] are to be reads: with none of them it must be a write.
    fn ask(&mut self, rng: &mut Rng, settings: &Settings, number: u64) -> (Self::Ask, Request);

    /// A write of about so many bytes, for those who want large ones.
    fn ask_big(&mut self, number: u64, bytes: u64) -> Option<(Self::Ask, Request)> {
        let _ = (number, bytes);
        None
    }

    /// What a client finds that asks this.
    ///
    /// # Errors
    /// As of the machine.
    fn find(reader: &Reader<Self>, ask: &Self::Ask) -> Result<(Self::Found, LogId), MachineError>;

    /// The whole state in a number, and the last entry that it shows.
    ///
    /// # Errors
    /// As of the machine.
    fn look(reader: &Reader<Self>) -> Result<(u64, LogId), MachineError>;

    /// The whole state in words, to be shown where it is not what it should be.
    fn show(reader: &Reader<Self>) -> Option<String> {
        let _ = reader;
        None
    }

    /// What must hold of every state, whatever the commands were.
    ///
    /// # Errors
    /// What does not hold, in words.
    fn check(reader: &Reader<Self>) -> Result<(), String> {
        let _ = reader;
        Ok(())
    }

    /// A client's request has ended. Keep it, if [`judge`](Self::judge) wants it.
    fn ended(&mut self, ended: Ended<Self>) {
        let _ = ended;
    }

    /// At the end: is what clients saw possible?
    ///
    /// # Errors
    /// Why not, in words.
    fn judge(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Anything in a number, for [`Subject::look`]: the same on all nodes of a run.
#[must_use]
pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = Xxh3::new();
    value.hash(&mut hasher);
    hasher.digest()
}

/// A subject's reader.
pub type Reader<S> = <<S as Subject>::Machine as StateMachine>::Reader;

/// A request to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Apply a command that is unique: if it is committed twice, a write was done twice.
    Once(Bytes),
    /// Apply a command that may equal others.
    Write(Bytes),
    /// Read the state.
    Read,
}

/// A client's request that has ended. Requests that certainly did nothing are not reported.
#[derive(Clone, Debug)]
pub struct Ended<S: Subject + ?Sized> {
    /// The client, from 0. One client has one request at a time, but a request of unknown outcome goes on behind the
    /// next one.
    pub client: u64,
    /// The request.
    pub ask: S::Ask,
    /// Time of the request, in microseconds.
    pub called: u64,
    /// Time of the answer in microseconds; none without an answer.
    pub returned: Option<u64>,
    /// The outcome that the client was told.
    pub outcome: Outcome<S::Found>,
    /// True for a stale read.
    pub stale: bool,
}

/// Outcome of a request, as the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<F> {
    /// The write is committed as this entry, with this answer.
    Written(LogId, Bytes),
    /// The read has found this.
    Found(F),
    /// The outcome is unknown.
    Unknown,
}
