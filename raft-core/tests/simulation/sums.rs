//! Sums over runs, and their report.

use std::fmt::Write as _;
use std::time::Duration;

use crate::injected::{Fault, Injected};
use crate::marks::Marks;
use crate::world::World;

#[derive(Default)]
pub struct Sums {
    pub seeds: u64,
    pub steps: u64,
    /// Microseconds of virtual time.
    pub simulated: u64,
    pub acknowledged: u64,
    pub changes: u64,
    pub reads: u64,
    pub elections: u64,
    pub injected: Injected,
    pub marks: Marks,
}

impl Sums {
    pub fn of(world: &World) -> Self {
        Self {
            seeds: 1,
            steps: world.steps,
            simulated: world.now,
            acknowledged: world.tickets.acknowledged,
            changes: world.tickets.changed.len() as u64,
            reads: world.tickets.reads,
            elections: world.truth.elections(),
            injected: world.injected.clone(),
            marks: world.marks.clone(),
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.simulated += other.simulated;
        self.acknowledged += other.acknowledged;
        self.changes += other.changes;
        self.reads += other.reads;
        self.elections += other.elections;
        self.injected.add(&other.injected);
        self.marks.add(&other.marks);
    }

    /// Everything, as a table.
    pub fn table(&self, time: Duration, jobs: usize, violations: usize) -> String {
        let mut table = String::new();
        let mut row = |count: u64, what: &str| {
            writeln!(table, "{:>15}  {what}", grouped(count)).expect("a string takes all");
        };
        row(self.seeds, "seeds");
        row(self.steps, &format!("steps, {} a second, of {jobs} jobs", grouped(self.rate(time))));
        let (hours, times) = (hours(self.simulated), self.times(time));
        row(
            self.simulated / 1_000_000,
            &format!("simulated seconds ({hours}), {times} times the wall clock's"),
        );
        row(self.acknowledged, "writes");
        row(self.reads, "reads");
        row(self.changes, "changes of the membership");
        row(self.elections, "elections");
        row(violations as u64, "violations");
        let marks = self.marks.report().0;
        let all = format!("{table}\nfaults\n{}\nwhat must happen sometimes\n{marks}", self.faults());
        // The zeros of a single seed mean nothing.
        let says = |line: &&str| self.seeds > 1 || !line.trim_start().starts_with("0 ");
        all.lines().filter(says).collect::<Vec<_>>().join("\n") + "\n"
    }

    /// A progress line.
    pub fn progress(&self, time: Duration) -> String {
        let faults: Vec<String> = Fault::ALL
            .iter()
            .filter(|(fault, _)| self.injected.count(*fault) > 0)
            .map(|(fault, words)| format!("{} {words}", grouped(self.injected.count(*fault))))
            .collect();
        let (seeds, rate, hours) = (grouped(self.seeds), grouped(self.rate(time)), hours(self.simulated));
        format!(
            "{:.0} s: {seeds} seeds, {rate} steps/s, {hours} simulated; {}",
            time.as_secs_f64(),
            faults.join(", ")
        )
    }

    fn faults(&self) -> String {
        let line = |(fault, words): &(Fault, &str)| {
            format!("{:>15}  {words}\n", grouped(self.injected.count(*fault)))
        };
        Fault::ALL.iter().map(line).collect()
    }

    /// Steps a second.
    pub fn rate(&self, time: Duration) -> u64 {
        per(self.steps, time)
    }

    fn times(&self, time: Duration) -> String {
        grouped(per(self.simulated, time) / 1_000_000)
    }
}

/// A rate for each second.
fn per(count: u64, time: Duration) -> u64 {
    let rate = u128::from(count) * 1000 / time.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn hours(micros: u64) -> String {
    let minutes = micros / 60_000_000;
    format!("{}.{} h", grouped(minutes / 60), minutes % 60 / 6)
}

/// A number with separators: 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[test]
fn digits_stand_in_threes() {
    let all = [0, 999, 1000, 1_234_567].map(grouped);
    assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
}
