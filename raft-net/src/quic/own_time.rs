//! Time as QUIC sees it: the time in which this process ran.
//!
//! When a host stands still for seconds, as one that pauses its guests does, no packet of this time was lost and no peer
//! was silent; what came in waits in the socket. QUIC's timers would all the same end every connection before it has
//! looked there. So its clock leaves out what it stood still for. Leases and time-outs of the protocol are not told
//! this time.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::time::{Sleep, sleep_until};

use super::lock;
use super::socket::Socket;
use super::tasks::Tasks;

/// Tokio, with a clock that stands still when the process does.
#[derive(Debug)]
pub(crate) struct OwnTime {
    tasks: Tasks,
    clock: Arc<Mutex<Clock>>,
}

impl OwnTime {
    /// Of a longer gap between two looks at the clock only `gap_max` counts. While there is a connection, its keep-alive
    /// looks at the clock more often than that.
    pub(crate) fn new(tasks: Tasks, gap_max: Duration) -> Self {
        Self { tasks, clock: Arc::new(Mutex::new(Clock::new(TokioRuntime.now(), gap_max))) }
    }
}

#[derive(Debug)]
struct Clock {
    gap_max: Duration,
    last: Instant,
    /// Time that does not count.
    stood_still: Duration,
}

impl Clock {
    fn new(now: Instant, gap_max: Duration) -> Self {
        Self { gap_max, last: now, stood_still: Duration::ZERO }
    }

    /// The process's time, at this time of the machine.
    fn own(&mut self, machine: Instant) -> Instant {
        let gap = machine.saturating_duration_since(self.last);
        self.last = self.last.max(machine);
        self.stood_still += gap.saturating_sub(self.gap_max);
        // Never before the clock was made, as each gap that is left out has gone by since.
        machine.checked_sub(self.stood_still).unwrap_or(machine)
    }

    /// The machine's time at which it will be this time of the process, if the process does not stand still.
    fn machine(&self, own: Instant) -> Instant {
        own + self.stood_still
    }
}

impl Runtime for OwnTime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let at = lock(&self.clock).machine(at);
        Box::pin(Timer { sleep: Box::pin(sleep_until(at.into())), clock: Arc::clone(&self.clock) })
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.start("a task of QUIC", future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket::new(socket)?))
    }

    fn now(&self) -> Instant {
        lock(&self.clock).own(TokioRuntime.now())
    }
}

/// A timer on the process's time. It may end early, when the process has stood still since it was set: QUIC looks at the
/// clock before it acts, and sets it again.
#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    clock: Arc<Mutex<Clock>>,
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        let at = lock(&self.clock).machine(at);
        self.sleep.as_mut().reset(at.into());
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        AsyncTimer::poll(self.sleep.as_mut(), context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn time_in_which_the_process_stood_still_is_left_out() {
        let start = Instant::now();
        let mut clock = Clock::new(start, 500 * MS);
        assert_eq!(clock.own(start + 400 * MS), start + 400 * MS);
        assert_eq!(clock.own(start + 3400 * MS), start + 900 * MS);
        assert_eq!(clock.own(start + 3500 * MS), start + 1000 * MS);
        assert_eq!(clock.machine(start + 1200 * MS), start + 3700 * MS);
    }
}
