//! Measures several ways to do the same work in turns: A B A B, round by round.
//!
//! Criterion measures one function after another, minutes apart, and on a shared machine that compares two different
//! minutes. Here every contender has a short turn in every round, and a ratio is the median of the rounds' ratios.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The columns of the tables.
pub const LEGEND: &str = "\
written x, disk x: bytes handed to write(), and bytes that the disk got (from all processes), by bytes of payload.
written, disk, CPU us an entry: of whole turns and all threads, compaction included. entries/s: the median of the rounds.
p50 x, rate x: beside the first line, the median of the rounds' ratios.";

/// Number of rounds that are not counted: caches fill and files reach their size in them.
const WARM_UP_ROUNDS: usize = 2;
/// Share of a contender's CPU time below which a thread is not named.
const THREAD_PART_MIN: f64 = 0.02;

/// The work of a contender in its turn.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// How long each wait for the disk took.
    pub latencies: Vec<Duration>,
    /// Number of entries that became durable.
    pub entries: u64,
}

/// The same work done in several ways, compared with the first one.
pub struct Contest<'a> {
    title: String,
    entry_bytes: usize,
    /// The file in which the kernel counts what is written to the disk under the data.
    disk: PathBuf,
    contenders: Vec<Contender<'a>>,
}

struct Contender<'a> {
    name: String,
    turn: Box<dyn FnMut() -> Turn + 'a>,
    rounds: Vec<Round>,
}

/// A turn with its costs.
struct Round {
    latencies: Vec<Duration>,
    entries: u64,
    cost: Cost,
}

impl<'a> Contest<'a> {
    /// A contest without contenders. An entry has `entry_bytes` bytes of payload; all is written in the folder `dir`.
    #[must_use]
    pub fn new(title: impl Into<String>, entry_bytes: usize, dir: &Path) -> Self {
        let device = fs::metadata(dir).unwrap().dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let disk = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        Self { title: title.into(), entry_bytes, disk, contenders: Vec::new() }
    }

    /// Adds one way to do the work.
    pub fn add(&mut self, name: impl Into<String>, turn: impl FnMut() -> Turn + 'a) {
        self.contenders.push(Contender { name: name.into(), turn: Box::new(turn), rounds: Vec::new() });
    }

    /// Runs the rounds and prints the table.
    pub fn run(mut self, rounds: usize) {
        for round in 0..WARM_UP_ROUNDS + rounds {
            for contender in &mut self.contenders {
                let before = Cost::so_far(&self.disk);
                let turn = (contender.turn)();
                let cost = Cost::so_far(&self.disk).since(&before);
                if round >= WARM_UP_ROUNDS {
                    let Turn { mut latencies, entries } = turn;
                    latencies.sort_unstable();
                    contender.rounds.push(Round { latencies, entries, cost });
                }
            }
        }
        self.print();
    }

    fn print(&self) {
        println!("\n{}: {} B an entry", self.title, self.entry_bytes);
        println!(
            "{:<36} {:>8} {:>8} {:>10} {:>9} {:>8} {:>8} {:>8} {:>8}",
            "", "p50 us", "p99 us", "entries/s", "written x", "disk x", "CPU us", "p50 x", "rate x"
        );
        for contender in &self.contenders {
            let all = &contender.rounds;
            let entries = all.iter().map(|round| round.entries).sum::<u64>() as f64;
            let an_entry =
                |of: fn(&Cost) -> f64| all.iter().map(|round| of(&round.cost)).sum::<f64>() / entries;
            let mut latencies: Vec<_> =
                all.iter().flat_map(|round| round.latencies.iter().copied()).collect();
            latencies.sort_unstable();
            println!(
                "{:<36} {:>8.0} {:>8.0} {:>10.0} {:>9.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
                contender.name,
                percentile(&latencies, 50),
                percentile(&latencies, 99),
                median(all.iter().map(Round::rate)),
                an_entry(|cost| cost.written_bytes as f64) / self.entry_bytes as f64,
                an_entry(|cost| cost.disk_bytes as f64) / self.entry_bytes as f64,
                an_entry(|cost| cost.cpu.as_secs_f64()) * 1e6,
                self.ratio(contender, |round| percentile(&round.latencies, 50)),
                self.ratio(contender, Round::rate),
            );
            contender.print_threads();
        }
    }

    /// Returns the median over the rounds of the contender's figure divided by that of the first contender.
    fn ratio(&self, contender: &Contender<'_>, figure: fn(&Round) -> f64) -> f64 {
        let pairs = contender.rounds.iter().zip(&self.contenders[0].rounds);
        median(pairs.map(|(own, first)| figure(own) / figure(first)))
    }
}

impl Contender<'_> {
    /// Prints which threads used the CPU time, if there were several.
    fn print_threads(&self) {
        let entries = self.rounds.iter().map(|round| round.entries).sum::<u64>() as f64;
        let mut threads: BTreeMap<&str, Duration> = BTreeMap::new();
        for ((_, name), time) in self.rounds.iter().flat_map(|round| &round.cost.threads) {
            *threads.entry(name).or_default() += *time;
        }
        let total: Duration = threads.values().sum();
        threads.retain(|_, time| *time > total.mul_f64(THREAD_PART_MIN));
        if threads.len() > 1 {
            let told = threads
                .iter()
                .map(|(name, time)| format!("{name} {:.2}", time.as_secs_f64() * 1e6 / entries))
                .collect::<Vec<_>>();
            println!("{:<36} CPU us by thread: {}", "", told.join(", "));
        }
    }
}

impl Round {
    /// Entries per second.
    fn rate(&self) -> f64 {
        self.entries as f64 / self.cost.wall.as_secs_f64()
    }
}

/// The resources that this process has used.
struct Cost {
    at: Instant,
    wall: Duration,
    /// CPU time of all threads.
    cpu: Duration,
    /// The same by thread, as the scheduler counts it. Threads that have ended are missing.
    threads: BTreeMap<(String, String), Duration>,
    /// Bytes passed to `write` and similar calls.
    written_bytes: u64,
    /// Bytes written to the disk, by all processes. (`write_bytes` of `/proc/self/io` is no measure: it counts a whole folio for
    /// each changed byte, and a file that was filled in large pieces has folios of a megabyte.)
    disk_bytes: u64,
}

impl Cost {
    fn so_far(disk: &Path) -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            at: Instant::now(),
            wall: Duration::ZERO,
            cpu: Duration::new(cpu.tv_sec.unsigned_abs(), u32::try_from(cpu.tv_nsec).unwrap()),
            threads: threads(),
            written_bytes: written_bytes(),
            disk_bytes: disk_bytes(disk),
        }
    }

    fn since(mut self, before: &Self) -> Self {
        self.wall = self.at - before.at;
        self.cpu -= before.cpu;
        self.written_bytes -= before.written_bytes;
        self.disk_bytes -= before.disk_bytes;
        for (thread, time) in &mut self.threads {
            *time -= before.threads.get(thread).copied().unwrap_or_default();
        }
        self
    }
}

/// CPU time by thread: its id and name.
fn threads() -> BTreeMap<(String, String), Duration> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    // A thread may end while it is read.
    let time = |task: std::path::PathBuf| {
        let name = fs::read_to_string(task.join("comm")).ok()?;
        let scheduled = fs::read_to_string(task.join("schedstat")).ok()?;
        let nanos = scheduled.split(' ').next()?.parse().ok()?;
        let id = task.file_name()?.to_string_lossy().into_owned();
        Some(((id, name.trim_end().to_owned()), Duration::from_nanos(nanos)))
    };
    tasks.filter_map(time).collect()
}

fn written_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.expect("the kernel accounts for I/O").parse().unwrap()
}

/// Returns the bytes written to a disk, or 0 if the data is in memory.
fn disk_bytes(disk: &Path) -> u64 {
    let Ok(text) = fs::read_to_string(disk) else { return 0 };
    let sectors = text.split_whitespace().nth(6).and_then(|sectors| sectors.parse::<u64>().ok());
    sectors.expect("the seventh number counts written sectors") * 512
}

/// Returns the time that `percent` of the sorted times do not exceed, in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
