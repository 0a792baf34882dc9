//! Random numbers: one generator for each concern, so that a draw for one does not move another.

/// A seeded generator (splitmix64). The same seed gives the same numbers on any machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of a concern of a run.
    #[must_use]
    pub fn new(seed: u64, concern: &str) -> Self {
        Self(seed ^ xxhash_rust::xxh3::xxh3_64(concern.as_bytes()))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product is as even as 64 bits allow.
        let product = u128::from(self.bits()) * u128::from(limit);
        u64::try_from(product >> 64).expect("the high half of a product of two u64")
    }

    /// A number from `from` to `to`, both included.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// True in so many of a thousand cases. Nothing is drawn for none, so that what is off moves nothing.
    pub fn permille(&mut self, cases: u64) -> bool {
        cases > 0 && self.below(1000) < cases
    }

    /// One of these.
    ///
    /// # Panics
    /// There is none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).expect("below the length");
        from[at]
    }

    /// A wait around `mean`: exponential, cut off at eight times of it.
    pub fn around(&mut self, mean: u64) -> u64 {
        // Sums of even draws are near enough to it, and are whole numbers on any machine.
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
