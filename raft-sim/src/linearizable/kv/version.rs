//! What calls need and make of a version whose indexes are known only as ranges.

use super::{KvCall, KvVersion};

impl KvVersion {
    /// The version if its modify index is in a range.
    pub(super) fn modified_in(mut self, (low, high): (u64, u64)) -> Option<Self> {
        self.modified = (self.modified.0.max(low), self.modified.1.min(high));
        if let Some(created) = &mut self.created {
            created.1 = created.1.min(self.modified.1.checked_sub(1)?);
            self.modified.0 = self.modified.0.max(created.0.checked_add(1)?);
            (created.0 <= created.1).then_some(())?;
        }
        (self.modified.0 <= self.modified.1).then_some(self)
    }

    /// The version if it was modified as this entry.
    fn modified_at(self, index: u64) -> Option<Self> {
        self.modified_in((index, index))
    }

    /// The version if it was not modified as this entry.
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

    /// The version if it is what a read showed.
    pub(super) fn shown(self, (value, modified, created): (u64, u64, u64)) -> Option<Self> {
        let shown = self.modified_at(modified).filter(|_| self.value == Some(value))?;
        let Some((low, high)) = shown.created else {
            return (created == modified).then_some(shown);
        };
        let fits = low <= created && created <= high;
        fits.then_some(Self { created: Some((created, created)), ..shown })
    }
}

/// The version that a condition leaves, if it holds: none where there is nothing.
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

/// The version that a condition leaves, if it does not hold.
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

/// When a call takes effect; none for a read.
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

/// What a call whose condition held makes of a version, as an entry with an index in this range.
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
