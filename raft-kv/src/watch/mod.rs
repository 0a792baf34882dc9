//! Watches: a task that waits for changes of a key or under a prefix is woken by these changes and by no others.
//!
//! The order of events guarantees that no change is missed:
//!
//! ```text
//!   the machine   commit: readers see the change ---> publish: watches under it fire
//!   a waiter      arm ---> look ---> wait until fired ---> arm ---> ..
//! ```
//!
//! If a look does not show a change, then it ran before the change's commit. The watch was armed before the look, hence
//! before the change is published, and publishing fires it. The other order, look and then arm, loses every change that is
//! published in between.

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
    /// Every watch that exists, with its phase.
    watches: BTreeMap<WatchId, Phase>,
    next: u64,
    /// Every change up to and including this entry has fired its watches.
    through: LogIndex,
}

/// The phase of one watch.
#[derive(Debug)]
enum Phase {
    /// No change has come since the watch was armed. The waker belongs to the task that waits, if one does.
    Armed(Option<Waker>),
    /// A change has come, or the watch was never armed.
    Fired,
}

impl Watches {
    /// Creates the registry for a state to which all entries up to `applied` were applied.
    pub(crate) fn new(applied: LogIndex) -> Self {
        Self { inner: Mutex::new(Inner { through: applied, ..Inner::default() }) }
    }

    /// Fires the watches on `changes`. The caller guarantees that readers see the changes already, and that nothing else has
    /// changed up to the entry `through`.
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
        // Wake without the lock: a waker runs code of the caller's runtime, which may call back into this registry.
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The number of watches that exist, armed or not.
    pub(crate) fn count(&self) -> usize {
        self.lock().watches.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that panics while it holds the lock leaves half a change behind, so a poisoned lock can be used.
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

/// A watch on a key or prefix. Dropping the watch removes it from the registry.
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
    /// Creates a watch that is not armed: unless [`look`](Self::look) is called first, [`changed`](Self::changed) returns at
    /// once.
    pub(crate) fn new(watches: &Arc<Watches>, watched: Watched) -> Self {
        let mut inner = watches.lock();
        let id = WatchId(inner.next);
        inner.next += 1;
        inner.watches.insert(id, Phase::Fired);
        drop(inner);
        Self { watches: Arc::clone(watches), id, watched }
    }

    /// Arms the watch and then calls `look`, which reads the key or prefix. Every change that `look` does not see ends the
    /// next [`changed`](Self::changed).
    ///
    /// `look` may return a future that does the reading: the future has not begun when the watch is armed.
    pub fn look<T>(&mut self, look: impl FnOnce() -> T) -> T {
        self.arm();
        look()
    }

    /// Resolves once the key or prefix has changed since the last look. It may also resolve for a change that the look has
    /// seen already, so the caller must look again. Works in any runtime.
    pub async fn changed(&mut self) {
        poll_fn(|context| self.poll_changed(context)).await;
    }

    /// The entry up to which nothing under this watch has changed since the last look began; none if something has changed.
    ///
    /// In a state with later entries, the key or prefix may differ from what the look saw.
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
