//! The trace of a run: a digest of every input and every effect, byte for byte, and the last events in words.
//!
//! It is kept in a thread-local and not in the world, as a violation unwinds through the world. Many seeds
//! are run without a trace; a seed that fails is run again with one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use raftkit_core::{Effects, Input, NodeId};

use crate::timeline;

/// Number of events kept in words.
const KEPT: usize = 40;

thread_local! {
    static IS_KEPT: Cell<bool> = const { Cell::new(false) };
    static TRACE: RefCell<Trace> = RefCell::default();
}

#[derive(Default)]
pub struct Trace {
    /// The digest of everything up to each input and its effects.
    pub digests: Vec<u64>,
    /// Time of the last event.
    pub now: u64,
    digest: Digest,
    /// The last events, each with its consequences.
    events: VecDeque<String>,
}

/// The FNV-1a hash of the bytes written to it.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        Ok(())
    }
}

impl Trace {
    /// The digest of the whole run.
    pub fn digest(&self) -> u64 {
        self.digest.0
    }

    /// The last events, one a line.
    pub fn timeline(&self) -> String {
        self.events.iter().map(String::as_str).collect()
    }

    fn event(&mut self, now: u64, words: fmt::Arguments<'_>) {
        writeln!(self.digest, "{now} {words}").expect("a digest takes all");
        self.now = now;
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(format!("{:>4}.{:06} s  {words}\n", now / 1_000_000, now % 1_000_000));
    }

    fn follows(&mut self, words: fmt::Arguments<'_>) {
        writeln!(self.digest, "{words}").expect("a digest takes all");
        if let Some(event) = self.events.back_mut() {
            writeln!(event, "{:15}{words}", "").expect("a string takes all");
        }
    }
}

/// Runs something with a trace of it.
pub fn of<T>(run: impl FnOnce() -> T) -> (T, Trace) {
    TRACE.take();
    IS_KEPT.set(true);
    let done = run();
    IS_KEPT.set(false);
    (done, TRACE.take())
}

fn with(note: impl FnOnce(&mut Trace)) {
    if IS_KEPT.get() {
        TRACE.with_borrow_mut(note);
    }
}

/// Records an event that is not an input.
pub fn event(now: u64, words: fmt::Arguments<'_>) {
    with(|trace| trace.event(now, words));
}

/// Records a consequence of the last event.
pub fn follows(words: fmt::Arguments<'_>) {
    with(|trace| trace.follows(words));
}

/// Records an input.
pub fn input(now: u64, id: NodeId, input: &Input) {
    with(|trace| {
        trace.event(now, format_args!("{}", timeline::input(id, input)));
        writeln!(trace.digest, "{input:?}").expect("a digest takes all");
    });
}

/// Records the effects of the last input.
pub fn effects(effects: &Effects) {
    with(|trace| {
        writeln!(trace.digest, "{effects:?}").expect("a digest takes all");
        trace.digests.push(trace.digest.0);
        timeline::effects(effects).iter().for_each(|words| trace.follows(format_args!("{words}")));
    });
}
