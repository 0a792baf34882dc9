//! The core's only source of randomness: a small generator seeded by the settings (splitmix64, Steele et al.
//! 2014).

use core::time::Duration;

use crate::Config;

/// A stream of random draws, determined by seed, node and incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    /// Mixes seed, node and incarnation. A restarted node must not repeat the draws with which it tied with
    /// another one.
    pub(crate) fn new(config: &Config) -> Self {
        let mut rng = Self { state: config.seed };
        for part in [config.node.0, config.incarnation.0] {
            rng.state = rng.next() ^ part;
        }
        rng
    }

    /// Draws the next number of the sequence.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A duration between `low` and `high`, both included, in whole microseconds.
    pub(crate) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let width = u64::try_from(high.saturating_sub(low).as_micros()).unwrap_or(u64::MAX);
        let draw = self.next() % width.saturating_add(1).max(1);
        low.saturating_add(Duration::from_micros(draw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, NodeId, StoreId};

    fn draws(node: u64, incarnation: u64, seed: u64) -> [u64; 4] {
        let mut rng = Rng::new(&Config::new(NodeId(node), StoreId(0), Incarnation(incarnation), seed));
        core::array::from_fn(|_| rng.next())
    }

    #[test]
    fn seed_node_and_incarnation_each_change_the_draws() {
        assert_eq!(draws(1, 1, 1), draws(1, 1, 1));
        assert_ne!(draws(1, 1, 1), draws(2, 1, 1));
        assert_ne!(draws(1, 1, 1), draws(1, 2, 1));
        assert_ne!(draws(1, 1, 1), draws(1, 1, 2));
    }

    #[test]
    fn draws_stay_between_their_ends_and_reach_both_halves() {
        let mut rng = Rng::new(&Config::new(NodeId(1), StoreId(0), Incarnation(1), 7));
        let (low, high) = (Duration::from_millis(500), Duration::from_millis(750));
        let drawn: [Duration; 64] = core::array::from_fn(|_| rng.between(low, high));
        assert!(drawn.iter().all(|span| (low..=high).contains(span)));
        let middle = Duration::from_millis(625);
        assert!(drawn.iter().any(|span| *span < middle) && drawn.iter().any(|span| *span > middle));
        assert_eq!(rng.between(low, low), low);
    }
}
