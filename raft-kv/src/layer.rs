//! Changes that are not in the file yet, kept in memory in front of it.
//!
//! The maps share their nodes with their clones, so a clone takes constant time, and a reader keeps the layer as it was.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

/// A key in memory. An entry, its grave and its tombstones share the text.
pub(crate) type Key = Arc<str>;
/// The place of a tombstone: the index of the deletion, then the deleted key.
pub(crate) type Place = (u64, Key);
/// An entry as it is stored, its header and value; none if the key is deleted.
pub(crate) type Slot = Option<Arc<[u8]>>;

/// Approximate memory that a row takes up beside its key and value, in bytes: two allocations and its share of a node.
const ROW_BYTES: usize = 128;

/// Changes of the state, in the order of their keys. A row replaces the row of the same key in the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    entries: OrdMap<Key, Slot>,
    /// The index of each key's newest deletion; none if that tombstone was dropped.
    graves: OrdMap<Key, Option<u64>>,
    /// Tombstones that were added, with the create index that the key had. Tombstones are added in the order of their places.
    tombstones: OrdMap<Place, u64>,
    /// All tombstones up to and including this place are dropped, in the file as well.
    trimmed: Option<Place>,
    /// Approximate memory that the rows take up, in bytes.
    bytes: u64,
}

impl Layer {
    /// Approximate memory that the rows take up, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The row of a key; none if the layer does not change the key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Slot> {
        self.entries.get(key)
    }

    pub(crate) fn set_entry(&mut self, key: Key, slot: Slot) {
        let len = |slot: &Slot| slot.as_ref().map_or(0, |stored| stored.len());
        let (name, new) = (key.len(), len(&slot));
        let freed = match self.entries.insert(key, slot) {
            Some(old) => len(&old),
            None => {
                self.bytes += (name + ROW_BYTES) as u64;
                0
            }
        };
        self.bytes = self.bytes + new as u64 - freed as u64;
    }

    /// The rows from a key on.
    pub(crate) fn entries_from<'a>(
        &'a self,
        from: Bound<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Slot)> {
        self.entries.range::<_, str>((from, Bound::Unbounded))
    }

    /// All rows.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Key, &Slot)> {
        self.entries.iter()
    }

    /// The row of a key's grave; none if the layer does not change the grave.
    pub(crate) fn grave(&self, key: &str) -> Option<Option<u64>> {
        self.graves.get(key).copied()
    }

    pub(crate) fn set_grave(&mut self, key: Key, index: Option<u64>) {
        let name = key.len();
        if self.graves.insert(key, index).is_none() {
            self.bytes += (name + ROW_BYTES) as u64;
        }
    }

    pub(crate) fn graves_from<'a>(&'a self, from: &'a str) -> impl Iterator<Item = (&'a Key, Option<u64>)> {
        self.graves
            .range::<_, str>((Bound::Included(from), Bound::Unbounded))
            .map(|(key, index)| (key, *index))
    }

    pub(crate) fn graves(&self) -> impl Iterator<Item = (&Key, Option<u64>)> {
        self.graves.iter().map(|(key, index)| (key, *index))
    }

    /// True if the layer changes no grave.
    pub(crate) fn has_no_graves(&self) -> bool {
        self.graves.is_empty()
    }

    pub(crate) fn add_tombstone(&mut self, place: Place, created: u64) {
        if self.tombstones.insert(place, created).is_none() {
            self.bytes += ROW_BYTES as u64;
        }
    }

    /// Drops all tombstones up to and including a place.
    pub(crate) fn trim(&mut self, place: Place) {
        if self.tombstones.remove(&place).is_some() {
            self.bytes = self.bytes.saturating_sub(ROW_BYTES as u64);
        }
        self.trimmed = Some(place);
    }

    /// The place up to which tombstones are dropped; none if the layer drops none.
    pub(crate) fn trimmed(&self) -> Option<&Place> {
        self.trimmed.as_ref()
    }

    /// The tombstones after a place, or all.
    pub(crate) fn tombstones_after(&self, place: Option<&Place>) -> impl Iterator<Item = (&Place, u64)> {
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        self.tombstones.range::<_, Place>((from, Bound::Unbounded)).map(|(place, created)| (place, *created))
    }
}

/// Merges two iterators over rows, each ascending by key. Where both have a key, the row of `newer` is given.
pub(crate) fn merged<'a>(
    newer: impl Iterator<Item = (&'a Key, &'a Slot)>,
    older: impl Iterator<Item = (&'a Key, &'a Slot)>,
) -> impl Iterator<Item = (&'a Key, &'a Slot)> {
    let (mut newer, mut older) = (newer.peekable(), older.peekable());
    std::iter::from_fn(move || match (newer.peek(), older.peek()) {
        (Some((new, _)), Some((old, _))) => {
            if new > old {
                return older.next();
            }
            if new == old {
                older.next();
            }
            newer.next()
        }
        (Some(_), None) => newer.next(),
        (None, _) => older.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(text: &str) -> Slot {
        Some(text.as_bytes().into())
    }

    #[test]
    fn the_newer_of_two_layers_wins_and_all_keys_come_in_order() {
        let (mut newer, mut older) = (Layer::default(), Layer::default());
        for key in ["b", "c", "e"] {
            newer.set_entry(key.into(), slot("new"));
        }
        newer.set_entry("d".into(), None);
        for key in ["a", "b", "d", "f"] {
            older.set_entry(key.into(), slot("old"));
        }
        let rows: Vec<_> = merged(newer.entries(), older.entries())
            .map(|(key, slot)| (key.as_ref(), slot.as_deref().map(<[u8]>::len)))
            .collect();
        let found: Vec<_> = rows.iter().map(|(key, _)| *key).collect();
        assert_eq!(found, ["a", "b", "c", "d", "e", "f"]);
        assert_eq!(rows[3], ("d", None), "a deletion hides the older row");
        assert!(
            merged(newer.entries(), older.entries())
                .any(|(key, slot)| { key.as_ref() == "b" && slot.as_deref() == Some(b"new".as_slice()) })
        );
    }

    #[test]
    fn bytes_follow_what_is_in_the_layer() {
        let mut layer = Layer::default();
        layer.set_entry("key".into(), slot(&"v".repeat(100)));
        let one = layer.bytes();
        assert_eq!(one, (3 + 100 + ROW_BYTES) as u64);
        layer.set_entry("key".into(), slot(&"v".repeat(40)));
        assert_eq!(layer.bytes(), one - 60);
        layer.set_entry("key".into(), None);
        assert_eq!(layer.bytes(), one - 100, "a deletion is a row as well");
        layer.add_tombstone((5, "key".into()), 1);
        layer.set_grave("key".into(), Some(5));
        layer.trim((5, "key".into()));
        layer.set_grave("key".into(), None);
        assert_eq!(layer.bytes(), one - 100 + (3 + ROW_BYTES) as u64);
        assert_eq!(layer.trimmed(), Some(&(5, "key".into())));
    }

    #[test]
    fn a_clone_stays_as_it_was() {
        let mut layer = Layer::default();
        layer.set_entry("a".into(), slot("1"));
        let before = layer.clone();
        layer.set_entry("a".into(), slot("2"));
        layer.set_entry("b".into(), slot("1"));
        assert_eq!(before.entry("a"), Some(&slot("1")));
        assert_eq!(before.entry("b"), None);
    }
}
