//! Conditions and effects of calls on a version whose indexes are known only as ranges.

use super::{KvCall, KvVersion};

impl KvVersion {
    /// Narrows the modify index to a range; none if it cannot be in the range.
    pub(super) fn modified_in(mut self, (low, high): (u64, u64)) -> Option<Self> {
        self.modified = (self.modified.0.max(low), self.modified.1.min(high));
        if let Some(created) = &mut self.created {
            created.1 = created.1.min(self.modified.1.checked_sub(1)?);
            self.modified.0 = self.modified.0.max(created.0.checked_add(1)?);
            (created.0 <= created.1).then_some(())?;
        }
        (self.modified.0 <= self.modified.1).then_some(self)
    }

    /// Narrows the modify index to one entry; none if that is not possible.
    fn modified_at(self, index: u64) -> Option<Self> {
        self.modified_in((index, index))
    }

    /// Excludes one entry from the modify index; none if no other is possible.
    fn not_modified_at(self, index: u64) -> Option<Self> {
        let (low, high) = self.modified;
        if low == index {
            self.modified_in((index.checked_add(1)?, high))
        } else if high == index {
            self.modified_in((low, index.checked_sub(1)?))
        } else {
            Some(self)
        }
    }

    /// Narrows the version to the value and indexes that a read has shown; none if they are not possible.
    pub(super) fn shown(self, (value, modified, created): (u64, u64, u64)) -> Option<Self> {
        let shown = self.modified_at(modified).filter(|_| self.value == Some(value))?;
        let Some((low, high)) = shown.created else {
            return (created == modified).then_some(shown);
        };
        let fits = low <= created && created <= high;
        fits.then_some(Self { created: Some((created, created)), ..shown })
    }
}

/// Narrows the version (none for an absent key) by a condition that held. Returns none if the condition cannot hold.
pub(super) fn if_holds(version: Option<KvVersion>, call: KvCall) -> Option<Option<KvVersion>> {
    match (condition(call)?, version) {
        (Condition::Always, version) => Some(version),
        (Condition::Put(wanted), None) => (wanted == 0).then_some(None),
        (Condition::Delete(_), None) => Some(None),
        (Condition::Put(0) | Condition::Delete(0), Some(_)) => None,
        (Condition::Put(wanted) | Condition::Delete(wanted), Some(version)) => {
            version.modified_at(wanted).map(Some)
        }
    }
}

/// Narrows the version (none for an absent key) by a condition that did not hold. Returns none if it must hold.
pub(super) fn if_fails(version: Option<KvVersion>, call: KvCall) -> Option<Option<KvVersion>> {
    match (condition(call)?, version) {
        (Condition::Always, _) | (Condition::Delete(_), None) => None,
        (Condition::Put(wanted), None) => (wanted != 0).then_some(None),
        (Condition::Put(0) | Condition::Delete(0), Some(version)) => Some(Some(version)),
        (Condition::Put(wanted) | Condition::Delete(wanted), Some(version)) => {
            version.not_modified_at(wanted).map(Some)
        }
    }
}

/// The condition under which a call takes effect; none for a read.
fn condition(call: KvCall) -> Option<Condition> {
    Some(match call {
        KvCall::Get => return None,
        KvCall::Put { cas: None, .. } | KvCall::PutUnseen { cas: None } | KvCall::Delete { cas: None } => {
            Condition::Always
        }
        KvCall::Put { cas: Some(index), .. } | KvCall::PutUnseen { cas: Some(index) } => {
            Condition::Put(index)
        }
        KvCall::Delete { cas: Some(index) } => Condition::Delete(index),
    })
}

enum Condition {
    Always,
    Put(u64),
    Delete(u64),
}

/// Returns the version after a call whose condition held, as an entry whose index is in the given range.
pub(super) fn change(version: Option<KvVersion>, call: KvCall, index: (u64, u64)) -> Option<KvVersion> {
    let value = match call {
        KvCall::Get => return version,
        KvCall::Delete { .. } => return None,
        KvCall::Put { value, .. } => Some(value),
        KvCall::PutUnseen { .. } => None,
    };
    match version {
        None => Some(KvVersion { value, modified: index, created: None }),
        Some(version) if value.is_some() && version.value == value => Some(version),
        Some(version) => {
            let created = version.created.unwrap_or(version.modified);
            Some(KvVersion { value, modified: index, created: Some(created) })
        }
    }
}
