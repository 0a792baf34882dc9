//! The service: who waits for what, around a replica. Requests in, answers out; it knows no clock, thread or socket.

mod error;
mod interface;

use std::time::Duration;

use raftkit_core::Time;

pub use error::RequestError;
pub use interface::{
    CallFailed, CallId, CallerId, Consistency, Reply, Request, RequestId, ServiceAction, ServiceEvent,
};

use crate::Replica;

/// What a service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// How long a request waits for a leader to be there, and a read for its answer.
    pub hold_timeout: Duration,
    /// How long a proposed command may take until its outcome is reported as unknown.
    pub commit_timeout: Duration,
    /// See [`Config::election_timeout`](raftkit_core::Config::election_timeout): a read is asked again after this, a
    /// transfer has failed after twice this.
    pub election_timeout: Duration,
    /// The largest command taken, in bytes.
    pub command_bytes_max: usize,
    /// At most so many requests wait at once, of clients and of peers; more are refused as overload.
    pub waiters_max: usize,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            hold_timeout: Duration::from_secs(3),
            commit_timeout: Duration::from_secs(1),
            election_timeout: Duration::from_secs(1),
            command_bytes_max: 1 << 20,
            waiters_max: 65_536,
        }
    }
}

/// One node's requests, and the replica that they are for.
#[derive(Debug)]
pub struct Service {
    replica: Replica,
    options: ServiceOptions,
}

impl Service {
    /// A service around a replica that was just opened.
    #[must_use]
    pub fn new(replica: Replica, options: ServiceOptions) -> Self {
        Self { replica, options }
    }

    /// The replica, to look at.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// When [`end_round`](Self::end_round) is due, if nothing else comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        self.replica.next_deadline()
    }

    /// Takes one event and appends what is to be done. Proposals that follow each other are collected. `now` is read
    /// after the event was taken in, never before.
    pub fn handle(&mut self, now: Time, event: ServiceEvent, out: &mut Vec<ServiceAction>) {
        let _ = (now, event, out, self.options);
    }

    /// Ends a round of the driver: proposes what is collected and does what is due. Call it after each batch of events
    /// and when [`next_deadline`](Self::next_deadline) has come.
    pub fn end_round(&mut self, now: Time, out: &mut Vec<ServiceAction>) {
        let _ = (now, out);
    }
}

/// Whether the body of a transport request is for the service, by its kind.
#[must_use]
pub fn is_for_service(body: &[u8]) -> bool {
    matches!(body.first(), Some(1 | 2))
}
