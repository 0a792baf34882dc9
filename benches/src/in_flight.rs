//! Many writes of one entry in flight, as that many clients keep them: each sends its next write when its last one is durable.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Instant;

use crate::log::Log;
use crate::turns::{Contest, Turn};

/// Number of writes in flight.
pub const WIDTH: usize = 128;

/// Number of writes of each client in a turn.
pub const WRITES_EACH: usize = 100;

/// A log that accepts single writes while others are in progress.
pub trait InFlight {
    /// Submits a write of one entry.
    fn send(&mut self);

    /// Waits for progress and returns how many of all writes submitted so far are durable.
    fn durable(&mut self) -> u64;

    /// Waits until the log is idle. Called when no write is in flight.
    fn rest(&mut self);
}

/// Keeps [`WIDTH`] writes in flight in each turn.
pub fn add_in_flight(contest: &mut Contest<'_>, name: &str, mut log: impl InFlight + 'static) {
    let mut sent = 0;
    contest.add(name, move || {
        let turn = closed_loop(&mut log, sent);
        sent += turn.entries;
        turn
    });
}

fn closed_loop(log: &mut impl InFlight, sent_before: u64) -> Turn {
    let (width, total) = (WIDTH as u64, (WIDTH * WRITES_EACH) as u64);
    let mut in_flight = VecDeque::new();
    let mut latencies = Vec::new();
    let (mut sent, mut done) = (0, 0);
    while done < total {
        while sent < total && sent - done < width {
            in_flight.push_back(Instant::now());
            log.send();
            sent += 1;
        }
        let durable = log.durable() - sent_before;
        let now = Instant::now();
        for start in in_flight.drain(..usize::try_from(durable - done).unwrap()) {
            latencies.push(now - start);
        }
        done = durable;
    }
    log.rest();
    Turn { latencies, entries: total }
}

/// A message to the thread of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Write,
    Rest,
}

/// A log on a thread of its own: all writes that wait when a flush ends go into the next one.
pub struct Threaded {
    writes: SyncSender<Job>,
    durable: Receiver<u64>,
}

impl Threaded {
    /// Moves the log to a thread, which ends when this is dropped.
    #[must_use]
    pub fn start(mut log: impl Log) -> Self {
        let (writes, waiting) = sync_channel(1 << 12);
        let (tell, durable) = channel();
        let run = move || {
            let mut done = 0;
            while let Ok(job) = waiting.recv() {
                if job == Job::Rest {
                    log.rest();
                    let _ = tell.send(done);
                    continue;
                }
                // Idleness is waited for only while no write is in flight.
                let count = 1 + waiting.try_iter().count();
                log.append(count, 1);
                done += count as u64;
                if tell.send(done).is_err() {
                    return;
                }
                log.maintain();
            }
        };
        std::thread::Builder::new().name("log writer".to_owned()).spawn(run).unwrap();
        Self { writes, durable }
    }
}

impl InFlight for Threaded {
    fn send(&mut self) {
        self.writes.send(Job::Write).unwrap();
    }

    fn durable(&mut self) -> u64 {
        self.durable.recv().unwrap()
    }

    fn rest(&mut self) {
        self.writes.send(Job::Rest).unwrap();
        self.durable.recv().unwrap();
    }
}
