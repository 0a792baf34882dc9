//! Runs many seeds on several threads, or one with a trace, and prints the report.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::settings::{DEFAULT, Seeds, Settings};
use crate::sums::{Sums, grouped};
use crate::violation::{self, Violation};

/// Number of seeds below which a run need not show every mark.
const FEW: u64 = 50;

/// Runs what the settings ask for, and prints a report. A manual run exits when a check failed, so that the
/// last output is the command that replays it, and not the test harness's summary.
///
/// # Panics
/// If a check failed, or an event that must happen sometimes never did.
pub fn run(settings: Settings) {
    let failed = match settings.seeds {
        Seeds::One(seed) => run_one(seed, settings.nodes).err(),
        Seeds::Many { first, count, time } => run_many(settings, first, count, time).err(),
    };
    let Some(why) = failed else { return };
    if settings.by_hand {
        tell(&why);
        std::process::exit(1);
    }
    panic!("{why}");
}

fn run_one(seed: u64, nodes: Option<u64>) -> Result<(), String> {
    let start = Instant::now();
    let (sums, trace) = violation::run_traced(seed, nodes).map_err(|violation| violation.to_string())?;
    tell(&sums.table(start.elapsed(), 1, 0));
    tell(&format!("digest of the trace of seed {seed}: {:016x}", trace.digest()));
    Ok(())
}

fn run_many(
    settings: Settings,
    first: u64,
    count: Option<u64>,
    time: Option<Duration>,
) -> Result<(), String> {
    let start = Instant::now();
    let (sums, violations) = run_seeds(settings, first, count, time);
    let (time, rate) = (start.elapsed(), grouped(sums.rate(start.elapsed())));
    let (marks, missing) = sums.marks.report();
    if settings.by_hand {
        tell(&format!("{}\nthe first seed was {first}", sums.table(time, settings.jobs, violations.len())));
    } else {
        let Sums { seeds, steps, acknowledged, changes, reads, elections, .. } = &sums;
        println!("{marks}{seeds} seeds: {steps} steps ({rate} a second), {acknowledged} writes,");
        println!("{changes} changes, {reads} reads, {elections} elections");
    }
    if let Some(violation) = violations.first() {
        return Err(violation.to_string());
    }
    let seeds = sums.seeds;
    let too_little = sums.acknowledged <= seeds || sums.reads <= seeds || sums.elections <= seeds;
    if settings.nodes.is_some() || seeds < FEW {
        Ok(())
    } else if too_little {
        Err("the runs do too little".to_owned())
    } else if seeds >= DEFAULT && !missing.is_empty() {
        Err(format!("never happened: {missing:?}"))
    } else {
        Ok(())
    }
}

/// Runs seeds until all are done, the time is over or one fails. Returns the sums, and the violations by
/// seed.
fn run_seeds(
    settings: Settings,
    first: u64,
    count: Option<u64>,
    time: Option<Duration>,
) -> (Sums, Vec<Violation>) {
    let start = Instant::now();
    let end = count.map_or(u64::MAX, |count| first.saturating_add(count));
    let (next, is_over) = (Arc::new(AtomicU64::new(first)), Arc::new(AtomicBool::new(false)));
    let (done, all_done) = mpsc::channel::<Result<Sums, Violation>>();
    for _ in 0..settings.jobs {
        let (next, is_over, done) = (Arc::clone(&next), Arc::clone(&is_over), done.clone());
        std::thread::spawn(move || {
            let goes_on =
                || !is_over.load(Ordering::Relaxed) && time.is_none_or(|time| start.elapsed() < time);
            while goes_on() {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    break;
                }
                let result = violation::run(seed, settings.nodes, settings.by_hand);
                if result.is_err() {
                    is_over.store(true, Ordering::Relaxed);
                }
                if done.send(result).is_err() {
                    break;
                }
            }
        });
    }
    drop(done);
    let (mut sums, mut violations) = (Sums::default(), Vec::new());
    let mut progress = Progress::new(settings.by_hand);
    loop {
        match all_done.recv_timeout(Duration::from_millis(200)) {
            Ok(Ok(seen)) => sums.add(&seen),
            Ok(Err(violation)) => violations.push(violation),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.show(|time| sums.progress(time));
    }
    violations.sort_by_key(|violation| violation.seed);
    (sums, violations)
}

/// Prints a progress line now and then.
struct Progress {
    start: Instant,
    shown: Instant,
    /// The interval between lines; none without a waiting user.
    every: Option<Duration>,
}

impl Progress {
    fn new(by_hand: bool) -> Self {
        let now = Instant::now();
        let seconds = if io::stderr().is_terminal() { 1 } else { 10 };
        Self { start: now, shown: now, every: by_hand.then_some(Duration::from_secs(seconds)) }
    }

    fn show(&mut self, line: impl FnOnce(Duration) -> String) {
        if self.every.is_some_and(|every| self.shown.elapsed() >= every) {
            self.shown = Instant::now();
            let line = line(self.start.elapsed());
            // A failure to print is ignored. (Not `eprintln!`, which the test harness may capture.)
            drop(writeln!(io::stderr(), "{line}"));
        }
    }
}

/// Prints lines, bypassing the test harness.
fn tell(words: &str) {
    drop(writeln!(io::stdout(), "{words}"));
}
