//! Output on the terminal: lines, tables, times, and progress while something takes long.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Prints one line. Unlike `println!` it returns an error, instead of panicking, when the reader of standard output has
/// closed it: a command that runs until it is stopped then stops.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Prints one line to standard error, and ignores that standard error may be closed.
pub(crate) fn complain(line: &str) {
    // There is no other place to report the error to.
    drop(writeln!(io::stderr(), "{line}"));
}

/// The time of day in UTC, `HH:MM:SSZ`.
pub(crate) fn clock() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    time_of_day(since_epoch.as_secs())
}

fn time_of_day(seconds_since_epoch: u64) -> String {
    let second = seconds_since_epoch % 86_400;
    format!("{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// A duration in seconds, with one decimal.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Formats a table: columns as wide as their widest cell, two spaces apart, no spaces at the end of a line. A row may be
/// shorter than the header.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// A progress line that says what this program waits for, and how long it has waited: rewritten in place on a terminal, and
/// printed anew every five seconds elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    label: String,
    start: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub(crate) fn start(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            start: Instant::now(),
            shown: None,
            terminal: io::stderr().is_terminal(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Updates the elapsed time and `detail`. To be called often.
    pub(crate) fn tick(&mut self, detail: &str) {
        let every = if self.terminal { Duration::from_millis(100) } else { Duration::from_secs(5) };
        if self.shown.unwrap_or(self.start).elapsed() < every {
            return;
        }
        self.shown = Some(Instant::now());
        let line = format!("{} {} {detail}", self.label, seconds(self.start.elapsed()));
        // Failing to show progress must not stop the work.
        if self.terminal {
            drop(write!(io::stderr(), "\r\x1b[2K{line}"));
        } else {
            complain(line.trim_end());
        }
    }

    /// Clears the line, so that the next thing printed starts on an empty one.
    pub(crate) fn clear(&self) {
        if self.terminal && self.shown.is_some() {
            drop(write!(io::stderr(), "\r\x1b[2K"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{table, time_of_day};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec!["1".to_owned(), "follower".to_owned(), "x".to_owned()],
            vec!["10".to_owned(), "leader".to_owned()],
        ];
        assert_eq!(table(&["id", "role", "pid"], &rows), "id  role      pid\n1   follower  x\n10  leader");
    }

    #[test]
    fn a_header_may_be_the_widest_cell() {
        assert_eq!(
            table(&["a long head", "b"], &[vec!["1".to_owned(), "2".to_owned()]]),
            "a long head  b\n1            2"
        );
    }

    #[test]
    fn the_time_of_day_wraps_at_midnight() {
        assert_eq!(time_of_day(0), "00:00:00Z");
        assert_eq!(time_of_day(86_399), "23:59:59Z");
        assert_eq!(time_of_day(86_400 * 20_000 + 3_661), "01:01:01Z");
    }
}
