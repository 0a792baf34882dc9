//! The settings of a run, from the environment.

use std::str::FromStr;
use std::time::Duration;

/// Number of seeds of a plain `cargo test`.
pub const DEFAULT: u64 = 5000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub seeds: Seeds,
    /// Number of members of each cluster; if none, drawn from the seed.
    pub nodes: Option<u64>,
    /// Number of threads.
    pub jobs: usize,
    /// True for a manual run: shows progress, and the whole report at the end.
    pub by_hand: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seeds {
    /// One seed, with a trace.
    One(u64),
    /// Seeds from `first` on, until the count or the time is reached.
    Many { first: u64, count: Option<u64>, time: Option<Duration> },
}

impl Settings {
    /// `SEED`, or `FIRST_SEED`, `SEEDS` and `MINUTES`; `NODES`; `JOBS`.
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name| number::<u64>(name, variable(name));
        let (one, first) = (number("SEED"), number("FIRST_SEED"));
        let time = self::number::<f64>("MINUTES", variable("MINUTES"))
            .map(|minutes| Duration::from_secs_f64(minutes * 60.0));
        let count = number("SEEDS").or_else(|| time.is_none().then_some(DEFAULT));
        let many = Seeds::Many { first: first.unwrap_or(0), count, time };
        let nodes = number("NODES");
        assert!(nodes.is_none_or(|nodes| (1..=7).contains(&nodes)), "NODES={nodes:?}: 1 to 7 are known");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            seeds: one.map_or(many, Seeds::One),
            nodes,
            jobs: self::number::<usize>("JOBS", variable("JOBS")).map_or(cores, |jobs| jobs.max(1)),
            by_hand: one.is_some() || first.is_some() || time.is_some(),
        }
    }
}

fn number<T: FromStr>(name: &str, value: Option<String>) -> Option<T> {
    value.map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[test]
fn what_is_not_said_has_a_default() {
    let read = |said: &[(&str, &str)]| {
        let find = |name: &str| said.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        Settings::read(find)
    };
    let plain = read(&[("JOBS", "3")]);
    let seeds = Seeds::Many { first: 0, count: Some(DEFAULT), time: None };
    assert_eq!(plain, Settings { seeds, nodes: None, jobs: 3, by_hand: false });
    let timed = read(&[("MINUTES", "0.5"), ("FIRST_SEED", "9"), ("NODES", "7")]);
    let time = Some(Duration::from_secs(30));
    assert_eq!(timed.seeds, Seeds::Many { first: 9, count: None, time });
    assert_eq!((timed.nodes, timed.by_hand), (Some(7), true));
    assert_eq!(read(&[("SEED", "5"), ("SEEDS", "8")]).seeds, Seeds::One(5));
    assert!(!read(&[("SEEDS", "8")]).by_hand, "as the mutants are tried");
}
