//! Reads a record back from the bytes that are about to be written.
//!
//! A record is read only at the next opening. A bug in its encoding would be found when the entries that it alone holds
//! are needed, so the record is compared with what it was meant to say while nothing is acknowledged yet.

use raftkit_core::{HardState, LogId};

use super::SECTOR;
use super::parts::{Appended, Part, Parts};
use super::sealed::Sealed;
use crate::error::Damage;
use crate::layout::{Mark, as_stored};

/// What a record must say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meant {
    /// Position at which the record starts, counted without wrapping.
    pub(super) start: u64,
    /// Checksum of the record before it.
    pub(super) prev: u64,
    /// The journal position after the record, with the record's checksum.
    pub(super) mark: Mark,
    /// Number of bytes after the head that the checksum covers.
    pub(super) body_bytes: usize,
    /// The hard state after the record.
    pub(super) hard_state: HardState,
    /// The last entry of the log after the record.
    pub(super) last: LogId,
}

/// Checks that `bytes` are a record that says what it is meant to say, and that all of its parts can be decoded.
///
/// The checksum was computed from these bytes a moment ago, so it is compared and not computed again: what may go wrong
/// is that it stands in the wrong place or covers something else. With debug assertions it is computed again, too.
///
/// # Panics
/// They are not, which is a bug in the encoding.
pub(super) fn assert_says(bytes: &[u8], salt: u64, meant: &Meant) {
    assert!(bytes.len().is_multiple_of(SECTOR), "a record fills whole sectors, not {} bytes", bytes.len());
    let sealed = Sealed::find_unchecked(bytes).expect("a record that was just sealed is found");
    debug_assert!(Sealed::find(bytes, salt).is_some(), "a record that was just sealed matches its checksum");
    assert_eq!(sealed.start(), meant.start, "the record states where it starts");
    assert_eq!(sealed.prev, meant.prev, "the record continues the chain");
    assert_eq!(sealed.mark, meant.mark, "the record states its number, its checksum and its end");
    assert_eq!(sealed.body_bytes(), meant.body_bytes, "the record states the length that was hashed");
    let (read, last) = sealed.ends().expect("the hard state that was just encoded can be decoded");
    let HardState { term, vote, commit, health, promise } = as_stored(meant.hard_state);
    assert_eq!((read.term, read.vote), (term, vote), "the record holds term and vote");
    assert_eq!((read.commit, read.health), (commit, health), "the record holds commit index and health");
    assert_eq!(read.promise, promise, "the record holds the promise, or the longest that fits");
    assert_eq!(last, meant.last, "the record states the last entry");
    let appended = last_appended(sealed.parts()).expect("the parts that were just encoded can be decoded");
    assert!(appended.is_none_or(|id| id == last), "the record appends up to {appended:?}, not {last}");
}

/// Returns the id of the last entry that these parts append; `None` if a truncation or reset follows.
fn last_appended(mut parts: Parts<'_>) -> Result<Option<LogId>, Damage> {
    let mut last: Option<LogId> = None;
    while let Some(part) = parts.next()? {
        match part {
            Part::Reset { .. } | Part::Truncate(_) => last = None,
            Part::Append => {
                while let Some(Appended { id, .. }) = parts.next_entry()? {
                    let follows = |last: LogId| last.index.next() == id.index && last.term <= id.term;
                    assert!(last.is_none_or(follows), "entry {id} is appended after {last:?}");
                    last = Some(id);
                }
            }
            Part::Identity(_) | Part::Compact(_) | Part::Elsewhere => {}
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use raftkit_core::{Entry, LogIndex, Payload, Term, Write};

    use super::super::record::Encoder;
    use super::*;

    fn meant() -> Meant {
        let hard_state = HardState { term: Term(3), commit: LogIndex(1), ..HardState::default() };
        let mark = Mark { seq: 5, at: 1024, sum: 0 };
        Meant { start: 512, prev: 9, mark, body_bytes: 0, hard_state, last: LogId::new(3, 8) }
    }

    /// A record that appends these entries, and what it says.
    fn record(ids: &[LogId]) -> (Vec<u8>, Meant) {
        let mut meant = meant();
        let entry = |id: &LogId| Entry { id: *id, payload: Payload::Command("x".into()) };
        let mut encoder = Encoder::default();
        encoder.begin(&meant.hard_state, meant.last);
        encoder.write(&Write { append: ids.iter().map(entry).collect(), ..Write::default() });
        let seal = encoder.seal(7, meant.mark.seq, meant.start, meant.prev);
        (meant.mark.sum, meant.body_bytes) = (seal.sum, seal.body_bytes);
        (encoder.bytes().to_vec(), meant)
    }

    fn panics(bytes: &[u8], meant: Meant) -> bool {
        std::panic::catch_unwind(|| assert_says(bytes, 7, &meant)).is_err()
    }

    #[test]
    fn a_record_that_says_what_it_is_meant_to_say_passes() {
        let (bytes, meant) = record(&[LogId::new(2, 7), LogId::new(3, 8)]);
        assert_says(&bytes, 7, &meant);
        let (bytes, meant) = record(&[]);
        assert_says(&bytes, 7, &meant);
    }

    #[test]
    fn a_record_that_says_anything_else_does_not() {
        let (bytes, sound) = record(&[LogId::new(2, 7), LogId::new(3, 8)]);
        let spoilt: [fn(&mut Meant); 11] = [
            |meant| meant.start = 1024,
            |meant| meant.prev += 1,
            |meant| meant.mark.seq += 1,
            |meant| meant.mark.sum += 1,
            |meant| meant.body_bytes += 1,
            |meant| meant.hard_state.term = Term(4),
            |meant| meant.hard_state.vote = Some(raftkit_core::NodeId(1)),
            |meant| meant.hard_state.commit = LogIndex(2),
            |meant| meant.hard_state.health = raftkit_core::Health::Damaged,
            |meant| meant.hard_state.promise = Duration::from_nanos(1),
            |meant| meant.last = LogId::new(3, 9),
        ];
        for (at, spoil) in spoilt.iter().enumerate() {
            let mut meant = sound;
            spoil(&mut meant);
            assert!(panics(&bytes, meant), "{at}");
        }
        let mut spoilt = bytes.clone();
        spoilt[100] ^= 1;
        assert!(!cfg!(debug_assertions) || panics(&spoilt, sound), "bytes that do not match the checksum");
        assert!(panics(&bytes[..bytes.len() - 1], sound), "a part of a sector");
        for ids in [[LogId::new(3, 8), LogId::new(3, 7)], [LogId::new(3, 7), LogId::new(2, 8)]] {
            let (bytes, meant) = record(&ids);
            assert!(panics(&bytes, meant), "{ids:?}");
        }
    }
}
