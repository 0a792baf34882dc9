//! Requests from outside to end a node: signals, and the end of its standard input.

use std::io::Read;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Failure;

/// The sources of requests to end the node.
pub(super) struct Ends {
    interrupt: Signal,
    terminate: Signal,
    /// Resolves at the end of stdin; none if stdin is not watched, or has ended already.
    stdin: Option<oneshot::Receiver<()>>,
}

impl Ends {
    pub(super) fn new(stop_on_stdin_eof: bool) -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::Failed(format!("no signals are heard: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            stdin: if stop_on_stdin_eof { Some(stdin_end()?) } else { None },
        })
    }

    /// The signal that asks the node to read its certificates again.
    pub(super) fn hangup(&self) -> Result<Signal, Failure> {
        signal(SignalKind::hangup())
            .map_err(|error| Failure::Failed(format!("no signals are heard: {error}")))
    }

    /// Waits for the next request to end, and returns its source.
    pub(super) async fn next(&mut self) -> &'static str {
        let stdin = async {
            match self.stdin.as_mut() {
                Some(end) => drop(end.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = stdin => {
                self.stdin = None;
                "stdin has ended"
            }
        }
    }

    /// Waits like [`next`](Self::next), but ignores requests that come within `pause` from now.
    pub(super) async fn next_after(&mut self, pause: Duration) -> &'static str {
        let from = Instant::now() + pause;
        loop {
            let why = self.next().await;
            if Instant::now() >= from {
                return why;
            }
        }
    }
}

/// Reads and discards stdin on a thread of its own, which does not keep the process alive. The result resolves at the end of
/// stdin.
fn stdin_end() -> Result<oneshot::Receiver<()>, Failure> {
    let (ended, end) = oneshot::channel();
    let reading = move || {
        let mut buffer = [0; 1024];
        // An error counts as the end too: nothing more can come from the process that held the other side.
        while matches!(std::io::stdin().lock().read(&mut buffer), Ok(count) if count > 0) {}
        let _ = ended.send(());
    };
    #[expect(clippy::disallowed_methods, reason = "its end ends the node, by a panic too")]
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(reading);
    thread.map(|_| end).map_err(|error| Failure::Failed(format!("stdin cannot be watched: {error}")))
}
