//! The content of an inspected log, after an opening that took place only in memory.

use std::path::PathBuf;
use std::sync::Arc;

use raftkit_core::{Entry, LogIndex, Restored};
use raftkit_disk::DirLock;
use redb::Database;

use crate::error::ReadError;
use crate::journal::record::payload_len;
use crate::layout::Identity;
use crate::layout::Mark;
use crate::reader::{ReadResult, Reader};
use crate::shared::Shared;
use crate::state::LogState;
use crate::view::View;

/// Maximum number of bytes read at once.
const PART_BYTES: usize = 1 << 20;

/// A log as its next opening would find it.
#[derive(Debug)]
pub struct Contents {
    /// Identity of the log. The incarnation is that of the last real opening.
    pub identity: Identity,
    /// The state that a node would start with.
    pub restored: Restored,
    /// Total size of the payloads of all entries after the base, in bytes.
    pub payload_bytes: u64,
    shared: Arc<Shared>,
}

/// Paths of the files, and the lock that keeps other processes from changing them.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) journal_path: PathBuf,
    pub(super) lock: Option<Box<dyn DirLock>>,
}

impl Contents {
    pub(super) fn new(folder: Folder, database: Database, identity: Identity, state: &LogState) -> Self {
        let view = View::new(state.base.id, state.last, 0);
        let paths = (folder.path, folder.journal_path);
        let shared = Arc::new(Shared::new(paths, database, folder.lock, view, Mark::default().at));
        Self { identity, restored: state.restored(), payload_bytes: 0, shared }
    }

    /// Reads all entries once, to add up their sizes.
    pub(super) fn measure(&mut self) -> Result<(), ReadError> {
        let mut bytes = 0;
        for entry in self.entries(LogIndex::ZERO, LogIndex(u64::MAX)) {
            bytes += payload_len(&entry?) as u64;
        }
        self.payload_bytes = bytes;
        Ok(())
    }

    /// Returns the number of entries after the base.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.restored.last.0.saturating_sub(self.restored.base.id.index.0)
    }

    /// Iterates over the entries from `first` to `last`, both included, as far as they exist. Ends after the first
    /// error.
    pub fn entries(
        &self,
        first: LogIndex,
        last: LogIndex,
    ) -> impl Iterator<Item = Result<Entry, ReadError>> + use<> {
        let reader = Reader::new(self.shared.clone());
        let mut next = first.max(self.restored.base.id.index.next());
        let last = last.min(self.restored.last);
        let mut part = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if part.as_slice().is_empty() && next <= last {
                match reader.read(next, last, PART_BYTES) {
                    Ok(ReadResult::Entries(entries)) => part = entries.into_iter(),
                    // Cannot happen, since `next` is above the base.
                    Ok(ReadResult::Compacted) => next = last.next(),
                    Err(error) => {
                        next = last.next();
                        return Some(Err(error));
                    }
                }
            }
            let entry: Entry = part.next()?;
            next = entry.id.index.next();
            Some(Ok(entry))
        })
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        // Close the database here, where panics of redb on rotten pages are caught; the lock is released afterwards.
        self.shared.close();
    }
}
