//! The queue of one direction: datagrams wait until they are due, and a thread passes them on.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::conditions::{Conditions, Counters};
use crate::link::Link;

/// A direction that threads share.
#[derive(Debug)]
pub(crate) struct Lane {
    state: Mutex<State>,
    /// Notifies the thread that passes datagrams on of a new datagram, or of the end.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    link: Link,
    waiting: BinaryHeap<Waiting>,
    /// Number of the next datagram: those that are due at the same time leave in the order of their arrival.
    next: u64,
    ended: bool,
}

/// A datagram on its way.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    number: u64,
    bytes: Box<[u8]>,
    from: Arc<UdpSocket>,
    to: SocketAddr,
}

impl Lane {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State { link: Link::new(seed), waiting: BinaryHeap::new(), next: 0, ended: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn set(&self, conditions: Conditions) {
        self.lock().link.set(conditions);
    }

    pub(crate) fn counters(&self) -> Counters {
        self.lock().link.counters
    }

    /// Queues a datagram that has just arrived and is to leave through the socket `from`, to `to`.
    pub(crate) fn send(&self, bytes: &[u8], from: &Arc<UdpSocket>, to: SocketAddr) {
        let mut state = self.lock();
        let Some(due) = state.link.admit(Instant::now(), bytes.len()) else {
            return;
        };
        let number = state.next;
        state.next += 1;
        state.waiting.push(Waiting { due, number, bytes: bytes.into(), from: Arc::clone(from), to });
        drop(state);
        self.changed.notify_one();
    }

    /// Passes datagrams on when they are due, until [`Lane::end`].
    pub(crate) fn run(&self) {
        let mut state = self.lock();
        while !state.ended {
            let Some(first) = state.waiting.peek() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let wait = first.due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some(due) = state.waiting.pop() else { continue };
            if !state.link.arrives(due.bytes.len()) {
                continue;
            }
            drop(state);
            let sent = due.from.send_to(&due.bytes, due.to).is_ok();
            state = self.lock();
            state.link.passed_on(sent, due.bytes.len());
        }
    }

    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// A thread that panicked while it held the lock has failed its test already: the others go on to their ends.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The heap has its greatest element first: that is the datagram that is due first.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}
