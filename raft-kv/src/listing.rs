//! A prefix's entries, read from one state a bounded step at a time: for lists that are too large to be held, or take too
//! long to be read in one go.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use raftkit_core::LogId;
use raftkit_replica::MachineError;

use crate::entry::KvEntryRef;
use crate::fault::guard;
use crate::reader::View;

/// A list that is being read.
///
/// All of its steps see the state in which it was opened. It holds on to that state's pages, so that the file grows
/// while others write: do not keep it longer than needed.
pub struct Listing {
    view: Arc<View>,
    prefix: String,
    /// The last key that was shown.
    last: Option<String>,
    /// The highest `ModifyIndex` so far.
    newest: u64,
}

/// How far a [`Listing`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more.
    More,
    /// The last entry was shown.
    End {
        /// The index to block on, as of [`Read`](crate::Read).
        index: u64,
    },
}

impl Listing {
    pub(crate) fn new(view: Arc<View>, prefix: &str) -> Self {
        Self { view, prefix: prefix.to_owned(), last: None, newest: 0 }
    }

    /// The same list of the same state, from its beginning.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(Arc::clone(&self.view), &self.prefix)
    }

    /// The last log entry that the state shows.
    #[must_use]
    pub fn applied(&self) -> LogId {
        self.view.meta.applied
    }

    /// Shows the next entries to `visit`, in order, until it breaks or there are none left.
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
            for found in self.view.entries.range::<&str>((from, Bound::Unbounded))? {
                let (key, stored) = found?;
                if !key.value().starts_with(&self.prefix) {
                    break;
                }
                let entry = KvEntryRef::load(key.value(), stored.value())?;
                newest = newest.max(entry.modify_index);
                if visit(entry).is_break() {
                    last = Some(entry.key.to_owned());
                    break;
                }
            }
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
