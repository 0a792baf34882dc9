//! Errors of the database under the log, in terms that do not depend on redb: a caller can match them without it, and a
//! new version of redb does not change the log's interface.

use std::io;

/// An error of the database under the log.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The disk failed, or is full.
    #[error("I/O error")]
    Disk {
        /// The error that the disk returned.
        source: io::Error,
    },
    /// The file is damaged, or is not of the format that every log has.
    #[error("{text}")]
    Damaged {
        /// The database's own words.
        text: String,
    },
    /// Any other error, which points to a bug.
    #[error("{text}")]
    Other {
        /// The database's own words.
        text: String,
    },
}

impl DatabaseError {
    /// Returns true if the content of the file is at fault, not the disk or a program.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            // redb reports a file without its magic number as invalid data.
            Self::Disk { source } => source.kind() == io::ErrorKind::InvalidData,
            Self::Damaged { .. } => true,
            Self::Other { .. } => false,
        }
    }

    /// Returns true if the disk is full.
    pub(crate) fn is_full_disk(&self) -> bool {
        match self {
            Self::Disk { source } => raftkit_disk::is_full(source.kind()),
            Self::Damaged { .. } | Self::Other { .. } => false,
        }
    }
}

impl From<redb::Error> for DatabaseError {
    fn from(error: redb::Error) -> Self {
        // No log ever had one of redb's other formats: if redb finds one, the first byte of a commit slot is rotten.
        let is_damage = matches!(&error, redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_));
        let text = error.to_string();
        if let redb::Error::Io(source) = error {
            return Self::Disk { source };
        }
        if is_damage { Self::Damaged { text } } else { Self::Other { text } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_redb_is_told_apart_by_who_is_at_fault() {
        let io = |kind: io::ErrorKind| DatabaseError::from(redb::Error::Io(kind.into()));
        let corrupted = || DatabaseError::from(redb::Error::Corrupted("page 7".into()));
        assert!(corrupted().is_damage() && corrupted().to_string().contains("page 7"));
        assert!(DatabaseError::from(redb::Error::UpgradeRequired(1)).is_damage());
        assert!(io(io::ErrorKind::InvalidData).is_damage());
        assert!(!io(io::ErrorKind::Other).is_damage() && !io(io::ErrorKind::Other).is_full_disk());
        assert!(io(io::ErrorKind::StorageFull).is_full_disk() && !corrupted().is_full_disk());
        let other = DatabaseError::from(redb::Error::ValueTooLarge(9));
        assert!(matches!(other, DatabaseError::Other { .. }) && !other.is_damage(), "{other:?}");
    }
}
