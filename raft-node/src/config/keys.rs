//! The table of settings. Flags, environment variables, keys of the file and the help text are all derived from it, so they
//! cannot disagree.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name of the setting: the flag without its dashes, and the key in the file.
    pub name: &'static str,
    /// The kind of value that the setting takes.
    pub kind: Kind,
    /// The value if nobody sets it.
    pub default: Fallback,
    /// Purpose of the setting, in one or two sentences.
    pub help: &'static str,
}

/// The value of a setting that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// There is no default: the node does not start without the setting.
    Required,
    /// The default, parsed as if it had been given.
    Text(&'static str),
    /// The setting stays unset; the text says what that means.
    Unset(&'static str),
}

/// The kind of value that a setting takes.
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
    /// An address to connect to: a host and a port.
    Place,
    /// A list of addresses to connect to.
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
    /// Description of the allowed values for error messages, to follow "must be".
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
    /// Name of the environment variable: `RAFT_NODE_` and the setting's name in capitals.
    #[must_use]
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Place of the setting in the file, in words.
    #[must_use]
    pub fn in_file(&self) -> String {
        match self.name.strip_prefix("tls-") {
            Some(key) => format!("`{key}` under [tls]"),
            None => format!("`{}`", self.name),
        }
    }
}

/// Prefix of the environment variables of all settings.
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
        help: "This node's number. It must be unique in the cluster, and no other machine may ever get it later",
    },
    Key {
        name: "data-dir",
        kind: Kind::Path,
        default: Fallback::Required,
        help: "The folder for this node's log and state; it is created if it does not exist",
    },
    Key {
        name: "datacenter",
        kind: Kind::Name,
        default: Fallback::Text("dc1"),
        help: "The name of this datacenter; requests that name another one with ?dc= are refused",
    },
    Key {
        name: "http-addr",
        kind: Kind::Address,
        default: Fallback::Text("127.0.0.1:8500"),
        help: "The address to serve clients on over HTTP. There is no authentication: anyone who can connect to it can read and \
               write",
    },
    Key {
        name: "http-connections-max",
        kind: Kind::Connections,
        default: Fallback::Text("4096"),
        help: "Maximum number of open HTTP connections; further clients wait until one is closed. The limit on open files, less \
               the 128 that the node keeps for itself, bounds it too",
    },
    Key {
        name: "raft-addr",
        kind: Kind::Address,
        default: Fallback::Text("127.0.0.1:8300"),
        help: "The address to listen on for the other nodes (UDP: QUIC with mutual TLS)",
    },
    Key {
        name: "raft-advertise-addr",
        kind: Kind::Place,
        default: Fallback::Unset("the same as raft-addr"),
        help: "The address at which the other nodes reach this one; required if raft-addr is 0.0.0.0 or [::]",
    },
    Key {
        name: "bootstrap",
        kind: Kind::Switch,
        default: Fallback::Text("false"),
        help: "Form a new cluster of this node alone if its data folder is new",
    },
    Key {
        name: "bootstrap-expect",
        kind: Kind::Servers,
        default: Fallback::Unset("no cluster is formed"),
        help: "Form a new cluster once this many servers have found each other through join. Set the same number on each of them",
    },
    Key {
        name: "join",
        kind: Kind::Places,
        default: Fallback::Unset("none"),
        help: "The raft addresses of the servers that form the cluster. Later on, the node looks there for members that have moved. \
               The list may include this node",
    },
    Key {
        name: "raft-leader-timeout",
        kind: Kind::Span,
        default: Fallback::Text("500ms"),
        help: "A follower that has not heard from a leader for 1.0 to 1.5 times this long starts an election. It may be changed \
               node by node",
    },
    Key {
        name: "raft-election-timeout",
        kind: Kind::Span,
        default: Fallback::Text("1000ms"),
        help: "An election that has not ended after 1.0 to 1.5 times this long starts again, and a peer that has been silent for \
               this long is dialled anew. Use twice raft-leader-timeout",
    },
    Key {
        name: "raft-heartbeat-interval",
        kind: Kind::Span,
        default: Fallback::Text("100ms"),
        help: "Interval of the leader's heartbeats; at most half of raft-leader-timeout",
    },
    Key {
        name: "raft-commit-timeout",
        kind: Kind::Span,
        default: Fallback::Text("1000ms"),
        help: "How long to wait for the commit of a proposed write before its outcome is reported as unknown. Use at least four \
               round trips: a write through a follower takes two",
    },
    Key {
        name: "raft-hold-timeout",
        kind: Kind::Span,
        default: Fallback::Text("3000ms"),
        help: "How long a request waits for a leader before it is refused with `No cluster leader`. Use more than an election \
               takes, which is about three times raft-leader-timeout",
    },
    Key {
        name: "raft-write-stall",
        kind: Kind::Span,
        default: Fallback::Text("2000ms"),
        help: "A leader whose disk has not finished a write for this long hands leadership to another node",
    },
    Key {
        name: "clock-error",
        kind: Kind::Span,
        default: Fallback::Text("50ms"),
        help: "Bound on how far the clocks of two nodes drift apart within one raft-leader-timeout; less than half of it",
    },
    Key {
        name: "raft-batch-max",
        kind: Kind::Size,
        default: Fallback::Text("10485760"),
        help: "Maximum size of the entries in one message to a follower",
    },
    Key {
        name: "raft-trailing-logs",
        kind: Kind::Entries,
        default: Fallback::Text("10240"),
        help: "Number of entries that the log keeps, for followers that lag, although the state already holds them durably",
    },
    Key {
        name: "kv-value-max",
        kind: Kind::Size,
        default: Fallback::Text("524288"),
        help: "Maximum size of a value; at most raft-batch-max and at most 32 MiB",
    },
    Key {
        name: "kv-delete-keys-max",
        kind: Kind::Keys,
        default: Fallback::Text("8192"),
        help: "Maximum number of keys that one DELETE ?recurse removes; a larger tree is refused with 413. No other write is \
               applied while keys are removed",
    },
    Key {
        name: "http-answer-bytes-max",
        kind: Kind::Size,
        default: Fallback::Text("64MiB"),
        help: "Maximum size of all answers together that are on their way to clients; a request that would exceed it is refused \
               with 503 and Retry-After",
    },
    Key {
        name: "http-send-timeout",
        kind: Kind::Span,
        default: Fallback::Text("30s"),
        help: "A connection is closed if its client reads nothing of its answer for this long",
    },
    Key {
        name: "log-level",
        kind: Kind::Level,
        default: Fallback::Text("info"),
        help: "The level of the log on stderr, or a list of levels for modules",
    },
    Key {
        name: "tls-ca",
        kind: Kind::Path,
        default: Fallback::Required,
        help: "The certificate of the authority that all nodes trust (ca.pem from `raft-node cert ca`)",
    },
    Key {
        name: "tls-cert",
        kind: Kind::Path,
        default: Fallback::Required,
        help: "This node's certificate (node-N.pem from `raft-node cert node`)",
    },
    Key {
        name: "tls-key",
        kind: Kind::Path,
        default: Fallback::Required,
        help: "The private key of this node's certificate (node-N-key.pem)",
    },
];
