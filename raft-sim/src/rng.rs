//! Random numbers, with one generator for each concern, so that a draw for one concern does not change the draws for another.

/// A seeded generator (splitmix64). The same seed gives the same numbers on any machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Creates the generator of one concern of a run.
    #[must_use]
    pub fn new(seed: u64, concern: &str) -> Self {
        Self(seed ^ xxhash_rust::xxh3::xxh3_64(concern.as_bytes()))
    }

    /// Draws 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number below `limit`; 0 for a limit of 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product is as evenly distributed as 64 bits allow.
        let product = u128::from(self.bits()) * u128::from(limit);
        u64::try_from(product >> 64).expect("the high half of a product of two u64")
    }

    /// Draws a number from `from` to `to`, both included.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// True in `cases` of a thousand cases. For 0 cases nothing is drawn, so that a fault which is off changes no other draw.
    pub fn permille(&mut self, cases: u64) -> bool {
        cases > 0 && self.below(1000) < cases
    }

    /// Draws one of the elements.
    ///
    /// # Panics
    /// If `from` is empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).expect("below the length");
        from[at]
    }

    /// Draws a waiting time: about exponential with the given mean, at most eight times the mean.
    pub fn around(&mut self, mean: u64) -> u64 {
        // A sum of evenly distributed draws is close enough to an exponential one, and needs no floating point numbers, which
        // might differ from machine to machine.
        let mut sum = 0;
        while self.below(4) != 0 && sum < mean * 8 {
            sum += self.below(mean.max(1) * 2 / 3 + 1);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_range_and_are_the_same_again() {
        let draw = || {
            let mut rng = Rng::new(7, "test");
            (0..1000).map(|_| rng.range(3, 9)).collect::<Vec<_>>()
        };
        let drawn = draw();
        assert_eq!(drawn, draw());
        assert!((3..=9).all(|number| drawn.contains(&number)) && drawn.iter().all(|it| (3..=9).contains(it)));
        assert_eq!(Rng::new(1, "x").below(0), 0);
    }

    #[test]
    fn two_concerns_of_one_seed_draw_apart() {
        assert_ne!(Rng::new(7, "network").bits(), Rng::new(7, "disk").bits());
    }
}
