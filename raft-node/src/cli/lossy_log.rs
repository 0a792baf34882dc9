//! The node's log: lines go into a bounded queue, from which a thread writes them to stderr. So code that logs never waits for
//! the reader of the log, and never fails because there is none. Lines that find no room or cannot be written are dropped and
//! counted, and the count is logged once writing works again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Upper bound on the lines that wait to be written, in bytes: a few seconds of a node that logs very much.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Interval at which writing is tried again after it failed, so that the number of lost lines is logged even if no new line
/// comes.
const RETRY: Duration = Duration::from_secs(5);
/// Maximum time that the end of the process waits for the last lines to be written.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The process's log, once `serve` has started it.
static STARTED: OnceLock<LossyLog> = OnceLock::new();

/// The log's queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LossyLog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when a line has come, and when the thread has written the lines that it took.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Number of lines that found no room since the thread looked last.
    lost: u64,
    /// True while the thread writes the lines that it took.
    writing: bool,
}

impl LossyLog {
    /// Starts the process's log on stderr, to which [`started`] and [`flush`] refer.
    ///
    /// # Errors
    /// The thread cannot be started, or the file descriptor cannot be duplicated.
    pub(super) fn start() -> io::Result<Self> {
        // Use a descriptor of its own: otherwise std's lock on stderr would be held for as long as a write blocks.
        let stderr = Stderr(File::from(io::stderr().as_fd().try_clone_to_owned()?));
        let log = Self::on(stderr)?;
        Ok(STARTED.get_or_init(|| log).clone())
    }

    /// A log that writes to `out` on a thread of its own.
    #[expect(clippy::disallowed_methods, reason = "a thread that writes the log cannot log its own panic")]
    fn on(out: impl Write + Send + 'static) -> io::Result<Self> {
        let log = Self(Arc::new(Shared::default()));
        let shared = Arc::clone(&log.0);
        std::thread::Builder::new().name("raft-log-lines".to_owned()).spawn(move || shared.write_all(out))?;
        Ok(log)
    }

    /// Queues a line, which must end with a line feed. This never blocks for longer than it takes to queue another line.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.bytes + line.len() > QUEUE_BYTES_MAX {
            queue.lost += 1;
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Waits until all lines are written, at most for `within`.
    fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut queue = self.0.lock();
        while queue.writing || !queue.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The process's log, if it was started.
pub(super) fn started() -> Option<&'static LossyLog> {
    STARTED.get()
}

/// Flushes like [`flush`], but waits for a shorter time: a panic goes on once this has returned.
pub(super) fn flush_briefly() {
    if let Some(log) = started() {
        log.flush(FLUSH_MAX / 10);
    }
}

/// Waits a moment for the last lines of the process's log.
pub(super) fn flush() {
    if let Some(log) = started() {
        log.flush(FLUSH_MAX);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes lines as they come, for as long as the process lives.
    fn write_all(&self, out: impl Write) {
        let mut out = Out { sink: out, lost: 0, torn: false };
        loop {
            let (lines, lost) = self.next(out.lost > 0);
            lines.iter().for_each(|line| out.line(line));
            out.lost += lost;
            if lost > 0 || lines.is_empty() {
                out.tell_lost();
            }
            let mut queue = self.lock();
            queue.writing = false;
            drop(queue);
            self.changed.notify_all();
        }
    }

    /// Waits for a line and takes all lines that are there. With `owing` it returns after a while even without a line.
    fn next(&self, owing: bool) -> (VecDeque<Vec<u8>>, u64) {
        let mut queue = self.lock();
        while queue.lines.is_empty() && queue.lost == 0 {
            if owing {
                let waited = self.changed.wait_timeout(queue, RETRY);
                let (after, over) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = after;
                if over.timed_out() {
                    break;
                }
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
        queue.writing = true;
        queue.bytes = 0;
        (std::mem::take(&mut queue.lines), std::mem::take(&mut queue.lost))
    }
}

/// The target of the log, with the count of lines that its reader has not been told to be lost.
struct Out<W> {
    sink: W,
    /// Number of lines that were dropped and not reported yet.
    lost: u64,
    /// True if only a part of the last line was written.
    torn: bool,
}

impl<W: Write> Out<W> {
    /// Writes a line, preceded by the count of lines that were lost before it. If that fails, the line counts as lost too.
    fn line(&mut self, line: &[u8]) {
        self.tell_lost();
        if self.lost > 0 || !self.write(line) {
            self.lost += 1;
        }
    }

    fn tell_lost(&mut self) {
        if self.lost == 0 {
            return;
        }
        let mut text = String::new();
        // If there is no time, log the count without it, because the count is what matters.
        let _ = SystemTime.format_time(&mut Writer::new(&mut text));
        let torn = if self.torn { "\n" } else { "" };
        let notice = format!(
            "{torn}{text}  WARN raft_node: {} log lines were lost: stderr could not take them\n",
            self.lost
        );
        if self.write(notice.as_bytes()) {
            self.lost = 0;
        }
    }

    /// Writes all of `bytes`; false if writing failed.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => break,
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if rest.is_empty() {
            self.torn = false;
        } else if rest.len() < bytes.len() {
            self.torn = true;
        }
        rest.is_empty()
    }
}

/// Stderr, for which writes wait even if another process has made it non-blocking.
struct Stderr(File);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writer that the log's formatter is given; the formatter writes each line in one call.
#[derive(Debug)]
pub(super) struct Line(LossyLog);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LossyLog {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(self.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A sink whose every write waits for what it is to do; it tells what it was given.
    struct Ordered {
        orders: Receiver<io::Result<usize>>,
        given: SyncSender<String>,
    }

    impl Write for Ordered {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.given.send(String::from_utf8(bytes.to_vec()).unwrap());
            let order = self.orders.recv().unwrap_or_else(|_| Err(ErrorKind::BrokenPipe.into()));
            order.map(|count| count.min(bytes.len()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ordered() -> (LossyLog, SyncSender<io::Result<usize>>, Receiver<String>) {
        let (order, orders) = sync_channel(100);
        let (given, gave) = sync_channel(100);
        (LossyLog::on(Ordered { orders, given }).unwrap(), order, gave)
    }

    const ALL: io::Result<usize> = Ok(usize::MAX);

    fn fails() -> io::Result<usize> {
        Err(ErrorKind::StorageFull.into())
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_count_comes_before_the_next_line() {
        let (log, order, given) = ordered();
        let tried_for = |line: &str, result| {
            order.send(result).unwrap();
            log.push(line.as_bytes());
            given.recv_timeout(LONG).unwrap()
        };
        assert_eq!(tried_for("one\n", fails()), "one\n");
        let notice = tried_for("two\n", fails());
        assert!(notice.ends_with(" 1 log lines were lost: stderr could not take them\n"), "{notice}");
        order.send(ALL).unwrap();
        let notice = tried_for("three\n", ALL);
        assert!(notice.ends_with(" 2 log lines were lost: stderr could not take them\n"), "{notice}");
        assert_eq!(given.recv_timeout(LONG).unwrap(), "three\n");
        assert_eq!(tried_for("four\n", ALL), "four\n", "the count is told once");
    }

    #[test]
    fn a_line_that_was_torn_ends_before_the_next_begins() {
        let (log, order, given) = ordered();
        let next = || given.recv_timeout(LONG).unwrap();
        for result in [Ok(2), fails(), ALL] {
            order.send(result).unwrap();
        }
        log.push(b"torn\n");
        assert_eq!((next().as_str(), next().as_str()), ("torn\n", "rn\n"));
        log.push(b"next\n");
        let notice = next();
        assert!(notice.starts_with('\n') && notice.contains(" 1 log lines were lost"), "{notice:?}");
    }

    #[test]
    fn nobody_waits_for_a_log_that_blocks_and_what_finds_no_room_is_counted() {
        let (log, order, given) = ordered();
        log.push(b"first\n");
        assert_eq!(given.recv_timeout(LONG).unwrap(), "first\n", "the thread is stuck with it now");
        let line = vec![b'x'; QUEUE_BYTES_MAX / 4];
        for _ in 0..10 {
            log.push(&line);
        }
        // Neither does the end of the process wait.
        log.flush(Duration::from_millis(1));
        for _ in 0..6 {
            order.send(ALL).unwrap();
        }
        log.flush(LONG);
        let rest: Vec<String> = given.try_iter().collect();
        assert_eq!(rest.len(), 5, "four found room, and the count: {:?}", rest.last());
        assert!(rest[4].ends_with(" 6 log lines were lost: stderr could not take them\n"), "{}", rest[4]);
    }
}
