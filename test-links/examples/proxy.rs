//! A proxy for experiments by hand: stands in front of an address until its standard input ends.
//!
//! ```text
//! $ cargo run -p raftkit-test-links --example proxy -- 127.0.0.1:9501
//! 127.0.0.1:41833
//! both mbit=20 queue_kib=256 delay_ms=5 loss_permille=1
//! in cut
//! ```
//!
//! The first line that it prints is its own address. Each line that it reads replaces the conditions of one direction
//! (`in`, `out`) or of both; an empty line prints what was delivered and dropped.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use raftkit_test_links::{Conditions, Proxy, Way};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).ok_or("usage: proxy HOST:PORT")?.parse()?;
    let proxy = Proxy::start(target)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", proxy.address())?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let ways: &[Way] = match words.next() {
            None => {
                writeln!(out, "in {:?} out {:?}", proxy.counters(Way::In), proxy.counters(Way::Out))?;
                out.flush()?;
                continue;
            }
            Some("in") => &[Way::In],
            Some("out") => &[Way::Out],
            Some("both") => &[Way::In, Way::Out],
            Some(other) => return Err(format!("'{other}': a line begins with in, out or both").into()),
        };
        let mut conditions = Conditions::default();
        for word in words {
            set(&mut conditions, word)?;
        }
        ways.iter().for_each(|way| proxy.set(*way, conditions));
    }
    Ok(())
}

fn set(conditions: &mut Conditions, word: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (name, value) = word.split_once('=').unwrap_or((word, "1"));
    let number: u64 = value.parse()?;
    match name {
        "mbit" => conditions.bytes_per_second = Some(number * 125_000),
        "queue_kib" => conditions.queue_bytes = usize::try_from(number)? * 1024,
        "delay_ms" => conditions.delay = Duration::from_millis(number),
        "loss_permille" => conditions.loss_permille = u32::try_from(number)?,
        "cut" => conditions.cut = number != 0,
        _ => return Err(format!("'{name}' is no condition").into()),
    }
    Ok(())
}
