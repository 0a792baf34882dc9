//! Encodes a list as JSON in pieces, which together are the same bytes as if the list were encoded at once.

use std::ops::ControlFlow;

use raftkit_kv::{KvEntryRef, Listing, Step};
use raftkit_replica::MachineError;
use serde::Serialize;

use super::super::answer::Layout;
use super::super::entry::EntryJson;
use super::{ListKey, What};

/// A piece ends with the entry that brings it to this size, in bytes. The size is large enough that the hand-over of a piece
/// between threads (about 50 us) does not matter, and small enough that the reading thread is soon free again.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// Maximum number of entries that are read in one step if they do not fill a piece: less than a millisecond of reading.
const STEP_ENTRIES: usize = 1024;

/// Why a list cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("an entry could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Reads the next entries without encoding them.
pub(crate) fn skip(listing: &mut Listing) -> Result<Step, MachineError> {
    let mut entries = 0;
    listing.step(|_| {
        entries += 1;
        if entries >= STEP_ENTRIES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Encodes one list.
pub(crate) struct Encoder {
    key: ListKey,
    piece: Vec<u8>,
    /// True once an entry was written: the next one follows a comma.
    begun: bool,
    /// The last name of a list of names, to leave out equal ones.
    last_name: Option<String>,
}

impl Encoder {
    pub(crate) fn new(key: &ListKey) -> Self {
        Self { key: key.clone(), piece: Vec::new(), begun: false, last_name: None }
    }

    /// Reads and encodes the next step of `listing`. The resulting piece may be empty before the end.
    pub(crate) fn step(&mut self, listing: &mut Listing) -> Result<(Vec<u8>, Step), ListError> {
        let (mut entries, mut failed) = (0, None);
        let step = listing.step(|entry| {
            entries += 1;
            failed = self.push(entry).err();
            if failed.is_some() || self.piece.len() >= PIECE_BYTES || entries >= STEP_ENTRIES {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if step != Step::More {
            self.end();
        }
        // Free the unused capacity, because a piece may wait long for its client.
        self.piece.shrink_to_fit();
        Ok((std::mem::take(&mut self.piece), step))
    }

    /// Whether the answer is 404 because no key has the prefix. The names under the empty prefix always exist.
    pub(crate) fn is_empty(&self) -> bool {
        let root = match self.key.what {
            What::Entries => false,
            What::Keys { .. } => self.key.prefix.is_empty(),
        };
        !self.begun && !root
    }

    fn push(&mut self, entry: KvEntryRef<'_>) -> Result<(), serde_json::Error> {
        match &self.key.what {
            What::Entries => self.element(&EntryJson::from(entry)),
            What::Keys { separator: None } => self.element(&entry.key),
            What::Keys { separator: Some(separator) } => {
                let name = entry.name_up_to(self.key.prefix.len(), separator);
                // Keys with the same beginning follow each other, so comparing with the last name finds duplicates.
                if self.last_name.as_deref() == Some(name) {
                    return Ok(());
                }
                self.last_name = Some(name.to_owned());
                self.element(&name)
            }
        }
    }

    fn element(&mut self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.piece.push(if self.begun { b',' } else { b'[' });
        self.begun = true;
        match self.key.layout {
            Layout::Compact => serde_json::to_writer(&mut self.piece, value),
            Layout::Pretty => {
                // Encode the value as the only element of a list, which gives the right indentation, and remove the brackets.
                let mut alone = Vec::new();
                let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
                [value].serialize(&mut serde_json::Serializer::with_formatter(&mut alone, formatter))?;
                let inner = alone.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"\n]"));
                self.piece.extend_from_slice(inner.unwrap_or(&alone));
                Ok(())
            }
        }
    }

    fn end(&mut self) {
        let end: &[u8] = match (self.begun, self.key.layout) {
            (false, Layout::Compact) => b"[]",
            (false, Layout::Pretty) => b"[]\n",
            (true, Layout::Compact) => b"]",
            (true, Layout::Pretty) => b"\n]\n",
        };
        self.piece.extend_from_slice(end);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use raftkit_core::LogId;
    use raftkit_disk::SimulatedDisk;
    use raftkit_kv::{Command, Condition, KvMachine};
    use raftkit_replica::{Applied, StateMachine};

    use super::super::super::answer::to_json;
    use super::*;

    fn machine(entries: &[(String, Bytes)]) -> KvMachine {
        let mut machine = KvMachine::open(Arc::new(SimulatedDisk::new(1)), Path::new("/state")).unwrap();
        let commands = entries.iter().zip(1..).map(|((key, value), index)| {
            let command = Command::Put {
                key: key.clone(),
                value: value.clone(),
                flags: index,
                condition: Condition::Always,
            };
            Applied { id: LogId::new(1, index), command: Some(command.encode()) }
        });
        machine.apply(&commands.collect::<Vec<_>>()).unwrap();
        machine
    }

    /// The pieces, and the index.
    fn made(machine: &KvMachine, key: &ListKey) -> (Vec<Vec<u8>>, u64) {
        let (mut listing, mut encoder) = (machine.reader().listing(&key.prefix).unwrap(), Encoder::new(key));
        let mut pieces = Vec::new();
        loop {
            let (piece, step) = encoder.step(&mut listing).unwrap();
            pieces.push(piece);
            if let Step::End { index } = step {
                return (pieces, index);
            }
        }
    }

    /// The same, made at once.
    fn expected(machine: &KvMachine, key: &ListKey) -> (Bytes, u64) {
        let reader = machine.reader();
        match &key.what {
            What::Entries => {
                let read = reader.list(&key.prefix).unwrap();
                let all: Vec<_> = read.value.iter().map(|entry| EntryJson::from(entry.borrowed())).collect();
                (to_json(&all, key.layout).unwrap(), read.index)
            }
            What::Keys { separator } => {
                let read = reader.keys(&key.prefix, separator.as_deref()).unwrap();
                (to_json(&read.value, key.layout).unwrap(), read.index)
            }
        }
    }

    fn all_kinds(prefix: &str) -> Vec<ListKey> {
        let what = [
            What::Entries,
            What::Keys { separator: None },
            What::Keys { separator: Some("/".into()) },
            What::Keys { separator: Some("a/".into()) },
        ];
        let layouts = [Layout::Compact, Layout::Pretty];
        let both =
            |what: What| layouts.map(|layout| ListKey { what: what.clone(), prefix: prefix.into(), layout });
        what.into_iter().flat_map(both).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_are_the_bytes_of_the_whole(
            entries in proptest::collection::vec(("[ab/\"ü]{1,6}", prop_oneof![9 => 0_usize..9, 1 => 0_usize..70_000]), 0..40),
            prefix in "[ab/]{0,2}",
        ) {
            let entries: Vec<_> =
                entries.into_iter().map(|(key, size)| (key, Bytes::from(vec![b'v'; size]))).collect();
            let machine = machine(&entries);
            for key in all_kinds(&prefix) {
                let (pieces, index) = made(&machine, &key);
                let (whole, expected_index) = expected(&machine, &key);
                prop_assert_eq!(Bytes::from(pieces.concat()), whole, "{:?}", key);
                prop_assert_eq!(index, expected_index);
            }
        }
    }

    #[test]
    fn no_piece_is_much_larger_than_its_size_and_no_step_reads_many_entries() {
        let entries: Vec<_> =
            (0..5000).map(|number| (format!("a/{number:04}"), Bytes::from_static(&[b'v'; 100]))).collect();
        let machine = machine(&entries);
        let (pieces, _) = made(&machine, &all_kinds("")[0]);
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 300));
        // One name, of five thousand keys.
        let (pieces, _) = made(&machine, &all_kinds("")[4]);
        assert_eq!((pieces.len(), pieces.concat()), (5, b"[\"a/\"]".to_vec()));
    }
}
