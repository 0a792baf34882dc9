//! Decodes the parts of a record one after the other, without copying any payload.

use raftkit_core::{LogId, LogIndex, Term};

use super::record::{ENTRY_HEAD, NAME, tag};
use crate::error::Damage;
use crate::fields::Fields;
use crate::layout::{IDENTITY_BYTES, Identity, decode_identity};

/// One part of a record, borrowed from the record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The log has this identity from now on.
    Identity(Identity),
    /// The log is emptied and starts after this base.
    Reset { id: LogId, membership: &'a [u8] },
    /// All entries from this index on are removed.
    Truncate(LogIndex),
    /// Entries are appended; [`Parts::next_entry`] returns them.
    Append,
    /// All entries up to this index are compacted.
    Compact(LogIndex),
    /// The record's changes are in redb only.
    Elsewhere,
}

/// An appended entry whose payload is not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended<'a> {
    pub(super) id: LogId,
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

/// The parts of a record that are not decoded yet, in the order in which they act.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    fields: Fields<'a>,
    /// Number of entries of the current append that are not decoded yet.
    entries: usize,
    /// Index of the next of these entries.
    next_index: LogIndex,
}

impl<'a> Parts<'a> {
    /// Begins with the first part. `seq` is the record's sequence number, for errors.
    pub(super) fn new(seq: u64, bytes: &'a [u8]) -> Self {
        Self { fields: Fields::keyed(NAME, seq, bytes), entries: 0, next_index: LogIndex::ZERO }
    }

    /// Decodes the next part; returns `None` after the last one. Entries of an append that were not taken are skipped.
    pub(super) fn next(&mut self) -> Result<Option<Part<'a>>, Damage> {
        while self.next_entry()?.is_some() {}
        let fields = &mut self.fields;
        if fields.rest().is_empty() {
            return Ok(None);
        }
        Ok(Some(match fields.u8()? {
            tag::IDENTITY => {
                let identity = decode_identity(fields.bytes(IDENTITY_BYTES)?)?;
                Part::Identity(identity.map_err(|_newer_format| fields.shape())?)
            }
            tag::RESET => {
                let id = fields.log_id()?;
                let len = fields.len()?;
                Part::Reset { id, membership: fields.bytes(len)? }
            }
            tag::TRUNCATE => Part::Truncate(fields.index()?),
            tag::APPEND => {
                self.entries = fields.len()?;
                self.next_index = fields.index()?;
                Part::Append
            }
            tag::COMPACT => Part::Compact(fields.index()?),
            tag::ELSEWHERE => Part::Elsewhere,
            _ => return Err(fields.shape()),
        }))
    }

    /// Decodes the next entry of the current append; returns `None` after the last one.
    pub(super) fn next_entry(&mut self) -> Result<Option<Appended<'a>>, Damage> {
        if self.entries == 0 {
            return Ok(None);
        }
        let fields = &mut self.fields;
        let len = fields.len()?;
        let id = LogId { term: Term(fields.u64()?), index: self.next_index };
        let kind = fields.u8()?;
        let payload = fields.bytes(len)?;
        self.entries -= 1;
        self.next_index = LogIndex(id.index.0.checked_add(1).ok_or_else(|| fields.shape())?);
        Ok(Some(Appended { id, kind, payload }))
    }

    /// Returns the most entries that the current append can still have: the stated number may be wrong, but each entry
    /// takes some bytes.
    pub(super) fn entries_max(&self) -> usize {
        self.entries.min(self.fields.rest().len() / ENTRY_HEAD)
    }
}
