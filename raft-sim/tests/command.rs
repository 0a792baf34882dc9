//! The command line.
#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods, reason = "processes have clocks; runs have none")]

use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_raft-sim");

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().expect("it runs")
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_seed_ends_with_the_digest_of_its_run() {
    let digest = || {
        let output = run(&["--seed", "7"]);
        assert!(output.status.success(), "{}", said(&output.stderr));
        let words = said(&output.stdout);
        words.rsplit("digest ").next().map(|it| it.trim().to_owned()).filter(|it| it.len() == 16)
    };
    let first = digest();
    assert!(first.is_some());
    assert_eq!(first, digest());
}

#[test]
fn what_it_does_not_know_is_refused_with_what_there_is() {
    let output = run(&["--without", "hope"]);
    assert_eq!(output.status.code(), Some(2));
    let words = said(&output.stderr);
    assert!(words.contains("linearizable"), "{words}");
}

#[test]
fn choices_that_are_none_are_refused_with_their_place() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-choices.txt");
    std::fs::write(&path, "raft-sim choices 1\nseed 1\nat 5 ms dance\n").expect("a file");
    let output = run(&["--choices", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output.stdout));
    let words = said(&output.stderr);
    assert!(words.contains("line 3") && words.contains("dance"), "{words}");
}

#[test]
#[cfg(target_os = "linux")]
fn it_ends_with_the_program_that_started_it() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    let script = format!("{BINARY} --with-parent --minutes 0.2 2>/dev/null & read -r _");
    let mut shell = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell is everywhere");
    let mut out = BufReader::new(shell.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("it says what it does");
    assert!(line.starts_with("first seed"), "{line}");
    shell.kill().expect("it waits");
    shell.wait().expect("it ends");
    // Nobody else has the other end of the pipe. At its own end it would print a table.
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("it ends");
    assert!(!rest.contains("seeds"), "{rest}");
}
