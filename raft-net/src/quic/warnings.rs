//! Limits warnings by subject, as a peer that is refused tries again and again.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use super::lock;

/// Shortest time between two warnings on the same subject.
const INTERVAL: Duration = Duration::from_secs(5);

/// Upper bound on the subjects that are remembered. Above it, new subjects wait until old ones are forgotten.
const SUBJECTS_MAX: usize = 1024;

/// Upper bound on the strangers, whose subjects begin with [`STRANGER`], that are warned of in one interval: there may
/// be any number of them, and they must not fill the log.
const STRANGERS_MAX: usize = 8;

/// Beginning of the subjects of strangers, see [`STRANGERS_MAX`].
pub(crate) const STRANGER: &str = "from ";

/// Time of the last warning on each subject.
#[derive(Default)]
pub(crate) struct Warnings(Mutex<BTreeMap<String, Instant>>);

impl Warnings {
    /// True when a warning on `subject` is due. Counts as its warning.
    pub(crate) fn due(&self, subject: &str) -> bool {
        let now = Instant::now();
        let mut said = lock(&self.0);
        if said.get(subject).is_some_and(|last| now.duration_since(*last) < INTERVAL) {
            return false;
        }
        if said.len() >= SUBJECTS_MAX {
            said.retain(|_, last| now.duration_since(*last) < INTERVAL);
        }
        let recent = |(subject, last): &(&String, &Instant)| {
            subject.starts_with(STRANGER) && now.duration_since(**last) < INTERVAL
        };
        if said.len() >= SUBJECTS_MAX
            || (subject.starts_with(STRANGER) && said.iter().filter(recent).count() >= STRANGERS_MAX)
        {
            return false;
        }
        said.insert(subject.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_spoken_of_once_and_strangers_are_few() {
        let warnings = Warnings::default();
        assert!(warnings.due("peer 1"));
        assert!(!warnings.due("peer 1"));
        let strangers = (0..100).filter(|port| warnings.due(&format!("{STRANGER}10.0.0.1:{port}")));
        assert_eq!(strangers.count(), STRANGERS_MAX);
        assert!(warnings.due("peer 2"), "strangers take no room of peers");
    }
}
