//! A digest of a disk's content, to compare two runs: fast and the same on every platform, but no protection against
//! malice.

/// A running digest of numbers and bytes, in order.
#[derive(Clone, Copy, Default)]
pub(crate) struct Digest(u64);

/// A large odd number: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Digest {
    pub(crate) fn add(&mut self, number: u64) {
        self.0 = mix(self.0, number);
    }

    /// Adds the bytes and their number.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        // Use four lanes, so that the processor can begin one multiplication before the previous one is finished.
        let mut lanes = [self.0, 1, 2, 3];
        let (chunks, rest) = bytes.as_chunks::<32>();
        for chunk in chunks {
            for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<8>().0) {
                *lane = mix(*lane, u64::from_le_bytes(*word));
            }
        }
        lanes.into_iter().for_each(|lane| self.add(lane));
        rest.iter().for_each(|byte| self.add(u64::from(*byte)));
    }

    pub(crate) fn finish(self) -> u64 {
        mix(self.0, 0)
    }
}

/// Mixes a number into the state. Combines both halves of the product: in the lower half alone, an upper bit would
/// never affect lower ones.
fn mix(state: u64, number: u64) -> u64 {
    let (lower, upper) = (state ^ number).carrying_mul(FACTOR, FACTOR);
    lower ^ upper
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::default();
        digest.add_bytes(bytes);
        digest.finish()
    }

    #[test]
    fn each_bit_and_the_length_count() {
        let bytes = [0; 70];
        let mut seen = std::collections::BTreeSet::from([of(&bytes), of(&bytes[1..])]);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            seen.insert(of(&other));
        }
        assert_eq!(seen.len(), 70 * 8 + 2);
    }

    #[test]
    fn order_counts() {
        let mut swapped = [0_u8; 64];
        (swapped[0], swapped[32]) = (1, 2);
        let one = of(&swapped);
        swapped.rotate_left(32);
        assert_ne!(one, of(&swapped));
    }

    /// Pins the digest, because runs are compared across machines and versions.
    #[test]
    fn it_is_what_it_was() {
        assert_eq!(of(b"a text of more than thirty-two bytes"), 5_736_736_466_825_569_557);
    }
}
