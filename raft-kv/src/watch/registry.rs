//! The index that finds the watches which a change wakes, ordered by key and by prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The key or prefix that a watch is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// One key, whether or not it exists.
    Key(String),
    /// Every key that begins with this prefix; the empty prefix means all keys.
    Prefix(String),
}

/// A change of the state, as far as watches are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A key was stored or removed.
    Key(String),
    /// Every key that begins with this prefix was removed.
    Tree(String),
    /// The whole state was replaced.
    Everything,
}

/// Number of a watch in its registry; no number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchId(pub(crate) u64);

/// The armed watches, indexed by key and by prefix.
///
/// ```text
///            arm                 a change under it
///   idle ----------> armed -------------------------> fired
///                      ^                                |
///                      +------------- arm --------------+
/// ```
///
/// A change removes the watches that it wakes from the index. So of many changes that come before a waiting task runs again,
/// only the first one costs anything, and the task runs once for all of them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    keys: Watchers,
    prefixes: Watchers,
}

/// Bytes instead of text: a common beginning of two keys may end inside a character, and must still be usable for a lookup.
type Watchers = BTreeMap<Vec<u8>, BTreeSet<WatchId>>;

impl Registry {
    /// Arms the watch `id`: the next change of `watched` wakes it, once.
    pub(crate) fn arm(&mut self, id: WatchId, watched: &Watched) {
        let (watchers, place) = self.place(watched);
        match watchers.get_mut(place) {
            Some(ids) => {
                ids.insert(id);
            }
            None => {
                watchers.insert(place.to_vec(), BTreeSet::from([id]));
            }
        }
    }

    /// Disarms the watch `id`.
    pub(crate) fn disarm(&mut self, id: WatchId, watched: &Watched) {
        let (watchers, place) = self.place(watched);
        if let Some(ids) = watchers.get_mut(place) {
            ids.remove(&id);
            if ids.is_empty() {
                watchers.remove(place);
            }
        }
    }

    /// Whether no watch is armed.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }

    /// Disarms the watches that a change wakes and appends them to `woken`.
    pub(crate) fn take(&mut self, change: &Change, woken: &mut Vec<WatchId>) {
        match change {
            Change::Key(key) => {
                woken.extend(self.keys.remove(key.as_bytes()).into_iter().flatten());
                take_beginnings(&mut self.prefixes, key.as_bytes(), woken);
            }
            Change::Tree(prefix) => {
                take_under(&mut self.keys, prefix.as_bytes(), woken);
                take_under(&mut self.prefixes, prefix.as_bytes(), woken);
                take_beginnings(&mut self.prefixes, prefix.as_bytes(), woken);
            }
            Change::Everything => {
                for watchers in [&mut self.keys, &mut self.prefixes] {
                    woken.extend(std::mem::take(watchers).into_values().flatten());
                }
            }
        }
    }

    fn place<'w>(&mut self, watched: &'w Watched) -> (&mut Watchers, &'w [u8]) {
        match watched {
            Watched::Key(key) => (&mut self.keys, key.as_bytes()),
            Watched::Prefix(prefix) => (&mut self.prefixes, prefix.as_bytes()),
        }
    }
}

/// Removes every watched prefix that `key` begins with, longest first, and appends its watches to `woken`.
///
/// A key may be 16 KiB long, so its beginnings are not tried one by one. The greatest watched prefix that is not above the
/// key in the order either is a beginning of the key, or differs from the key at some byte. In the second case no watched
/// prefix longer than their common beginning can be a beginning of the key, because it would lie between the two in the
/// order. So the search goes on at the length of the common beginning.
fn take_beginnings(prefixes: &mut Watchers, key: &[u8], woken: &mut Vec<WatchId>) {
    let mut bound = Bound::Included(key.len());
    loop {
        let end = match bound {
            Bound::Included(length) => Bound::Included(&key[..length]),
            Bound::Excluded(length) => Bound::Excluded(&key[..length]),
            Bound::Unbounded => unreachable!("the bound only ever shrinks"),
        };
        let Some((found, _)) = prefixes.range::<[u8], _>((Bound::Unbounded, end)).next_back() else {
            return;
        };
        let common = found.iter().zip(key).take_while(|(one, other)| one == other).count();
        if common == found.len() {
            woken.extend(prefixes.remove(&key[..common]).into_iter().flatten());
            bound = Bound::Excluded(common);
        } else {
            bound = Bound::Included(common);
        }
    }
}

/// Removes everything that begins with `prefix` and appends its watches to `woken`.
fn take_under(watchers: &mut Watchers, prefix: &[u8], woken: &mut Vec<WatchId>) {
    loop {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let Some((found, _)) = watchers.range::<[u8], _>(from).next() else { return };
        if !found.starts_with(prefix) {
            return;
        }
        let place = found.clone();
        woken.extend(watchers.remove(&place).into_iter().flatten());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A list of what is armed, looked through from end to end for each change.
    #[derive(Default)]
    struct Twin(Vec<(WatchId, Watched)>);

    impl Twin {
        fn take(&mut self, change: &Change) -> Vec<WatchId> {
            let hit = |watched: &Watched| match (change, watched) {
                (Change::Key(key), Watched::Key(watched)) => key == watched,
                (Change::Key(key), Watched::Prefix(prefix)) => key.starts_with(prefix.as_str()),
                (Change::Tree(tree), Watched::Key(key)) => key.starts_with(tree.as_str()),
                (Change::Tree(tree), Watched::Prefix(prefix)) => {
                    prefix.starts_with(tree.as_str()) || tree.starts_with(prefix.as_str())
                }
                (Change::Everything, _) => true,
            };
            let (woken, left) = std::mem::take(&mut self.0).into_iter().partition(|(_, on)| hit(on));
            self.0 = left;
            woken.into_iter().map(|(id, _): (WatchId, Watched)| id).collect()
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm(Watched),
        Disarm(u64),
        Change(Change),
    }

    /// Few letters, so that names begin alike; one of two bytes, so that common beginnings end inside of it.
    fn text() -> impl Strategy<Value = String> {
        "[ab/äå]{0,4}"
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => text().prop_map(|key| Op::Arm(Watched::Key(key))),
            4 => text().prop_map(|prefix| Op::Arm(Watched::Prefix(prefix))),
            2 => (0_u64..40).prop_map(Op::Disarm),
            4 => text().prop_map(|key| Op::Change(Change::Key(key))),
            2 => text().prop_map(|prefix| Op::Change(Change::Tree(prefix))),
            1 => Just(Op::Change(Change::Everything)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_registry_wakes_whom_its_twin_wakes(ops in proptest::collection::vec(op(), 1..60)) {
            let (mut registry, mut twin) = (Registry::default(), Twin::default());
            for (number, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Arm(watched) => {
                        let id = WatchId(number as u64);
                        registry.arm(id, &watched);
                        twin.0.push((id, watched));
                    }
                    Op::Disarm(which) => {
                        if let Some(at) = twin.0.iter().position(|(id, _)| id.0 == which) {
                            let (id, watched) = twin.0.remove(at);
                            registry.disarm(id, &watched);
                        }
                    }
                    Op::Change(change) => {
                        let mut woken = Vec::new();
                        registry.take(&change, &mut woken);
                        woken.sort();
                        prop_assert_eq!(woken, twin.take(&change), "{:?}", change);
                    }
                }
                prop_assert_eq!(registry.is_empty(), twin.0.is_empty());
            }
        }
    }

    #[test]
    fn only_the_first_of_several_changes_wakes() {
        let mut registry = Registry::default();
        registry.arm(WatchId(1), &Watched::Prefix("a/".into()));
        let mut woken = Vec::new();
        registry.take(&Change::Key("a/b".into()), &mut woken);
        registry.take(&Change::Key("a/c".into()), &mut woken);
        assert_eq!(woken, [WatchId(1)]);
    }
}
