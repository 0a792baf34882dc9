//! When a database file is worth copying because it is much larger than its content, and which errors merely postpone
//! the copy.

use std::io::ErrorKind;

/// Returns true for errors that mean that the disk, or this process's share of it, is full. A copy is tried again once
/// there is space; any other write treats them like every error.
#[must_use]
pub const fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// How much larger than its content a database file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack {
    bytes: u64,
}

impl Default for Slack {
    /// 4 MiB. Less would gain nothing, because redb needs about 1 MiB even for an empty database.
    fn default() -> Self {
        Self::new(4 << 20)
    }
}

impl Slack {
    /// Tolerates a file of twice its content plus this many bytes. redb doubles a file that has to grow, so with a
    /// lower limit the file would be copied over and over.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self { bytes }
    }

    /// Returns the longest tolerated file, in bytes, for a database with this much live content.
    #[must_use]
    pub const fn most(self, live_bytes: u64) -> u64 {
        live_bytes.saturating_mul(2).saturating_add(self.bytes)
    }

    /// Returns true if the file is worth copying.
    #[must_use]
    pub const fn is_much(self, file_bytes: u64, live_bytes: u64) -> bool {
        file_bytes > self.most(live_bytes)
    }

    /// Returns false if the file is not worth copying whatever its content, so that the live bytes need not be counted.
    #[must_use]
    pub const fn may_be_much(self, file_bytes: u64) -> bool {
        self.is_much(file_bytes, 0)
    }

    /// Returns true if a disk with this much free space has room for a copy. As much again must stay free, because
    /// other writers to the same disk fail when it is full.
    #[must_use]
    pub const fn has_room(self, free_bytes: u64, live_bytes: u64) -> bool {
        // The file of the copy doubles as it grows, too.
        free_bytes >= self.most(live_bytes).saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_worth_a_copy_above_twice_what_is_live() {
        let slack = Slack::new(100);
        assert!(!slack.is_much(2100, 1000));
        assert!(slack.is_much(2101, 1000));
        assert!(slack.may_be_much(101) && !slack.may_be_much(100));
        assert!(slack.has_room(4200, 1000) && !slack.has_room(4199, 1000));
    }
}
