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

/// A state machine under simulation, with the requests of its clients. [`Kv`](crate::Kv) is that of raft-kv;
/// `examples/bank.rs` shows one of your own.
///
/// With [`open`](Self::open), [`ask`](Self::ask), [`find`](Self::find) and [`look`](Self::look) alone every promise of
/// replication is checked: the state at an index is the same on all nodes and on a machine that never failed,
/// acknowledged writes are kept, and reads are fresh.
pub trait Subject: 'static {
    /// The state machine.
    type Machine: StateMachine;
    /// A request of a client, in a type of your own.
    type Ask: Clone + Debug;
    /// The result of a read.
    type Found: Clone + Debug;

    /// Opens the machine in a folder, or creates a new one there.
    ///
    /// # Errors
    /// The machine's own error.
    fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self::Machine, MachineError>;

    /// Returns a client's next request. `number` differs from call to call: put it into a write to make the command unique.
    /// About [`Settings::reads`] of a thousand requests should be reads; if that is 0, every request must be a write.
    fn ask(&mut self, rng: &mut Rng, settings: &Settings, number: u64) -> (Self::Ask, Request);

    /// Returns a write of about `bytes` bytes, or none if the subject has no large writes.
    fn ask_big(&mut self, number: u64, bytes: u64) -> Option<(Self::Ask, Request)> {
        let _ = (number, bytes);
        None
    }

    /// Reads the state for a client's request. Returns the result and the last entry that the read state includes.
    ///
    /// # Errors
    /// The machine's own error.
    fn find(reader: &Reader<Self>, ask: &Self::Ask) -> Result<(Self::Found, LogId), MachineError>;

    /// Returns a digest of the whole state (see [`digest`]), and the last entry that the state includes. States that differ
    /// must have different digests.
    ///
    /// # Errors
    /// The machine's own error.
    fn look(reader: &Reader<Self>) -> Result<(u64, LogId), MachineError>;

    /// Returns the whole state in words, for the report of a violation; none if the subject has no such text.
    fn show(reader: &Reader<Self>) -> Option<String> {
        let _ = reader;
        None
    }

    /// Checks an invariant of the state machine, which must hold of every state, whatever the commands were.
    ///
    /// # Errors
    /// The violated invariant, in words.
    fn check(reader: &Reader<Self>) -> Result<(), String> {
        let _ = reader;
        Ok(())
    }

    /// Receives a client's request that has ended. Keep it if [`judge`](Self::judge) needs it.
    fn ended(&mut self, ended: Ended<Self>) {
        let _ = ended;
    }

    /// Judges the history of all clients, at the end of a run.
    ///
    /// # Errors
    /// The reason, in words, why no correct cluster could have given these answers.
    fn judge(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Hashes a value for [`Subject::look`]. Equal values have the same digest on every node of a run.
#[must_use]
pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = Xxh3::new();
    value.hash(&mut hasher);
    hasher.digest()
}

/// The reader of a subject's state machine.
pub type Reader<S> = <<S as Subject>::Machine as StateMachine>::Reader;

/// A request to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Applies a command that equals no other. If it is committed twice, a write was done twice.
    Once(Bytes),
    /// Applies a command that may equal others.
    Write(Bytes),
    /// Reads the state.
    Read,
}

/// A client's request that has ended. Requests that were certainly not carried out are not reported.
#[derive(Clone, Debug)]
pub struct Ended<S: Subject + ?Sized> {
    /// Number of the client, from 0. A client has one request at a time, but a request of unknown outcome may still be
    /// carried out after the client's next ones.
    pub client: u64,
    /// The request.
    pub ask: S::Ask,
    /// Virtual time of the request, in microseconds.
    pub called: u64,
    /// Virtual time of the answer, in microseconds; none without an answer.
    pub returned: Option<u64>,
    /// Outcome that the client was told.
    pub outcome: Outcome<S::Found>,
    /// True for a stale read.
    pub stale: bool,
}

/// Outcome of a request, as the client was told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<F> {
    /// The write was committed as this entry, and the state machine gave this answer.
    Written(LogId, Bytes),
    /// The read found this.
    Found(F),
    /// Nobody knows whether the request was or will be carried out.
    Unknown,
}
