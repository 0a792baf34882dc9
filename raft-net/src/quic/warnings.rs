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
        if said.len() >= SUBJECTS_MAX {
            return false;
        }
        said.insert(subject.to_owned(), now);
        true
    }
}
