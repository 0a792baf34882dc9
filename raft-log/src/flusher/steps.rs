//! The steps of a flush: room in the ring, a detour around it for what is too large, and records.
//!
//! A flush first checks its writes and groups them into records; nothing is written yet. Then each step has a
//! beginning, which makes all its disk calls, and an end, at which others see its effects.

use std::collections::VecDeque;
use std::io;

use raftkit_core::{HardState, LogId, Write, WriteSeq};

use super::Flusher;
use crate::codec::PAYLOAD_BYTES_MAX;
use crate::core_slot::Held;
use crate::error::{StoreError, Trouble};
use crate::journal::padded;
use crate::journal::record::{Encoder, RECORD_BYTES_MIN, encoded_len, payload_len};
use crate::layout::{Identity, Mark};
use crate::shared::Unsettled;

/// Writes that share one record, and the state of the log after them.
#[derive(Debug)]
pub(super) struct Group {
    writes: Vec<Write>,
    /// Sequence number of the group's last write.
    seq: WriteSeq,
    /// The new identity, if this group changes it.
    identity: Option<Identity>,
    bytes: usize,
    hard_state: HardState,
    last: LogId,
    /// Journal position after this group, set once redb holds a group that is too large for the ring.
    around: Option<Mark>,
}

/// One step of a flush. Each step makes something durable that the next step relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Free some of the full ring.
    Room,
    /// Write a group that is too large for the ring directly into redb.
    Around,
    /// Write a record to the journal.
    Record,
}

/// A step whose disk calls have all been made, but whose effects are not visible yet.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The settling half's core, held for as long as the step needs it.
    pub(super) held: Option<Held>,
    /// Last write that this step makes durable; `None` if the step completes no write.
    pub(super) seq: Option<WriteSeq>,
    /// The flush that this step adds to the journal, if any.
    pub(super) result: Result<Option<Unsettled>, Trouble>,
}

/// Progress of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// More steps follow. All writes up to the given one are durable; `None` if the step completed no write.
    More(Option<WriteSeq>),
    /// The flush is finished. All writes up to the given one are durable; `None` if nothing was queued.
    All(Option<WriteSeq>),
}

/// Growth of the unsettled part of the journal through one step, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// Unsettled bytes right before the step.
    pub(crate) before: u64,
    pub(crate) bytes: u64,
}

impl Flusher {
    /// Returns true if the next step needs the database while the settling half holds it, so that beginning the step
    /// would block.
    pub(crate) fn would_wait(&self) -> bool {
        matches!(self.step(), Some(Step::Room | Step::Around)) && self.core.is_out()
    }

    fn step(&self) -> Option<Step> {
        let group = self.groups.front()?;
        let is_large = group.bytes > self.journal.record_bytes_max();
        let bytes = if is_large { RECORD_BYTES_MIN + 1 } else { group.bytes };
        let has_room = self.journal.has_room(padded(bytes), self.shared.floor());
        Some(match (is_large, group.around) {
            (_, None) if !has_room => Step::Room,
            (true, None) => Step::Around,
            (false, _) | (true, Some(_)) => Step::Record,
        })
    }

    /// Makes the disk calls of the next step. Readers and the settling half see its effects only after
    /// [`end`](Self::end), except that readers see a group too large for the ring at once.
    pub(crate) fn begin(&mut self) -> Begun {
        let (held, result) = match self.shared.alive().map(|()| self.step()) {
            Err(error) => (None, Err(error.into())),
            Ok(None) => (None, Ok(None)),
            Ok(Some(Step::Room)) => {
                let mut held = self.core.take_out();
                // The settling half may have made room while this one waited for the core.
                let result = if self.step() == Some(Step::Room) { held.make_room() } else { Ok(()) };
                (Some(held), result.map(|()| None))
            }
            Ok(Some(Step::Around)) => {
                let mut held = self.core.take_out();
                let result = self.write_around(&mut held);
                (Some(held), result.map(|()| None))
            }
            Ok(Some(Step::Record)) => {
                let Some(group) = self.groups.pop_front() else { unreachable!("the step is of a group") };
                let seq = Some(group.seq);
                let result = self.write_record(group);
                return Begun { held: None, seq, result };
            }
        };
        Begun { held, seq: None, result }
    }

    /// Ends a step that was [begun](Self::begin), once everything it synced is durable.
    pub(crate) fn end(&mut self, begun: Begun) -> Result<(Flushed, Option<Added>), StoreError> {
        let flush = match begun.held {
            Some(held) => held.put_back(begun.result)?,
            None => self.shared.end_on_error(begun.result)?,
        };
        let added = flush.map(|flush| {
            let bytes = flush.bytes;
            Added { before: self.shared.flushed(flush), bytes }
        });
        let is_last = self.groups.is_empty();
        Ok((if is_last { Flushed::All(self.flushes_to.take()) } else { Flushed::More(begun.seq) }, added))
    }

    /// Checks all writes and groups them into records, before anything is written.
    pub(super) fn group(
        &mut self,
        writes: Vec<Write>,
        identity: Option<Identity>,
    ) -> Result<VecDeque<Group>, Trouble> {
        let bytes_max = self.journal.record_bytes_max();
        let mut groups: VecDeque<Group> = VecDeque::new();
        for write in writes {
            check_sizes(&write)?;
            self.state.apply(&write)?;
            let (seq, bytes) = (write.seq, encoded_len(&write));
            let (hard_state, last) = (self.state.hard_state, self.state.last);
            match groups.back_mut() {
                Some(group) if group.bytes + bytes <= bytes_max => {
                    group.writes.push(write);
                    group.bytes += bytes;
                    (group.seq, group.hard_state, group.last) = (seq, hard_state, last);
                }
                Some(_) | None => {
                    let bytes = RECORD_BYTES_MIN + encoded_len(&Write::default()) * 8 + bytes;
                    let (writes, around) = (vec![write], None);
                    groups.push_back(Group { writes, seq, identity, bytes, hard_state, last, around });
                }
            }
        }
        Ok(groups)
    }

    fn write_record(&mut self, group: Group) -> Result<Option<Unsettled>, Trouble> {
        let Group { writes, identity, hard_state, last, around, .. } = group;
        if let Some(mark) = around {
            self.commit_record(mark)?;
            return Ok(None);
        }
        let before = self.journal.mark();
        let mark = self.journal.prepare(&hard_state, last, |record| {
            if let Some(identity) = identity.as_ref() {
                record.identity(identity);
            }
            for write in &writes {
                record.write(write);
            }
        });
        self.commit_record(mark)?;
        Ok(Some(Unsettled { mark, writes, identity, bytes: mark.at - before.at }))
    }

    fn commit_record(&mut self, mark: Mark) -> Result<(), StoreError> {
        let disk = |source: io::Error| StoreError::Disk { path: self.shared.journal_path.clone(), source };
        self.journal.commit(mark).map_err(disk)
    }

    /// Writes a group that is too large for the ring directly into redb. The journal's next record then states that
    /// redb holds it.
    fn write_around(&mut self, core: &mut Held) -> Result<(), Trouble> {
        core.settle_all()?;
        let Some(group) = self.groups.front_mut() else { return Ok(()) };
        let mark = self.journal.prepare(&group.hard_state, group.last, Encoder::elsewhere);
        group.around = Some(mark);
        let (writes, bytes) = (std::mem::take(&mut group.writes), group.bytes);
        let flush = Unsettled { mark, writes, identity: group.identity, bytes: 0 };
        // Change the view before redb changes, so that no reader takes new entries for the old ones at the same
        // indexes.
        self.shared.show(&flush);
        core.settle_around(&flush, bytes as u64)
    }
}

fn check_sizes(write: &Write) -> Result<(), StoreError> {
    for entry in &write.append {
        let got = payload_len(entry);
        if got > PAYLOAD_BYTES_MAX {
            return Err(StoreError::EntryTooLarge { id: entry.id, got, max: PAYLOAD_BYTES_MAX });
        }
    }
    Ok(())
}
