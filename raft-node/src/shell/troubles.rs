//! Background work that fails and is tried again. It is logged, and shown in the status while it lasts: a follower
//! that waits for a snapshot which cannot be made would otherwise wait without any message.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use raftkit_replica::{Event, MachineReport, SnapshotReport};

use crate::seldom::Seldom;

/// Interval after which the same trouble is logged again.
const SAID_EVERY: Duration = Duration::from_secs(30);
/// A trouble that has not occurred for this long is over: its work is not needed any more.
const OVER_AFTER: Duration = Duration::from_secs(60);

/// Work that may fail without ending the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Making,
    Reading,
    Receiving,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Making => "a snapshot for another node cannot be made",
            Self::Reading => "a snapshot for another node cannot be read",
            Self::Receiving => "a snapshot from another node cannot be stored",
        })
    }
}

#[derive(Debug)]
struct Trouble {
    why: String,
    times: u64,
    met: Instant,
    line: Seldom,
}

/// The work that fails at present.
#[derive(Debug, Default)]
pub(crate) struct Troubles(BTreeMap<Work, Trouble>);

impl Troubles {
    /// The kind of work that a report is about, and its result. None for other work.
    fn outcome(event: &Event) -> Option<(Work, Result<(), &str>)> {
        fn outcome<T>(result: &Result<T, String>) -> Result<(), &str> {
            result.as_ref().map(drop).map_err(String::as_str)
        }
        match event {
            Event::Snapshot(SnapshotReport::Built(result)) => Some((Work::Making, outcome(result))),
            Event::Machine(MachineReport::NoView(reason)) => Some((Work::Making, Err(reason))),
            Event::Snapshot(SnapshotReport::ChunkRead { bytes, .. }) => Some((Work::Reading, outcome(bytes))),
            Event::Snapshot(SnapshotReport::PartialOpened(result)) => {
                Some((Work::Receiving, outcome(result)))
            }
            Event::Snapshot(SnapshotReport::ChunkStored(result)) => Some((Work::Receiving, outcome(result))),
            Event::Snapshot(SnapshotReport::Received(result)) => Some((Work::Receiving, outcome(result))),
            Event::Machine(
                MachineReport::Applied(_)
                | MachineReport::Durable(_)
                | MachineReport::Failed(_)
                | MachineReport::View { .. }
                | MachineReport::Restored { .. },
            )
            | Event::Transport(_)
            | Event::Log(_) => None,
        }
    }

    /// Whether a report is about work that is watched here.
    pub(crate) fn concern(event: &Event) -> bool {
        Self::outcome(event).is_some()
    }

    /// Takes a worker's report. Returns a line for the log if one is due.
    pub(crate) fn hear(&mut self, event: &Event, now: Instant) -> Option<String> {
        match Self::outcome(event)? {
            (work, Ok(())) => {
                self.0.remove(&work)?;
                None
            }
            (work, Err(why)) => {
                let trouble = self.0.entry(work).or_insert_with(|| Trouble {
                    why: String::new(),
                    times: 0,
                    met: now,
                    line: Seldom::new(SAID_EVERY),
                });
                (trouble.why, trouble.met) = (why.to_owned(), now);
                trouble.times += 1;
                let times = trouble.times;
                trouble.line.due(now)?;
                Some(format!("{work}: {why}; it is tried again (failed {times} times so far)"))
            }
        }
    }

    /// The work that fails, in words for the status.
    pub(crate) fn shown(&self, now: Instant) -> Vec<String> {
        let lasting = self.0.iter().filter(|(_, trouble)| now.duration_since(trouble.met) < OVER_AFTER);
        lasting
            .map(|(work, trouble)| format!("{work}: {} (failed {} times)", trouble.why, trouble.times))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use raftkit_snapshot::ChunkNumber;

    use super::*;

    fn failed() -> Event {
        SnapshotReport::Built(Err("Too many open files".to_owned())).into()
    }

    #[test]
    fn a_trouble_is_said_at_once_then_seldom_and_shown_until_it_is_over() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let line = troubles.hear(&failed(), start);
        let said = "a snapshot for another node cannot be made: Too many open files";
        assert_eq!(line.as_deref(), Some(&*format!("{said}; it is tried again (failed 1 times so far)")));
        assert!((1..30).all(|second| troubles.hear(&failed(), at(second)).is_none()));
        let line = troubles.hear(&failed(), at(30));
        assert_eq!(line.as_deref(), Some(&*format!("{said}; it is tried again (failed 31 times so far)")));
        assert_eq!(troubles.shown(at(31)), [format!("{said} (failed 31 times)")]);
        assert!(troubles.shown(at(91)).is_empty(), "nobody tries any more");
        let stored = SnapshotReport::ChunkStored(Ok(ChunkNumber(3))).into();
        assert!(troubles.hear(&stored, at(31)).is_none());
        assert_eq!(troubles.shown(at(31)).len(), 1, "other work that succeeds ends nothing");
    }

    #[test]
    fn success_ends_the_trouble_of_the_same_work() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        let stored = |result| SnapshotReport::ChunkStored(result).into();
        assert!(troubles.hear(&stored(Err("no space".into())), start).is_some());
        assert!(troubles.hear(&stored(Ok(ChunkNumber(1))), start).is_none());
        assert!(troubles.shown(start).is_empty());
        assert!(troubles.hear(&stored(Err("no space".into())), start).is_some(), "it is new");
    }
}
