//! Round trips, time-outs and calls by address: what attempts have shown of the path to an address that no
//! [`Dialler`](super::Dialler) keeps a connection to.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::Attempt;

/// Upper bound on the addresses that are remembered. A node dials the addresses to join from its configuration, and
/// those of its peers.
const PATHS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Path {
    /// The last measured round trip, if there is one.
    round_trip: Option<Duration>,
    /// Attempts in a row that timed out.
    timeouts: u32,
    /// The last time at which a node at this address dialled us, and the round trip then.
    called: Option<(Duration, Duration)>,
}

/// Measurements of the paths to a bounded number of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(BTreeMap<SocketAddr, Path>);

impl Paths {
    /// Starts an attempt to reach `address`.
    #[must_use]
    pub fn attempt(&self, now: Duration, dial_timeout: Duration, address: SocketAddr) -> Attempt {
        let Path { round_trip, timeouts, .. } = self.0.get(&address).copied().unwrap_or_default();
        Attempt::new(now, dial_timeout, timeouts, round_trip)
    }

    /// Records that an attempt at `address` has timed out.
    pub fn timed_out(&mut self, address: SocketAddr) {
        self.note(address, |path| path.timeouts = path.timeouts.saturating_add(1));
    }

    /// Records a measured round trip.
    pub fn measured(&mut self, address: SocketAddr, round_trip: Duration) {
        self.note(address, |path| *path = Path { round_trip: Some(round_trip), timeouts: 0, ..*path });
    }

    /// Records that a node at `address` has dialled us, over a path with this round trip.
    pub fn called(&mut self, now: Duration, address: SocketAddr, round_trip: Duration) {
        self.note(address, |path| path.called = Some((now, round_trip)));
    }

    /// Passes a call from `address` on to an attempt that began at `begun`, if the call came since.
    pub fn tell(&self, address: SocketAddr, begun: Duration, attempt: &mut Attempt) {
        let called = self.0.get(&address).and_then(|path| path.called);
        if let Some((at, round_trip)) = called.filter(|(at, _)| *at >= begun) {
            attempt.called(at, round_trip);
        }
    }

    fn note(&mut self, address: SocketAddr, note: impl FnOnce(&mut Path)) {
        // An address that is not remembered is dialled as if for the first time, which is right for most.
        if self.0.len() < PATHS_MAX || self.0.contains_key(&address) {
            note(self.0.entry(address).or_default());
        }
    }
}
