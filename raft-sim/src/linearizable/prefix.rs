//! The prefixes that a search goes, and which of them it has gone.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::bits::Bits;

/// A part of an order that holds so far.
pub(super) struct Prefix<S> {
    /// What is done of that which is pending.
    pub(super) done: Bits,
    /// Which operations of unknown outcome are done that could be of use from here on, and how many.
    pub(super) used: Bits,
    pub(super) used_count: usize,
    pub(super) state: S,
    /// The last operation of the order, and how many are in it that have to be done.
    pub(super) trail: Option<usize>,
    pub(super) certain_count: usize,
}

impl<S: Clone + Ord> Prefix<S> {
    /// The prefix on which nothing is done.
    pub(super) fn new(state: S) -> Self {
        let (done, used) = (Bits::default(), Bits::default());
        Self { done, used, used_count: 0, state, trail: None, certain_count: 0 }
    }

    /// This prefix with an operation more that has to be done.
    pub(super) fn with_certain(&self, bit: usize, state: S, trail: usize) -> Self {
        let mut done = self.done.clone();
        done.insert(bit);
        let (used, certain_count) = (self.used.clone(), self.certain_count + 1);
        Self { done, used, used_count: self.used_count, state, trail: Some(trail), certain_count }
    }

    /// This prefix with an operation more of unknown outcome.
    pub(super) fn with_optional(&self, bit: usize, state: S, trail: usize) -> Self {
        let mut used = self.used.clone();
        used.insert(bit);
        let (done, used_count) = (self.done.clone(), self.used_count + 1);
        Self { done, used, used_count, state, trail: Some(trail), certain_count: self.certain_count }
    }

    /// Forgets whether an operation of unknown outcome was used, as it is of no use from here on.
    pub(super) fn forget(&mut self, bit: usize) {
        if self.used.contains(bit) {
            self.used.remove(bit);
            self.used_count -= 1;
        }
    }
}

/// The prefixes that were seen: by return, by what is done, and by state, what they used up. Of the sets of one place none holds
/// another one.
pub(super) struct Seen<S>(BTreeMap<(usize, Bits, S), Vec<Bits>>);

impl<S> Default for Seen<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Clone + Ord> Seen<S> {
    /// Notes a prefix as seen before a return; false if one that is as good was seen there. Comparing costs steps.
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

    /// The states before the last return that any prefix came to.
    pub(super) fn states_at_last(&self, event: usize) -> BTreeSet<S> {
        let here = self.0.keys().rev().take_while(|(at, ..)| *at == event);
        here.map(|(_, _, state)| state.clone()).collect()
    }
}
