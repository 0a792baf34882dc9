//! Admission of first packets: which handshakes a transport begins, which senders must first prove their address, and
//! which are ignored.
//!
//! A handshake costs the accepting side memory, a signature and time before it learns who is there, and the source
//! address of a first packet can be forged. So there are three kinds of places for handshakes under way, and senders of
//! one kind cannot use up the places of another:
//!
//! ```text
//!                                        places                  all taken
//! claimed address                        CLAIMED_MAX             Retry: a token, and no state (RFC 9000, section 8.1.2)
//! proven address of a member             MEMBER_MAX each         Ignore
//! proven address of anybody else         STRANGERS_MAX in all,   Ignore
//!                                        SOURCE_MAX each source
//! ```
//!
//! A proven address is one that sent back the token of a Retry. A claim alone earns no more than a place among the
//! claimed ones, also where it names a member's address. A handshake that is ignored is tried again by QUIC itself, as
//! its first packet is repeated until it is answered.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use raftkit_core::Time;

/// Maximum number of handshakes at a time of senders whose address is not proven yet. It suffices for a cluster that
/// starts or heals, whose nodes are then spared the round trip of a Retry.
pub const CLAIMED_MAX: usize = 8;

/// Maximum number of handshakes at a time of all strangers whose address is proven.
pub const STRANGERS_MAX: usize = 64;

/// Maximum number of handshakes at a time of strangers from one source, so that a few machines cannot take all places
/// of strangers.
pub const SOURCE_MAX: usize = 8;

/// Maximum number of handshakes at a time from one proven address of a member: enough for its control and bulk
/// connections and a discovery, several times over, as attempts that it gave up are noticed only after a while.
pub const MEMBER_MAX: usize = 16;

/// Maximum number of addresses remembered from greetings of members. The address that greeted longest ago is forgotten
/// first.
pub const MET_MAX: usize = 64;

/// A handshake that failed keeps its place for this long, unless it came from a proven address of a member. Otherwise
/// first packets that fail at once would never fill the places, and could be sent as fast as they can be checked.
pub const FAILED_HOLD: Duration = Duration::from_millis(250);

/// Maximum number of Retries in each [`RETRY_WINDOW`]; above it, packets from unproven addresses are ignored. A Retry
/// costs about as much as ten ignored packets, so a flood must not decide how many are made.
pub const RETRIES_MAX: usize = 2_000;

/// The interval that [`RETRIES_MAX`] is counted in.
pub const RETRY_WINDOW: Duration = Duration::from_millis(100);

/// Shortest time between two warnings of a flood to the operator, see [`Door::flood`].
pub const FLOOD_WINDOW: Duration = Duration::from_secs(30);

/// Number of refused first packets in a [`FLOOD_WINDOW`] from which on they count as a flood. Members that start together,
/// or that cannot get in for another reason, send fewer.
pub const FLOOD_MIN: u64 = 1_000;

/// Trust in a sender's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The address of the first packet, which can be forged.
    Claimed,
    /// The sender has returned a token that had been sent to this address.
    Proven,
}

/// Relation of an address to the membership, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The address of a peer, or of a node with a certificate of our CA that has greeted before.
    Member,
    /// Any other address.
    Stranger,
}

/// Decision on a first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Begin the handshake; a call of [`Door::left`] must follow.
    Accept(Place),
    /// Ask the sender to prove its address.
    Retry,
    /// Drop the packet without an answer.
    Ignore,
}

/// The number of a handshake that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

/// Outcome of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The node greeted and was admitted.
    Greeted,
    /// The handshake or the greeting failed, or the node was refused.
    Failed,
}

/// The kind of place that a handshake takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Claimed,
    Member(SocketAddr),
    Stranger(Source),
}

/// The unit by which strangers are counted: an IPv4 address, or an IPv6 network of 64 bits, which is what one host is
/// usually given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source(IpAddr);

impl Source {
    fn of(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => Self(ip.into()),
            IpAddr::V6(ip) => Self(IpAddr::V6((ip.to_bits() >> 64 << 64).into())),
        }
    }
}

/// A place that is taken.
#[derive(Clone, Debug)]
struct Taken {
    place: Place,
    room: Room,
    /// Time at which the place is free again; none while the handshake is under way.
    until: Option<Time>,
}

/// The handshakes that are under way. Callers pass addresses in canonical form: an IPv4-mapped IPv6 address as the IPv4
/// address.
#[derive(Clone, Debug, Default)]
pub struct Door {
    taken: Vec<Taken>,
    next: u64,
    /// Addresses that members greeted from, the latest last.
    met: VecDeque<SocketAddr>,
    window: Time,
    retries: usize,
    put_off: u64,
    counted_from: Time,
}

impl Door {
    /// Decides on a first packet from an address. `standing` is what the caller knows of the address; addresses that
    /// were [met](Self::met) are members' in any case.
    pub fn knock(&mut self, now: Time, from: SocketAddr, address: Address, standing: Standing) -> Verdict {
        self.taken.retain(|taken| taken.until.is_none_or(|until| now < until));
        let room = match (address, standing) {
            (Address::Claimed, _) => Room::Claimed,
            (Address::Proven, Standing::Member) => Room::Member(from),
            (Address::Proven, Standing::Stranger) if self.met.contains(&from) => Room::Member(from),
            (Address::Proven, Standing::Stranger) => Room::Stranger(Source::of(from)),
        };
        let full = match room {
            Room::Claimed => self.count(|it| it == Room::Claimed) >= CLAIMED_MAX,
            Room::Member(_) => self.count(|it| it == room) >= MEMBER_MAX,
            Room::Stranger(_) => {
                self.count(|it| it == room) >= SOURCE_MAX
                    || self.count(|it| matches!(it, Room::Stranger(_))) >= STRANGERS_MAX
            }
        };
        if !full {
            let place = Place(self.next);
            self.next += 1;
            self.taken.push(Taken { place, room, until: None });
            return Verdict::Accept(place);
        }
        self.put_off += 1;
        match address {
            Address::Claimed => self.retry(now),
            Address::Proven => Verdict::Ignore,
        }
    }

    fn retry(&mut self, now: Time) -> Verdict {
        if now.since(self.window) >= RETRY_WINDOW {
            self.window = now;
            self.retries = 0;
        }
        if self.retries >= RETRIES_MAX {
            return Verdict::Ignore;
        }
        self.retries += 1;
        Verdict::Retry
    }

    fn count(&self, which: impl Fn(Room) -> bool) -> usize {
        self.taken.iter().filter(|taken| which(taken.room)).count()
    }

    /// Records that a handshake has ended.
    pub fn left(&mut self, now: Time, place: Place, ending: Ending) {
        let Some(at) = self.taken.iter().position(|taken| taken.place == place) else { return };
        let held = match (ending, self.taken[at].room) {
            (Ending::Greeted, _) | (Ending::Failed, Room::Member(_)) => false,
            (Ending::Failed, Room::Claimed | Room::Stranger(_)) => true,
        };
        if held {
            self.taken[at].until = Some(now.after(FAILED_HOLD));
        } else {
            self.taken.swap_remove(at);
        }
    }

    /// Records that a node with a certificate of our CA has greeted from this address and was admitted.
    pub fn met(&mut self, address: SocketAddr) {
        self.met.retain(|met| *met != address);
        if self.met.len() == MET_MAX {
            self.met.pop_front();
        }
        self.met.push_back(address);
    }

    /// Number of first packets that were not accepted in the last [`FLOOD_WINDOW`], if they were enough to warn an
    /// operator. Returned at most once in that time.
    pub fn flood(&mut self, now: Time) -> Option<u64> {
        if now.since(self.counted_from) < FLOOD_WINDOW {
            return None;
        }
        self.counted_from = now;
        Some(core::mem::take(&mut self.put_off)).filter(|count| *count >= FLOOD_MIN)
    }

    /// Number of places that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.len()
    }
}
