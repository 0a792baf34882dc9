//! Which watches a change wakes: an ordered index of what is watched, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What a watch is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// One key, whether or not it is there.
    Key(String),
    /// Every key that begins with this; empty means all keys.
    Prefix(String),
}

/// A change of the state, as far as watches are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A key was stored or removed.
    Key(String),
    /// Every key that begins with this was removed.
    Tree(String),
    /// The whole state was replaced.
    Everything,
}

/// A watch's number in its registry; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchId(pub(crate) u64);

/// The armed watches, by what they are on.
///
/// ```text
///            arm                 a change under it
///   idle ----------> armed -------------------------> fired
///                      ^                                |
///                      +------------- arm --------------+
/// ```
///
/// A change takes the watches that it wakes out of the index, so however many changes come before a waiter runs again,
/// only the first of them costs anything, and the waiter runs once for all.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    keys: Watchers,
    prefixes: Watchers,
}

/// Bytes, not text: every common beginning of two texts is then a possible place to look.
type Watchers = BTreeMap<Vec<u8>, BTreeSet<WatchId>>;

impl Registry {
    /// From now on a change under `watched` wakes `id`, once.
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

    /// Nothing wakes `id` any more.
    pub(crate) fn disarm(&mut self, id: WatchId, watched: &Watched) {
        let (watchers, place) = self.place(watched);
        if let Some(ids) = watchers.get_mut(place) {
            ids.remove(&id);
            if ids.is_empty() {
                watchers.remove(place);
            }
        }
    }

    /// Whether no change would wake anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }

    /// Appends the watches that a change wakes to `woken`; none of them is armed any more.
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

/// Takes every watched prefix that `key` begins with, longest first.
///
/// A key may be 16 KiB long, so its beginnings are not tried one by one. The watched prefix that is next below in the
/// order either is a beginning of the key, or differs from it at some byte. Then no watched prefix that is longer than
/// what they have in common can be a beginning of the key: it would stand between the two.
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

/// Takes everything that begins with `prefix`.
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
