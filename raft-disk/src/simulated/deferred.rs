//! Deferred syncs: they return at once, and a simulator completes them later in virtual time, all in one thread.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::SimulatedDisk;
use super::ends::CrashKind;
use super::state::{State, thread_of};
use crate::cuts::Cuts;
use crate::images::Cover;

/// Number of a deferred sync. Numbers rise and are never reused on the same disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(u64);

/// A deferred sync that is neither completed nor failed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeferredSync {
    /// Number of the sync.
    pub id: SyncId,
    /// The kind of object being synced.
    pub kind: SyncKind,
    /// Path of the file, as it was opened, or of the folder.
    pub path: Arc<Path>,
    /// True if the sync [stalls randomly](super::Faults::stalls): the simulation should let it take longer.
    pub stalled: bool,
}

/// The kind of object that a sync makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// The content of a file: [`DiskFile::sync`](crate::DiskFile::sync), and the sync in
    /// [`DiskFile::write_durably`](crate::DiskFile::write_durably).
    File,
    /// The names in a folder: [`Disk::sync_dir`](crate::Disk::sync_dir).
    Folder,
}

/// A deferred sync and its effect.
pub(super) struct Outstanding {
    sync: DeferredSync,
    /// Moment of the call. The sync may cover earlier changes; later ones were made by a program that believed the sync
    /// done.
    mark: u64,
    covers: Covers,
}

pub(super) enum Covers {
    File(u64, Cover),
    Folder,
}

/// # Syncs under virtual time
///
/// A simulation in one thread cannot let a sync wait, but it can defer the sync: [`sync`](crate::DiskFile::sync) then
/// returns at once, and what it covers becomes durable only when the simulation [completes](Self::complete_sync) it, at
/// a later virtual time. Until then reads show the cache.
///
/// **A driver must not report a write as durable before it has completed the syncs of the call that wrote it**, and
/// must treat the calling thread as busy until then.
///
/// Several syncs can be outstanding, on the same file or different ones. Each covers what was done before it was
/// called, and nothing later. A thread that calls two syncs relies on their order, so crashes and kills preserve it:
/// the disk draws for each thread how many of its outstanding syncs, in the order of their calls, had finished. The
/// thread was really waiting for the next one, and nothing that it did to files or names after calling that one has
/// happened. Other threads are independent: a flush can be durable while a settling is half done, and the other way
/// round. Syncs of different threads may be completed in any order, those of one thread only in the order of their
/// calls. A driver of several threads tells the disk which one it [acts as](Self::act_as), and must not let a thread
/// see what another one has done in memory before that one's syncs are complete.
impl SimulatedDisk {
    /// Defers every sync of a file or folder from now on, including after a crash or kill.
    pub fn defer_syncs(&self) {
        self.state().deferring = true;
    }

    /// Sets the thread that makes the calls from now on; initially thread 0. A folder sync does not make a name durable
    /// that another thread created after a sync of its own that is still outstanding, because that thread has not
    /// really come so far yet.
    pub fn act_as(&self, thread: u8) {
        self.state().thread = thread;
    }

    /// Makes later syncs work at once again. Outstanding syncs stay outstanding.
    pub fn stop_deferring_syncs(&self) {
        self.state().deferring = false;
    }

    /// Returns the outstanding syncs, in the order of their calls.
    #[must_use]
    pub fn deferred_syncs(&self) -> Vec<DeferredSync> {
        self.state().deferred.iter().map(|outstanding| outstanding.sync.clone()).collect()
    }

    /// Returns the outstanding syncs called since the last call of this method, in the order of their calls. A driver
    /// uses it after each call to know what that call must wait for. It is almost free if there are none.
    #[must_use]
    pub fn take_new_deferred(&self) -> Vec<DeferredSync> {
        let state = &mut *self.state();
        let from = state.deferred.partition_point(|outstanding| outstanding.mark <= state.reported_until);
        let new = &state.deferred[from..];
        state.reported_until = new.last().map_or(state.reported_until, |last| last.mark);
        new.iter().map(|outstanding| outstanding.sync.clone()).collect()
    }

    /// Makes durable what a deferred sync covers. Returns false if the sync is no longer outstanding, since a crash or
    /// kill cancels it, or if the disk is frozen.
    pub fn complete_sync(&self, id: SyncId) -> bool {
        let mut state = self.state();
        let Some(outstanding) = state.take_deferred(id) else { return false };
        state.complete(&outstanding);
        true
    }

    /// Completes all outstanding syncs, in order.
    pub fn complete_all_syncs(&self) {
        let mut state = self.state();
        if !state.frozen {
            for outstanding in std::mem::take(&mut state.deferred) {
                state.complete(&outstanding);
            }
        }
    }

    /// Fails a deferred sync. What it covers never becomes durable, unless another sync already made it so, but reads
    /// keep showing it. Returns false in the same cases as [`complete_sync`](Self::complete_sync).
    ///
    /// Everything that the thread did since the call was done by a program that believed the sync done, and would not
    /// have happened otherwise: unless it was synced, a crash loses it, and a kill removes it from the cache too. As
    /// after every failed sync, nothing since the last successful one can be trusted. Other syncs of the file can still
    /// complete, without the data lost here, because the kernel reports an error only once.
    pub fn fail_sync(&self, id: SyncId) -> bool {
        let mut state = self.state();
        let Some(outstanding) = state.take_deferred(id) else { return false };
        state.fail_deferred(&outstanding);
        true
    }
}

impl State {
    /// Records a sync called now.
    pub(super) fn defer(&mut self, covers: Covers, path: &Arc<Path>, stalled: bool) {
        let mark = self.tick();
        let kind = match &covers {
            Covers::File(..) => SyncKind::File,
            Covers::Folder => SyncKind::Folder,
        };
        let sync = DeferredSync { id: SyncId(mark), kind, path: Arc::clone(path), stalled };
        self.deferred.push(Outstanding { sync, mark, covers });
    }

    fn take_deferred(&mut self, id: SyncId) -> Option<Outstanding> {
        if self.frozen {
            return None;
        }
        let at = self.deferred.iter().position(|outstanding| outstanding.sync.id == id)?;
        Some(self.deferred.remove(at))
    }

    /// Completes the outstanding syncs of the calling thread, in order, because its next sync fails immediately.
    pub(super) fn complete_own(&mut self) {
        let own = u64::from(self.thread);
        for outstanding in self.deferred.extract_if(.., |it| thread_of(it.mark) == own).collect::<Vec<_>>() {
            self.complete(&outstanding);
        }
    }

    fn complete(&mut self, outstanding: &Outstanding) {
        let mut waits = Cuts::default();
        self.deferred.iter().for_each(|other| waits.cut(other.mark));
        self.complete_beside(outstanding, &waits);
    }

    /// Completes a sync while the other threads have come only as far as their cuts.
    fn complete_beside(&mut self, outstanding: &Outstanding, others: &Cuts) {
        match &outstanding.covers {
            Covers::File(id, cover) => self.file(*id).sync(cover),
            Covers::Folder => {
                let own = thread_of(outstanding.mark);
                self.names.sync(&outstanding.sync.path, outstanding.mark, |moment| {
                    thread_of(moment) == own || others.has_happened(moment)
                });
            }
        }
    }

    fn fail_deferred(&mut self, outstanding: &Outstanding) {
        self.injected.failed_syncs += 1;
        self.cuts.cut(outstanding.mark);
        match &outstanding.covers {
            Covers::File(id, cover) => self.file(*id).fail_sync(cover),
            // Leave the names pending: a crash decides their fate.
            Covers::Folder => {}
        }
    }

    /// Ends a life: draws for each thread how many of its outstanding syncs had finished. Returns the resulting cuts,
    /// after which nothing has happened unless it is already durable.
    pub(super) fn end_deferred(&mut self, kind: CrashKind) -> Cuts {
        let mut outstanding = std::mem::take(&mut self.deferred);
        let mut threads: BTreeMap<u64, u64> = BTreeMap::new();
        for sync in &outstanding {
            *threads.entry(thread_of(sync.mark)).or_default() += 1;
        }
        let mut cuts = std::mem::take(&mut self.cuts);
        for (thread, count) in threads {
            let done = match kind {
                CrashKind::Drawn => self.rng.below(count + 1),
                CrashKind::LosingAll => 0,
            };
            let done = usize::try_from(done).unwrap_or(usize::MAX);
            let next = outstanding.iter().filter(|sync| thread_of(sync.mark) == thread).nth(done);
            next.map(|sync| sync.mark).into_iter().for_each(|mark| cuts.cut(mark));
        }
        outstanding.retain(|sync| cuts.has_happened(sync.mark));
        outstanding.iter().for_each(|sync| self.complete_beside(sync, &cuts));
        cuts
    }
}
