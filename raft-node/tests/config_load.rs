//! Settings from flags, environment and file: their precedence, and the error texts for wrong ones.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use raftkit_node::config::keys::{Fallback, KEYS, Kind};
use raftkit_node::config::{Config, ConfigError, Flags, Found, Origin};

/// The sources of settings.
#[derive(Default)]
struct Given {
    dir: Option<tempfile::TempDir>,
    flags: Flags,
    env: BTreeMap<String, String>,
}

impl Given {
    /// All required settings, as flags.
    fn sound() -> Self {
        let mut given = Self::default();
        for (name, value) in
            [("node-id", "1"), ("data-dir", "d"), ("tls-ca", "ca"), ("tls-cert", "cert"), ("tls-key", "key")]
        {
            given.flags.settings.insert(name, vec![value.to_owned()]);
        }
        given
    }

    fn flag(mut self, name: &'static str, value: &str) -> Self {
        self.flags.settings.entry(name).or_default().push(value.to_owned());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn file(mut self, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        self.flags.config = Some(path);
        self.dir = Some(dir);
        self
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load_from(&self.flags, &|name| self.env.get(name).map(OsString::from))
    }

    /// The error text, without the folder of the file.
    fn error(&self) -> String {
        let text = self.load().unwrap_err().to_string();
        let dir = self.dir.as_ref().map(|dir| format!("{}/", dir.path().display())).unwrap_or_default();
        if dir.is_empty() { text } else { text.replace(&dir, "") }
    }
}

#[test]
fn defaults_are_what_the_table_says() {
    let config = Given::sound().load().unwrap();
    assert_eq!(config.datacenter, "dc1");
    assert_eq!(config.http_addr.to_string(), "127.0.0.1:8500");
    assert_eq!(config.raft_addr.to_string(), "127.0.0.1:8300");
    assert_eq!(config.raft_advertise_addr, "127.0.0.1:8300");
    assert_eq!(config.found, Found::Nothing);
    assert_eq!(config.leader_timeout, Duration::from_millis(500));
    assert_eq!(config.election_timeout, Duration::from_millis(1000));
    assert_eq!(config.heartbeat_interval, Duration::from_millis(100));
    assert_eq!(config.commit_timeout, Duration::from_millis(1000));
    assert_eq!(config.hold_timeout, Duration::from_millis(3000));
    assert_eq!(config.write_stall, Duration::from_millis(2000));
    assert_eq!(config.clock_error, Duration::from_millis(50));
    assert_eq!(config.batch_bytes_max, 10 << 20);
    assert_eq!(config.trailing_logs, 10_240);
    assert_eq!(config.value_bytes_max, 524_288);
    assert_eq!(config.delete_keys_max, 8192);
    assert_eq!(config.answer_bytes_max, 64 << 20);
    assert_eq!(config.send_timeout, Duration::from_secs(30));
    assert_eq!(config.log_level, "info");
    assert!(config.warnings.is_empty());
}

/// A value of each kind, as text and as it stands in a file.
fn sample(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Id => ("7", "7"),
        Kind::Path => ("some/path", "\"some/path\""),
        Kind::Name => ("dc9", "\"dc9\""),
        Kind::Address => ("127.0.0.9:1234", "\"127.0.0.9:1234\""),
        Kind::Place => ("host9:1234", "\"host9:1234\""),
        Kind::Places => ("host9:1234", "[\"host9:1234\"]"),
        Kind::Switch => ("true", "true"),
        Kind::Servers => ("1", "1"),
        Kind::Span => ("150ms", "\"150ms\""),
        Kind::Size => ("123456", "123456"),
        Kind::Entries | Kind::Keys => ("77", "77"),
        Kind::Connections => ("99", "99"),
        Kind::Level => ("debug", "\"debug\""),
    }
}

#[test]
fn every_setting_is_taken_from_flag_variable_and_file_alike() {
    for key in KEYS {
        let (text, toml) = sample(key.kind);
        // Other settings that this value needs.
        let with = |given: Given| match key.name {
            "raft-leader-timeout" => given.flag("raft-heartbeat-interval", "50ms"),
            "raft-election-timeout" => {
                given.flag("raft-leader-timeout", "120ms").flag("raft-heartbeat-interval", "50ms")
            }
            "raft-batch-max" => given.flag("kv-value-max", "1"),
            _ => given,
        };
        let base = || {
            let mut given = Given::sound();
            given.flags.settings.remove(key.name);
            with(given)
        };
        let by_flag =
            base().flag(key.name, text).load().unwrap_or_else(|error| panic!("{}: {error}", key.name));
        let by_env = base().env(&key.env(), text).load().unwrap();
        let line = match key.name.strip_prefix("tls-") {
            Some(name) => format!("[tls]\n{name} = {toml}\n"),
            None => format!("{} = {toml}\n", key.name),
        };
        let file = base().file(&line);
        let by_file = (file.load().unwrap(), file.flags.config.clone().unwrap());
        let in_file = Origin::File { path: by_file.1, line: 1 + usize::from(key.name.starts_with("tls-")) };
        let origins = [
            (by_flag.origin(key.name), Origin::Flag),
            (by_env.origin(key.name), Origin::Environment(key.env())),
            (by_file.0.origin(key.name), in_file),
        ];
        for (origin, expected) in origins {
            assert_eq!(*origin, expected, "{}", key.name);
        }
        let alike = |config: &Config| Config { origins: BTreeMap::new(), ..config.clone() };
        let by_flag = alike(&by_flag);
        assert_eq!(by_flag, alike(&by_env), "{}", key.name);
        assert_eq!(by_flag, alike(&by_file.0), "{}", key.name);
        if key.default != Fallback::Required {
            assert_ne!(by_flag, alike(&with(Given::sound()).load().unwrap()), "{} has an effect", key.name);
        }
    }
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let file = "raft-election-timeout = 3000\nraft-hold-timeout = 3000\nraft-commit-timeout = 3000\n";
    let given = Given::sound()
        .file(file)
        .env("RAFT_NODE_RAFT_ELECTION_TIMEOUT", "2s")
        .env("RAFT_NODE_RAFT_HOLD_TIMEOUT", "2s")
        .flag("raft-election-timeout", "1.5s");
    let config = given.load().unwrap();
    assert_eq!(config.election_timeout, Duration::from_millis(1500));
    assert_eq!(config.hold_timeout, Duration::from_secs(2));
    assert_eq!(config.commit_timeout, Duration::from_secs(3));
    // An empty variable counts as not set.
    let config = Given::sound().env("RAFT_NODE_DATACENTER", "").load().unwrap();
    assert_eq!(config.datacenter, "dc1");
    let config = Given::sound().file("bootstrap = true").flag("bootstrap", "false").load().unwrap();
    assert_eq!(config.found, Found::Nothing);
}

#[test]
fn errors_in_the_file_name_its_line_the_key_and_what_is_allowed() {
    let cases = [
        (
            "\n\nraft-election-timout = \"1s\"\n",
            "node.toml line 3: there is no setting `raft-election-timout`; did you mean `raft-election-timeout`?",
        ),
        ("node_id = 1", "node.toml line 1: there is no setting `node_id`; did you mean `node-id`?"),
        ("[tls]\nsert = \"x\"", "node.toml line 2: there is no setting `tls-sert`; did you mean `tls-cert`?"),
        (
            "colour = 1",
            "node.toml line 1: there is no setting `colour`; `raft-node serve --help` lists all settings",
        ),
        (
            "# comment\nraft-hold-timeout = \"3x\"",
            "raft-hold-timeout must be a span such as 500ms, 1s, 1.5s, or a bare number of milliseconds, from 1 ms to \
             1 hour; in node.toml line 2 it is `3x`",
        ),
        ("bootstrap = 1", "bootstrap must be true or false; in node.toml line 1 it is `1`"),
        (
            "bootstrap-expect = 0",
            "bootstrap-expect must be a number of servers from 1 to 15; in node.toml line 1 it is `0`",
        ),
        (
            "http-addr = 8500",
            "http-addr must be an IP address with a port, such as 127.0.0.1:8500 or [::]:8500; in node.toml line 1 it \
             is `8500`",
        ),
        (
            "join = [\"a:1\", \"b\"]",
            "join must be hosts with ports, such as [\"node1:8300\", \"node2:8300\"] or node1:8300,node2:8300; in \
             node.toml line 1 it is [\"a:1\", \"b\"]",
        ),
        (
            "datacenter = 2024-01-01",
            "datacenter must be 1 to 64 lower-case letters, digits, `-` or `_`; in node.toml line 1 it is a value of \
             type datetime",
        ),
        ("tls-ca = \"a\"\n[tls]\nca = \"b\"", "node.toml line 3: tls-ca is set twice in this file"),
    ];
    for (text, expected) in cases {
        assert_eq!(Given::sound().file(text).error(), expected, "{text:?}");
    }
    for text in ["a = = 1", "\nx", "node-id = 1\nnode-id = 2"] {
        let error = Given::sound().file(text).error();
        assert!(error.starts_with("node.toml line "), "{error}");
        assert!(error.contains("is not TOML"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn errors_elsewhere_say_where() {
    let error = Given::sound().env("RAFT_NODE_CLOCK_ERROR", "soon").error();
    assert!(error.ends_with("; in the environment (RAFT_NODE_CLOCK_ERROR) it is `soon`"), "{error}");
    let error = Given::sound().flag("datacenter", "Dc 1").error();
    assert!(error.ends_with("; on the command line it is `Dc 1`"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mut given = Given::sound();
    given.flags.config = Some(PathBuf::from("/nonexistent/node.toml"));
    let error = given.load().unwrap_err().to_string();
    assert!(error.starts_with("the configuration file /nonexistent/node.toml cannot be read: "), "{error}");
}

#[test]
fn what_is_missing_is_named_with_all_ways_to_give_it() {
    let mut given = Given::sound();
    given.flags.settings.remove("node-id");
    assert_eq!(
        given.error(),
        "node-id is not set; set it by --node-id, by RAFT_NODE_NODE_ID, or by `node-id` in the configuration file"
    );
    let mut given = Given::sound();
    given.flags.settings.remove("tls-cert");
    assert_eq!(
        given.error(),
        "tls-cert is not set; set it by --tls-cert, by RAFT_NODE_TLS_CERT, or by `cert` under [tls] in the \
         configuration file (`raft-node cert ca`, then `raft-node cert node` for each node, make the certificates)"
    );
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let cases: &[(&[(&'static str, &str)], &str)] = &[
        (
            &[("bootstrap", "true"), ("bootstrap-expect", "3"), ("join", "a:1")],
            "bootstrap and bootstrap-expect exclude",
        ),
        (&[("bootstrap-expect", "3")], "bootstrap-expect needs join"),
        (&[("raft-addr", "0.0.0.0:8300")], "raft-addr listens on every address of this machine"),
        (&[("raft-addr", "[::]:8300")], "raft-addr listens on every address of this machine"),
        (
            &[("raft-heartbeat-interval", "400ms")],
            "the heartbeat interval must be at most half of the leader time-out",
        ),
        (&[("clock-error", "250ms")], "the clock error must be below half of the leader time-out"),
        (&[("raft-election-timeout", "400ms")], "the election time-out must be at least the leader time-out"),
        (&[("kv-value-max", "20MiB")], "kv-value-max must be at most raft-batch-max"),
        (&[("kv-value-max", "40MiB"), ("raft-batch-max", "50MiB")], "at most 32 MiB"),
        (&[("raft-advertise-addr", "0.0.0.0:8300")], "raft-advertise-addr must be a host with a port"),
        (&[("join", "a:1"), ("join", "b")], "join must be hosts with ports"),
        (&[("log-level", "loud")], "log-level must be error, warn, info"),
    ];
    for (flags, expected) in cases {
        let given = flags.iter().fold(Given::sound(), |given, (name, value)| given.flag(name, value));
        let error = given.error();
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}

#[test]
fn forming_a_cluster_is_read_from_three_settings() {
    let together = |servers, join: &[&str]| Found::Together {
        servers,
        join: join.iter().map(|place| (*place).to_owned()).collect(),
    };
    let cases: &[(&[(&'static str, &str)], Found)] = &[
        (&[], Found::Nothing),
        (&[("bootstrap", "true")], Found::Alone),
        (&[("bootstrap-expect", "1")], together(1, &[])),
        (
            &[("bootstrap-expect", "3"), ("join", "a:1,b:2"), ("join", "c:3")],
            together(3, &["a:1", "b:2", "c:3"]),
        ),
    ];
    for (flags, expected) in cases {
        let given = flags.iter().fold(Given::sound(), |given, (name, value)| given.flag(name, value));
        assert_eq!(&given.load().unwrap().found, expected, "{flags:?}");
    }
    let config = Given::sound().flag("join", "a:1").load().unwrap();
    assert_eq!(
        config.warnings,
        [
            "join is set without bootstrap-expect: it is used to find members that have moved, and not to form a cluster"
        ]
    );
}

#[test]
fn a_wildcard_address_goes_with_an_advertised_one() {
    let given =
        Given::sound().flag("raft-addr", "0.0.0.0:8300").flag("raft-advertise-addr", "node1.example:8300");
    assert_eq!(given.load().unwrap().raft_advertise_addr, "node1.example:8300");
}
