//! Watches: who waits for a change of a key or under a prefix is woken by it, and by no other.
//!
//! The order of events makes it sure that no change is missed:
//!
//! ```text
//!   the machine   commit: readers see the change ---> publish: watches under it fire
//!   a waiter      arm ---> look ---> wait until fired ---> arm ---> ..
//! ```
//!
//! A look that does not show a change ran before its commit, so it was armed before its publishing, which fires it. The
//! other way round, to look first and arm then, loses every change in between.

mod registry;

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use raftkit_core::LogIndex;

pub use registry::Watched;
pub(crate) use registry::{Change, WatchId};

use registry::Registry;

/// All watches on one machine's state.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    registry: Registry,
    /// Every watch there is: what it last was.
    watches: BTreeMap<WatchId, Phase>,
    next: u64,
    /// Every change up to this entry has fired its watches.
    through: LogIndex,
}

#[derive(Debug)]
enum Phase {
    /// No change has come since it was armed. The waker is that of the task that waits, if one does.
    Armed(Option<Waker>),
    /// A change has come, or it was never armed.
    Fired,
}

impl Watches {
    /// For a state that shows `applied`.
    pub(crate) fn new(applied: LogIndex) -> Self {
        Self { inner: Mutex::new(Inner { through: applied, ..Inner::default() }) }
    }

    /// Readers see `changes`, which are all that changed up to the entry `through`: fires the watches on them.
    pub(crate) fn publish(&self, through: LogIndex, changes: &[Change]) {
        let mut inner = self.lock();
        inner.through = through;
        if changes.is_empty() || inner.registry.is_empty() {
            return;
        }
        let mut fired = Vec::new();
        for change in changes {
            inner.registry.take(change, &mut fired);
        }
        let wakers: Vec<Waker> = fired.into_iter().filter_map(|id| inner.fire(id)).collect();
        // A waker runs code of its own, which may well come back here.
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many watches there are, armed or not.
    pub(crate) fn count(&self) -> usize {
        self.lock().watches.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held that would leave half a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn fire(&mut self, id: WatchId) -> Option<Waker> {
        match self.watches.insert(id, Phase::Fired) {
            Some(Phase::Armed(waker)) => waker,
            Some(Phase::Fired) | None => None,
        }
    }
}

/// A watch on a key or prefix of a state; dropped, it is forgotten.
///
/// ```no_run
/// # async fn until_changed(reader: raftkit_kv::KvReader) -> Result<(), raftkit_replica::MachineError> {
/// let mut watch = reader.watch(raftkit_kv::Watched::Key("colour".into()));
/// loop {
///     let read = watch.look(|| reader.get("colour"))?;
///     println!("at {}: {:?}", read.index, read.value);
///     watch.changed().await;
/// }
/// # }
/// ```
pub struct Watch {
    watches: Arc<Watches>,
    id: WatchId,
    watched: Watched,
}

impl Watch {
    /// A watch that is not armed: its first [`changed`](Self::changed) returns at once unless it looks before.
    pub(crate) fn new(watches: &Arc<Watches>, watched: Watched) -> Self {
        let mut inner = watches.lock();
        let id = WatchId(inner.next);
        inner.next += 1;
        inner.watches.insert(id, Phase::Fired);
        drop(inner);
        Self { watches: Arc::clone(watches), id, watched }
    }

    /// Looks at what is watched. Every change that `look` does not see ends the next [`changed`](Self::changed).
    ///
    /// `look` may return a future that looks: it has not begun when the watch is armed.
    pub fn look<T>(&mut self, look: impl FnOnce() -> T) -> T {
        self.arm();
        look()
    }

    /// Resolves once what is watched has changed since the last look. It may resolve for a change that this look has
    /// seen, so the caller looks again. Works in any runtime.
    pub async fn changed(&mut self) {
        poll_fn(|context| self.poll_changed(context)).await;
    }

    /// The entry up to which nothing under this watch has changed since the last look began; none if something has.
    ///
    /// A state that shows more than this entry may differ, in what is watched, from what the look saw.
    #[must_use]
    pub fn unchanged_through(&self) -> Option<LogIndex> {
        let inner = self.watches.lock();
        match inner.watches.get(&self.id) {
            Some(Phase::Armed(_)) => Some(inner.through),
            Some(Phase::Fired) | None => None,
        }
    }

    fn arm(&mut self) {
        let mut inner = self.watches.lock();
        inner.registry.arm(self.id, &self.watched);
        inner.watches.insert(self.id, Phase::Armed(None));
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.watches.lock().watches.get_mut(&self.id) {
            Some(Phase::Armed(waker)) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    *waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
            Some(Phase::Fired) | None => Poll::Ready(()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.watches.lock();
        inner.registry.disarm(self.id, &self.watched);
        inner.watches.remove(&self.id);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("watched", &self.watched).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
