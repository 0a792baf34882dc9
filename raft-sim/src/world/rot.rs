//! Rot: which areas, where it does the most harm, and when it is allowed. A sound quorum is always left.

use std::path::PathBuf;

use raftkit_core::NodeId;

use crate::Mark;
use crate::plan::script::Area;
use crate::process::folders::Folders;
use crate::process::host::Harm;
use crate::subject::Subject;
use crate::world::World;

/// Where a journal's records begin, behind its witnesses (raft-log's documentation).
const RING_START: u64 = 8192;
/// Where the two witnesses are.
const WITNESSES: [usize; 2] = [0, 4096];
/// Records start at sectors, of so many bytes.
const SECTOR: usize = 512;
/// What a record and a witness start with.
const RECORD: &[u8] = b"RKJ2";
const WITNESS: &[u8] = b"RKW2";
/// A record's head, in bytes; its hard state comes next.
const RECORD_HEAD: u64 = 40;
/// Number of newest records that may rot.
const NEWEST: u64 = 4;

impl<S: Subject> World<S> {
    pub(crate) fn rot(&mut self, id: NodeId, area: Area, sectors: u64) {
        let host = &self.hosts[&id];
        let Some(process) = host.process.as_ref() else { return };
        // What was flushed within the last moment is known to no witness yet: rot of it and a power cut at once cannot be
        // told from a torn write (raft-log's README, Shortcomings).
        let settled = process.flush.is_idle() && process.flush.is_witnessed();
        let in_place = matches!(area, Area::Journal | Area::Snapshots);
        // One that is to be a member again would be promoted with rot that nobody has noticed yet, and count as sound.
        if host.harm != Harm::None || host.returning || (in_place && !settled) || !self.may_harm(id) {
            return;
        }
        let host = self.host(id);
        host.harm = Harm::Rotten;
        host.has_rotted = true;
        match area {
            Area::Journal | Area::Snapshots => self.rot_sectors(id, area, sectors),
            // redb checks its pages when it opens a file. One that rots after that makes it panic, and panic again on the
            // way out, which ends the process as a kill does: here that would be the simulation's.
            Area::Log | Area::State | Area::LogCommit | Area::StateCommit | Area::Record => {
                host.rots_at_rest.push((area, sectors));
            }
        }
    }

    /// What is to rot while a node is down has.
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
        // Either the witnesses of the journal or its records: with both gone a record cannot be told from a torn one.
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

    /// Lets the slot rot that names the newest commit of a database: redb falls back to the other one. What the log's
    /// newest commit holds is in the journal too, all but what was too large for that, so nothing is lost with it.
    ///
    /// Unless the end came within the next commit: that may have written over what only the commit before needed.
    fn rot_commit(&mut self, id: NodeId, area: Area) {
        let Some((file, bytes)) = self.files(id, area).into_iter().find_map(|file| {
            let bytes = self.hosts[&id].disk.durable(&file)?;
            bytes.starts_with(b"redb").then_some((file, bytes))
        }) else {
            return;
        };
        let Some(at) = newest_slot(&bytes) else { return };
        // The first byte is the version of redb's file format: where that rots the whole database cannot be read.
        let byte = self.rng.below(SLOT_BYTES);
        self.flip(id, &file, at + byte);
        self.hit(Mark::CommitRotted);
        let host = self.host(id);
        if area == Area::LogCommit && byte > 0 && !host.needs_newest_commit && !host.was_damaged {
            host.harm = Harm::None;
        }
    }

    /// Lets one of the journal's newest records rot: one that the witness knows, or that has a whole one behind it. Only
    /// the last that is there may be torn.
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
        // Behind the head: a wrong number there would mislead the next look at what is newest.
        let at = at + RECORD_HEAD + self.rng.below(24);
        self.flip(id, file, at);
        self.hit(Mark::RecordRotted);
    }
}

/// redb's header: magic, a byte that says which slot is the newer, and from byte 64 on two slots.
const SLOT_BYTES: u64 = 128;

/// Where the slot of the newest commit is.
fn newest_slot(bytes: &[u8]) -> Option<u64> {
    let primary = u64::from(bytes.get(9)? & 1);
    (bytes.len() > 320).then_some(64 + primary * SLOT_BYTES)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The journal's records, by sequence, each with its place in the file. A torn one may be among them.
fn records(bytes: &[u8]) -> Vec<(u64, u64)> {
    let start = usize::try_from(RING_START).unwrap_or(usize::MAX);
    let places = (start..bytes.len()).step_by(SECTOR);
    let claims = |at: usize| bytes[at..].starts_with(RECORD).then(|| number(bytes, at + 24)).flatten();
    places.filter_map(|at| Some((claims(at)?, at as u64))).collect()
}

/// Sequence of the last record that the journal's witness knows.
fn witnessed(bytes: &[u8]) -> u64 {
    let known = |at: usize| bytes.get(at..)?.starts_with(WITNESS).then(|| number(bytes, at + 32)).flatten();
    WITNESSES.into_iter().filter_map(known).max().unwrap_or(0)
}
