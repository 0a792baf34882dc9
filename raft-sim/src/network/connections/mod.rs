//! The connections that nodes keep to each other: raft-net's own rules say when to dial and what a call means
//! (`raftkit_net::dialling`), who may come in (`admission`) and what waits meanwhile (`queue`).
//!
//! ```text
//! look       asks the dialler                     Dial: the first packet goes out; GiveUp: what waits is told
//! shake      a packet of a handshake arrives      first ->, <- answer, greeting ->, <- the greeting's answer
//! keep       now and then while a connection      lost, once the other side was silent for too long
//!            stands
//! ```
//!
//! A handshake's packets take as long as any, are lost as any, and are repeated as QUIC repeats them. What carries messages
//! once a connection stands is `network`.

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

/// The connection from one node to another, as the dialling side sees it. It ends with its process.
pub(crate) struct Outgoing {
    /// The peer's data folder, as the membership names it.
    store: StoreId,
    dialler: Dialler,
    /// Number of the attempt or connection, unique in the run, which tells it from an earlier one.
    number: u64,
    standing: Option<Standing>,
    /// True when the last attempt has failed: calls do not wait for the next one.
    down: bool,
    queue: Queue,
    /// Calls that wait for the attempt's end.
    waiting: Vec<(CallId, Bytes)>,
    /// Time at which the dialler is asked next.
    look_at: Option<u64>,
    /// Set for a removed peer: the time until which it is dialled for what is queued.
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

    /// Keeps a message until there is a connection.
    pub(crate) fn queue(&mut self, message: Message) {
        // That an append was dropped the core hears with the connection that is not there.
        let _ = self.queue.push(message);
    }

    /// Keeps a call until there is a connection, if one is being made; false when there is none to wait for.
    pub(crate) fn wait(&mut self, call: CallId, frame: Bytes) -> bool {
        if !self.down {
            self.waiting.push((call, frame));
        }
        !self.down
    }
}

/// Converts a time for diallers.
fn moment(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// Converts a time to microseconds, rounded up, so that the dialler is due when it is asked.
fn us(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Describes the two ends of a dial.
fn pair(from: NodeId, to: NodeId) -> String {
    format!("{from} -> {to}")
}
