//! Says each thing once in a while: a peer that is refused tries again and again.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use super::lock;

/// The same subject is spoken of at most so often.
const INTERVAL: Duration = Duration::from_secs(5);

/// At most so many subjects are remembered; above, new ones wait until old ones are forgotten.
const SUBJECTS_MAX: usize = 1024;

/// Of strangers, whose subjects begin with [`STRANGER`], at most so many are spoken of in one interval: there may be any
/// number of them, and a log that they fill helps nobody.
const STRANGERS_MAX: usize = 8;

/// See [`STRANGERS_MAX`].
pub(crate) const STRANGER: &str = "from ";

/// When each subject was last spoken of.
#[derive(Default)]
pub(crate) struct Warnings(Mutex<BTreeMap<String, Instant>>);

impl Warnings {
    /// True when it is time to speak of `subject` (again).
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
