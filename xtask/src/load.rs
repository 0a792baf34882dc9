//! `cargo xtask load`: clients that write values, as fast as a cluster accepts them or at a rate.
//!
//! By default the loop is closed: each client sends its next write when the last one is answered, so latency is what one
//! client sees, and the rate is what that number of clients reaches. With `--rate` the loop is open: a write begins when it is
//! due and a client is free, and its latency counts from when it was due. The offered load then does not depend on the answers,
//! as long as there are enough clients.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use crate::console::{self, say};
use crate::flags::LoadFlags;
use crate::http::{Connection, HttpError};
use crate::watchers::{self, Watching};
use crate::workspace::Failure;

/// How long a client waits for an answer: longer than a server waits for a leader and a commit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after an error, so that a dead node is not asked a hundred thousand times a second.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// Runs the clients and prints the result.
///
/// # Errors
/// An address is invalid, or not a single write succeeded.
pub(crate) fn run(flags: &LoadFlags) -> Result<(), Failure> {
    if flags.watch.is_empty() {
        let (total, elapsed) = write(flags)?;
        say(&console::table(&HEADER, &[total.row(elapsed)])).map_err(Failure::of("cannot print"))?;
        return total.verdict();
    }
    beside_watchers(flags)
}

/// Writes in turns without and with watchers, and compares.
fn beside_watchers(flags: &LoadFlags) -> Result<(), Failure> {
    let addr = resolve(flags.watch_addr.as_ref().unwrap_or(&flags.addrs[0]))?;
    watchers::prepare(addr)?;
    // A first run, not counted: at first all keys are new and caches are cold.
    drop(write(flags)?);
    let (mut rows, mut sums) = (Vec::new(), [0.0; 2]);
    for _ in 0..flags.rounds {
        let (alone, elapsed) = write(flags)?;
        sums[0] += alone.rate(elapsed);
        rows.push([vec!["no".to_owned()], alone.row(elapsed)].concat());
        let watching = Watching::start(addr, &flags.watch)?;
        let (beside, elapsed) = write(flags)?;
        sums[1] += beside.rate(elapsed);
        let woken = watching.stop();
        let woken_rate = format!("{:.0}", woken.answers as f64 / elapsed.as_secs_f64());
        let rate = format!("{:.1}", woken.bytes as f64 / 1e6 / elapsed.as_secs_f64());
        rows.push([vec!["yes".to_owned()], beside.row(elapsed), vec![woken_rate, rate]].concat());
        alone.verdict()?;
        beside.verdict()?;
    }
    let more = ["woken/s", "MB/s to watchers"];
    let header = [["watchers"].as_slice(), HEADER.as_slice(), more.as_slice()].concat();
    let ratio = sums[1] / sums[0];
    say(&console::table(&header, &rows)).map_err(Failure::of("cannot print"))?;
    say(&format!("with watchers, {ratio:.3} of the rate without")).map_err(Failure::of("cannot print"))
}

/// Runs all clients for as long as the flags say.
fn write(flags: &LoadFlags) -> Result<(Tally, Duration), Failure> {
    let addrs: Vec<SocketAddr> = flags.addrs.iter().map(|addr| resolve(addr)).collect::<Result<_, _>>()?;
    let seed = RandomState::new().build_hasher().finish();
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
            thread::spawn(move || client.write_until(end, pace))
        })
        .collect();
    let mut total = Tally::default();
    for client in clients {
        total.add(client.join().map_err(|_| Failure::new("a client panicked"))?);
    }
    total.micros.sort_unstable();
    Ok((total, start.elapsed()))
}

/// The columns of [`Tally::row`].
const HEADER: [&str; 9] =
    ["writes", "refused", "in doubt", "errors", "writes/s", "p50 us", "p90 us", "p99 us", "max us"];

fn resolve(addr: &str) -> Result<SocketAddr, Failure> {
    let failed = || Failure::of(format!("{addr} is no address (HOST:PORT)"));
    addr.to_socket_addrs()
        .map_err(failed())?
        .next()
        .ok_or_else(|| Failure::new(format!("{addr} has no address")))
}

/// The counts of a run.
#[derive(Debug, Default)]
struct Tally {
    /// Latency of each successful write, in microseconds.
    micros: Vec<u64>,
    /// Writes refused because of overload: they certainly had no effect.
    refused: u64,
    /// Writes proposed with an unknown outcome.
    in_doubt: u64,
    /// All other failures.
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.micros.extend(other.micros);
        self.refused += other.refused;
        self.in_doubt += other.in_doubt;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn note(&mut self, failed: Failed) {
        match failed {
            Failed::Refused(_) => self.refused += 1,
            Failed::InDoubt(_) => self.in_doubt += 1,
            Failed::Otherwise(_) => self.errors += 1,
        }
        let (Failed::Refused(words) | Failed::InDoubt(words) | Failed::Otherwise(words)) = failed;
        self.first_error.get_or_insert(words);
    }

    /// Successful writes per second.
    fn rate(&self, elapsed: Duration) -> f64 {
        // A count below 2^52 is exact as a float.
        self.micros.len() as f64 / elapsed.as_secs_f64()
    }

    /// Formats the counts in the columns of [`HEADER`]. The latencies must be sorted.
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

    /// Returns an error if no write succeeded; otherwise prints how many failed, if any did.
    fn verdict(self) -> Result<(), Failure> {
        match (self.micros.is_empty(), self.first_error) {
            (true, Some(error)) => Err(Failure::new(format!("no write was answered well: {error}"))),
            (true, None) => Err(Failure::new("no write was answered in time")),
            (false, Some(error)) => {
                console::complain(&format!("first error: {error}"));
                Ok(())
            }
            (false, None) => Ok(()),
        }
    }
}

/// Returns the smallest of the sorted values that at least `percent` of them do not exceed, or 0 if there are none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// Describes why a write failed.
enum Failed {
    Refused(String),
    InDoubt(String),
    Otherwise(String),
}

/// The times at which one client's share of all writes is due.
#[derive(Clone, Copy, Debug)]
struct Pace {
    next: Instant,
    gap: Duration,
}

impl Pace {
    fn new(start: Instant, number: usize, clients: u16, rate: u32) -> Self {
        let between = Duration::from_secs(1) / rate;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Self { next: start + between * number, gap: between * u32::from(clients) }
    }

    /// Waits until the next write is due and returns that time.
    fn wait(&mut self) -> Instant {
        let due = self.next;
        self.next += self.gap;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

struct Client {
    addr: SocketAddr,
    random: u64,
    keys: u64,
    value_bytes: usize,
    /// Prefix of every key.
    prefix: &'static str,
}

impl Client {
    fn new(number: usize, seed: u64, addr: SocketAddr, flags: &LoadFlags) -> Self {
        // xorshift needs a start other than 0; multiples of a large odd number are far apart.
        let random = (number as u64 * 2 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (seed & !1);
        let (prefix, keys, value_bytes) = if flags.wake {
            (watchers::TREE, watchers::TREE_KEYS, watchers::TREE_VALUE_BYTES)
        } else {
            ("load/", flags.keys, flags.value_bytes)
        };
        Self { addr, random, keys, value_bytes, prefix }
    }

    fn write_until(mut self, end: Instant, mut pace: Option<Pace>) -> Tally {
        let mut tally = Tally::default();
        let mut connection = None;
        while Instant::now() < end {
            let start = pace.as_mut().map_or_else(Instant::now, Pace::wait);
            match self.write(&mut connection) {
                Ok(()) => tally.micros.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)),
                Err(failed) => {
                    tally.note(failed);
                    if pace.is_none() {
                        thread::sleep(ERROR_PAUSE);
                    }
                }
            }
        }
        tally
    }

    /// Makes one write. The connection is kept for the next one while it works.
    fn write(&mut self, kept: &mut Option<Connection>) -> Result<(), Failed> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.addr, ANSWER_TIMEOUT)
                .map_err(|error| Failed::Otherwise(format!("{}: {error}", self.addr)))?,
        };
        let request = self.request();
        let lost = |error: HttpError| Failed::Otherwise(format!("{}: {error}", self.addr));
        let response = connection.ask(&request).map_err(lost)?;
        if !response.close {
            *kept = Some(connection);
        }
        if response.status == 200 && response.body.trim_ascii() == b"true" {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&response.body);
        let words = format!("{}: status {}: {}", self.addr, response.status, body.trim());
        Err(match response.status {
            503 => Failed::Refused(words),
            500 if body.starts_with("serverPartialFail") => Failed::InDoubt(words),
            _ => Failed::Otherwise(words),
        })
    }

    fn request(&mut self) -> Vec<u8> {
        let key = self.next_random() % self.keys;
        // A new value each time, as a write that changes nothing costs the cluster less.
        let mut value = format!("{:016x}", self.next_random()).into_bytes();
        value.resize(self.value_bytes, b'v');
        put(self.addr, &format!("{}{key}", self.prefix), &value)
    }

    /// xorshift64: fast, and good enough to choose keys.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Encodes a request that stores a value.
pub(crate) fn put(addr: SocketAddr, key: &str, value: &[u8]) -> Vec<u8> {
    let length = value.len();
    let head = format!("PUT /v1/kv/{key} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), value].concat()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Pace, Tally, percentile};

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
    fn the_writes_of_all_clients_are_due_one_after_the_other() {
        let start = Instant::now();
        let dues: Vec<Vec<Duration>> = (0..2)
            .map(|number| {
                let mut pace = Pace::new(start, number, 2, 1000);
                (0..2).map(|_| pace.wait() - start).collect()
            })
            .collect();
        let ms = Duration::from_millis;
        assert_eq!(dues, [[ms(0), ms(2)], [ms(1), ms(3)]]);
    }

    #[test]
    fn tallies_of_clients_add_up() {
        let mut total =
            Tally { micros: vec![30], errors: 1, first_error: Some("one".to_owned()), ..Tally::default() };
        total.add(Tally {
            micros: vec![10, 20],
            refused: 4,
            in_doubt: 5,
            errors: 2,
            first_error: Some("two".to_owned()),
        });
        total.micros.sort_unstable();
        assert_eq!(total.row(Duration::from_secs(2)), ["3", "4", "5", "3", "2", "20", "30", "30", "30"]);
        assert_eq!(total.first_error.as_deref(), Some("one"));
    }
}
