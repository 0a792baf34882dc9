//! The process on a full disk: its last log line, its exit code, and its data once there is space again. The test uses a
//! small file system in a mount namespace, which needs root. Without root, the test is skipped.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Cluster, eventually};

/// A file system that is removed on drop: the process that holds its namespace ends when its standard input is closed.
struct SmallDisk {
    holder: Child,
    at: String,
}

impl SmallDisk {
    /// Creates the file system; none if this is not allowed.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let at = at.display().to_string();
        let mut holder = Command::new("unshare")
            .args([
                "--mount",
                "sh",
                "-c",
                "mount -t tmpfs -o size=1g none \"$1\" && echo mounted && cat",
                "sh",
                &at,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said == "mounted\n" {
            return Some(Self { holder, at });
        }
        holder.wait().unwrap();
        None
    }

    /// The command words that make a program run in the namespace of the file system.
    fn enter(&self) -> [String; 4] {
        ["--target".to_owned(), self.holder.id().to_string(), "--mount".to_owned(), "--".to_owned()]
    }

    /// Runs a command there, which must succeed, and returns its output.
    fn run(&self, words: &[&str]) -> String {
        let output = Command::new("nsenter").args(self.enter()).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Grows the file system so that this many bytes are free.
    fn leave(&self, bytes: u64) {
        let used = self.run(&["df", "--block-size=1", "--output=used", &self.at]);
        let used: u64 = used.lines().nth(1).unwrap().trim().parse().unwrap();
        self.run(&["mount", "-o", &format!("remount,size={}", used + bytes), &self.at]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

#[test]
fn a_process_whose_disk_is_full_ends_with_words_and_comes_back_with_all_that_was_acknowledged() {
    let mut cluster = Cluster::prepare(1, "");
    let Some(disk) = SmallDisk::mount(&cluster.dir.path().join("small")) else {
        println!("skipped: a file system of its own takes root and a mount namespace");
        return;
    };
    let (root, config) = (cluster.dir.path().display().to_string(), cluster.nodes[0].config.clone());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&format!("{root}/data-1"), &format!("{root}/small/data"))).unwrap();
    let enter = disk.enter();
    let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
    cluster.node(1).start_through("nsenter", &enter);
    cluster.wait_for_leader();

    disk.leave(256 << 10);
    let mut acknowledged = 0;
    // Existing bytes may be overwritten, so some more writes succeed before space runs out.
    while let Ok(answer) = cluster.nodes[0].put(&format!("/v1/kv/k/{acknowledged}"), &value(acknowledged))
        && answer.text() == "true"
    {
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the disk is never full");
    }
    let status = cluster.node(1).wait();
    let log = cluster.nodes[0].log_text();
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap();
    assert!(
        last.contains("the node has ended by itself") && last.contains("No space left on device"),
        "{last}"
    );
    assert!(last.contains(&format!("{root}/small/data")), "it names what could not be written: {last}");
    // Without space the node does not start and reports why, or it starts and ends again.
    cluster.node(1).start_through("nsenter", &enter);
    let mut first = 0;
    let mut put = || {
        first += 1;
        cluster.nodes[0].put(&format!("/v1/kv/again/{first}"), &value(first))
    };
    eventually("it takes no more", || put().is_err());
    assert_eq!(cluster.node(1).wait().code(), Some(1), "{}", cluster.nodes[0].log_text());

    disk.leave(200 << 20);
    cluster.node(1).start_through("nsenter", &enter);
    cluster.wait_for_leader();
    for number in 0..acknowledged {
        let answer = cluster.nodes[0].get(&format!("/v1/kv/k/{number}?raw"));
        assert!(answer.body == value(number), "key {number} of {acknowledged}: {}", answer.status);
    }
    assert_eq!(cluster.nodes[0].put("/v1/kv/after", b"v").unwrap().text(), "true");
    assert!(cluster.node(1).stop().success());
}

fn value(number: usize) -> Vec<u8> {
    format!("{number} ").repeat(20_000).into_bytes()
}
