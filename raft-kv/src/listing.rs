//! The entries under a prefix, read from one state in bounded steps: for lists that are too large for memory, or that take
//! too long to read in one go.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use raftkit_core::LogId;
use raftkit_replica::MachineError;

use crate::entry::KvEntryRef;
use crate::fault::guard;
use crate::view::View;

/// A list that is being read.
///
/// All steps see the state in which the listing was opened. The listing keeps the pages of that state in use, so the file
/// grows while others write: do not keep a listing longer than needed.
pub struct Listing {
    view: Arc<View>,
    prefix: String,
    /// The last key that was visited.
    last: Option<String>,
    /// The highest `ModifyIndex` of the entries that were visited.
    newest: u64,
}

/// The result of one step of a [`Listing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more entries.
    More,
    /// The last entry was visited.
    End {
        /// The index to block on; see [`Read`](crate::Read).
        index: u64,
    },
}

impl Listing {
    pub(crate) fn new(view: Arc<View>, prefix: &str) -> Self {
        Self { view, prefix: prefix.to_owned(), last: None, newest: 0 }
    }

    /// A new listing of the same prefix in the same state, from the beginning.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(Arc::clone(&self.view), &self.prefix)
    }

    /// The last log entry that was applied to the state.
    #[must_use]
    pub fn applied(&self) -> LogId {
        self.view.meta.applied
    }

    /// Calls `visit` with the next entries in the order of keys, until `visit` breaks or no entry is left.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn step(
        &mut self,
        mut visit: impl FnMut(KvEntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<Step, MachineError> {
        guard(|| {
            let from = match &self.last {
                None => Bound::Included(self.prefix.as_str()),
                Some(last) => Bound::Excluded(last.as_str()),
            };
            let (mut last, mut newest) = (None, self.newest);
            self.view.scan(&self.prefix, from, |key, stored| {
                let entry = KvEntryRef::load(key, stored)?;
                newest = newest.max(entry.modify_index);
                let flow = visit(entry);
                if flow.is_break() {
                    last = Some(key.to_owned());
                }
                Ok(flow)
            })?;
            self.newest = newest;
            match last {
                Some(last) => {
                    self.last = Some(last);
                    Ok(Step::More)
                }
                None => Ok(Step::End { index: self.view.index(&self.prefix, newest)? }),
            }
        })
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("prefix", &self.prefix)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
