//! Runs of many seeds on several threads, until all are done, time is up, or one fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use raftkit_sim::{Plan, Report, plan_of_seed};

use crate::flags::Flags;
use crate::one;
use crate::show::{self, Sums};

/// Processor time after which a seed counts as one that never ends; others take a thousandth of it. Time on the clock would say
/// nothing on a machine that is busy with other work.
const STUCK: Duration = Duration::from_secs(30);
/// Time on the clock after which a seed counts as one that never ends, for a seed that waits and so uses no processor time.
const STANDS_STILL: Duration = Duration::from_secs(300);

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the words of a panic instead of printing them: redb's panics at a rotten page are caught, and others are reported as
/// violations. A panic in a destructor while another one unwinds aborts the program, so then the words of both are printed.
pub(crate) fn note_panic(words: &str) {
    PANIC.with(|panic| {
        let mut panic = panic.borrow_mut();
        if words.contains("in a destructor during cleanup") {
            eprintln!("{}\nand then, on the way out, {words}", panic.as_deref().unwrap_or_default());
        } else {
            *panic = Some(words.to_owned());
        }
    });
}

pub(crate) fn forget_panic() {
    PANIC.with(|panic| *panic.borrow_mut() = None);
}

pub(crate) fn last_panic() -> Option<String> {
    PANIC.with(|panic| panic.borrow().clone())
}

/// The time at which a seed began.
struct Start {
    clock: Instant,
    /// Processor time that the whole process had used.
    processor: Duration,
}

impl Start {
    fn now() -> Self {
        Self { clock: Instant::now(), processor: show::processor_time() }
    }

    /// True if a seed that began at this time has run far longer than any seed that ends. `jobs` seeds share the processor time.
    fn is_too_long_ago(&self, jobs: u32) -> bool {
        let used = show::processor_time().saturating_sub(self.processor);
        used >= STUCK * jobs || self.clock.elapsed() >= STANDS_STILL
    }
}

/// The data that all threads share.
struct Shared<'a> {
    flags: &'a Flags,
    next: AtomicU64,
    end: AtomicBool,
    sums: Mutex<Sums>,
    /// Notified when a thread has ended.
    done: Condvar,
    /// The seeds that are running, with their start times.
    running: Mutex<BTreeMap<u64, Start>>,
    failed: Mutex<Option<(Plan, Report)>>,
}

/// Runs the seeds. Returns true when every promise was kept, and with `--all-marks` every mark was met.
pub(crate) fn run(flags: &Flags) -> Result<bool, String> {
    let first = flags.first_seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 24);
    let is_endless = flags.seeds.is_none() && flags.core_seconds.is_none();
    let minutes = flags.minutes.or(is_endless.then_some(1.0));
    let time = minutes.map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0));
    let jobs = flags.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, |it| it.get() as u64));
    if !flags.terse {
        println!("first seed {first}, {jobs} at a time");
    }
    let start = Instant::now();
    let shared = Shared {
        flags,
        next: AtomicU64::new(first),
        end: AtomicBool::new(false),
        sums: Mutex::default(),
        done: Condvar::new(),
        running: Mutex::default(),
        failed: Mutex::default(),
    };
    let last = flags.seeds.map(|seeds| first.saturating_add(seeds));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(&shared, last, time.map(|time| start + time)));
        }
        scope.spawn(|| watch(&shared, start, time));
    });
    let sums = shared.sums.into_inner().map_err(|_| "a thread has panicked".to_owned())?;
    let failed = shared.failed.into_inner().map_err(|_| "a thread has panicked".to_owned())?;
    if !flags.terse {
        print!("{}", sums.table(start.elapsed(), jobs));
    }
    if let Some((plan, report)) = failed {
        if flags.terse {
            show::terse(&report, sums.kept.events, sums.kept.seeds);
        } else {
            one::fail(&plan, &report, flags)?;
        }
        return Ok(false);
    }
    if flags.terse {
        show::terse_sums(&sums);
    }
    let missing = sums.kept.marks.missing();
    if flags.all_marks && !missing.is_empty() {
        println!("never happened: {}", missing.join("; "));
        return Ok(false);
    }
    Ok(true)
}

fn work(shared: &Shared<'_>, last: Option<u64>, until: Option<Instant>) {
    loop {
        let worked_enough =
            shared.flags.core_seconds.is_some_and(|seconds| show::processor_time().as_secs_f64() >= seconds);
        let over = worked_enough || until.is_some_and(|until| Instant::now() >= until);
        if over || shared.end.load(Ordering::Relaxed) {
            break;
        }
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if last.is_some_and(|last| seed >= last) {
            break;
        }
        if let Ok(mut running) = shared.running.lock() {
            running.insert(seed, Start::now());
        }
        let plan = plan_of_seed(seed, shared.flags.nodes);
        let report = one::simulate(&plan, shared.flags, 0);
        if let Ok(mut running) = shared.running.lock() {
            running.remove(&seed);
        }
        if shared.flags.digests {
            println!("seed\t{seed}\t{:016x}", report.digest);
        }
        if let Ok(mut sums) = shared.sums.lock() {
            sums.add(&report);
        }
        if report.violation.is_some() {
            shared.end.store(true, Ordering::Relaxed);
            if let Ok(mut failed) = shared.failed.lock() {
                failed.get_or_insert((plan, report));
            }
        }
    }
    if let Ok(mut sums) = shared.sums.lock() {
        sums.done += 1;
    }
    shared.done.notify_all();
}

/// Shows the progress, every second in one line of a terminal, and from time to time in a new line elsewhere. A seed that does not
/// end also ends the whole process, as its thread cannot be stopped.
fn watch(shared: &Shared<'_>, start: Instant, time: Option<Duration>) {
    let jobs =
        shared.flags.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, |it| it.get() as u64));
    let on_terminal = std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    let Ok(mut sums) = shared.sums.lock() else { return };
    loop {
        if sums.done >= jobs {
            if on_terminal && !shared.flags.terse {
                eprintln!();
            }
            return;
        }
        let Ok((again, _)) = shared.done.wait_timeout(sums, Duration::from_millis(250)) else { return };
        sums = again;
        if let Some(seed) = stuck(shared) {
            if shared.flags.terse {
                show::terse_stuck(&sums, seed);
            } else {
                eprintln!(
                    "\nseed {seed} does not end; replay: cargo xtask simulate --seed {seed}{}",
                    one::nodes(shared.flags)
                );
            }
            std::process::exit(1);
        }
        if shared.flags.terse {
            continue;
        }
        let pause = if on_terminal { Duration::from_secs(1) } else { Duration::from_secs(30) };
        if shown.elapsed() >= pause {
            shown = Instant::now();
            let line = sums.progress(start.elapsed(), time);
            if on_terminal {
                eprint!("\r\x1b[K{line}");
                let _ = std::io::stderr().flush();
            } else {
                eprintln!("{line}");
            }
        }
    }
}

/// Returns a seed that does not end, if there is one.
fn stuck(shared: &Shared<'_>) -> Option<u64> {
    let running = shared.running.lock().ok()?;
    let jobs = u32::try_from(running.len()).unwrap_or(u32::MAX);
    running.iter().find(|(_, start)| start.is_too_long_ago(jobs)).map(|(seed, _)| *seed)
}
