//! Data folders that the node's user may not use: the error names the file and the reason, and once the
//! permissions are right, the node starts. If the test runs as root, whom permissions do not restrict, the node runs as nobody.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{BINARY, Cluster, eventually};

const NOBODY: u32 = 65_534;
/// The command that runs a program as nobody.
const SETPRIV: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// The command words that make a program run as a user whom permissions restrict; none if this user is not root.
fn as_user() -> Option<&'static [&'static str]> {
    if !rustix::process::geteuid().is_root() {
        return Some(&[]);
    }
    let version = Command::new(SETPRIV[0]).args(&SETPRIV[1..]).args([BINARY, "--version"]).output();
    let may = version.is_ok_and(|output| output.status.success());
    if !may {
        println!("skipped: {} cannot be run as nobody", BINARY);
    }
    may.then_some(&SETPRIV)
}

/// Makes nobody the owner of a folder and of everything in it, if this user is root.
fn give_away(at: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(at, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    if at.is_dir() {
        std::fs::read_dir(at).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

fn set_mode(at: &Path, mode: u32) {
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The names in a folder.
fn entries(at: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// Starts a node that must fail, and returns its error text.
fn refused(user: &[&str], config: &Path) -> String {
    let words: Vec<&str> = user.iter().copied().chain([BINARY]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["serve", "--stop-on-stdin-eof", "--config"]).arg(config);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    support::wait_for_end(&mut child);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_data_folder_without_permission_is_refused_with_its_name_and_keeps_what_it_has() {
    let Some(user) = as_user() else { return };
    let mut cluster = Cluster::prepare(1, "");
    give_away(cluster.dir.path());
    let config = cluster.nodes[0].config.clone();
    let data = cluster.dir.path().join("data-1");
    let named = |said: &str, path: &Path| {
        let named = said.contains(&path.display().to_string()) && said.contains("Permission denied");
        assert!(named, "{}: {said}", path.display());
    };
    let start = |cluster: &mut Cluster| match user.split_first() {
        Some((program, args)) => cluster.node(1).start_through(program, args),
        None => cluster.node(1).start(),
    };
    // The node may not create the folder.
    set_mode(cluster.dir.path(), 0o500);
    named(&refused(user, &config), &data);
    set_mode(cluster.dir.path(), 0o700);
    // The folder exists, and the node may create nothing in it.
    std::fs::create_dir(&data).unwrap();
    give_away(&data);
    set_mode(&data, 0o500);
    named(&refused(user, &config), &data);
    assert_eq!(entries(&data), Vec::<PathBuf>::new());
    set_mode(&data, 0o700);

    start(&mut cluster);
    cluster.wait_for_leader();
    assert_eq!(cluster.nodes[0].put("/v1/kv/k", b"kept").unwrap().text(), "true");
    assert!(cluster.node(1).stop().success());

    // Make one file or folder after the other read-only.
    let before = entries(&data);
    for part in before.iter().filter(|part| part.is_file()) {
        // The lock file needs only be readable, and its error names its folder.
        let (modes, name): (&[u32], _) =
            if part.ends_with("LOCK") { (&[0], &data) } else { (&[0o400, 0], part) };
        for &mode in modes {
            set_mode(part, mode);
            named(&refused(user, &config), name);
            set_mode(part, 0o600);
        }
    }
    set_mode(&data, 0);
    named(&refused(user, &config), &data);
    set_mode(&data, 0o700);
    assert_eq!(entries(&data), before);

    start(&mut cluster);
    cluster.wait_for_leader();
    eventually("it serves what it had", || cluster.nodes[0].get("/v1/kv/k?raw").text() == "kept");
    assert!(cluster.node(1).stop().success());
}
