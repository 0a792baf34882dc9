//! A small typed state machine that lives in memory, with its last durable image on disk: the quickest way to
//! replicate a state.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_disk::{Disk, OpenMode, create_aside, replace_durably};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Applied, MachineError, SnapshotView, StateMachine};

/// A state, and the commands that change it. It must be deterministic: no clock, no randomness, no order of a hash
/// map.
pub trait Application: Serialize + DeserializeOwned + Clone + Default + Send + Sync + 'static {
    /// The type of a command.
    type Command: Serialize + DeserializeOwned;
    /// The type of the response to a command.
    type Response: Serialize + DeserializeOwned;

    /// Executes a command. `id` is the command's place in the log; its index is the state's new version.
    fn apply(&mut self, id: LogId, command: Self::Command) -> Self::Response;
}

/// A state machine whose commands and responses have types. Without it commands are proposed as bytes, and responses come
/// back as bytes.
pub trait Typed: StateMachine {
    /// The type of a command.
    type Command;
    /// The type of the response to a command.
    type Response;

    /// Encodes a command, as [`apply`](StateMachine::apply) reads it.
    ///
    /// # Errors
    /// The command cannot be encoded.
    fn encode(command: &Self::Command) -> Result<Bytes, TypedError>;

    /// Decodes a response of [`apply`](StateMachine::apply) to a command.
    ///
    /// # Errors
    /// The bytes are no response to a command of this state machine, or the command was not understood.
    fn decode(response: &[u8]) -> Result<Self::Response, TypedError>;
}

/// A [`StateMachine`] made of an [`Application`]. The state is in memory; the file `state.bin` holds the last durable
/// image (written aside, synced, renamed), and a restart replays the log from there.
#[derive(Debug)]
pub struct InMemory<A> {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    shared: InMemoryReader<A>,
    durable: LogId,
}

/// A handle for reads of the state of an [`InMemory`].
#[derive(Debug)]
pub struct InMemoryReader<A>(Arc<RwLock<Versioned<A>>>);

#[derive(Clone, Debug, Default)]
struct Versioned<A> {
    applied: LogId,
    state: A,
}

/// Why a typed command or response cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TypedError {
    /// The bytes are no encoding of this type.
    #[error("these bytes are no command or response of this application: {0}")]
    Undecodable(#[from] postcard::Error),
    /// The application did not understand the command, so nothing was done: it was proposed by another version.
    #[error("the application did not understand the command; another version may have proposed it")]
    NotUnderstood,
}

impl<A> Clone for InMemoryReader<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Clone> InMemoryReader<A> {
    /// The result of `query` on the state, and the last entry that this state shows.
    pub fn read<T>(&self, query: impl FnOnce(&A) -> T) -> (T, LogId) {
        let shared = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (query(&shared.state), shared.applied)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Versioned<A>) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl<A: Application> InMemory<A> {
    /// Opens the state in `dir`, or starts with the default one.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, MachineError> {
        let path = dir.join(FILE);
        let versioned = if disk.exists(&path)? {
            // The process that renamed this file may have ended before the rename was durable. The log is cut up to
            // what is read here, so the name must be durable first.
            disk.sync_dir(dir)?;
            let file = disk.open(&path, OpenMode::Existing)?;
            let length = usize::try_from(file.len()?).map_err(|_| damaged("is larger than memory"))?;
            let mut image = vec![0; length];
            file.read_at(0, &mut image)?;
            decode(&image)?
        } else {
            Versioned::default()
        };
        let durable = versioned.applied;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            shared: InMemoryReader(Arc::new(RwLock::new(versioned))),
            durable,
        })
    }

    /// Encodes a command, to be proposed.
    ///
    /// # Errors
    /// The command cannot be serialized.
    pub fn encode(command: &A::Command) -> Result<Bytes, TypedError> {
        Ok(postcard::to_allocvec(command)?.into())
    }

    /// Decodes the response to a proposal.
    ///
    /// # Errors
    /// The bytes are no response of this application, or the application did not understand the command.
    pub fn decode(response: &[u8]) -> Result<A::Response, TypedError> {
        postcard::from_bytes::<Option<A::Response>>(response)?.ok_or(TypedError::NotUnderstood)
    }

    fn store(&mut self, image: &[u8], id: LogId) -> Result<(), MachineError> {
        let aside = self.dir.join(ASIDE);
        let file = create_aside(&*self.disk, &aside)?;
        file.write_at(0, image)?;
        replace_durably(&*self.disk, &*file, &aside, &self.dir.join(FILE)).map_err(io::Error::from)?;
        self.durable = id;
        Ok(())
    }
}

const FILE: &str = "state.bin";
const ASIDE: &str = "state.bin.tmp";
const MAGIC: &[u8; 8] = b"RKMEM\0\0\x01";

/// Encodes an image: `magic [u8; 8], checksum u64 of what follows, term u64, index u64, postcard of the state`.
fn encode<A: Serialize>(applied: LogId, state: &A) -> Result<Vec<u8>, MachineError> {
    let state = postcard::to_allocvec(state).map_err(|error| MachineError::Storage(Box::new(error)))?;
    let mut body = Vec::with_capacity(state.len() + 16);
    body.extend_from_slice(&applied.term.0.to_le_bytes());
    body.extend_from_slice(&applied.index.0.to_le_bytes());
    body.extend_from_slice(&state);
    let mut image = Vec::with_capacity(body.len() + 16);
    image.extend_from_slice(MAGIC);
    image.extend_from_slice(&checksum(&body).to_le_bytes());
    image.extend_from_slice(&body);
    Ok(image)
}

fn decode<A: DeserializeOwned>(image: &[u8]) -> Result<Versioned<A>, MachineError> {
    let (magic, rest) = image.split_first_chunk::<8>().ok_or_else(|| damaged("is too short"))?;
    let (sum, body) = rest.split_first_chunk::<8>().ok_or_else(|| damaged("is too short"))?;
    if magic != MAGIC {
        return Err(damaged("does not begin as one"));
    }
    if u64::from_le_bytes(*sum) != checksum(body) {
        return Err(damaged("has a wrong checksum"));
    }
    let (term, rest) = body.split_first_chunk::<8>().ok_or_else(|| damaged("is too short"))?;
    let (index, state) = rest.split_first_chunk::<8>().ok_or_else(|| damaged("is too short"))?;
    let applied = LogId::new(u64::from_le_bytes(*term), u64::from_le_bytes(*index));
    let state = postcard::from_bytes(state).map_err(|_| damaged("holds another type of state"))?;
    Ok(Versioned { applied, state })
}

/// FNV-1a with 64 bits. It detects rot, not forgery: nobody forges a file in their own data folder.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn damaged(what: &str) -> MachineError {
    MachineError::Damaged { what: format!("the stored state {what}") }
}

impl<A: Application + Debug> StateMachine for InMemory<A> {
    type Reader = InMemoryReader<A>;

    fn reader(&self) -> Self::Reader {
        self.shared.clone()
    }

    fn applied(&self) -> LogId {
        self.shared.read(|_| ()).1
    }

    fn durable(&self) -> LogId {
        self.durable
    }

    fn apply(&mut self, entries: &[Applied]) -> Result<Vec<Bytes>, MachineError> {
        self.shared.change(|versioned| {
            entries
                .iter()
                .map(|entry| {
                    versioned.applied = entry.id;
                    let Some(command) = &entry.command else { return Ok(Bytes::new()) };
                    let understood = postcard::from_bytes::<A::Command>(command).ok();
                    let response = understood.map(|command| versioned.state.apply(entry.id, command));
                    postcard::to_allocvec(&response)
                        .map(Bytes::from)
                        .map_err(|error| MachineError::Storage(Box::new(error)))
                })
                .collect()
        })
    }

    fn persist(&mut self) -> Result<LogId, MachineError> {
        let applied = self.applied();
        if applied > self.durable {
            let image = self.shared.change(|versioned| encode(versioned.applied, &versioned.state))?;
            self.store(&image, applied)?;
        }
        Ok(self.durable)
    }

    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineError> {
        let frozen = self.shared.change(|versioned| versioned.clone());
        Ok(Box::new(frozen))
    }

    fn restore(&mut self, id: LogId, source: &mut dyn Read) -> Result<(), MachineError> {
        let mut image = Vec::new();
        source.read_to_end(&mut image)?;
        let versioned: Versioned<A> = decode(&image)?;
        if versioned.applied != id {
            return Err(damaged("is of another index than its snapshot"));
        }
        self.store(&image, id)?;
        self.shared.change(|current| *current = versioned);
        Ok(())
    }
}

impl<A: Application + Debug> Typed for InMemory<A> {
    type Command = A::Command;
    type Response = A::Response;

    fn encode(command: &A::Command) -> Result<Bytes, TypedError> {
        Self::encode(command)
    }

    fn decode(response: &[u8]) -> Result<A::Response, TypedError> {
        Self::decode(response)
    }
}

impl<A: Application> SnapshotView for Versioned<A> {
    fn id(&self) -> LogId {
        self.applied
    }

    fn write_to(self: Box<Self>, target: &mut dyn Write) -> Result<(), MachineError> {
        target.write_all(&encode(self.applied, &self.state)?)?;
        Ok(())
    }
}
