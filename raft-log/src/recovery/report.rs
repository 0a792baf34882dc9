//! What an opening found and did, for the operator.

use std::fmt;
use std::path::PathBuf;

use raftkit_core::LogIndex;

use crate::error::Damage;

/// What an opening found and did.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// There was no log: it was made.
    pub made: bool,
    /// The log was of this older format and is of the present one now.
    pub upgraded_from: Option<u32>,
    /// What the journal held and the database did not.
    pub replayed: Replayed,
    /// The journal ended in a torn record, which was never acknowledged and is dropped.
    pub dropped_torn: bool,
    /// What was damaged.
    pub damage: Option<LogDamage>,
}

/// What was moved from the journal into the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Flushes.
    pub records: u64,
    /// Entries in them.
    pub entries: u64,
}

/// Damage that was found, and what it costs.
#[derive(Debug)]
pub struct LogDamage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub damage: Damage,
    /// What is lost.
    pub lost: Lost,
}

/// What damage costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing: all of it was there a second time, or was not needed any more. The file was made anew.
    Nothing,
    /// Entries, and with them the node's word: the hard state says that it is damaged.
    Entries {
        /// The first one lost.
        first: LogIndex,
        /// The last one that is known to have been there; before `first` when it is only known that something is lost.
        last: LogIndex,
    },
}

/// What was done, in a line; empty after a clean end, when there was nothing to do.
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
