//! One client: a connection, the requests on it, and when they are due.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::tally::Tally;
use crate::flags::{LoadFlags, ReadMode};
use crate::http::{Connection, HttpError};
use crate::watchers;

/// How long a client waits for an answer: longer than a server waits for a leader and a commit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after an error, so that a dead node is not asked a hundred thousand times a second.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Stores a value.
    Put,
    /// Reads a key, which need not be there.
    Get,
}

/// Why a request failed, with a message.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Refused because of overload: it certainly had no effect.
    Refused(String),
    /// A write that was proposed, with an unknown outcome.
    InDoubt(String),
    /// Every other failure.
    Otherwise(String),
}

/// The times at which one client's share of all requests is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    next: Instant,
    gap: Duration,
}

impl Pace {
    pub(crate) fn new(start: Instant, number: usize, clients: u16, rate: u32) -> Self {
        let between = Duration::from_secs(1) / rate;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Self { next: start + between * number, gap: between * u32::from(clients) }
    }

    /// Waits until the next request is due and returns that time.
    fn wait(&mut self) -> Instant {
        let due = self.next;
        self.next += self.gap;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

/// A client.
pub(crate) struct Client {
    addr: SocketAddr,
    random: u64,
    keys: u64,
    value_bytes: usize,
    /// Prefix of every key.
    prefix: &'static str,
    gets_percent: u64,
    read: ReadMode,
}

impl Client {
    pub(crate) fn new(number: usize, seed: u64, addr: SocketAddr, flags: &LoadFlags) -> Self {
        // xorshift needs a start other than 0; multiples of a large odd number are far apart.
        let random = (number as u64 * 2 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (seed & !1);
        let (prefix, keys, value_bytes) = if flags.wake {
            (watchers::TREE, watchers::TREE_KEYS, watchers::TREE_VALUE_BYTES)
        } else {
            ("load/", flags.keys, flags.value_bytes)
        };
        let gets_percent = u64::from(flags.gets);
        Self { addr, random, keys, value_bytes, prefix, gets_percent, read: flags.read }
    }

    /// Makes requests until `end`, and adds each successful one to `done`.
    pub(crate) fn run_until(mut self, end: Instant, mut pace: Option<Pace>, done: &AtomicU64) -> Tally {
        let mut tally = Tally::default();
        let mut connection = None;
        while Instant::now() < end {
            let start = pace.as_mut().map_or_else(Instant::now, Pace::wait);
            let (kind, request) = self.request();
            match self.ask(kind, &request, &mut connection) {
                Ok(()) => {
                    tally.succeeded(kind, start.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(failed) => {
                    tally.failed(kind, failed);
                    if pace.is_none() {
                        thread::sleep(ERROR_PAUSE);
                    }
                }
            }
        }
        tally
    }

    /// Makes one request. The connection is kept for the next one while it works.
    fn ask(&self, kind: Kind, request: &[u8], kept: &mut Option<Connection>) -> Result<(), Failed> {
        let lost = |error: HttpError| Failed::Otherwise(format!("{}: {error}", self.addr));
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.addr, ANSWER_TIMEOUT).map_err(lost)?,
        };
        let response = connection.ask(request).map_err(lost)?;
        if !response.close {
            *kept = Some(connection);
        }
        let succeeded = match kind {
            Kind::Put => response.status == 200 && response.body.trim_ascii() == b"true",
            Kind::Get => response.status == 200 || response.status == 404,
        };
        if succeeded {
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

    /// Draws the next request.
    fn request(&mut self) -> (Kind, Vec<u8>) {
        let number = self.next_random() % self.keys;
        let key = format!("{}{number}", self.prefix);
        if self.next_random() % 100 < self.gets_percent {
            return (Kind::Get, get(self.addr, &key, self.read));
        }
        // A new value each time, as a write that changes nothing costs the cluster less.
        let mut value = format!("{:016x}", self.next_random()).into_bytes();
        value.resize(self.value_bytes, b'v');
        (Kind::Put, put(self.addr, &key, &value))
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

/// Encodes a request that reads a value.
fn get(addr: SocketAddr, key: &str, mode: ReadMode) -> Vec<u8> {
    let query = match mode {
        ReadMode::Default => "?raw",
        ReadMode::Consistent => "?raw&consistent",
        ReadMode::Stale => "?raw&stale",
    };
    format!("GET /v1/kv/{key}{query} HTTP/1.1\r\nHost: {addr}\r\n\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use clap::Parser;

    use super::{Client, Kind, Pace};
    use crate::flags::{Command, Flags};

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

    /// The requests that a client of these flags draws.
    fn requests(flags: &[&str]) -> Vec<(Kind, String)> {
        let all = ["xtask", "load"].iter().chain(flags);
        let Command::Load(flags) = Flags::try_parse_from(all).expect("flags").command else { unreachable!() };
        let mut client = Client::new(3, 5, "127.0.0.1:1".parse().expect("an address"), &flags);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (0..1000).map(|_| client.request()).map(|(kind, bytes)| (kind, text(bytes))).collect()
    }

    #[test]
    fn the_share_of_gets_is_the_one_asked_for() {
        let count = |flags: &[&str]| requests(flags).iter().filter(|(kind, _)| *kind == Kind::Get).count();
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&["--gets", "100"]), 1000);
        assert!((400..600).contains(&count(&["--gets", "50"])));
    }

    #[test]
    fn gets_are_of_the_mode_asked_for_and_puts_store_another_value_each_time() {
        let reads = requests(&["--gets", "100", "--read", "stale"]);
        assert!(reads.iter().all(|(_, text)| text.contains("?raw&stale HTTP/1.1\r\n")));
        let values: std::collections::BTreeSet<String> = requests(&["--keys", "1"])
            .into_iter()
            .map(|(_, text)| text.split_once("\r\n\r\n").expect("a body").1.to_owned())
            .collect();
        assert_eq!(values.len(), 1000);
    }
}
