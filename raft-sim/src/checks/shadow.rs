//! The shadow of a log: its expected contents, kept outside the node, with a hash of all entries up to each one.

use std::collections::VecDeque;

use raftkit_core::{Entry, HardState, LogId, LogIndex, Membership, Payload, Write};

/// The expected contents of a log, from the writes that its node has submitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadow {
    base: LogId,
    base_chain: u64,
    entries: VecDeque<(Entry, u64)>,
    /// Size of the entries, in bytes.
    bytes: usize,
    pub(crate) hard: HardState,
}

/// Hash of a log up to and including an entry.
pub(crate) fn chained(before: u64, entry: &Entry) -> u64 {
    let seed = before.rotate_left(17) ^ entry.id.term.0.wrapping_mul(0x9e37_79b9) ^ entry.id.index.0;
    match &entry.payload {
        Payload::Noop => xxhash_rust::xxh3::xxh3_64_with_seed(&[0], seed),
        Payload::Command(bytes) => xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed).wrapping_add(1),
        Payload::Membership(membership) => {
            xxhash_rust::xxh3::xxh3_64_with_seed(&membership.encode(), seed).wrapping_add(2)
        }
    }
}

impl Shadow {
    /// Creates a log that starts after `base`.
    pub(crate) fn new(base: LogId, base_chain: u64, hard: HardState) -> Self {
        Self { base, base_chain, entries: VecDeque::new(), bytes: 0, hard }
    }

    pub(crate) fn base(&self) -> LogId {
        self.base
    }

    pub(crate) fn last(&self) -> LogId {
        self.entries.back().map_or(self.base, |(entry, _)| entry.id)
    }

    /// Size of the entries, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.at(index).map(|(entry, _)| entry)
    }

    fn at(&self, index: LogIndex) -> Option<&(Entry, u64)> {
        let at = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// Hash of all entries up to `index`; none below the base or after the end.
    pub(crate) fn chain(&self, index: LogIndex) -> Option<u64> {
        if index == self.base.index { Some(self.base_chain) } else { self.at(index).map(|(_, chain)| *chain) }
    }

    /// True when the log holds the entry, or starts after it.
    pub(crate) fn holds(&self, id: LogId) -> bool {
        if id.index == self.base.index {
            self.base.term == id.term
        } else {
            id.index < self.base.index || self.entry(id.index).is_some_and(|entry| entry.id == id)
        }
    }

    pub(crate) fn push(&mut self, entry: Entry) -> u64 {
        let before = self.entries.back().map_or(self.base_chain, |(_, chain)| *chain);
        let chain = chained(before, &entry);
        self.bytes += entry.weight();
        self.entries.push_back((entry, chain));
        chain
    }

    /// Applies a write. `chain_of` returns the hash of the log up to a committed entry; a reset needs it for the new base.
    pub(crate) fn apply(&mut self, write: &Write, chain_of: impl FnOnce(LogId) -> Option<u64>) {
        if let Some(base) = &write.reset_to {
            *self = Self::new(base.id, chain_of(base.id).unwrap_or(0), self.hard);
        }
        if let Some(hard) = write.hard_state {
            self.hard = hard;
        }
        if let Some(from) = write.truncate_from {
            while let Some((entry, _)) = self.entries.pop_back_if(|(entry, _)| entry.id.index >= from) {
                self.bytes -= entry.weight();
            }
        }
        for entry in write.append.iter() {
            self.push(entry.clone());
        }
        if let Some(to) = write.compact_to {
            while self.base.index < to
                && let Some((entry, chain)) = self.entries.pop_front()
            {
                self.bytes -= entry.weight();
                (self.base, self.base_chain) = (entry.id, chain);
            }
        }
    }

    /// The last membership in its entries.
    pub(crate) fn membership(&self) -> Option<&Membership> {
        self.entries.iter().rev().find_map(|(entry, _)| match &entry.payload {
            Payload::Membership(membership) => Some(&**membership),
            Payload::Noop | Payload::Command(_) => None,
        })
    }
}
