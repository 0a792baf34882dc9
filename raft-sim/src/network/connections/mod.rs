//! The connections that nodes keep to each other: raft-net's own rules say when to dial and what a call means
//! (`raftkit_net::dialling`), who may come in (`admission`) and what waits meanwhile (`queue`).
//!
//! ```text
//! look       asks the dialler                     Dial: the first packet goes out; GiveUp: waiting calls fail
//! shake      a packet of a handshake arrives      first ->, <- answer, greeting ->, <- the greeting's answer
//! keep       now and then while a connection      lost, once the other side was silent for too long
//!            stands
//! ```
//!
//! A handshake's packets are delayed and lost like any others, and are repeated as QUIC repeats them. Frames on live connections
//! are the subject of `network`.

mod handshake;
mod keeping;

use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{Message, NodeId, StoreId};
use raftkit_net::dialling::Dialler;
use raftkit_net::queue::Queue;
use raftkit_replica::CallId;

pub(crate) use handshake::Shake;

use crate::Settings;
use crate::network::End;

/// Upper bound on the bytes that are queued for a peer, as in the transport.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// The connection from one node to another, as the dialling side sees it. It ends with the dialling process.
pub(crate) struct Outgoing {
    /// Store id of the peer, as the membership names it.
    store: StoreId,
    dialler: Dialler,
    /// Number of the attempt or connection, unique in the run, which tells it from an earlier one.
    number: u64,
    standing: Option<Standing>,
    /// True when the last attempt has failed. Calls do not wait for the next attempt then.
    down: bool,
    queue: Queue,
    /// Calls that wait for the end of the present attempt.
    waiting: Vec<(CallId, Bytes)>,
    /// Time at which the dialler is asked next.
    look_at: Option<u64>,
    /// Set for a removed peer: time until which the peer is still dialled, for messages that are queued.
    parts_at: Option<u64>,
}

/// A live connection.
#[derive(Clone, Copy)]
struct Standing {
    other: End,
    /// Time at which the other side last answered.
    heard_at: u64,
    round_trip: u64,
}

impl Outgoing {
    fn new(store: StoreId, settings: &Settings) -> Self {
        Self {
            store,
            dialler: Dialler::new(store, Duration::from_millis(settings.dial_timeout_ms)),
            number: 0,
            standing: None,
            down: false,
            queue: Queue::new(QUEUE_BYTES_MAX),
            waiting: Vec::new(),
            look_at: None,
            parts_at: None,
        }
    }

    /// The other end and the number of the live connection.
    pub(crate) fn connected(&self) -> Option<(End, u64)> {
        self.standing.map(|standing| (standing.other, self.number))
    }

    /// Queues a message until there is a connection.
    pub(crate) fn queue(&mut self, message: Message) {
        // The core learns of a dropped append by the report that the peer is unreachable.
        let _ = self.queue.push(message);
    }

    /// Queues a call until there is a connection. Returns false, and queues nothing, if no connection is being made.
    pub(crate) fn wait(&mut self, call: CallId, frame: Bytes) -> bool {
        if !self.down {
            self.waiting.push((call, frame));
        }
        !self.down
    }
}

/// Converts microseconds to the time that diallers use.
fn moment(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// Converts a dialler's time to microseconds, rounded up, so that the dialler is never asked too early.
fn us(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Describes the two ends of a dial.
fn pair(from: NodeId, to: NodeId) -> String {
    format!("{from} -> {to}")
}
