//! An ordered set of small numbers, which is cheap to copy while all of them are below 64.

/// A set of small numbers. Trailing zero words are cut, so that equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bits {
    low: u64,
    /// The words after the first one. Empty, and so without an allocation, for nearly all sets in practice.
    high: Vec<u64>,
}

impl Bits {
    pub(super) fn contains(&self, bit: usize) -> bool {
        let word = match (bit / 64).checked_sub(1) {
            None => self.low,
            Some(above) => self.high.get(above).copied().unwrap_or(0),
        };
        word & (1 << (bit % 64)) != 0
    }

    pub(super) fn insert(&mut self, bit: usize) {
        let word = match (bit / 64).checked_sub(1) {
            None => &mut self.low,
            Some(above) => {
                if self.high.len() <= above {
                    self.high.resize(above + 1, 0);
                }
                &mut self.high[above]
            }
        };
        *word |= 1 << (bit % 64);
    }

    pub(super) fn remove(&mut self, bit: usize) {
        match (bit / 64).checked_sub(1) {
            None => self.low &= !(1 << (bit % 64)),
            Some(above) => {
                if let Some(word) = self.high.get_mut(above) {
                    *word &= !(1 << (bit % 64));
                }
                while self.high.last() == Some(&0) {
                    self.high.pop();
                }
            }
        }
    }

    pub(super) fn is_subset(&self, other: &Self) -> bool {
        self.low & !other.low == 0
            && self.high.len() <= other.high.len()
            && self.high.iter().zip(&other.high).all(|(mine, theirs)| mine & !theirs == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Bits;

    fn bits(numbers: &BTreeSet<usize>) -> Bits {
        let mut bits = Bits::default();
        numbers.iter().for_each(|&number| bits.insert(number));
        bits
    }

    proptest! {
        #[test]
        fn bits_are_a_set(
            left in proptest::collection::btree_set(0_usize..200, 0..6),
            right in proptest::collection::btree_set(0_usize..200, 0..6),
        ) {
            let both: BTreeSet<usize> = left.union(&right).copied().collect();
            let mut shrunk = bits(&both);
            for number in both.difference(&left) {
                shrunk.remove(*number);
            }
            prop_assert_eq!(&shrunk, &bits(&left), "equal sets are equal values, however they came about");
            for number in 0..200 {
                prop_assert_eq!(shrunk.contains(number), left.contains(&number));
            }
            prop_assert!(bits(&left).is_subset(&bits(&both)));
            prop_assert_eq!(bits(&left).is_subset(&bits(&right)), left.is_subset(&right));
            prop_assert_eq!(bits(&left) == bits(&right), left == right);
        }
    }
}
