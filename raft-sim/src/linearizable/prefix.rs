//! Prefixes of orders, and the record of those that a search has seen.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::bits::Bits;

/// The beginning of an order, up to a return, that explains the answers of its operations.
pub(super) struct Prefix<S> {
    /// Bits of the pending operations that are done.
    pub(super) done: Bits,
    /// Bits of the operations of unknown outcome that were used and have not expired.
    pub(super) used: Bits,
    /// Number of bits in `used`.
    pub(super) used_count: usize,
    /// State of the object after the prefix.
    pub(super) state: S,
    /// The order itself, as a node of the tree of orders.
    pub(super) trail: Option<usize>,
    /// Number of operations in the prefix that must be done.
    pub(super) certain_count: usize,
}

impl<S: Clone + Ord> Prefix<S> {
    /// Creates the empty prefix.
    pub(super) fn new(state: S) -> Self {
        let (done, used) = (Bits::default(), Bits::default());
        Self { done, used, used_count: 0, state, trail: None, certain_count: 0 }
    }

    /// Returns this prefix with an operation appended that must be done.
    pub(super) fn with_certain(&self, bit: usize, state: S, trail: usize) -> Self {
        let mut done = self.done.clone();
        done.insert(bit);
        let (used, certain_count) = (self.used.clone(), self.certain_count + 1);
        Self { done, used, used_count: self.used_count, state, trail: Some(trail), certain_count }
    }

    /// Returns this prefix with an operation of unknown outcome appended.
    pub(super) fn with_optional(&self, bit: usize, state: S, trail: usize) -> Self {
        let mut used = self.used.clone();
        used.insert(bit);
        let (done, used_count) = (self.done.clone(), self.used_count + 1);
        Self { done, used, used_count, state, trail: Some(trail), certain_count: self.certain_count }
    }

    /// Forgets whether an operation of unknown outcome was used, as it can change nothing any more.
    pub(super) fn forget(&mut self, bit: usize) {
        if self.used.contains(bit) {
            self.used.remove(bit);
            self.used_count -= 1;
        }
    }
}

/// The prefixes that a search has seen: for each return, set of done operations and state, the sets of used operations. None of
/// these sets contains another one.
pub(super) struct Seen<S>(BTreeMap<(usize, Bits, S), Vec<Bits>>);

impl<S> Default for Seen<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Clone + Ord> Seen<S> {
    /// Records a prefix as seen before a return. Returns false if one that used no more was seen there. Comparisons count as
    /// steps.
    pub(super) fn is_new(&mut self, event: usize, prefix: &Prefix<S>, steps: &mut u64) -> bool {
        match self.0.entry((event, prefix.done.clone(), prefix.state.clone())) {
            Entry::Vacant(place) => {
                place.insert(vec![prefix.used.clone()]);
                true
            }
            Entry::Occupied(mut place) => {
                let seen = place.get_mut();
                *steps += seen.len() as u64 / 8; // a comparison is far cheaper than a step
                if seen.iter().any(|used| used.is_subset(&prefix.used)) {
                    return false;
                }
                seen.retain(|used| !prefix.used.is_subset(used));
                seen.push(prefix.used.clone());
                true
            }
        }
    }

    /// States of all prefixes that were seen before return number `event`, which must be the last one that any prefix reached.
    pub(super) fn states_at_last(&self, event: usize) -> BTreeSet<S> {
        let here = self.0.keys().rev().take_while(|(at, ..)| *at == event);
        here.map(|(_, _, state)| state.clone()).collect()
    }
}
