//! Clients that watch while others write: each repeats its blocking query as soon as it is answered.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::flags::{WatchKind, Watchers};
use crate::http::Connection;
use crate::load::put;
use crate::workspace::Failure;

/// Number of keys in the watched tree, and size of each value in bytes.
pub(crate) const TREE: &str = "watched/";
pub(crate) const TREE_KEYS: u64 = 1000;
pub(crate) const TREE_VALUE_BYTES: usize = 1000;

/// How long a client waits for an answer: longer than a server holds a blocking query.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(700);
/// How long all watchers together may take to send their first queries.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Stack size of a watcher's thread, in bytes: little more than its read buffer.
const STACK_BYTES: usize = 256 << 10;

/// Stores the watched tree.
///
/// # Errors
/// The node refuses a write.
pub(crate) fn prepare(addr: SocketAddr) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("{addr}: the tree cannot be stored: {error}"));
    let mut connection =
        Connection::open(addr, Duration::from_secs(15)).map_err(|error| failed(error.to_string()))?;
    for key in 0..TREE_KEYS {
        let request = put(addr, &format!("{TREE}{key}"), &vec![b'w'; TREE_VALUE_BYTES]);
        let response = connection.ask(&request).map_err(|error| failed(error.to_string()))?;
        if response.status != 200 {
            return Err(failed(String::from_utf8_lossy(&response.body).into_owned()));
        }
    }
    Ok(())
}

/// Running watchers.
#[derive(Debug)]
pub(crate) struct Watching {
    threads: Vec<JoinHandle<()>>,
    ends: Vec<TcpStream>,
    count: Arc<Count>,
}

/// Counts of the answers that watchers received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Woken {
    pub(crate) answers: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Default)]
struct Count {
    /// Number of watchers that have their first answer and wait for a change.
    ready: AtomicU64,
    answers: AtomicU64,
    bytes: AtomicU64,
}

impl Watching {
    /// Starts the watchers and waits until each has sent its query.
    ///
    /// # Errors
    /// The node does not accept that many connections, or answers with an error.
    pub(crate) fn start(addr: SocketAddr, watchers: &[Watchers]) -> Result<Self, Failure> {
        let mut all = Self { threads: Vec::new(), ends: Vec::new(), count: Arc::default() };
        for Watchers { kind, count } in watchers {
            for number in 0..*count {
                let failed = |error: std::io::Error| Failure::new(format!("a watcher cannot start: {error}"));
                let connection = Connection::open(addr, ANSWER_TIMEOUT)
                    .map_err(|error| Failure::new(format!("{addr}: a watcher cannot connect: {error}")))?;
                all.ends.push(connection.end_handle().map_err(failed)?);
                let target = match kind {
                    WatchKind::Recurse => format!("{TREE}?recurse&"),
                    WatchKind::Keys => format!("{TREE}?keys&"),
                    WatchKind::Key => format!("{TREE}{}?", number as u64 % TREE_KEYS),
                };
                let count = Arc::clone(&all.count);
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                all.threads
                    .push(thread.spawn(move || watch(connection, addr, &target, &count)).map_err(failed)?);
            }
        }
        let end = Instant::now() + START_TIMEOUT;
        while all.count.ready.load(Ordering::SeqCst) < all.threads.len() as u64 {
            if Instant::now() > end || all.threads.iter().any(JoinHandle::is_finished) {
                return Err(Failure::new(format!("{addr}: not all watchers were answered")));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(all)
    }

    /// Ends the watchers and returns the counts of the answers after their first ones.
    pub(crate) fn stop(self) -> Woken {
        let woken = Woken {
            answers: self.count.answers.load(Ordering::SeqCst),
            bytes: self.count.bytes.load(Ordering::SeqCst),
        };
        for end in self.ends {
            // The server may have closed the connection already.
            drop(end.shutdown(Shutdown::Both));
        }
        for thread in self.threads {
            // How a watcher ended does not matter: the writes are what is measured.
            drop(thread.join());
        }
        woken
    }
}

/// Watches until the connection ends.
fn watch(mut connection: Connection, addr: SocketAddr, target: &str, count: &Count) {
    let mut index = 0;
    loop {
        let request = format!("GET /v1/kv/{target}index={index}&wait=10m HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        let Ok(outline) = connection.skim(request.as_bytes()) else { return };
        let (200, Some(next)) = (outline.status, outline.index) else { return };
        if index == 0 {
            count.ready.fetch_add(1, Ordering::SeqCst);
        } else {
            count.answers.fetch_add(1, Ordering::SeqCst);
            count.bytes.fetch_add(outline.body_bytes as u64, Ordering::SeqCst);
        }
        index = next;
    }
}
