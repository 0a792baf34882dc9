//! The journal as an opening finds it: which records are whole, which are torn, and which are rotten.
//!
//! If the record at the end of the chain fails its checks, it is either torn or rotten. A *torn* record was being
//! written when the power was cut; it was never acknowledged and is dropped. A *rotten* record was durable once, so the
//! node may have acknowledged it and must start as damaged. Three things prove that a record was durable: the witness
//! covers it; a whole record with a higher sequence number exists; or the record after it was begun, which happens only
//! once the one before is durable.

use std::io;

use raftkit_core::{HardState, LogId};
use raftkit_disk::DiskFile;

use super::claim::{Claim, claimed_seq, possible_sums};
use super::record::HEAD;
use super::sealed::{Record, Sealed};
use super::witness::Witness;
use super::{RING_BYTES_MIN, RING_START, SECTOR, salt};
use crate::error::Damage;
use crate::layout::{Identity, Mark};

/// A complete journal, read into memory.
#[derive(Debug)]
pub(crate) struct Image {
    bytes: Vec<u8>,
    witness: Witness,
    salt: u64,
}

/// The records that follow a mark.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Whole records, in order and without a gap.
    pub(crate) records: Vec<Record>,
    /// Records lost after them; `None` if nothing is missing.
    pub(crate) lost: Option<Lost>,
    /// True if the beginning of another record follows, which was never acknowledged.
    pub(crate) torn: bool,
}

/// Records that were once durable and are now missing or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Sequence number of the first lost record.
    pub(crate) first: u64,
    /// Highest sequence number of which there is any trace.
    pub(crate) last: u64,
}

/// The newest state known to have been durable, from a record or the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) mark: Mark,
    pub(crate) hard_state: HardState,
    pub(crate) last: LogId,
}

impl Image {
    /// Reads the journal from its file.
    ///
    /// # Errors
    /// The outer error: the disk failed. The inner one: neither witness is readable, or the file's length is not the
    /// one that the witness states.
    pub(crate) fn read(file: &dyn DiskFile) -> io::Result<Result<Self, Damage>> {
        let len = file.len()?;
        let shape = |got| Damage::Shape { record: "journal", key: 0, got };
        let size = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if len < RING_START + RING_BYTES_MIN {
            return Ok(Err(shape(size)));
        }
        let mut bytes = vec![0; size];
        file.read_at(0, &mut bytes)?;
        let Some(witness) = Witness::newest(&bytes) else {
            return Ok(Err(Damage::Missing { record: "witness" }));
        };
        if witness.ring != len - RING_START {
            return Ok(Err(shape(size)));
        }
        let salt = salt(&witness.identity);
        Ok(Ok(Self { bytes, witness, salt }))
    }

    /// Returns the newest witness.
    pub(crate) fn witness(&self) -> &Witness {
        &self.witness
    }

    fn ring(&self) -> &[u8] {
        self.bytes.get(usize::try_from(RING_START).unwrap_or(usize::MAX)..).unwrap_or_default()
    }

    /// Returns the record that starts at position `at`, if there is one.
    fn at(&self, at: u64) -> Option<Sealed<'_>> {
        let offset = usize::try_from(at % self.witness.ring).ok()?;
        Sealed::find(self.ring().get(offset..)?, self.salt).filter(|sealed| sealed.start() == at)
    }

    /// Returns the record after `mark`: at the mark itself, or at the start of the ring if it did not fit before the
    /// end.
    fn after(&self, mark: Mark) -> Option<Sealed<'_>> {
        let ring = self.witness.ring;
        let around = mark.at.checked_next_multiple_of(ring)?;
        let places = [mark.at, around];
        let found = places.into_iter().filter_map(|at| self.at(at));
        let follows = |sealed: &Sealed<'_>| sealed.prev == mark.sum;
        found.into_iter().find(|sealed| sealed.mark.seq == mark.seq + 1 && follows(sealed))
    }

    /// Follows the chain of records from `mark` on, and determines what is lost after its end.
    ///
    /// A witness with the sequence number of the chain's end but another checksum means that database and journal are
    /// from different histories, as when a backup is restored only in part. The record at the end then counts as lost.
    ///
    /// # Errors
    /// A record's checksum matches, but its content is malformed.
    pub(crate) fn follow(&self, mark: Mark) -> Result<Chain, Damage> {
        let mut end = mark;
        let mut records = Vec::new();
        while let Some(sealed) = self.after(end) {
            records.push(sealed.open()?);
            end = sealed.mark;
        }
        let behind = self.newest_record(end.seq);
        let newest = behind.map_or(0, |sealed| sealed.mark.seq).max(self.witness.mark.seq);
        let replaced = self.witness.mark.seq == end.seq && self.witness.mark.sum != end.sum;
        let newest = newest.max(self.begun_behind(end).map_or(0, |begun| begun.seq - 1));
        let lost = if newest > end.seq {
            Some(Lost { first: end.seq + 1, last: newest })
        } else {
            replaced.then_some(Lost { first: end.seq, last: end.seq })
        };
        Ok(Chain { records, lost, torn: lost.is_none() && self.is_torn(end) })
    }

    /// Returns true if the beginning of the record after `end` is in the ring.
    fn is_torn(&self, end: Mark) -> bool {
        let ring = self.witness.ring;
        let claims = |at: u64| {
            let offset = usize::try_from(at % ring).ok()?;
            claimed_seq(self.ring().get(offset..)?)
        };
        [end.at, end.at.next_multiple_of(ring)].into_iter().any(|at| claims(at) == Some(end.seq + 1))
    }

    /// Looks past the record after `end`, which is not whole, for the beginning of the record that follows it. If there
    /// is one, the first of the two is rotten, not torn: the second was begun only after the first was durable. This
    /// holds even if a power cut tore the second.
    fn begun_behind(&self, end: Mark) -> Option<Claim> {
        let ring = self.ring();
        let around = end.at.checked_next_multiple_of(self.witness.ring)?;
        let sums: Vec<u64> = [end.at, around]
            .into_iter()
            .filter_map(|at| ring.get(usize::try_from(at % self.witness.ring).ok()?..))
            .flat_map(|bytes| possible_sums(bytes, self.salt))
            .flatten()
            .collect();
        (0..ring.len()).step_by(SECTOR).find_map(|start| {
            let claim = Claim::read(&ring[start..])?;
            let is_it = claim.seq == end.seq.checked_add(2)? && sums.contains(&claim.prev);
            (is_it && claim.at % self.witness.ring == start as u64).then_some(claim)
        })
    }

    /// Returns the whole record with the highest sequence number above `above`, wherever it stands in the ring.
    fn newest_record(&self, above: u64) -> Option<Sealed<'_>> {
        let ring = self.ring();
        let mut newest: Option<Sealed<'_>> = None;
        for start in (0..ring.len().saturating_sub(HEAD)).step_by(SECTOR) {
            let floor = newest.map_or(above, |sealed| sealed.mark.seq);
            let part = &ring[start..];
            if claimed_seq(part).is_some_and(|seq| seq > floor)
                && let Some(sealed) = Sealed::find(part, self.salt)
                && sealed.start() % self.witness.ring == start as u64
            {
                newest = Some(sealed);
            }
        }
        newest
    }

    /// Returns the newest state of which there is a trace. Its hard state is the node's, whatever else is lost.
    pub(crate) fn newest(&self) -> Result<Newest, Damage> {
        let Witness { mark, hard_state, last, .. } = self.witness;
        let newest = match self.newest_record(mark.seq) {
            Some(sealed) => {
                let (hard_state, last) = sealed.ends()?;
                Newest { mark: sealed.mark, hard_state, last }
            }
            None => Newest { mark, hard_state, last },
        };
        // A record of which only the beginning is left may have been durable, so take its hard state: to keep a vote
        // that was never sent is safe, to forget one that was sent is not.
        Ok(self.begun_behind(newest.mark).map_or(newest, |begun| {
            let at = begun.at.saturating_add(SECTOR as u64);
            let mark = Mark { seq: begun.seq, at, sum: begun.prev };
            Newest { mark, hard_state: begun.hard_state, last: begun.last }
        }))
    }

    /// Returns a mark from which a journal with a broken chain can continue: at the start of the ring, and above every
    /// sequence number that the ring holds.
    pub(crate) fn fresh_mark(&self) -> Result<Mark, Damage> {
        let newest = self.newest()?.mark;
        let shape = Damage::Shape { record: "journal", key: newest.seq, got: self.bytes.len() };
        let at = newest.at.checked_add(1).and_then(|at| at.checked_next_multiple_of(self.witness.ring));
        Ok(Mark { seq: newest.seq + 1, at: at.ok_or(shape)?, sum: !newest.sum })
    }

    /// Returns true if nothing was ever recorded and the log was empty when the journal was created.
    pub(crate) fn is_unused(&self) -> bool {
        let Witness { mark, last, hard_state, .. } = self.witness;
        let is_new = mark.seq == 0 && last == LogId::ZERO && hard_state == HardState::default();
        is_new && self.newest_record(0).is_none()
    }

    /// Returns true if this journal was created in front of a log of format 1 and nothing is recorded yet, which means
    /// that the upgrade was interrupted.
    pub(crate) fn is_new_before(&self, identity: &Identity) -> bool {
        let is_its = self.witness.identity.store == identity.store;
        is_its && self.witness.mark.seq == 0 && self.newest_record(0).is_none()
    }
}
