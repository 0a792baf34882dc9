//! Notes on changes as they are applied, for giving space back: the size of the live entries, and the changes that a copy
//! must take over.

use crate::layer::Layer;

/// Maximum number of bytes of changes that are noted for a copy that is under way. With more, the copy is given up: then a
/// large tree was deleted or most of the state was written anew, and a copy that begins after that has less to do.
const TOUCHED_BYTES_MAX: u64 = 128 << 20;

/// Size of redb's pages, in bytes.
const PAGE_BYTES: usize = 4096;
/// Approximate overhead of redb for a key with its value in a page, in bytes.
const PAIR_BYTES: usize = 16;

/// The notes on changes.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) live: Live,
    /// The changes since the last step of the copy, oldest first; none if no copy is under way.
    pub(crate) touched: Option<Vec<Layer>>,
}

impl Notes {
    /// Notes changes that went into the file, if a copy is under way.
    pub(crate) fn touch(&mut self, changes: &Layer) {
        if let Some(all) = &mut self.touched {
            all.push(changes.clone());
            if all.iter().map(Layer::bytes).sum::<u64>() > TOUCHED_BYTES_MAX {
                self.touched = None;
            }
        }
    }
}

/// Approximate size of the entries' pages in a new file, in bytes. All entries are counted once, key by key; from then on
/// every change adjusts the count.
#[derive(Debug, Default)]
pub(crate) struct Live {
    bytes: u64,
    counted: Counted,
}

/// The entries that are counted.
#[derive(Debug)]
enum Counted {
    /// The entries up to and including this key.
    UpTo(String),
    /// All entries.
    All,
}

impl Default for Counted {
    fn default() -> Self {
        Self::UpTo(String::new())
    }
}

impl Live {
    /// The count of a state without entries.
    pub(crate) fn empty() -> Self {
        Self { bytes: 0, counted: Counted::All }
    }

    /// The size in bytes; none until all entries are counted.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self.counted {
            Counted::All => Some(self.bytes),
            Counted::UpTo(_) => None,
        }
    }

    /// The last key that was counted; none once all entries are counted.
    pub(crate) fn counted_to(&self) -> Option<&str> {
        match &self.counted {
            Counted::All => None,
            Counted::UpTo(key) => Some(key),
        }
    }

    /// Counts the next entry in the order of keys.
    pub(crate) fn count(&mut self, key: &str, stored: usize) {
        self.bytes += share(key.len() + stored);
        self.counted = Counted::UpTo(key.to_owned());
    }

    /// Records that all entries are counted.
    pub(crate) fn counted_all(&mut self) {
        self.counted = Counted::All;
    }

    /// Adjusts the count for a change of the length that is stored under a key.
    pub(crate) fn changed(&mut self, key: &str, old: Option<usize>, new: Option<usize>) {
        let counts = match &self.counted {
            Counted::All => true,
            Counted::UpTo(last) => key <= last.as_str(),
        };
        if counts {
            let share = |len: Option<usize>| len.map_or(0, |len| share(key.len() + len));
            self.bytes = (self.bytes + share(new)).saturating_sub(share(old));
        }
    }
}

/// Bytes of redb's pages that a key with its value takes up in a tree that was filled in order. Short pairs share a page; a
/// pair that is longer than a page has pages of its own, a power of two of them.
fn share(len: usize) -> u64 {
    let len = len + PAIR_BYTES;
    let bytes = if len > PAGE_BYTES {
        len.div_ceil(PAGE_BYTES).next_power_of_two() * PAGE_BYTES
    } else {
        PAGE_BYTES / (PAGE_BYTES / len)
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_follows_changes_of_what_was_passed_only() {
        let mut live = Live::default();
        live.count("b", 100);
        live.changed("a", None, Some(200));
        live.changed("c", None, Some(5000));
        assert_eq!((live.bytes(), live.counted_to()), (None, Some("b")));
        live.count("c", 5000);
        live.counted_all();
        assert_eq!(live.bytes(), Some(share(101) + share(201) + share(5001)));
        live.changed("c", Some(5000), None);
        live.changed("b", Some(100), Some(10));
        assert_eq!(live.bytes(), Some(share(11) + share(201)));
    }

    #[test]
    fn shares_are_those_of_whole_pages() {
        assert_eq!(share(4080), 4096);
        assert_eq!(share(4081), 8192);
        assert_eq!(share(65_600), 131_072);
        assert_eq!(share(1000), 4096 / 4);
        assert_eq!(share(1010), 4096 / 3);
    }

    #[test]
    fn too_many_changes_are_noted_as_none() {
        let mut changes = Layer::default();
        let stored: std::sync::Arc<[u8]> = vec![0; 1 << 20].into();
        for key in 0..100 {
            changes.set_entry(key.to_string().into(), Some(std::sync::Arc::clone(&stored)));
        }
        let mut notes = Notes { touched: Some(Vec::new()), ..Notes::default() };
        notes.touch(&changes);
        assert_eq!(notes.touched.as_ref().map(Vec::len), Some(1));
        notes.touch(&changes);
        assert!(notes.touched.is_none(), "200 MiB are too many");
    }
}
