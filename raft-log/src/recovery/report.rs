//! The report of an opening, for the operator.

use std::fmt;
use std::path::PathBuf;

use raftkit_core::LogIndex;

use crate::error::Damage;

/// What an opening found and did.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// True if there was no log, so that an empty one was created.
    pub made: bool,
    /// The older format that the log was upgraded from, if any.
    pub upgraded_from: Option<u32>,
    /// What was replayed from the journal into the database.
    pub replayed: Replayed,
    /// True if the journal ended in a torn record. It was never acknowledged, and was dropped.
    pub dropped_torn: bool,
    /// The damage found, if any.
    pub damage: Option<LogDamage>,
}

/// Amount of data moved from the journal into the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Number of records, each of which is one flush.
    pub records: u64,
    /// Number of entries in these records.
    pub entries: u64,
}

/// Damage found by an opening, and its consequences.
#[derive(Debug)]
pub struct LogDamage {
    /// Path of the damaged file.
    pub file: PathBuf,
    /// What is wrong with the file.
    pub damage: Damage,
    /// The entries that are lost, if any.
    pub lost: Lost,
}

/// What the damage costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing is lost: everything damaged existed twice or was no longer needed. The file was rebuilt.
    Nothing,
    /// Entries are lost that the node may have acknowledged. The hard state marks the node as damaged.
    Entries {
        /// Index of the first lost entry.
        first: LogIndex,
        /// Index of the last entry known to have existed; less than `first` if it is only known that something is lost.
        last: LogIndex,
    },
}

/// Describes in one line what was done. Empty after a clean shutdown, when there was nothing to do.
impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replayed { records, entries } = self.replayed;
        let said = [
            self.made.then(|| "it is new".to_owned()),
            self.upgraded_from.map(|format| format!("it was of format {format} and is upgraded")),
            (records > 0)
                .then(|| format!("replayed {records} flushes with {entries} entries from the journal")),
            self.dropped_torn
                .then(|| "dropped a torn record at the journal's end, never acknowledged".to_owned()),
            self.damage.as_ref().map(ToString::to_string),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        f.write_str(&said.join("; "))
    }
}

impl fmt::Display for LogDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.lost {
            Lost::Nothing => {
                write!(f, "{file} was damaged ({}); nothing is lost, it was made anew", self.damage)
            }
            Lost::Entries { first, last } if last < first => write!(
                f,
                "{file} is damaged ({}); what is lost after entry {} is not known",
                self.damage,
                first.0 - 1
            ),
            Lost::Entries { first, last } => {
                write!(f, "{file} is damaged ({}); entries {first} to {last} are lost", self.damage)
            }
        }
    }
}
