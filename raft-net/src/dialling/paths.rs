//! What attempts to reach an address have shown of the path to it, for those that no [`Dialler`](super::Dialler) makes.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::Attempt;

/// Upper bound on the addresses that are remembered. A node asks those that it was told to join and those of its peers.
const PATHS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Path {
    /// The last round trip that was measured, if one was.
    round_trip: Option<Duration>,
    /// Attempts that timed out, in a row.
    timeouts: u32,
    /// When somebody there dialled us last, and over which round trip.
    called: Option<(Duration, Duration)>,
}

/// What is known of the paths to some addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(BTreeMap<SocketAddr, Path>);

impl Paths {
    /// An attempt to reach `address` that begins `now`.
    #[must_use]
    pub fn attempt(&self, now: Duration, dial_timeout: Duration, address: SocketAddr) -> Attempt {
        let Path { round_trip, timeouts, .. } = self.0.get(&address).copied().unwrap_or_default();
        Attempt::new(now, dial_timeout, timeouts, round_trip)
    }

    /// An attempt has timed out.
    pub fn timed_out(&mut self, address: SocketAddr) {
        self.note(address, |path| path.timeouts = path.timeouts.saturating_add(1));
    }

    /// The round trip was measured.
    pub fn measured(&mut self, address: SocketAddr, round_trip: Duration) {
        self.note(address, |path| *path = Path { round_trip: Some(round_trip), timeouts: 0, ..*path });
    }

    /// Somebody at `address` has dialled us, over a path with this round trip.
    pub fn called(&mut self, now: Duration, address: SocketAddr, round_trip: Duration) {
        self.note(address, |path| path.called = Some((now, round_trip)));
    }

    /// Tells an attempt to reach `address` that began at `begun` if somebody there has dialled us since.
    pub fn tell(&self, address: SocketAddr, begun: Duration, attempt: &mut Attempt) {
        let called = self.0.get(&address).and_then(|path| path.called);
        if let Some((at, round_trip)) = called.filter(|(at, _)| *at >= begun) {
            attempt.called(at, round_trip);
        }
    }

    fn note(&mut self, address: SocketAddr, note: impl FnOnce(&mut Path)) {
        // One that is not remembered is tried as the first time, which is right for most.
        if self.0.len() < PATHS_MAX || self.0.contains_key(&address) {
            note(self.0.entry(address).or_default());
        }
    }
}
