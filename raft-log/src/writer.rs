//! A store with two threads: one flushes, the other settles, compacts and gives space back. [`Flushing`] and
//! [`Settling`] decide what is done and when; this file only waits and runs it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use raftkit_core::{Write, WriteSeq};

use crate::error::StoreError;
use crate::flushing::Flushing;
use crate::reader::Reader;
use crate::schedule::{Next, Nudge};
use crate::settling::Settling;
use crate::shared::panic_message;
use crate::store::Store;

/// Outcome of writes, as reported by the threads.
#[derive(Debug)]
pub enum Written {
    /// All writes up to this one are durable.
    Persisted(WriteSeq),
    /// The store has ended. The fate of writes not reported yet is unknown, and later writes are dropped. This may be
    /// reported once by each thread; after it, the only possible report is of a flush that was already under way when a
    /// settling failed.
    Failed(StoreError),
}

/// A store driven by threads of its own. Dropping it flushes the writes submitted before and closes the files.
#[derive(Debug)]
pub struct Writer {
    inbox: Option<Sender<Write>>,
    reader: Reader,
    threads: Vec<JoinHandle<()>>,
}

/// Error: the thread that flushes is gone because it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread that writes the log is gone")]
pub struct WriterGone;

impl Writer {
    /// Starts the threads, which call `report` with the outcome of writes.
    ///
    /// # Errors
    /// The operating system refuses to start a thread.
    pub fn start(store: Store, report: impl Fn(Written) + Send + Sync + 'static) -> io::Result<Self> {
        let reader = store.reader();
        let (flusher, settler) = store.split();
        let (flushing, settling) = (Flushing::new(flusher), Settling::new(settler));
        let (inbox, writes) = channel();
        let (nudge, nudges) = sync_channel(1);
        let clock = clock();
        let report = Arc::new(report);
        let reports = report.clone();
        let threads = vec![
            spawn("raft-flush", move |name| {
                watched(name, &*report, || flush_all(flushing, &writes, nudge, clock, &*report));
                // Keep receiving, and drop what arrives: the failure is already reported. Ending here would make
                // `write` return `WriterGone`, and a caller about to see the report would take the store's end for a
                // panic.
                writes.iter().for_each(drop);
            })?,
            spawn("raft-settle", move |name| {
                watched(name, &*reports, || settle_all(settling, &nudges, clock, &*reports));
            })?,
        ];
        Ok(Self { inbox: Some(inbox), reader, threads })
    }

    /// Hands over a write. Once it is durable, it is reported together with all writes before it; after a
    /// [failure](Written::Failed) it is never reported.
    ///
    /// # Errors
    /// The flushing thread is gone.
    pub fn write(&self, write: Write) -> Result<(), WriterGone> {
        self.inbox.as_ref().ok_or(WriterGone)?.send(write).map_err(|_| WriterGone)
    }

    /// Returns a reader of all flushed entries.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inbox = None;
        for thread in self.threads.drain(..) {
            // The panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this file is what gives a store its threads")]
fn spawn(name: &'static str, run: impl FnOnce(&'static str) + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(move || run(name))
}

/// Runs a thread's work and reports a panic as the end of the store. Otherwise a caller waiting for a write would wait
/// forever.
fn watched(thread: &'static str, report: &dyn Fn(Written), work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        report(Written::Failed(StoreError::Panicked { thread, message: panic_message(&*panic) }));
    }
}

/// Returns the clock that the threads pass to the halves: the time since this call.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "threads have a clock; the schedules that decide are given the time"
)]
fn clock() -> impl Fn() -> Duration + Copy + Send + 'static {
    let start = std::time::Instant::now();
    move || start.elapsed()
}

fn flush_all(
    mut flushing: Flushing,
    writes: &Receiver<Write>,
    nudge: SyncSender<()>,
    clock: impl Fn() -> Duration,
    report: &dyn Fn(Written),
) {
    loop {
        flushing.take(writes.try_iter());
        let now = clock();
        let wait = match flushing.next(now) {
            Next::Do(chore) => {
                flushing.begin(chore);
                let end = flushing.end(clock());
                match end.written {
                    Some(failed @ Written::Failed(_)) => {
                        drop((flushing, nudge));
                        return report(failed);
                    }
                    Some(persisted @ Written::Persisted(_)) => report(persisted),
                    None => {}
                }
                if end.nudge == Nudge::Wake {
                    // A full channel already holds a wake-up for the other thread.
                    let _ = nudge.try_send(());
                }
                continue;
            }
            Next::At(at) => at.saturating_sub(now),
            Next::WhenWoken => Duration::MAX,
        };
        match writes.recv_timeout(wait) {
            Ok(first) => {
                flushing.take(std::iter::once(first));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn settle_all(
    mut settling: Settling,
    nudges: &Receiver<()>,
    clock: impl Fn() -> Duration,
    report: &dyn Fn(Written),
) {
    loop {
        let now = clock();
        let wait = match settling.next(now) {
            Next::Do(chore) => {
                settling.begin(chore);
                // Writes still unsettled when the writer is dropped are settled as the store closes.
                if let Err(error) = settling.end(clock()) {
                    return report(Written::Failed(error));
                }
                Duration::ZERO
            }
            Next::At(at) => at.saturating_sub(now),
            Next::WhenWoken => Duration::MAX,
        };
        if let Err(RecvTimeoutError::Disconnected) = nudges.recv_timeout(wait) {
            return;
        }
    }
}
