//! Mistakes that newcomers make: each error says where the wrong value came from and what to do.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use support::{BINARY, Cluster, eventually, run};

/// Starts a node with a changed configuration and additional variables. The start must fail; returns the error text.
fn refused(cluster: &Cluster, env: &[(&str, &str)], change: impl Fn(String) -> String) -> String {
    let text = std::fs::read_to_string(&cluster.nodes[0].config).unwrap();
    let config = cluster.dir.path().join("changed.toml");
    std::fs::write(&config, change(text)).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["serve", "--config"]).arg(&config).envs(env.iter().copied());
    let Output { status, stderr, .. } = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(matches!(status.code(), Some(1 | 2)), "it should not start: {status}: {said}");
    said
}

fn without(text: &str, key: &str) -> String {
    text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn an_address_that_cannot_be_listened_on_is_told_with_where_it_was_set_and_why() {
    let cluster = Cluster::start(1);
    let taken = cluster.nodes[0].http.clone();
    // A shell may have this variable for the commands, from when they used this name. It is the server's setting.
    let said = refused(&cluster, &[("RAFT_NODE_HTTP_ADDR", &taken)], |text| without(&text, "http-addr"));
    let whence =
        format!("http-addr {taken}, set in the environment (RAFT_NODE_HTTP_ADDR), cannot be listened on");
    assert!(said.contains(&whence) && said.contains("another program or node uses it"), "{said}");
    assert!(said.contains("RAFT_NODE_ADDR"), "{said}");
    let said = refused(&cluster, &[], |text| text);
    assert!(said.contains("set in ") && said.contains("changed.toml line 3"), "{said}");
    // An address of TEST-NET-3, which no machine has.
    let said = refused(&cluster, &[], |text| text.replace(&taken, "203.0.113.1:8500"));
    assert!(said.contains("this machine has no such address") && !said.contains("uses it"), "{said}");
    let raft = cluster.nodes[0].raft.clone();
    let said = refused(&cluster, &[], |text| {
        let text = text.replace(&taken, "127.0.0.1:0").replace("/data-1", "/data-2");
        text.replace(&format!("raft-addr = \"{raft}\""), "raft-addr = \"203.0.113.1:8300\"")
    });
    assert!(said.contains("203.0.113.1:8300, set in ") && said.contains("line 4"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_from_the_root_on() {
    let cluster = Cluster::prepare(1, "");
    let root = cluster.dir.path().display().to_string();
    let said = refused(&cluster, &[], |text| text.replace(&format!("\"{root}/ca.pem\""), "\"tls/ca.pem\""));
    let here = std::env::current_dir().unwrap().join("tls/ca.pem");
    assert!(said.contains(&format!("tls-ca: {} cannot be read", here.display())), "{said}");
    assert!(said.contains("make certificates"), "{said}");
    // The file exists, but something else is wrong with it.
    let said =
        refused(&cluster, &[], |text| text.replace(&format!("\"{root}/ca.pem\""), &format!("\"{root}\"")));
    assert!(said.contains("cannot be read: Is a directory") && !said.contains("make certificates"), "{said}");
}

#[test]
fn a_new_data_folder_is_told_with_its_whole_path_and_the_cluster_that_is_formed_in_it() {
    let mut cluster = Cluster::prepare(1, "");
    let text = std::fs::read_to_string(&cluster.nodes[0].config).unwrap();
    let text =
        without(&without(&text, "bootstrap-expect"), "join").replace("[tls]", "bootstrap = true\n[tls]");
    std::fs::write(&cluster.nodes[0].config, text).unwrap();
    let dir = cluster.dir.path().join("data-1").display().to_string();
    let node = cluster.node(1);
    node.start();
    eventually("it says where its data are", || {
        let log = node.log_text();
        let new = format!("the data folder {dir} is new (in ");
        log.lines().any(|line| line.contains("WARN") && line.contains(&new) && line.contains("a new cluster"))
            && log.contains(&format!("data={dir}"))
    });
    node.stop();
    node.start();
    eventually("it says that they are there", || {
        node.log_text().contains(&format!("the data folder is {dir}"))
    });
}

#[test]
fn mistakes_in_the_file_get_the_right_hint() {
    let cluster = Cluster::prepare(1, "");
    let raft = cluster.nodes[0].raft.clone();
    for (from, to, said_to) in [
        (
            format!("\"{raft}\""),
            raft.clone(),
            format!("text must stand in double quotes: raft-addr = \"{raft}\""),
        ),
        ("[tls]".to_owned(), "[TLS]".to_owned(), "did you mean `[tls]`?".to_owned()),
        ("\ncert =".to_owned(), "\ncertificate =".to_owned(), "did you mean `tls-cert`?".to_owned()),
        ("[tls]\n".to_owned(), "\n".to_owned(), "did you mean `tls-ca`?".to_owned()),
    ] {
        let said = refused(&cluster, &[], |text| text.replacen(&from, &to, 1));
        assert!(said.contains(&said_to), "{to}: {said}");
    }
}

#[test]
fn a_certificate_is_made_for_hosts_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    support::must_run(&["cert", "ca", "--out", dir]);
    for host in ["10.0.0.1:8300", "http://a", "a/b", "[::1]"] {
        let args = ["cert", "node", "--ca-dir", dir, "--node-id", "1", "--host", host, "--out", dir];
        let (status, _, err) = run(&args);
        assert_eq!(status.code(), Some(2), "{host}: {err}");
        assert!(err.contains("it must be a host name"), "{host}: {err}");
    }
}

#[test]
fn a_cluster_of_one_leads_again_soon_after_its_restart() {
    let mut cluster = Cluster::start(1);
    assert_eq!(cluster.nodes[0].put("/v1/kv/k", b"v").unwrap().text(), "true");
    let term = cluster.nodes[0].status().unwrap()["Term"].as_u64().unwrap();
    for _ in 0..2 {
        cluster.node(1).kill();
        cluster.node(1).start();
        let began = std::time::Instant::now();
        // Until the node has been elected in a new term, it does not claim to lead.
        eventually("it leads again", || {
            cluster.nodes[0].status().is_some_and(|status| {
                let leads = status["Leader"] == 1;
                assert!(!leads || status["Term"].as_u64() > Some(term), "{status}");
                leads
            })
        });
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(cluster.nodes[0].get("/v1/kv/k?raw").text(), "v");
    }
}

#[test]
fn a_data_folder_that_cannot_be_used_is_refused_and_lost_and_found_is_no_obstacle() {
    let mut cluster = Cluster::prepare(1, "");
    let dir = cluster.dir.path().join("data-1").display().to_string();
    let file = cluster.nodes[0].config.display().to_string();
    // In the last of these, not even root can create a folder.
    for unusable in [&file, "/proc/no/such/folder", "/sys/raftkit-test"] {
        let said = refused(&cluster, &[], |text| text.replace(&dir, unusable));
        assert!(said.contains(&format!("the data folder {unusable} cannot be used")), "{said}");
    }
    // The root of a separate file system.
    std::fs::create_dir_all(format!("{dir}/lost+found")).unwrap();
    cluster.node(1).start();
    eventually("the node takes writes", || {
        cluster.nodes[0].put("/v1/kv/k", b"v").is_ok_and(|answer| answer.text() == "true")
    });
    assert!(cluster.node(1).stop().success());
    assert!(std::path::Path::new(&dir).join("lost+found").is_dir());
}

#[test]
fn a_relative_data_folder_is_told_with_its_whole_path() {
    let cluster = Cluster::prepare(1, "");
    let dir = cluster.dir.path();
    let text = std::fs::read_to_string(&cluster.nodes[0].config).unwrap();
    let text = text.replace(&format!("\"{}/data-1\"", dir.display()), "\"here/data\"");
    std::fs::write(&cluster.nodes[0].config, text).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["serve", "--stop-on-stdin-eof", "--config"]).arg(&cluster.nodes[0].config).current_dir(dir);
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let whole = format!("the data folder {} is new", dir.join("here/data").display());
    assert!(lines.any(|line| line.unwrap().contains(&whole)), "no line says: {whole}");
    assert!(lines.any(|line| line.unwrap().contains("the node is up")));
    drop(child.stdin.take());
    // Read the node's log to its end, because the node drops lines that are not read.
    lines.for_each(drop);
    assert!(support::wait_for_end(&mut child).success());
    assert!(dir.join("here/data/journal").is_file());
}

#[test]
fn a_server_that_is_silent_is_told_by_the_status_and_its_exit_code() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_for_leader();
    let silent = leader % 3 + 1;
    cluster.node(silent).kill();
    let asked = cluster.nodes[usize::try_from(leader - 1).unwrap()].http.clone();
    let (status, table, said) = run(&["status", "--addr", &asked]);
    assert_eq!(status.code(), Some(1), "{table}{said}");
    assert!(said.contains(&format!("node {silent} is silent")), "{said}");
    let row = |id: u64| table.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap();
    assert!(row(silent).contains("silent") && row(leader).contains("leader"), "{table}");
    assert!(table.contains(&format!("node {silent} did not answer: ")), "{table}");
}
