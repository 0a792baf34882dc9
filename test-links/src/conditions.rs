//! Conditions that a test sets on a link, and counters that it reads.

use std::time::Duration;

/// A direction of a [`Proxy`](crate::Proxy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the clients to the target.
    In,
    /// From the target back to the clients.
    Out,
}

/// The conditions on one direction of a link. The default is a perfect link: at once, without loss, at any rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Time that a datagram takes beside the time that the rate costs.
    pub delay: Duration,
    /// Probability that a datagram is lost, in thousandths. 1,000 and above lose every datagram.
    pub loss_permille: u32,
    /// Rate of the link, in bytes of UDP payload a second. `None` is no limit.
    pub bytes_per_second: Option<u64>,
    /// Size of the queue in front of a link with a rate, in bytes. A datagram that does not fit is dropped. A datagram
    /// that finds the queue empty always fits.
    pub queue_bytes: usize,
    /// True when the link is cut: nothing passes, and datagrams on their way are lost.
    pub cut: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            loss_permille: 0,
            bytes_per_second: None,
            // About what a small router has: 100 ms at 20 Mbit/s.
            queue_bytes: 256 * 1024,
            cut: false,
        }
    }
}

/// Counters of the datagrams of one direction since the proxy was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that were passed on.
    pub delivered: u64,
    /// Bytes of the datagrams that were passed on.
    pub delivered_bytes: u64,
    /// Datagrams lost by [`Conditions::loss_permille`].
    pub lost: u64,
    /// Datagrams dropped because the queue was full.
    pub dropped_full: u64,
    /// Datagrams dropped because the link was cut, or because the socket could not send them.
    pub dropped_cut: u64,
}
