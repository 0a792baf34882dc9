//! Failed attempts to reach servers at the addresses in `join`: the lines for the log and the status, and when they
//! are due.

use std::collections::BTreeMap;
use std::time::Duration;

/// An address that is silent for less than this may belong to a server that is just starting.
const SILENCE: Duration = Duration::from_secs(4);
/// Interval after which the same line is logged again.
const AGAIN: Duration = Duration::from_secs(30);

/// The reason why no server was reached at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No server seems to be there.
    Silent,
    /// A server is there, and one of the two refuses the other. Waiting does not help.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failing {
    fault: Fault,
    /// The reason in words.
    reason: String,
    since: Duration,
    said: Option<Duration>,
}

/// Addresses at which no server was reached. Times count from any fixed moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outreach {
    failing: BTreeMap<String, Failing>,
}

impl Outreach {
    /// A server was reached at `address`, or the address need not be tried.
    pub(crate) fn found(&mut self, address: &str) {
        self.failing.remove(address);
    }

    /// No server is looked for any more.
    pub(crate) fn clear(&mut self) {
        self.failing.clear();
    }

    /// No server was reached at `address`.
    pub(crate) fn failed(&mut self, now: Duration, address: &str, fault: Fault, reason: String) {
        let before = self.failing.get(address).filter(|failing| failing.fault == fault);
        let (since, said) = before.map_or((now, None), |failing| (failing.since, failing.said));
        self.failing.insert(address.to_owned(), Failing { fault, reason, since, said });
    }

    /// The lines for the log that are due now, one for each address: at once if the server refused, after [`SILENCE`]
    /// if nobody answers, and again after each [`AGAIN`].
    pub(crate) fn lines(&mut self, now: Duration) -> Vec<String> {
        let due = self.failing.iter_mut().filter(|(_, failing)| match failing.said {
            Some(said) => now.saturating_sub(said) >= AGAIN,
            None => failing.is_telling(now),
        });
        due.map(|(address, failing)| {
            failing.said = Some(now);
            line(address, failing)
        })
        .collect()
    }

    /// The warnings for the status.
    pub(crate) fn warnings(&self, now: Duration) -> Vec<String> {
        let telling = self.failing.iter().filter(|(_, failing)| failing.is_telling(now));
        telling.map(|(address, failing)| line(address, failing)).collect()
    }
}

impl Failing {
    fn is_telling(&self, now: Duration) -> bool {
        match self.fault {
            Fault::Silent => now.saturating_sub(self.since) >= SILENCE,
            Fault::Refused => true,
        }
    }
}

fn line(address: &str, failing: &Failing) -> String {
    format!("no server was found at {address}, which is in join: {}", failing.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_is_told_after_a_while_and_then_seldom() {
        let mut outreach = Outreach::default();
        let mut said = Vec::new();
        for now in 0..100 {
            outreach.failed(second(now), "a:1", Fault::Silent, format!("silent at {now}"));
            said.extend(outreach.lines(second(now)).into_iter().map(|line| (now, line)));
            assert_eq!(outreach.warnings(second(now)).len(), usize::from(now >= 4), "at {now} s");
        }
        let times: Vec<u64> = said.iter().map(|(now, _)| *now).collect();
        assert_eq!(times, [4, 34, 64, 94]);
        assert_eq!(said[1].1, "no server was found at a:1, which is in join: silent at 34");
    }

    #[test]
    fn silence_is_told_also_while_an_attempt_lasts() {
        let mut outreach = Outreach::default();
        outreach.failed(second(1), "a:1", Fault::Silent, "silent".to_owned());
        assert_eq!(outreach.lines(second(4)).len(), 0);
        assert_eq!(outreach.lines(second(5)).len(), 1);
    }

    #[test]
    fn a_refusal_is_told_at_once_and_each_address_by_itself() {
        let mut outreach = Outreach::default();
        outreach.failed(second(1), "a:1", Fault::Silent, "silent".to_owned());
        outreach.failed(second(1), "b:1", Fault::Refused, "refused".to_owned());
        let lines = outreach.lines(second(1));
        assert!(matches!(lines.as_slice(), [line] if line.contains("b:1") && line.ends_with(": refused")));
        outreach.failed(second(2), "b:1", Fault::Refused, "refused".to_owned());
        assert_eq!(outreach.lines(second(2)).len(), 0);
        // A fault of another kind is logged at once.
        outreach.failed(second(3), "b:1", Fault::Silent, "silent".to_owned());
        outreach.failed(second(4), "b:1", Fault::Refused, "refused".to_owned());
        assert_eq!(outreach.lines(second(4)).len(), 1);
    }

    #[test]
    fn what_was_found_is_forgotten() {
        let mut outreach = Outreach::default();
        outreach.failed(second(1), "a:1", Fault::Refused, "refused".to_owned());
        outreach.found("a:1");
        assert_eq!((outreach.lines(second(9)), outreach.warnings(second(9))), (vec![], vec![]));
        outreach.failed(second(10), "a:1", Fault::Silent, "silent".to_owned());
        assert_eq!(outreach.lines(second(13)).len(), 0, "its silence counts from anew");
        outreach.clear();
        assert_eq!(outreach, Outreach::default());
    }
}
