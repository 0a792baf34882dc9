//! The table of settings: flags, environment, file and help are all made from it, so they cannot disagree.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name: the flag without dashes, and the key in the file.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What it is when nobody sets it.
    pub default: Fallback,
    /// What it is for, in one or two sentences.
    pub help: &'static str,
}

/// What a setting is when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The node does not start without it.
    Required,
    /// This text, read as if it had been given.
    Text(&'static str),
    /// Nothing; this says what that means.
    Unset(&'static str),
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from 1.
    Id,
    /// A path.
    Path,
    /// A name of letters, digits, `-` and `_`.
    Name,
    /// An address to listen on: an IP address and a port.
    Address,
    /// A place to connect to: a host and a port.
    Place,
    /// Places to connect to.
    Places,
    /// On or off.
    Switch,
    /// A number of servers.
    Servers,
    /// A span of time, to the millisecond.
    Span,
    /// A number of bytes.
    Size,
    /// A number of log entries.
    Entries,
    /// A number of keys.
    Keys,
    /// A number of connections.
    Connections,
    /// A filter for log output.
    Level,
}

impl Kind {
    /// What is allowed, for error messages: follows "must be".
    #[must_use]
    pub fn allowed(self) -> &'static str {
        match self {
            Self::Id => "a whole number from 1",
            Self::Path => "a path that is not empty",
            Self::Name => "1 to 64 lower-case letters, digits, `-` or `_`",
            Self::Address => "an IP address with a port, such as 127.0.0.1:8500 or [::]:8500",
            Self::Place => "a host with a port, such as 10.0.0.1:8300 or node1.example:8300",
            Self::Places => {
                "hosts with ports, such as [\"node1:8300\", \"node2:8300\"] or node1:8300,node2:8300"
            }
            Self::Switch => "true or false",
            Self::Servers => "a number of servers from 1 to 15",
            Self::Span => {
                "a span such as 500ms, 1s, 1.5s, or a bare number of milliseconds, from 1 ms to 1 hour"
            }
            Self::Size => "a number of bytes from 1 to 1 GiB, such as 524288, 512KiB or 10MiB",
            Self::Entries => "a whole number of log entries",
            Self::Keys => "a whole number of keys from 1 to 4294967295",
            Self::Connections => "a number of connections from 16 to 1000000",
            Self::Level => "error, warn, info, debug, trace, or a list such as info,raftkit_net=debug",
        }
    }

    /// The placeholder in the help text.
    #[must_use]
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Id => "N",
            Self::Path => "PATH",
            Self::Name => "NAME",
            Self::Address => "IP:PORT",
            Self::Place => "HOST:PORT",
            Self::Places => "HOST:PORT,..",
            Self::Switch => "BOOL",
            Self::Servers | Self::Entries | Self::Keys | Self::Connections => "COUNT",
            Self::Span => "SPAN",
            Self::Size => "BYTES",
            Self::Level => "LEVEL",
        }
    }
}

impl Key {
    /// The environment variable: `RAFT_NODE_` and the name in capitals.
    #[must_use]
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Where it stands in the file, in words.
    #[must_use]
    pub fn in_file(&self) -> String {
        match self.name.strip_prefix("tls-") {
            Some(key) => format!("`{key}` under [tls]"),
            None => format!("`{}`", self.name),
        }
    }
}

/// What every environment variable of a setting begins with.
pub const ENV_PREFIX: &str = "RAFT_NODE_";

/// The setting with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// All settings, in the order of the help text.
pub const KEYS: &[Key] = &[
    Key {
        name: "node-id",
        kind: Kind::Id,
        default: Fallback::Required,
        help: "This node's number: unique in its cluster, and never given to another machine later",
    },
    Key {
        name: "data-dir",
        kind: Kind::Path,
        default: Fallback::Required,
        help: "The folder that holds this node's log and state; made if it is not there",
    },
    Key {
        name: "datacenter",
        kind: Kind::Name,
        default: Fallback::Text("dc1"),
        help: "The name that requests with ?dc= must use",
    },
    Key {
        name: "http-addr",
        kind: Kind::Address,
        default: Fallback::Text("127.0.0.1:8500"),
        help: "Where clients are served over HTTP; anyone who reaches it can read and write",
    },
    Key {
        name: "http-connections-max",
        kind: Kind::Connections,
        default: Fallback::Text("4096"),
        help: "How many HTTP connections are open at a time; more clients wait until one ends. Also bounded by the limit on open files, of which 128 are kept back",
    },
    Key {
        name: "raft-addr",
        kind: Kind::Address,
        default: Fallback::Text("127.0.0.1:8300"),
        help: "Where the other nodes reach this one (UDP: QUIC with mutual TLS)",
    },
    Key {
        name: "raft-advertise-addr",
        kind: Kind::Place,
        default: Fallback::Unset("the same as raft-addr"),
        help: "The address that the other nodes are told; needed when raft-addr is 0.0.0.0 or [::]",
    },
    Key {
        name: "bootstrap",
        kind: Kind::Switch,
        default: Fallback::Text("false"),
        help: "Form a new cluster of this node alone, if its data folder is new",
    },
    Key {
        name: "bootstrap-expect",
        kind: Kind::Servers,
        default: Fallback::Unset("no cluster is formed"),
        help: "Form a new cluster once so many servers have found each other through join; the same on each of them",
    },
    Key {
        name: "join",
        kind: Kind::Places,
        default: Fallback::Unset("none"),
        help: "The raft addresses of the servers that form the cluster; later on, where members that have moved are looked for. The list may name this node too",
    },
    Key {
        name: "raft-leader-timeout",
        kind: Kind::Span,
        default: Fallback::Text("500ms"),
        help: "A follower that heard no leader for 1.0 to 1.5 of this asks for an election; may be changed node by node",
    },
    Key {
        name: "raft-election-timeout",
        kind: Kind::Span,
        default: Fallback::Text("1000ms"),
        help: "An election that has not ended by 1.0 to 1.5 of this starts again, and a peer that is silent for so long is \
               dialled anew; twice raft-leader-timeout",
    },
    Key {
        name: "raft-heartbeat-interval",
        kind: Kind::Span,
        default: Fallback::Text("100ms"),
        help: "How often an idle leader says that it lives; at most half of raft-leader-timeout",
    },
    Key {
        name: "raft-commit-timeout",
        kind: Kind::Span,
        default: Fallback::Text("1000ms"),
        help: "How long a write that was proposed is waited for before its outcome is called unknown; four round trips or \
               more, as one through a follower takes two",
    },
    Key {
        name: "raft-hold-timeout",
        kind: Kind::Span,
        default: Fallback::Text("3000ms"),
        help: "How long a request waits for a leader before it is refused with `No cluster leader`; longer than it takes to \
               elect one, about three times raft-leader-timeout",
    },
    Key {
        name: "raft-write-stall",
        kind: Kind::Span,
        default: Fallback::Text("2000ms"),
        help: "A leader whose disk has not finished a write for so long gives leadership away",
    },
    Key {
        name: "clock-error",
        kind: Kind::Span,
        default: Fallback::Text("50ms"),
        help: "How far two nodes' clocks may drift apart over one raft-leader-timeout; below half of it",
    },
    Key {
        name: "raft-batch-max",
        kind: Kind::Size,
        default: Fallback::Text("10485760"),
        help: "At most so many bytes of entries in one message to a follower",
    },
    Key {
        name: "raft-trailing-logs",
        kind: Kind::Entries,
        default: Fallback::Text("10240"),
        help: "So many entries are kept in the log after the state holds them, for followers that lag",
    },
    Key {
        name: "kv-value-max",
        kind: Kind::Size,
        default: Fallback::Text("524288"),
        help: "The largest value that a PUT may store; at most raft-batch-max and 32 MiB",
    },
    Key {
        name: "kv-delete-keys-max",
        kind: Kind::Keys,
        default: Fallback::Text("8192"),
        help: "The most keys that one DELETE ?recurse removes: while it does, no other write is applied. A larger tree gets 413",
    },
    Key {
        name: "http-answer-bytes-max",
        kind: Kind::Size,
        default: Fallback::Text("64MiB"),
        help: "At most so many bytes of answers are on their way to clients at once, all together; a request that would exceed it gets 503 with Retry-After",
    },
    Key {
        name: "http-send-timeout",
        kind: Kind::Span,
        default: Fallback::Text("30s"),
        help: "A connection whose client takes nothing of its answer for so long is closed",
    },
    Key {
        name: "log-level",
        kind: Kind::Level,
        default: Fallback::Text("info"),
        help: "What is logged to stderr",
    },
    Key {
        name: "tls-ca",
        kind: Kind::Path,
        default: Fallback::Required,
        help: "The certificate of the authority that all nodes trust (ca.pem of `raft-node cert ca`)",
    },
    Key {
        name: "tls-cert",
        kind: Kind::Path,
        default: Fallback::Required,
        help: "This node's certificate (node-N.pem of `raft-node cert node`)",
    },
    Key {
        name: "tls-key",
        kind: Kind::Path,
        default: Fallback::Required,
        help: "The key of this node's certificate (node-N-key.pem)",
    },
];
