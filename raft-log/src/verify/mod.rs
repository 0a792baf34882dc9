//! Inspects a log without opening it: its content, its damage, and what its next opening would find.
//!
//! The opening itself is tried out by the real code, on a disk that keeps every change in memory. Only if that finds
//! damage are the files searched a second time, for all of it.
//!
//! | file | duty |
//! | --- | --- |
//! | `shadow.rs` | the disk that keeps changes in memory |
//! | `scan.rs` | searches a damaged database past the first damage |
//! | `unsettled.rs` | what the journal holds and the database does not |
//! | `contents.rs` | the log as the next opening would find it |

mod contents;
mod scan;
mod shadow;
mod unsettled;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftkit_core::{Health, Incarnation, LogIndex, NodeId, StoreId};
use raftkit_disk::{DirLock, Disk, OpenMode, RealDisk, Slack};

use crate::error::{Damage, OpenError, ReadError};
use crate::journal::image::Image;
use crate::journal::{self, RING_BYTES_MIN};
use crate::layout::{FORMAT, Identity, Mark};
use crate::recovery::{self, FolderLock, OpenOptions, OpenReport, Opened};
pub use contents::Contents;
use contents::Folder;
use scan::Scan;
use shadow::ShadowDisk;
pub use unsettled::Unsettled;

/// Size of the database's cache, in bytes.
const CACHE_BYTES: usize = 8 << 20;

/// Result of inspecting a log's folder. The log cannot be opened as long as this value lives.
#[derive(Debug)]
pub struct Inspection {
    /// What the next opening would find and do, or why it would fail.
    pub opening: Result<OpenReport, OpenError>,
    /// The log as that opening would find it. If it would fail: the content of the database alone, if that is sound.
    pub contents: Option<Contents>,
    /// What the journal holds and the database does not; `None` if that cannot be determined.
    pub unsettled: Option<Unsettled>,
    /// All damage found, file by file.
    pub damages: Vec<FoundDamage>,
    /// The files, with their lengths in bytes.
    pub files: Vec<(PathBuf, u64)>,
}

/// Overall judgement on a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log is sound.
    Sound,
    /// An earlier opening lost entries, as the hard state says; the rest is whole. The node heals from its peers.
    Healing,
    /// Something is wrong with the files.
    Damaged,
}

/// Damage found in a file.
#[derive(Debug)]
pub struct FoundDamage {
    /// Path of the damaged file.
    pub file: PathBuf,
    /// The affected entries, as far as known.
    pub entries: Option<RangeInclusive<LogIndex>>,
    /// What is wrong with the file.
    pub damage: Damage,
}

/// Reasons why a folder could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The folder contains no log.
    #[error("there is no log in {dir}: it holds neither `log.redb` nor `journal`")]
    NoLog {
        /// Path of the folder.
        dir: PathBuf,
    },
    /// A node is running on the folder, so the files would change while they are read.
    #[error("the folder {dir} is in use by another process")]
    Locked {
        /// Path of the folder.
        dir: PathBuf,
    },
    /// A call to the disk failed.
    #[error("{path} cannot be read: {source}")]
    Disk {
        /// Path of the file or folder.
        path: PathBuf,
        /// The error that the disk returned.
        source: io::Error,
    },
}

/// Inspects the log in the folder `dir`. Nothing is written and no file is created, even if a crash left the folder in
/// need of repair: repairs take place in memory.
///
/// Checks everything that an opening checks. If something is damaged, the search continues past it, in both files.
///
/// # Errors
/// The folder contains no log, a node is running on it, or it cannot be read at all. Damage to the log is not an error.
pub fn inspect(disk: Arc<dyn Disk>, dir: &Path) -> Result<Inspection, InspectError> {
    let lock = lock(disk.as_ref(), dir)?;
    let mut files = Vec::new();
    for name in [recovery::FILE, journal::FILE] {
        let path = dir.join(name);
        let read = || match disk.exists(&path)? {
            true => disk.open(&path, OpenMode::ReadOnly)?.len().map(Some),
            false => Ok(None),
        };
        let len = read().map_err(|source| InspectError::Disk { path: path.clone(), source })?;
        files.extend(len.map(|len| (path, len)));
    }
    if files.is_empty() {
        return Err(InspectError::NoLog { dir: dir.to_path_buf() });
    }
    Ok(Inspector::new(disk, dir).inspect(lock, files))
}

/// Locks the folder, which fails if a node is running. Without a lock file, no node has ever used the folder.
fn lock(disk: &dyn Disk, dir: &Path) -> Result<Option<Box<dyn DirLock>>, InspectError> {
    let path = dir.join(RealDisk::LOCK_FILE);
    match disk.exists(&path) {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(source) => return Err(InspectError::Disk { path, source }),
    }
    match disk.lock_dir(dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(InspectError::Locked { dir: dir.to_path_buf() })
        }
        Err(source) => Err(InspectError::Disk { path, source }),
    }
}

impl Inspection {
    /// Returns the overall judgement.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let opens_whole = self.opening.as_ref().is_ok_and(|report| report.damage.is_none());
        match &self.contents {
            Some(contents) if opens_whole && self.damages.is_empty() => {
                match contents.restored.hard_state.health {
                    Health::Sound => Verdict::Sound,
                    Health::Damaged => Verdict::Healing,
                }
            }
            Some(_) | None => Verdict::Damaged,
        }
    }
}

impl fmt::Display for FoundDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match &self.entries {
            Some(range) if range.start() == range.end() => write!(f, "entry {}: ", range.start())?,
            Some(range) => write!(f, "entries {} to {}: ", range.start(), range.end())?,
            None => {}
        }
        write!(f, "{}", self.damage)
    }
}

/// An inspection under way.
struct Inspector {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    journal_path: PathBuf,
    /// The journal, if there is one.
    image: Option<Result<Image, Damage>>,
    damages: Vec<FoundDamage>,
}

/// The part of the log that is known without the unsettled records of the journal.
#[derive(Default)]
struct Base {
    /// Journal position that the database covers.
    settled: Option<Mark>,
    /// Last entry in the database.
    last: Option<LogIndex>,
    contents: Option<Contents>,
}

impl Inspector {
    fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let shadow = ShadowDisk::new(disk.clone());
        // Ignore disk errors here: the opening reports them.
        let journal = recovery::read_journal(&shadow, dir).ok().flatten();
        Self {
            disk,
            dir: dir.to_path_buf(),
            path: dir.join(recovery::FILE),
            journal_path: dir.join(journal::FILE),
            image: journal.map(|(_, image)| image),
            damages: Vec::new(),
        }
    }

    fn inspect(mut self, lock: Option<Box<dyn DirLock>>, files: Vec<(PathBuf, u64)>) -> Inspection {
        let folder = Folder { path: self.path.clone(), journal_path: self.journal_path.clone(), lock };
        let (opening, mut base) = match self.open() {
            Ok(opened) => {
                let (report, base) = self.opened(opened, folder);
                (Ok(report), base)
            }
            Err(error) => (Err(error), self.database(folder)),
        };
        let unsettled = match &opening {
            // The two files belong to different stores.
            Err(
                OpenError::OtherStore { .. } | OpenError::OtherNode { .. } | OpenError::NewerFormat { .. },
            ) => None,
            Err(
                OpenError::Disk { .. }
                | OpenError::Locked { .. }
                | OpenError::Damaged { .. }
                | OpenError::Database { .. },
            ) => self.journal(&base),
            Ok(_) => self.journal(&base),
        };
        if let Some(Err(error)) = base.contents.as_mut().map(Contents::measure) {
            self.unreadable(error);
        }
        Inspection { opening, contents: base.contents, unsettled, damages: self.damages, files }
    }

    /// Returns the node that the journal belongs to. If the database belongs to another node, the opening reports it.
    fn node(&self) -> NodeId {
        self.image
            .as_ref()
            .and_then(|image| image.as_ref().ok())
            .map_or(NodeId(0), |image| image.witness().identity.node)
    }

    /// Opens the log in memory, as the node that it belongs to.
    fn open(&self) -> Result<Opened, OpenError> {
        let open = |node| recovery::open(&ShadowDisk::new(self.disk.clone()), &self.dir, &options(node));
        match open(self.node()) {
            Err(OpenError::OtherNode { found, .. }) => open(found),
            result => result,
        }
    }

    fn opened(&mut self, opened: Opened, folder: Folder) -> (OpenReport, Base) {
        let Opened { database, identity, state, before, report, .. } = opened;
        let mended = report.damage.as_ref().is_some_and(|found| found.file == self.path);
        let mut base = if mended {
            // Inspect the file as it was before the repair.
            let unlocked =
                Folder { lock: None, path: self.path.clone(), journal_path: self.journal_path.clone() };
            self.database(unlocked)
        } else {
            Base { settled: Some(before), last: Some(state.last.index), contents: None }
        };
        let identity = Identity {
            incarnation: Incarnation(identity.incarnation.0.saturating_sub(1)),
            format: report.upgraded_from.unwrap_or(FORMAT),
            ..identity
        };
        base.contents = Some(Contents::new(folder, database, identity, &state));
        (report, base)
    }

    /// Inspects the database alone, to its end.
    fn database(&mut self, folder: Folder) -> Base {
        let shadow = ShadowDisk::new(self.disk.clone());
        match shadow.exists(&self.path) {
            Ok(true) => {}
            Ok(false) => {
                self.found(self.path.clone(), None, Damage::Missing { record: recovery::FILE });
                return Base::default();
            }
            Err(_) => return Base::default(),
        }
        let read = |node| recovery::read_database(&shadow, &self.path, &options(node));
        let read = match read(self.node()) {
            Err(OpenError::OtherNode { found, .. }) => read(found),
            result => result,
        };
        match read {
            Ok(Ok((_, database, loaded))) => Base {
                settled: Some(loaded.settled),
                last: Some(loaded.state.last.index),
                contents: Some(Contents::new(folder, database, loaded.identity, &loaded.state)),
            },
            Ok(Err(damage)) => self.scan(damage),
            // The opening reports this error.
            Err(_) => Base::default(),
        }
    }

    /// Searches a database for all damage. `damage`, already known, is reported if the search finds nothing else.
    fn scan(&mut self, damage: Damage) -> Base {
        let Ok(file) = self.disk.open(&self.path, OpenMode::ReadOnly) else { return Base::default() };
        let scan = if matches!(damage, Damage::Empty) { Scan::default() } else { scan::scan(file) };
        if scan.damages.is_empty() {
            self.found(self.path.clone(), None, damage);
        }
        for (entries, damage) in scan.damages {
            self.found(self.path.clone(), entries, damage);
        }
        Base { settled: scan.settled, last: scan.last.map(|last| last.index), contents: None }
    }

    /// Inspects the journal from the position that the database covers.
    fn journal(&mut self, base: &Base) -> Option<Unsettled> {
        let path = self.journal_path.clone();
        let image = match self.image.take() {
            Some(Ok(image)) => image,
            Some(Err(damage)) => {
                self.found(path, None, damage);
                return None;
            }
            None => {
                // A log of format 1 has no journal, and nothing to settle.
                if base.settled == Some(Mark::default()) {
                    return Some(Unsettled::default());
                }
                self.found(path, None, Damage::Missing { record: journal::FILE });
                return None;
            }
        };
        let settled = base.settled?;
        let followed = image.follow(settled).and_then(|chain| Ok((chain, image.newest()?)));
        let (chain, newest) = match followed {
            Ok(followed) => followed,
            Err(damage) => {
                self.found(path, None, damage);
                return None;
            }
        };
        let (unsettled, lost) = Unsettled::sum_up(&chain, settled);
        if let Some(lost) = lost {
            let entries = lost.before.or(base.last).map(|last| last.next()..=newest.last.index);
            let entries = entries.filter(|entries| !entries.is_empty());
            self.found(path, entries, Damage::Journal { first: lost.first, last: lost.last });
        }
        Some(unsettled)
    }

    fn unreadable(&mut self, error: ReadError) {
        match error {
            ReadError::Damaged { first, last, file, damage } => self.found(file, Some(first..=last), damage),
            ReadError::Database { first, last, file, source } => {
                self.found(file, Some(first..=last), Damage::Database { source });
            }
            ReadError::Closed | ReadError::BeyondEnd { .. } => {}
        }
    }

    fn found(&mut self, file: PathBuf, entries: Option<RangeInclusive<LogIndex>>, damage: Damage) {
        let found = FoundDamage { file, entries, damage };
        // One page may hold several records, so report the same damage only once.
        let text = found.to_string();
        if self.damages.iter().all(|known| known.to_string() != text) {
            self.damages.push(found);
        }
    }
}

fn options(node: NodeId) -> OpenOptions {
    OpenOptions {
        node,
        new_store: StoreId(0),
        cache_bytes: CACHE_BYTES,
        tail_bytes: 0,
        // The length of a journal that exists only in memory, for a log of format 1.
        journal_bytes: RING_BYTES_MIN,
        lock: FolderLock::HeldByCaller,
        slack: Slack::default(),
    }
}
