//! Threads for a store: one flushes, one settles and compacts beside it. All logic is in the two halves.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use raftkit_core::{Write, WriteSeq};

use crate::compaction::Compaction;
use crate::error::StoreError;
use crate::flusher::Flusher;
use crate::reader::Reader;
use crate::settler::{Settled, Settler};
use crate::store::Store;

/// After so long without a write the witness is brought up to date.
const WITNESS_AFTER: Duration = Duration::from_millis(20);
/// What is flushed is settled after so long, or earlier when there is much of it: the fewer transactions the better.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// So many bytes of the journal are much.
const SETTLE_BYTES: u64 = 1 << 20;
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
        let report = Arc::new(report);
        let reports = report.clone();
        let threads = vec![
            spawn("raft-flush", move || flush_all(flusher, &writes, nudge, &*report))?,
            spawn("raft-settle", move || settle_all(settler, &nudges, &*reports))?,
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
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(run)
}

fn flush_all(
    mut flusher: Flusher,
    writes: &Receiver<Write>,
    nudge: SyncSender<()>,
    report: &dyn Fn(Written),
) {
    loop {
        let wait = if flusher.wants_witness() { WITNESS_AFTER } else { Duration::MAX };
        let result = match writes.recv_timeout(wait) {
            Ok(first) => {
                if mutant!(ReportsAtSubmit) {
                    report(Written::Persisted(first.seq));
                }
                flusher.queue(first);
                writes.try_iter().take(WRITES_MAX).for_each(|write| flusher.queue(write));
                flush(&mut flusher, &nudge, report)
            }
            Err(RecvTimeoutError::Timeout) => flusher.witness(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = result {
            drop((flusher, nudge));
            report(Written::Failed(error));
            // What still comes meets the same end, which is told already: a caller that is about to hear of it must not
            // take this for a thread that is gone.
            return writes.iter().for_each(drop);
        }
    }
}

fn flush(flusher: &mut Flusher, nudge: &SyncSender<()>, report: &dyn Fn(Written)) -> Result<(), StoreError> {
    let before = flusher.unsettled_bytes();
    if let Some(seq) = flusher.flush()? {
        report(Written::Persisted(seq));
    }
    let after = flusher.unsettled_bytes();
    // Not each time: waking a thread costs more than the flush itself takes of the processor.
    if before == 0 || (before < SETTLE_BYTES && after >= SETTLE_BYTES) {
        let _ = nudge.try_send(());
    }
    Ok(())
}

fn settle_all(mut settler: Settler, nudges: &Receiver<()>, report: &dyn Fn(Written)) {
    while nudges.recv().is_ok() {
        // The second nudge says that there is much.
        while settler.unsettled_bytes() > 0 {
            if settler.unsettled_bytes() < SETTLE_BYTES
                && let Err(RecvTimeoutError::Disconnected) = nudges.recv_timeout(SETTLE_AFTER)
            {
                return;
            }
            if let Err(error) = settle(&mut settler) {
                if mutant!(SettlerHidesErrors) {
                    return;
                }
                return report(Written::Failed(error));
            }
        }
    }
}

fn settle(settler: &mut Settler) -> Result<(), StoreError> {
    while settler.settle()? == Settled::More {}
    while settler.compact_step()? == Compaction::More {}
    Ok(())
}
