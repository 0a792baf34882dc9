//! Open files and locks of a simulated disk. They die with the disk's life in which they were created.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use super::deferred::Covers;
use super::state::{State, Verdict};
use super::{Operation, SimulatedDisk};
use crate::images::Cover;
use crate::{DirLock, DiskFile, OpenMode};

/// A file opened in one life of the disk.
pub(super) struct SimulatedFile {
    pub(super) disk: SimulatedDisk,
    pub(super) generation: u64,
    pub(super) id: u64,
    pub(super) mode: OpenMode,
    /// Path with which the file was opened, for debugging.
    pub(super) path: Arc<Path>,
}

impl SimulatedFile {
    /// Begins a call; fails if the disk has crashed since the file was opened.
    fn enter(&self, operation: Operation) -> io::Result<(MutexGuard<'_, State>, Verdict)> {
        let mut state = self.disk.state();
        state.alive(self.generation)?;
        let verdict = state.enter(operation);
        Ok((state, verdict))
    }

    fn sync_covering(&self, cover: impl FnOnce(&mut State, u64) -> Cover) -> io::Result<()> {
        let (mut state, verdict) = self.enter(Operation::Sync)?;
        let mark = state.tick();
        match verdict {
            Verdict::Go => {
                let cover = cover(&mut state, mark);
                let stalls = state.stalls();
                if state.deferring {
                    state.defer(Covers::File(self.id, cover), &self.path, stalls);
                } else {
                    self.disk.wait(state, stalls)?.file(self.id).sync(&cover);
                }
                Ok(())
            }
            Verdict::Fail(error) => {
                // The thread can call this sync only after its earlier ones have returned.
                state.complete_own();
                state.file(self.id).fail_sync(&Cover::Before(mark));
                Err(error)
            }
            Verdict::Cut(error) => Err(error),
        }
    }

    /// Like [`enter`](Self::enter), for operations that change the file.
    fn enter_change(&self, operation: Operation) -> io::Result<(MutexGuard<'_, State>, Verdict)> {
        match self.mode {
            OpenMode::ReadOnly => Err(io::ErrorKind::PermissionDenied.into()),
            OpenMode::Existing | OpenMode::New | OpenMode::Either => self.enter(operation),
        }
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let (mut state, verdict) = self.enter(Operation::Len)?;
        verdict.pass()?;
        Ok(state.file(self.id).cached().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut state, verdict) = self.enter_change(Operation::SetLen)?;
        match verdict {
            Verdict::Go => state.set_len(self.id, len),
            Verdict::Fail(error) => Err(error),
            Verdict::Cut(error) => {
                // The power fails during the call: the change is made if possible, but unsynced. The writes below
                // behave the same way.
                let _ = state.set_len(self.id, len);
                Err(error)
            }
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (mut state, verdict) = self.enter(Operation::Read)?;
        verdict.pass()?;
        state.rot_at_read(self.id, offset, buffer.len());
        let read = state.file(self.id).read(offset, buffer);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Other) {
            state.injected.error(Operation::Read, io::ErrorKind::Other);
        }
        read
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut state, verdict) = self.enter_change(Operation::Write)?;
        match verdict {
            Verdict::Go => state.write(self.id, offset, data),
            Verdict::Fail(error) => {
                let written = state.short_write(offset, data.len());
                let _ = state.write(self.id, offset, &data[..written]);
                Err(error)
            }
            Verdict::Cut(error) => {
                let _ = state.write(self.id, offset, data);
                Err(error)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_covering(|_, mark| Cover::Before(mark))
    }

    /// Performs a write and a sync, each a call of its own for faults and crash points. The sync may cover other dirty
    /// data too.
    fn write_durably(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(offset, data)?;
        self.sync_covering(|state, mark| state.cover(self.id, offset, data.len(), mark))
    }

    fn drop_cache(&self) -> io::Result<()> {
        let (mut state, verdict) = self.enter(Operation::DropCache)?;
        verdict.pass()?;
        state.file(self.id).drop_cache();
        Ok(())
    }
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFile")
            .field("path", &self.path)
            .field("generation", &self.generation)
            .finish()
    }
}

/// A lock taken in one life of the disk.
pub(super) struct SimulatedLock {
    pub(super) disk: SimulatedDisk,
    pub(super) generation: u64,
    pub(super) path: PathBuf,
}

impl DirLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.generation == self.generation {
            state.locks.remove(&self.path);
        }
    }
}

impl fmt::Debug for SimulatedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedLock").field("path", &self.path).finish()
    }
}
