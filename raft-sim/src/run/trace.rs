//! The trace of a run: always a digest of all events, and on demand the last lines.

use std::collections::VecDeque;
use std::fmt::Write as _;

use xxhash_rust::xxh3::Xxh3;

/// The trace of a run. Its digest covers the time, node and content of every event; two runs of one plan have the same digest.
/// Lines are kept only on demand, as making them costs time.
pub struct Trace {
    hasher: Xxh3,
    events: u64,
    kept: usize,
    lines: VecDeque<String>,
}

impl Trace {
    /// Creates a trace that keeps the last `lines` lines.
    #[must_use]
    pub fn keeping(lines: usize) -> Self {
        Self { hasher: Xxh3::new(), events: 0, kept: lines, lines: VecDeque::new() }
    }

    /// Adds an event to the digest: its kind (one of [`kind`]), its node and its content.
    pub(crate) fn note(&mut self, now: u64, kind: u8, node: u64, content: &[u64]) {
        self.events += 1;
        self.hasher.update(&now.to_le_bytes());
        self.hasher.update(&[kind, u8::try_from(content.len()).unwrap_or(u8::MAX)]);
        self.hasher.update(&node.to_le_bytes());
        for number in content {
            self.hasher.update(&number.to_le_bytes());
        }
    }

    /// True when lines are kept. Otherwise callers can skip making them.
    pub(crate) fn wants_lines(&self) -> bool {
        self.kept > 0
    }

    /// Adds a line, if lines are kept.
    pub(crate) fn tell(&mut self, now: u64, line: impl FnOnce() -> String) {
        if self.kept == 0 {
            return;
        }
        if self.lines.len() == self.kept {
            self.lines.pop_front();
        }
        let mut whole = String::new();
        let _ = write!(whole, "{:>5}.{:06}  {}", now / 1_000_000, now % 1_000_000, line());
        self.lines.push_back(whole);
    }

    /// Number of events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Digest of all events.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.hasher.digest()
    }

    /// The lines that were kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// The kinds of events, as numbers for the digest.
pub(crate) mod kind {
    pub(crate) const ROUND: u8 = 1;
    pub(crate) const ACTION: u8 = 2;
    pub(crate) const ARRIVAL: u8 = 3;
    pub(crate) const WORK: u8 = 4;
    pub(crate) const DONE: u8 = 5;
    pub(crate) const SCRIPT: u8 = 6;
    pub(crate) const START: u8 = 7;
    pub(crate) const CLIENT: u8 = 8;
    pub(crate) const END: u8 = 9;
}
