//! `cargo xtask load`: clients that write and read values, as fast as a cluster accepts them or at a rate.
//!
//! By default the loop is closed: each client sends its next request when the last one is answered, so latency is what one
//! client sees, and the rate is what that number of clients reaches. With `--rate` the loop is open: a request begins when it
//! is due and a client is free, and its latency counts from when it was due. The offered load then does not depend on the
//! answers, as long as there are enough clients.

mod client;
mod cpu;
mod tally;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::client::{Client, Pace};
use self::tally::{HEADER, Tally};
use crate::console::{self, Progress, say};
use crate::flags::LoadFlags;
use crate::watchers::{self, Watching};
use crate::workspace::Failure;

pub(crate) use self::client::put;

/// Pause between two looks at how far the clients are.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Runs the clients and prints the result.
///
/// # Errors
/// An address is invalid, or not a single request succeeded.
pub(crate) fn run(flags: &LoadFlags) -> Result<(), Failure> {
    if !flags.watch.is_empty() {
        return beside_watchers(flags);
    }
    let before = processor_times(flags)?;
    let (total, elapsed) = run_clients(flags)?;
    let after = processor_times(flags)?;
    let printed = |line: &str| say(line).map_err(Failure::of("cannot print"));
    printed(&console::table(&HEADER, &total.rows(elapsed)))?;
    let of_requests = |used: Duration| used.as_micros() as f64 / total.done().max(1) as f64;
    for ((process, before), (_, after)) in before.iter().zip(&after) {
        let per_request = of_requests(after.saturating_sub(*before));
        printed(&format!("processor time of {process}: {per_request:.1} us a request"))?;
    }
    total.verdict()
}

/// The processor time used so far by each process that the flags name, and by this one.
fn processor_times(flags: &LoadFlags) -> Result<Vec<(String, Duration)>, Failure> {
    let mut times = Vec::new();
    for pid in &flags.pids {
        times.push((format!("process {pid}"), cpu::used_by(&pid.to_string())?));
    }
    times.push(("the clients".to_owned(), cpu::used_by("self")?));
    Ok(times)
}

/// Writes in turns without and with watchers, and compares.
fn beside_watchers(flags: &LoadFlags) -> Result<(), Failure> {
    let addr = resolve(flags.watch_addr.as_ref().unwrap_or(&flags.addrs[0]))?;
    watchers::prepare(addr)?;
    // A first run, not counted: at first all keys are new and caches are cold.
    drop(run_clients(flags)?);
    let (mut rows, mut sums) = (Vec::new(), [0.0; 2]);
    for _ in 0..flags.rounds {
        let (alone, elapsed) = run_clients(flags)?;
        sums[0] += alone.puts.rate(elapsed);
        rows.extend(alone.rows(elapsed).into_iter().map(|row| [vec!["no".to_owned()], row].concat()));
        let watching = Watching::start(addr, &flags.watch)?;
        let (beside, elapsed) = run_clients(flags)?;
        sums[1] += beside.puts.rate(elapsed);
        let woken = watching.stop();
        let woken_rate = format!("{:.0}", woken.answers as f64 / elapsed.as_secs_f64());
        let rate = format!("{:.1}", woken.bytes as f64 / 1e6 / elapsed.as_secs_f64());
        let more = vec![woken_rate, rate];
        rows.extend(
            beside.rows(elapsed).into_iter().map(|row| [vec!["yes".to_owned()], row, more.clone()].concat()),
        );
        alone.verdict()?;
        beside.verdict()?;
    }
    let more = ["woken/s", "MB/s to watchers"];
    let header = [["watchers"].as_slice(), HEADER.as_slice(), more.as_slice()].concat();
    let ratio = sums[1] / sums[0];
    say(&console::table(&header, &rows)).map_err(Failure::of("cannot print"))?;
    say(&format!("with watchers, {ratio:.3} of the rate without")).map_err(Failure::of("cannot print"))
}

/// Runs all clients for as long as the flags say, and shows how far they are.
fn run_clients(flags: &LoadFlags) -> Result<(Tally, Duration), Failure> {
    let addrs: Vec<SocketAddr> = flags.addrs.iter().map(|addr| resolve(addr)).collect::<Result<_, _>>()?;
    let seed = RandomState::new().build_hasher().finish();
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs(flags.seconds);
    let clients: Vec<_> = addrs
        .iter()
        .copied()
        .cycle()
        .take(usize::from(flags.clients))
        .enumerate()
        .map(|(number, addr)| {
            let client = Client::new(number, seed, addr, flags);
            let pace = flags.rate.map(|rate| Pace::new(start, number, flags.clients, rate));
            let done = Arc::clone(&done);
            thread::spawn(move || client.run_until(end, pace, &done))
        })
        .collect();
    show_progress(flags, end, &done);
    let mut total = Tally::default();
    for client in clients {
        total.add(client.join().map_err(|_| Failure::new("a client panicked"))?);
    }
    total.sort();
    Ok((total, start.elapsed()))
}

/// Shows until `end` how many requests have succeeded.
fn show_progress(flags: &LoadFlags, end: Instant, done: &AtomicU64) {
    let mut progress = Progress::start("running");
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        thread::sleep(left.min(LOOK_PAUSE));
        let done = done.load(Ordering::Relaxed);
        let rate = done as f64 / progress.elapsed().as_secs_f64();
        progress.tick(&format!("of {} s: {done} requests done, {rate:.0}/s", flags.seconds));
    }
    progress.clear();
}

fn resolve(addr: &str) -> Result<SocketAddr, Failure> {
    let failed = || Failure::of(format!("{addr} is no address (HOST:PORT)"));
    addr.to_socket_addrs()
        .map_err(failed())?
        .next()
        .ok_or_else(|| Failure::new(format!("{addr} has no address")))
}
