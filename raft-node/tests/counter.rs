//! `examples/counter.rs`: a custom state machine in three durable processes, which are restarted in the middle.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

struct Counter {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Counter {
    fn start(node: u64, dir: &Path, first: &str) -> Self {
        let mut child = Command::new(example())
            .args([&node.to_string(), dir.to_str().unwrap(), first])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    fn say(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        self.output.next().expect("the counter answers").unwrap()
    }

    /// Adds, and tries again while there is no leader, because then nothing was added.
    fn add(&mut self, number: i64) -> (i64, u64) {
        loop {
            let answer = self.say(&number.to_string());
            if answer == "error No cluster leader" {
                continue;
            }
            let words: Vec<&str> = answer.split(' ').collect();
            let ["sum", sum, "at", index] = words.as_slice() else { panic!("{answer}") };
            return (sum.parse().unwrap(), index.parse().unwrap());
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The path of the example. Cargo builds examples in a folder next to that of the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/counter")
}

#[test]
fn three_processes_count_together_and_all_are_killed_and_restarted_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let pid = std::process::id();
    let first = format!("127.{}.{}.{}:7000", 1 + (pid >> 14) % 250, 130 + (pid >> 7) % 120, 1 + pid % 127);
    let start = || -> Vec<Counter> { (1..=3).map(|node| Counter::start(node, dir.path(), &first)).collect() };
    let mut counters = start();
    let mut sum = 0;
    let mut index = 0;
    for (number, turn) in (1..=30).zip([0, 1, 2].into_iter().cycle()) {
        sum += number;
        let (said, at) = counters[turn].add(number);
        assert_eq!(said, sum, "by node {}", turn + 1);
        assert!(at > index, "each commit has its own, later index");
        index = at;
    }
    counters.into_iter().for_each(Counter::kill);

    let mut counters = start();
    assert_eq!(counters[1].add(12).0, sum + 12, "the sum outlived all processes");
    for counter in &mut counters {
        assert_eq!(counter.say("="), format!("sum {}", sum + 12));
    }
    counters.into_iter().for_each(Counter::kill);
}

#[test]
fn one_dependency_is_enough_and_the_example_is_short() {
    let code =
        include_str!("../examples/counter.rs").lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<&str> = code.filter(|line| !line.trim().is_empty()).collect();
    assert!(code.len() < 60, "{} lines", code.len());
    for line in code.iter().filter(|line| line.starts_with("use ")) {
        let of = ["use std::", "use tokio::", "use raftkit_node::"];
        assert!(of.iter().any(|of| line.starts_with(of)), "another dependency: {line}");
    }
}
