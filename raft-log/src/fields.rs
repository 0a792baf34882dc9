//! Decodes bytes field by field. All numbers are little-endian.

use raftkit_core::{LogId, LogIndex, Term};

use crate::error::Damage;
use crate::layout::Mark;

/// The bytes of one record that are not decoded yet.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    record: &'static str,
    key: u64,
    len: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Begins decoding `body`. `record` names the record in errors.
    pub(crate) fn new(record: &'static str, body: &'a [u8]) -> Self {
        Self { record, key: 0, len: body.len(), rest: body }
    }

    /// As [`new`](Self::new), for the record with this key.
    pub(crate) fn keyed(record: &'static str, key: u64, body: &'a [u8]) -> Self {
        Self { key, ..Self::new(record, body) }
    }

    /// Returns the error for a malformed record.
    pub(crate) fn shape(&self) -> Damage {
        Damage::Shape { record: self.record, key: self.key, got: self.len }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.shape())?;
        self.rest = rest;
        Ok(head)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.shape())?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        self.take().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Damage> {
        self.take().map(u128::from_le_bytes)
    }

    /// Decodes a `u32` length.
    pub(crate) fn len(&mut self) -> Result<usize, Damage> {
        let len = self.u32()?;
        usize::try_from(len).map_err(|_| self.shape())
    }

    pub(crate) fn index(&mut self) -> Result<LogIndex, Damage> {
        self.u64().map(LogIndex)
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, Damage> {
        Ok(LogId { term: Term(self.u64()?), index: self.index()? })
    }

    pub(crate) fn mark(&mut self) -> Result<Mark, Damage> {
        Ok(Mark { seq: self.u64()?, at: self.u64()?, sum: self.u64()? })
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Damage> {
        self.flags(1).map(|flags| flags == 1)
    }

    /// Decodes a byte of flags in which only the bits of `known` may be set.
    pub(crate) fn flags(&mut self, known: u8) -> Result<u8, Damage> {
        let [flags] = self.take()?;
        if flags & !known == 0 { Ok(flags) } else { Err(self.shape()) }
    }

    pub(crate) fn end(self) -> Result<(), Damage> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.shape()) }
    }
}
