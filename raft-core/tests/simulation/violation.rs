//! A violation: what failed, what happened before, and the command that replays it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::simulate;
use crate::sums::Sums;
use crate::trace::{self, Trace};

thread_local! {
    /// True when panics of this thread are not printed.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    /// The message of this thread's last panic.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

pub struct Violation {
    pub seed: u64,
    nodes: Option<u64>,
    /// The failed check in words, and its location.
    words: String,
    steps: usize,
    /// Virtual time of the violation.
    now: u64,
    timeline: String,
    digest: u64,
}

/// Runs one seed.
///
/// # Errors
/// What it breaks, once it was run again with a trace.
pub fn run(seed: u64, nodes: Option<u64>, quiet: bool) -> Result<Sums, Violation> {
    caught(quiet, || Sums::of(&simulate(seed, nodes))).map_err(|words| {
        let (again, trace) = traced(seed, nodes);
        let words = again.err().unwrap_or_else(|| {
            format!(
                "{words}
Run again it holds: the simulation is not repeatable."
            )
        });
        Violation::new(seed, nodes, words, &trace)
    })
}

/// Runs one seed with a trace of it.
///
/// # Errors
/// What it breaks.
pub fn run_traced(seed: u64, nodes: Option<u64>) -> Result<(Sums, Trace), Violation> {
    match traced(seed, nodes) {
        (Ok(sums), trace) => Ok((sums, trace)),
        (Err(words), trace) => Err(Violation::new(seed, nodes, words, &trace)),
    }
}

impl Violation {
    fn new(seed: u64, nodes: Option<u64>, words: String, trace: &Trace) -> Self {
        let (steps, now, timeline) = (trace.digests.len(), trace.now, trace.timeline());
        Self { seed, nodes, words, steps, now, timeline, digest: trace.digest() }
    }
}

fn traced(seed: u64, nodes: Option<u64>) -> (Result<Sums, String>, Trace) {
    trace::of(|| caught(true, || Sums::of(&simulate(seed, nodes))))
}

/// Returns the result of `run`, or the message that it panicked with.
fn caught<T>(quiet: bool, run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            SAID.set(said(info));
            if !IS_QUIET.get() {
                usual(info);
            }
        }));
    });
    let before = IS_QUIET.replace(quiet);
    let done = panic::catch_unwind(AssertUnwindSafe(run));
    IS_QUIET.set(before);
    done.map_err(|_| SAID.take())
}

fn said(info: &PanicHookInfo<'_>) -> String {
    let words = info.payload_as_str().unwrap_or("it panicked");
    // An assertion's own sentence describes the check; the macro's prefix adds nothing.
    let promise = words.strip_prefix("assertion `left == right` failed: ").unwrap_or(words);
    let place = info.location().map_or(String::new(), |at| format!("\n({}:{})", at.file(), at.line()));
    promise.to_owned() + &place
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, words, steps, now, timeline, digest } = self;
        let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
        writeln!(f, "What led to it, in virtual time:\n\n{timeline}")?;
        writeln!(f, "VIOLATION of seed {seed} after {steps} steps, at {seconds}.{micros:06} s:\n")?;
        words.lines().try_for_each(|line| writeln!(f, "    {line}"))?;
        writeln!(f, "\ndigest of the trace: {digest:016x}")?;
        let nodes = nodes.map_or(String::new(), |nodes| format!(" --nodes {nodes}"));
        write!(f, "replay: cargo xtask simulate --profile core --seed {seed}{nodes}")
    }
}
