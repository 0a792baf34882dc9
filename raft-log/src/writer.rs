//! Threads for a store: one flushes, one does everything else beside it. What they do is in the store's two halves, and when
//! is the [`Schedule`]'s to say.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use raftkit_core::{Write, WriteSeq};

use crate::error::StoreError;
use crate::flusher::Flusher;
use crate::reader::Reader;
use crate::schedule::{Chore, Next, SETTLE_BYTES, Schedule};
use crate::settler::Settler;
use crate::shared::panic_message;
use crate::store::Store;

/// At most so many writes go into one flush, so that the first of them need not wait for all.
const WRITES_MAX: usize = 4096;

/// What became of writes.
#[derive(Debug)]
pub enum Written {
    /// All writes up to this one are durable.
    Persisted(WriteSeq),
    /// The store has ended: what became of the writes that were not reported is unknown, and those that come later are
    /// dropped. Reported once or twice, and nothing after it.
    Failed(StoreError),
}

/// A store with threads of its own. Dropping it finishes what was written and closes the files.
#[derive(Debug)]
pub struct Writer {
    inbox: Option<Sender<Write>>,
    reader: Reader,
    threads: Vec<JoinHandle<()>>,
}

/// The thread that flushes is gone: it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread that writes the log is gone")]
pub struct WriterGone;

impl Writer {
    /// Starts the threads. `report` is called by them.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(store: Store, report: impl Fn(Written) + Send + Sync + 'static) -> io::Result<Self> {
        let reader = store.reader();
        let (flusher, settler) = store.split();
        let (inbox, writes) = channel();
        let (nudge, nudges) = sync_channel(1);
        let clock = clock();
        let report = Arc::new(report);
        let reports = report.clone();
        let threads = vec![
            spawn("raft-flush", move |name| {
                watched(name, &*report, || flush_all(flusher, &writes, nudge, clock, &*report));
                // What still comes meets the same end, which is told already: a caller that is about to hear of it must
                // not take this for a thread that is gone.
                writes.iter().for_each(drop);
            })?,
            spawn("raft-settle", move |name| {
                watched(name, &*reports, || settle_all(settler, &nudges, clock, &*reports));
            })?,
        ];
        Ok(Self { inbox: Some(inbox), reader, threads })
    }

    /// Hands over a write. It is reported once it is durable, with those before it; after a
    /// [failure](Written::Failed) never.
    ///
    /// # Errors
    /// The thread is gone.
    pub fn write(&self, write: Write) -> Result<(), WriterGone> {
        self.inbox.as_ref().ok_or(WriterGone)?.send(write).map_err(|_| WriterGone)
    }

    /// A reader of what is flushed.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inbox = None;
        for thread in self.threads.drain(..) {
            // A panic was shown when it happened.
            let _ = thread.join();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this file is what gives a store its threads")]
fn spawn(name: &'static str, run: impl FnOnce(&'static str) + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(move || run(name))
}

/// Runs a thread's work. If it panics, that is reported as the store's end: whoever waits for a write would otherwise
/// wait for ever.
fn watched(thread: &'static str, report: &dyn Fn(Written), work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        report(Written::Failed(StoreError::Panicked { thread, message: panic_message(&*panic) }));
    }
}

/// The time that the threads give to a [`Schedule`]: since now.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "threads have a clock; what decides is told the time"
)]
fn clock() -> impl Fn() -> Duration + Copy + Send + 'static {
    let start = std::time::Instant::now();
    move || start.elapsed()
}

fn flush_all(
    mut flusher: Flusher,
    writes: &Receiver<Write>,
    nudge: SyncSender<()>,
    clock: impl Fn() -> Duration,
    report: &dyn Fn(Written),
) {
    let mut schedule = Schedule::default();
    loop {
        let now = clock();
        let wait = match schedule.for_witness(now, flusher.wants_witness()) {
            Next::Do(_) => Duration::ZERO,
            Next::At(at) => at.saturating_sub(now),
            Next::AfterFlush => Duration::MAX,
        };
        let result = match writes.recv_timeout(wait) {
            Ok(first) => {
                if mutant!(ReportsAtSubmit) {
                    report(Written::Persisted(first.seq));
                }
                flusher.queue(first);
                writes.try_iter().take(WRITES_MAX).for_each(|write| flusher.queue(write));
                let result = flush(&mut flusher, &nudge, report);
                schedule.flushed(clock());
                result
            }
            Err(RecvTimeoutError::Timeout) => flusher.witness(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = result {
            drop((flusher, nudge));
            return report(Written::Failed(error));
        }
    }
}

fn flush(flusher: &mut Flusher, nudge: &SyncSender<()>, report: &dyn Fn(Written)) -> Result<(), StoreError> {
    let before = flusher.unsettled_bytes();
    if let Some(seq) = flusher.flush()? {
        report(Written::Persisted(seq));
    }
    let after = flusher.unsettled_bytes();
    // Not each time: waking a thread costs more than the flush itself takes of the processor. Where it settled meanwhile it
    // may have seen nothing left, and sleep.
    if before == 0 || after <= before || (before < SETTLE_BYTES && after >= SETTLE_BYTES) {
        let _ = nudge.try_send(());
    }
    Ok(())
}

fn settle_all(
    mut settler: Settler,
    nudges: &Receiver<()>,
    clock: impl Fn() -> Duration,
    report: &dyn Fn(Written),
) {
    let mut schedule = Schedule::default();
    loop {
        let now = clock();
        let wait = match schedule.for_database(now, settler.unsettled_bytes()) {
            Next::Do(chore) => {
                // What is left when the writer is dropped is settled as the store closes.
                if let Err(error) = perform(&mut settler, chore, &mut schedule, &clock) {
                    if mutant!(SettlerHidesErrors) {
                        return;
                    }
                    return report(Written::Failed(error));
                }
                Duration::ZERO
            }
            Next::At(at) => at.saturating_sub(now),
            Next::AfterFlush => Duration::MAX,
        };
        if let Err(RecvTimeoutError::Disconnected) = nudges.recv_timeout(wait) {
            return;
        }
    }
}

fn perform(
    settler: &mut Settler,
    chore: Chore,
    schedule: &mut Schedule,
    clock: impl Fn() -> Duration,
) -> Result<(), StoreError> {
    let progress = settler.perform(chore)?;
    schedule.did(clock(), chore, progress);
    Ok(())
}
