//! When a database's file is so much larger than what is in it that it is worth a copy, and which error only puts that off.

use std::io::ErrorKind;

/// True for an error that says that a disk, or what of it this process may use, is full. A copy that meets it is tried again
/// once there is space; what must be written ends with it as with any other.
#[must_use]
pub const fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// How much larger than what is in it the file of a database may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack {
    bytes: u64,
}

impl Default for Slack {
    /// 4 MiB: below that there is nothing to gain, and redb itself takes about 1 MiB for an empty database.
    fn default() -> Self {
        Self::new(4 << 20)
    }
}

impl Slack {
    /// A file may be twice as long as what is in it, and this many bytes more. redb doubles a file when it grows, so less
    /// would have it copied again and again.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self { bytes }
    }

    /// The longest that the file of a database stays in which so much is live, in bytes.
    #[must_use]
    pub const fn most(self, live_bytes: u64) -> u64 {
        live_bytes.saturating_mul(2).saturating_add(self.bytes)
    }

    /// True when the file is worth a copy.
    #[must_use]
    pub const fn is_much(self, file_bytes: u64, live_bytes: u64) -> bool {
        file_bytes > self.most(live_bytes)
    }

    /// False when the file is not worth a copy whatever is live: it need not be found out then.
    #[must_use]
    pub const fn may_be_much(self, file_bytes: u64) -> bool {
        self.is_much(file_bytes, 0)
    }

    /// True when a disk with so much free space has room for a copy. Others write to that disk too, and whoever finds no
    /// space there ends: as much again must stay free.
    #[must_use]
    pub const fn has_room(self, free_bytes: u64, live_bytes: u64) -> bool {
        // The copy's own file doubles when it grows.
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
