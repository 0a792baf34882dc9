//! The log as it is shown: after an opening that took place in memory alone.

use std::path::PathBuf;
use std::sync::Arc;

use raftkit_core::{Entry, LogIndex, Restored};
use raftkit_disk::DirLock;
use redb::Database;

use crate::error::ReadError;
use crate::journal::Mark;
use crate::journal::record::payload_len;
use crate::reader::{ReadResult, Reader};
use crate::shared::Shared;
use crate::state::LogState;
use crate::tables::Identity;
use crate::view::View;

/// How much is read at once, in bytes.
const PART_BYTES: usize = 1 << 20;

/// A log as its next opening would show it.
#[derive(Debug)]
pub struct Contents {
    /// Whose log it is, as it was left: the incarnation is that of its last opening.
    pub identity: Identity,
    /// What a node would start with.
    pub restored: Restored,
    /// The payloads of all entries after the base, in bytes.
    pub payload_bytes: u64,
    shared: Arc<Shared>,
}

/// Where the files are, and the lock that keeps others from changing them.
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

    /// Reads all entries once, for their size.
    pub(super) fn measure(&mut self) -> Result<(), ReadError> {
        let mut bytes = 0;
        for entry in self.entries(LogIndex::ZERO, LogIndex(u64::MAX)) {
            bytes += payload_len(&entry?) as u64;
        }
        self.payload_bytes = bytes;
        Ok(())
    }

    /// How many entries there are after the base.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.restored.last.0.saturating_sub(self.restored.base.id.index.0)
    }

    /// The entries from `first` to `last`, both included, as far as there are such. Ends with the first error.
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
                    // It starts after the base.
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
        // redb may panic on what is rotten, and the lock goes after it.
        self.shared.close();
    }
}
