//! The counts of a run, and the table that shows them.

use std::time::Duration;

use super::client::{Failed, Kind};
use crate::console;
use crate::workspace::Failure;

/// The columns of [`Tally::rows`].
pub(crate) const HEADER: [&str; 10] =
    ["request", "done", "refused", "in doubt", "errors", "/s", "p50 us", "p90 us", "p99 us", "max us"];

/// The counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) puts: Counts,
    pub(crate) gets: Counts,
    /// The message of the first failure.
    pub(crate) first_error: Option<String>,
}

/// The counts of one kind of request.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Latency of each successful request, in microseconds.
    pub(crate) micros: Vec<u64>,
    /// Requests refused because of overload: they certainly had no effect.
    pub(crate) refused: u64,
    /// Writes proposed with an unknown outcome.
    pub(crate) in_doubt: u64,
    /// All other failures.
    pub(crate) errors: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.puts.add(other.puts);
        self.gets.add(other.gets);
        self.first_error = self.first_error.take().or(other.first_error);
    }

    pub(crate) fn succeeded(&mut self, kind: Kind, took: Duration) {
        self.of(kind).micros.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn failed(&mut self, kind: Kind, failed: Failed) {
        let counts = self.of(kind);
        match failed {
            Failed::Refused(_) => counts.refused += 1,
            Failed::InDoubt(_) => counts.in_doubt += 1,
            Failed::Otherwise(_) => counts.errors += 1,
        }
        let (Failed::Refused(words) | Failed::InDoubt(words) | Failed::Otherwise(words)) = failed;
        self.first_error.get_or_insert(words);
    }

    fn of(&mut self, kind: Kind) -> &mut Counts {
        match kind {
            Kind::Put => &mut self.puts,
            Kind::Get => &mut self.gets,
        }
    }

    /// Sorts the latencies, of which percentiles can be taken then.
    pub(crate) fn sort(&mut self) {
        self.puts.micros.sort_unstable();
        self.gets.micros.sort_unstable();
    }

    /// Number of successful requests.
    pub(crate) fn done(&self) -> usize {
        self.puts.micros.len() + self.gets.micros.len()
    }

    /// Formats the counts in the columns of [`HEADER`], with a row for each kind of request that was made. The latencies must
    /// be sorted.
    pub(crate) fn rows(&self, elapsed: Duration) -> Vec<Vec<String>> {
        [("put", &self.puts), ("get", &self.gets)]
            .into_iter()
            .filter(|(_, counts)| counts.was_made())
            .map(|(name, counts)| [vec![name.to_owned()], counts.row(elapsed)].concat())
            .collect()
    }

    /// Returns an error if no request succeeded; otherwise prints the first failure, if there was one.
    pub(crate) fn verdict(self) -> Result<(), Failure> {
        match (self.done(), self.first_error) {
            (0, Some(error)) => Err(Failure::new(format!("no request succeeded: {error}"))),
            (0, None) => Err(Failure::new("no request was answered in time")),
            (_, Some(error)) => {
                console::complain(&format!("first error: {error}"));
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.micros.extend(other.micros);
        self.refused += other.refused;
        self.in_doubt += other.in_doubt;
        self.errors += other.errors;
    }

    fn was_made(&self) -> bool {
        !self.micros.is_empty() || self.refused + self.in_doubt + self.errors > 0
    }

    /// Successful requests per second.
    pub(crate) fn rate(&self, elapsed: Duration) -> f64 {
        // A count below 2^52 is exact as a float.
        self.micros.len() as f64 / elapsed.as_secs_f64()
    }

    fn row(&self, elapsed: Duration) -> Vec<String> {
        vec![
            self.micros.len().to_string(),
            self.refused.to_string(),
            self.in_doubt.to_string(),
            self.errors.to_string(),
            format!("{:.0}", self.rate(elapsed)),
            percentile(&self.micros, 50).to_string(),
            percentile(&self.micros, 90).to_string(),
            percentile(&self.micros, 99).to_string(),
            percentile(&self.micros, 100).to_string(),
        ]
    }
}

/// Returns the smallest of the sorted values that at least `percent` of them do not exceed, or 0 if there are none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Counts, Failed, Kind, Tally, percentile};

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&sorted, 50), 100);
        assert_eq!(percentile(&sorted, 99), 198);
        assert_eq!(percentile(&sorted, 100), 200);
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile(&[], 99), 0);
    }

    #[test]
    fn tallies_of_clients_add_up() {
        let puts = |micros: &[u64], refused, in_doubt, errors| Counts {
            micros: micros.to_vec(),
            refused,
            in_doubt,
            errors,
        };
        let mut total = Tally { puts: puts(&[30], 0, 0, 1), ..Tally::default() };
        let mut other = Tally { puts: puts(&[10, 20], 4, 5, 1), ..Tally::default() };
        other.failed(Kind::Put, Failed::Otherwise("one".to_owned()));
        other.failed(Kind::Put, Failed::Otherwise("two".to_owned()));
        other.succeeded(Kind::Get, Duration::from_micros(7));
        total.add(other);
        total.sort();
        assert_eq!(
            total.rows(Duration::from_secs(2)),
            [
                ["put", "3", "4", "5", "4", "2", "20", "30", "30", "30"],
                ["get", "1", "0", "0", "0", "0", "7", "7", "7", "7"]
            ]
        );
        assert_eq!(total.first_error.as_deref(), Some("one"));
    }

    #[test]
    fn a_kind_of_request_that_was_not_made_has_no_row() {
        assert_eq!(Tally::default().rows(Duration::from_secs(1)), Vec::<Vec<String>>::new());
    }
}
