//! Syncs that seem to be done at once and are done when a simulator says so: stalls under virtual time, in one thread.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::SimulatedDisk;
use super::ends::CrashKind;
use super::state::{State, thread_of};
use crate::cuts::Cuts;
use crate::images::Cover;

/// The number of a deferred sync. They rise, and are never used twice on one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(u64);

/// A deferred sync that was neither completed nor failed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeferredSync {
    /// Its number.
    pub id: SyncId,
    /// Of what.
    pub kind: SyncKind,
    /// The file or folder; a file as it was opened.
    pub path: Arc<Path>,
    /// True when it [stalls by chance](super::Faults::stalls): whoever runs the simulation lets it take longer.
    pub stalled: bool,
}

/// What is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// A file's content: [`DiskFile::sync`](crate::DiskFile::sync), and what is one in
    /// [`DiskFile::write_durably`](crate::DiskFile::write_durably).
    File,
    /// A folder's names: [`Disk::sync_dir`](crate::Disk::sync_dir).
    Folder,
}

/// One with what it is to do.
pub(super) struct Outstanding {
    sync: DeferredSync,
    /// When it was called: what was done before may be covered by it, what came after was done by a program that took
    /// it for done.
    mark: u64,
    covers: Covers,
}

pub(super) enum Covers {
    File(u64, Cover),
    Folder,
}

/// # Syncs under virtual time
///
/// A simulation in one thread can't let a sync wait. It can defer it: [`sync`](crate::DiskFile::sync) then returns at
/// once, but what it covers is durable only when the simulation says, at a later virtual time, that the sync is
/// [complete](Self::complete_sync). Reads show the cache meanwhile.
///
/// **A driver must not report a write as durable before it has completed the syncs of the call that wrote it**, and must
/// take the thread that made that call for busy until then.
///
/// Several can be outstanding, on one file and on several. Each covers what was done before it was called, not what came
/// later. A thread that calls two syncs, one after the other, relies on their order, so a crash keeps it, and so does a
/// kill: drawn is for each thread how many of its outstanding syncs, in the order of their calls, had done their work by
/// then; the next one is what that thread really was waiting for, and nothing that it did after it had called it, to files
/// or names, has happened. What other threads did meanwhile has: a flush can be durable beside a settling that is not half
/// done, and the other way round. Syncs of several threads may be completed in any order; those of one thread must be
/// completed in the order of their calls. A driver of several threads says which of them it [acts as](Self::act_as), and
/// lets none of them see what another one has done in memory before the syncs of that are complete.
impl SimulatedDisk {
    /// Lets every sync from now on, of files and of folders, be deferred, also after a crash or kill.
    pub fn defer_syncs(&self) {
        self.state().deferring = true;
    }

    /// Says which thread of the program makes the calls from now on; at first, and for a program with one thread, it is
    /// thread 0. A sync of a folder makes no name durable that another thread has given it after a sync of its own that is
    /// still outstanding: that thread has not come so far yet.
    pub fn act_as(&self, thread: u8) {
        self.state().thread = thread;
    }

    /// Lets syncs from now on work at once again. Those outstanding stay so.
    pub fn stop_deferring_syncs(&self) {
        self.state().deferring = false;
    }

    /// The syncs outstanding, in the order of their calls.
    #[must_use]
    pub fn deferred_syncs(&self) -> Vec<DeferredSync> {
        self.state().deferred.iter().map(|outstanding| outstanding.sync.clone()).collect()
    }

    /// The syncs outstanding that were called since this was last asked, in the order of their calls: what a driver asks
    /// after each call that it made, to know what that call is to wait for. It costs next to nothing when there are none.
    #[must_use]
    pub fn take_new_deferred(&self) -> Vec<DeferredSync> {
        let state = &mut *self.state();
        let from = state.deferred.partition_point(|outstanding| outstanding.mark <= state.told_until);
        let new = &state.deferred[from..];
        state.told_until = new.last().map_or(state.told_until, |last| last.mark);
        new.iter().map(|outstanding| outstanding.sync.clone()).collect()
    }

    /// Makes durable what a deferred sync covers. False when there is none of this number any more, or the disk is
    /// frozen: a crash or kill forgets what is outstanding.
    pub fn complete_sync(&self, id: SyncId) -> bool {
        let mut state = self.state();
        let Some(outstanding) = state.take_deferred(id) else { return false };
        state.complete(&outstanding);
        true
    }

    /// Completes all outstanding syncs in order.
    pub fn complete_all_syncs(&self) {
        let mut state = self.state();
        if !state.frozen {
            for outstanding in std::mem::take(&mut state.deferred) {
                state.complete(&outstanding);
            }
        }
    }

    /// Fails a deferred sync: what it covers and no other sync has made durable meanwhile never will be, though reads go
    /// on showing it. False as for [`complete_sync`](Self::complete_sync).
    ///
    /// What was done since it was called was done by a program that took it for done, and would not have gone on: unless
    /// it was synced, a crash loses it, and a kill takes it from the cache too. As after every failed sync nothing since
    /// the last good one can be trusted: other syncs of the file can still complete, as the kernel tells of an error
    /// once, without what was lost here.
    pub fn fail_sync(&self, id: SyncId) -> bool {
        let mut state = self.state();
        let Some(outstanding) = state.take_deferred(id) else { return false };
        state.fail_deferred(&outstanding);
        true
    }
}

impl State {
    /// Takes note of a sync that was called now.
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

    /// Completes what the thread that makes the calls has outstanding, in order: its next sync fails in its call.
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

    /// Completes a sync while other threads have come as far as their cuts.
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
            // The names stay unknown: a crash draws what became of them.
            Covers::Folder => {}
        }
    }

    /// A life ends: draws which of the outstanding syncs of each thread had done their work. Answers the moments from which
    /// on nothing has happened but what is durable already.
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
