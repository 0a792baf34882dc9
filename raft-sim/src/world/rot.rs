//! Rot of a node's files: the places where it does the most harm, and the conditions under which it is allowed.

use std::path::PathBuf;

use raftkit_core::NodeId;

use crate::Mark;
use crate::plan::script::Area;
use crate::process::folders::Folders;
use crate::process::host::Harm;
use crate::subject::Subject;
use crate::world::World;

/// Offset of the ring in the journal, after the two witnesses (raft-log's documentation).
const RING_START: u64 = 8192;
/// Offsets of the two witnesses in the journal.
const WITNESSES: [usize; 2] = [0, 4096];
/// Size of a sector, in bytes. Records start at sectors.
const SECTOR: usize = 512;
/// Magic bytes at the start of a record and of a witness.
const RECORD: &[u8] = b"RKJ2";
const WITNESS: &[u8] = b"RKW2";
/// Length of a record's head, in bytes. The hard state follows it.
const RECORD_HEAD: u64 = 40;
/// Number of records, from the newest one back, that may rot.
const NEWEST: u64 = 4;

impl<S: Subject> World<S> {
    pub(crate) fn rot(&mut self, id: NodeId, area: Area, sectors: u64) {
        let host = &self.hosts[&id];
        let Some(process) = host.process.as_ref() else { return };
        // The witness may not cover the last flush yet: rot of that flush together with a power cut cannot be told from a
        // torn write (raft-log's README, Shortcomings).
        let settled = process.flush.is_idle() && process.flush.is_witnessed();
        let in_place = matches!(area, Area::Journal | Area::Snapshots);
        // A wiped node is about to become a voter again. With unnoticed rot it would count as sound then.
        if host.harm != Harm::None || host.returning || (in_place && !settled) || !self.may_harm(id) {
            return;
        }
        if area != Area::Record {
            self.rotten_beyond_records.insert(id);
        }
        let host = self.host(id);
        host.harm = Harm::Rotten;
        host.has_rotted = true;
        match area {
            Area::Journal | Area::Snapshots => self.rot_sectors(id, area, sectors),
            // redb checks its pages when it opens a file. At a page that rots later it panics, and panics again while that
            // unwinds, which aborts the process: here that would be the simulator.
            Area::Log | Area::State | Area::LogCommit | Area::StateCommit | Area::Record => {
                host.rots_at_rest.push((area, sectors));
            }
        }
    }

    /// Lets the planned areas rot, while the node is down.
    pub(crate) fn rot_at_rest(&mut self, id: NodeId) {
        for (area, sectors) in std::mem::take(&mut self.host(id).rots_at_rest) {
            match area {
                Area::Log | Area::State | Area::Journal | Area::Snapshots => {
                    self.rot_sectors(id, area, sectors);
                }
                Area::LogCommit | Area::StateCommit => self.rot_commit(id, area),
                Area::Record => self.rot_record(id),
            }
        }
    }

    fn files(&self, id: NodeId, area: Area) -> Vec<PathBuf> {
        Folders::of(&self.settings).files_of(&self.hosts[&id].disk.image(), area)
    }

    fn rot_sectors(&mut self, id: NodeId, area: Area, sectors: u64) {
        let files = self.files(id, area);
        // Either the witnesses of the journal rot or its records: with both rotten a record cannot be told from a torn one.
        let of_journal = area == Area::Journal;
        let (from, to) = match of_journal {
            true if self.rng.permille(150) => (0, RING_START),
            true => (RING_START, u64::MAX),
            false => (0, u64::MAX),
        };
        for _ in 0..sectors {
            let Some(file) = files.get(usize::try_from(self.rng.below(files.len() as u64)).unwrap_or(0))
            else {
                return;
            };
            let len = self.hosts[&id].disk.image().len(file).map(|len| len.min(to)).filter(|len| *len > from);
            let Some(len) = len else { continue };
            let at = self.rng.range(from, len - 1);
            self.flip(id, file, at);
        }
    }

    fn flip(&mut self, id: NodeId, file: &std::path::Path, at: u64) {
        let mask = 1 << self.rng.below(8);
        self.hosts[&id].disk.rot(file, at, mask);
        self.counts.rots += 1;
        self.marks.hit(Mark::Rotted);
    }

    /// Lets the slot that names the newest commit of a database rot, so that redb opens the commit before. With the log's
    /// database nothing is lost: whatever the newest commit holds is also in the journal, except for writes that were too
    /// large for it.
    ///
    /// This is not done if the process ended within the next commit, which may have overwritten pages of the commit before.
    fn rot_commit(&mut self, id: NodeId, area: Area) {
        let Some((file, bytes)) = self.files(id, area).into_iter().find_map(|file| {
            let bytes = self.hosts[&id].disk.durable(&file)?;
            bytes.starts_with(b"redb").then_some((file, bytes))
        }) else {
            return;
        };
        let Some(at) = newest_slot(&bytes) else { return };
        // The first byte of a slot is the version of redb's file format. With it rotten the whole database cannot be read.
        let byte = self.rng.below(SLOT_BYTES);
        self.flip(id, &file, at + byte);
        self.hit(Mark::CommitRotted);
        let host = self.host(id);
        if area == Area::LogCommit && byte > 0 && !host.needs_newest_commit && !host.was_damaged {
            host.harm = Harm::None;
        }
    }

    /// Lets one of the journal's newest records rot: one that the witness covers, or that has an intact record after it. Any
    /// other record could be taken for a torn one, with which nothing acknowledged is lost.
    fn rot_record(&mut self, id: NodeId) {
        let files = self.files(id, Area::Record);
        let Some((file, bytes)) =
            files.first().and_then(|file| Some((file, self.hosts[&id].disk.durable(file)?)))
        else {
            return;
        };
        let records = records(&bytes);
        let Some((newest, _)) = records.iter().max() else { return };
        let last = (*newest).min(witnessed(&bytes).max(newest.saturating_sub(2)));
        let may: Vec<(u64, u64)> =
            records.into_iter().filter(|(seq, _)| *seq <= last && *seq + NEWEST > last).collect();
        if may.is_empty() {
            return;
        }
        let (_, at) = self.rng.pick(&may);
        // The rotten byte is after the head, as the next search for the newest records reads the sequence in the head.
        let at = at + RECORD_HEAD + self.rng.below(24);
        self.flip(id, file, at);
        self.hit(Mark::RecordRotted);
    }
}

/// Size of a slot in redb's header, in bytes. The header has magic bytes, a byte that says which slot is the newer one, and two
/// slots from byte 64 on.
const SLOT_BYTES: u64 = 128;

/// Returns the offset of the slot of the newest commit.
fn newest_slot(bytes: &[u8]) -> Option<u64> {
    let primary = u64::from(bytes.get(9)? & 1);
    (bytes.len() > 320).then_some(64 + primary * SLOT_BYTES)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Returns the journal's records in the order of their sequence numbers, each with its offset. One of them may be torn.
fn records(bytes: &[u8]) -> Vec<(u64, u64)> {
    let start = usize::try_from(RING_START).unwrap_or(usize::MAX);
    let places = (start..bytes.len()).step_by(SECTOR);
    let claims = |at: usize| bytes[at..].starts_with(RECORD).then(|| number(bytes, at + 24)).flatten();
    places.filter_map(|at| Some((claims(at)?, at as u64))).collect()
}

/// Returns the sequence number of the last record that the journal's witness covers.
fn witnessed(bytes: &[u8]) -> u64 {
    let known = |at: usize| bytes.get(at..)?.starts_with(WITNESS).then(|| number(bytes, at + 32)).flatten();
    WITNESSES.into_iter().filter_map(known).max().unwrap_or(0)
}
