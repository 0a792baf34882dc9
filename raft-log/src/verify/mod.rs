//! Looks at a log without opening it: what is in it, what is wrong with it, and what its next opening would find.
//!
//! The opening itself is tried out, by the very code that does it, over a disk that keeps every change in memory. Only
//! where that finds damage the files are gone through a second time, for all of it.
//!
//! | file | duty |
//! | --- | --- |
//! | `shadow.rs` | the disk that keeps changes in memory |
//! | `scan.rs` | a damaged database, past the first damage |
//! | `unsettled.rs` | what the journal holds and the database does not |
//! | `contents.rs` | the log as it would be |

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
use crate::journal::{self, Mark, RING_BYTES_MIN};
use crate::recovery::{self, FolderLock, OpenOptions, OpenReport, Opened};
use crate::tables::{FORMAT, Identity};
pub use contents::Contents;
use contents::Folder;
use scan::Scan;
use shadow::ShadowDisk;
pub use unsettled::Unsettled;

/// How much of the database is cached, in bytes.
const CACHE_BYTES: usize = 8 << 20;

/// What was found in a log's folder. Nobody can open the log as long as this lives.
#[derive(Debug)]
pub struct Inspection {
    /// What the next opening would find and do; or why it would fail.
    pub opening: Result<OpenReport, OpenError>,
    /// The log as that opening would show it. Where it would fail: as the database shows it by itself, if it is sound.
    pub contents: Option<Contents>,
    /// What the journal holds and the database does not; none where that cannot be told.
    pub unsettled: Option<Unsettled>,
    /// All damage that was found, file by file.
    pub damages: Vec<FoundDamage>,
    /// The files and their lengths in bytes.
    pub files: Vec<(PathBuf, u64)>,
}

/// What to think of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Sound,
    /// An earlier opening has lost entries, as the hard state says; what is left is whole. The node heals from its peers.
    Healing,
    /// Something is wrong with the files.
    Damaged,
}

/// Something that is wrong with a file.
#[derive(Debug)]
pub struct FoundDamage {
    /// The file.
    pub file: PathBuf,
    /// The entries that it concerns, as far as that is known.
    pub entries: Option<RangeInclusive<LogIndex>>,
    /// What is wrong.
    pub damage: Damage,
}

/// Why a folder could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no log in it.
    #[error("there is no log in {dir}: it holds neither `log.redb` nor `journal`")]
    NoLog {
        /// The folder.
        dir: PathBuf,
    },
    /// A node runs in it: what is read would change meanwhile.
    #[error("the folder {dir} is in use by another process")]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// It cannot be read.
    #[error("{path} cannot be read: {source}")]
    Disk {
        /// What was touched.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

/// Looks at the log in the folder `dir`. Nothing is written and no file is made, not even in a folder that a crash has
/// left to be repaired: repairs take place in memory.
///
/// Every byte that an opening checks is checked. Where something is damaged the search goes on behind it, in both files.
///
/// # Errors
/// There is no log, a node runs in the folder, or it cannot be read at all. What is wrong with the log is no error.
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

/// Keeps nodes out, and finds out whether there is one. Where there is no lock file none was ever here.
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
    /// What to think of it.
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

/// What is known of the log without what only the journal holds.
#[derive(Default)]
struct Base {
    /// Up to where the journal is in the database.
    settled: Option<Mark>,
    /// The last entry in it.
    last: Option<LogIndex>,
    contents: Option<Contents>,
}

impl Inspector {
    fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let shadow = ShadowDisk::new(disk.clone());
        // What the disk fails with, the opening tells.
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
            // The two files are strangers to each other.
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

    /// Whose journal it is. The database may be another one's; then the opening says whose.
    fn node(&self) -> NodeId {
        self.image
            .as_ref()
            .and_then(|image| image.as_ref().ok())
            .map_or(NodeId(0), |image| image.witness().identity.node)
    }

    /// Opens the log in memory, as whoever it belongs to.
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
            // As it was before it was mended.
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

    /// Looks at the database alone, through to its end.
    fn database(&mut self, folder: Folder) -> Base {
        let shadow = ShadowDisk::new(self.disk.clone());
        match shadow.exists(&self.path) {
            Ok(true) => {}
            Ok(false) => {
                self.told(self.path.clone(), None, Damage::Missing { record: recovery::FILE });
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
            // The opening says it.
            Err(_) => Base::default(),
        }
    }

    /// Looks for all that is wrong with a database that has `damage`, which is told when nothing else is found.
    fn scan(&mut self, damage: Damage) -> Base {
        let Ok(file) = self.disk.open(&self.path, OpenMode::ReadOnly) else { return Base::default() };
        let scan = if matches!(damage, Damage::Empty) { Scan::default() } else { scan::scan(file) };
        if scan.damages.is_empty() {
            self.told(self.path.clone(), None, damage);
        }
        for (entries, damage) in scan.damages {
            self.told(self.path.clone(), entries, damage);
        }
        Base { settled: scan.settled, last: scan.last.map(|last| last.index), contents: None }
    }

    /// Looks at the journal from where the database ends.
    fn journal(&mut self, base: &Base) -> Option<Unsettled> {
        let path = self.journal_path.clone();
        let image = match self.image.take() {
            Some(Ok(image)) => image,
            Some(Err(damage)) => {
                self.told(path, None, damage);
                return None;
            }
            None => {
                // A log of format 1 has none, and nothing of one is settled.
                if base.settled == Some(Mark::default()) {
                    return Some(Unsettled::default());
                }
                self.told(path, None, Damage::Missing { record: journal::FILE });
                return None;
            }
        };
        let settled = base.settled?;
        let followed = image.follow(settled).and_then(|chain| Ok((chain, image.newest()?)));
        let (chain, newest) = match followed {
            Ok(followed) => followed,
            Err(damage) => {
                self.told(path, None, damage);
                return None;
            }
        };
        let (unsettled, lost) = Unsettled::sum_up(&chain, settled);
        if let Some(lost) = lost {
            let entries = lost.before.or(base.last).map(|last| last.next()..=newest.last.index);
            let entries = entries.filter(|entries| !entries.is_empty());
            self.told(path, entries, Damage::Journal { first: lost.first, last: lost.last });
        }
        Some(unsettled)
    }

    fn unreadable(&mut self, error: ReadError) {
        match error {
            ReadError::Damaged { first, last, file, damage } => self.told(file, Some(first..=last), damage),
            ReadError::Database { first, last, file, source } => {
                self.told(file, Some(first..=last), Damage::Database { source });
            }
            ReadError::Closed | ReadError::BeyondEnd { .. } => {}
        }
    }

    fn told(&mut self, file: PathBuf, entries: Option<RangeInclusive<LogIndex>>, damage: Damage) {
        let found = FoundDamage { file, entries, damage };
        // A page may hold several records; what is wrong with it is told once.
        let text = found.to_string();
        if self.damages.iter().all(|told| told.to_string() != text) {
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
        // Made in memory, where a log of format 1 gets one.
        journal_bytes: RING_BYTES_MIN,
        lock: FolderLock::HeldByCaller,
        slack: Slack::default(),
    }
}
