//! A node's settings, from flags, environment variables, a file and defaults, in this order of precedence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use raftkit_core::{Incarnation, NodeId, StoreId};

pub mod duration;
mod file;
mod flags;
pub mod keys;
mod value;

pub use flags::Flags;
use keys::{Fallback, KEYS, find};
use value::Raw;

/// A node's settings, checked. The table in [`keys`] tells the purpose of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `node-id`.
    pub node_id: NodeId,
    /// `data-dir`.
    pub data_dir: PathBuf,
    /// `datacenter`.
    pub datacenter: String,
    /// `http-addr`.
    pub http_addr: SocketAddr,
    /// `http-connections-max`.
    pub http_connections_max: usize,
    /// `raft-addr`.
    pub raft_addr: SocketAddr,
    /// `raft-advertise-addr`, or `raft-addr` where it is not set.
    pub raft_advertise_addr: String,
    /// How the node comes into a cluster, by `bootstrap`, `bootstrap-expect` and `join`.
    pub found: Found,
    /// `join`.
    pub join: Vec<String>,
    /// `raft-leader-timeout`.
    pub leader_timeout: Duration,
    /// `raft-election-timeout`.
    pub election_timeout: Duration,
    /// `raft-heartbeat-interval`.
    pub heartbeat_interval: Duration,
    /// `raft-commit-timeout`.
    pub commit_timeout: Duration,
    /// `raft-hold-timeout`.
    pub hold_timeout: Duration,
    /// `raft-write-stall`.
    pub write_stall: Duration,
    /// `clock-error`.
    pub clock_error: Duration,
    /// `raft-batch-max`, in bytes.
    pub batch_bytes_max: usize,
    /// `raft-trailing-logs`, in entries.
    pub trailing_logs: u64,
    /// `kv-value-max`, in bytes.
    pub value_bytes_max: usize,
    /// `kv-delete-keys-max`, in keys.
    pub delete_keys_max: u32,
    /// `http-answer-bytes-max`, in bytes.
    pub answer_bytes_max: usize,
    /// `http-send-timeout`.
    pub send_timeout: Duration,
    /// `log-level`.
    pub log_level: String,
    /// `tls-ca`.
    pub tls_ca: PathBuf,
    /// `tls-cert`.
    pub tls_cert: PathBuf,
    /// `tls-key`.
    pub tls_key: PathBuf,
    /// Lines for the log about settings that are probably mistakes.
    pub warnings: Vec<String>,
    /// The origin of each setting that was given.
    pub origins: BTreeMap<&'static str, Origin>,
}

/// How a node with a new data folder comes into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The node waits to be added to a cluster.
    Nothing,
    /// The node forms a new cluster by itself (`bootstrap`).
    Alone,
    /// The node forms a new cluster together with others (`bootstrap-expect`, `join`).
    Together {
        /// Number of servers that form the cluster, this one included.
        servers: u32,
        /// Raft addresses of the servers.
        join: Vec<String>,
    },
}

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The setting was given on the command line.
    Flag,
    /// The setting was given by this environment variable.
    Environment(String),
    /// The setting was given in a file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// The setting was not given and has its default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("on the command line"),
            Self::Environment(name) => write!(f, "in the environment ({name})"),
            Self::File { path, line } => write!(f, "in {} line {line}", path.display()),
            Self::Default => f.write_str("by default"),
        }
    }
}

/// A setting as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    raw: Raw,
    origin: Origin,
}

/// Upper bound for `kv-value-max`, in bytes. Larger values would fill the budget of uncommitted entries; large objects need
/// another way than the log.
const VALUE_BYTES_MAX: usize = 32 << 20;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is not valid TOML.
    #[error("{} line {line} is not TOML: {message}", path.display())]
    Syntax {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The message of the parser.
        message: String,
    },
    /// The file has a key that is not a setting.
    #[error("{} line {line}: there is no setting `{key}`; {}", path.display(), meant(*hint))]
    UnknownKey {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The unknown key.
        key: String,
        /// The setting that was probably meant.
        hint: Option<&'static str>,
    },
    /// The file sets a setting twice, in its two spellings.
    #[error("{} line {line}: {key} is set twice in this file", path.display())]
    Twice {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// Name of the setting.
        key: &'static str,
    },
    /// A value is not of the kind that the setting takes.
    #[error("{key} must be {allowed}; {origin} it is {got}")]
    Invalid {
        /// Name of the setting.
        key: &'static str,
        /// The given value.
        got: String,
        /// Where the value was given.
        origin: Origin,
        /// Description of the allowed values.
        allowed: &'static str,
    },
    /// A setting without a default is not given.
    #[error("{key} is not set; set it by --{key}, by {env}, or by {in_file} in the configuration file{hint}")]
    Missing {
        /// Name of the setting.
        key: &'static str,
        /// Name of the setting's environment variable.
        env: String,
        /// Place of the setting in the file.
        in_file: String,
        /// Further advice.
        hint: &'static str,
    },
    /// Two settings exclude each other, or one needs another.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The protocol's settings contradict each other.
    #[error("the settings do not fit together: {source} ({settings})")]
    Rule {
        /// The rule of the protocol that they break.
        source: raftkit_core::ConfigError,
        /// The settings that the protocol's rules concern, with their values.
        settings: String,
    },
}

fn meant(hint: Option<&str>) -> String {
    match hint {
        Some(name) => format!("did you mean `{name}`?"),
        None => "`raft-node serve --help` lists all settings".to_owned(),
    }
}

impl Config {
    /// Loads the settings from flags, this process' environment, the file and the defaults.
    ///
    /// # Errors
    /// A setting is missing, unknown or wrong: the first such setting, with its place and the allowed values.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::load_from(flags, &|name| std::env::var_os(name))
    }

    /// Loads the settings like [`load`](Self::load), from an environment of the caller's. An empty variable counts as not set.
    ///
    /// # Errors
    /// The same as for [`load`](Self::load).
    pub fn load_from(flags: &Flags, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut given = match &flags.config {
            Some(path) => file::read(path)?,
            None => BTreeMap::new(),
        };
        for key in KEYS {
            let name = key.env();
            if let Some(text) = env(&name).filter(|text| !text.is_empty()) {
                let origin = Origin::Environment(name);
                let text = text.into_string().map_err(|text| ConfigError::Invalid {
                    key: key.name,
                    got: format!("{text:?}, which is not UTF-8"),
                    origin: origin.clone(),
                    allowed: key.kind.allowed(),
                })?;
                given.insert(key.name, Given { raw: Raw::One(text), origin });
            }
        }
        for (name, texts) in &flags.settings {
            let raw = match texts.as_slice() {
                [text] => Raw::One(text.clone()),
                several => Raw::Many(several.to_vec()),
            };
            given.insert(name, Given { raw, origin: Origin::Flag });
        }
        Settings { given }.check()
    }

    /// The origin of a setting's value, for messages: "on the command line", for example.
    #[must_use]
    pub fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }

    /// The protocol's settings that follow from these, to have the protocol check them.
    fn core(&self) -> raftkit_core::Config {
        raftkit_core::Config {
            leader_timeout: self.leader_timeout,
            election_timeout: self.election_timeout,
            heartbeat_interval: self.heartbeat_interval,
            clock_error: self.clock_error,
            write_stall: self.write_stall,
            batch_bytes_max: self.batch_bytes_max,
            ..raftkit_core::Config::new(self.node_id, StoreId(0), Incarnation(0), 0)
        }
    }
}

/// All given values, by setting.
struct Settings {
    given: BTreeMap<&'static str, Given>,
}

impl Settings {
    fn check(&self) -> Result<Config, ConfigError> {
        let raft_addr: SocketAddr = self.required("raft-addr", value::address)?;
        let config = Config {
            node_id: NodeId(self.required("node-id", value::id)?),
            data_dir: self.required("data-dir", value::path)?,
            datacenter: self.required("datacenter", value::name)?,
            http_addr: self.required("http-addr", value::address)?,
            http_connections_max: self.required("http-connections-max", value::connections)?,
            raft_addr,
            raft_advertise_addr: self.advertised(raft_addr)?,
            found: self.found()?,
            join: self.optional("join", value::places)?.unwrap_or_default(),
            leader_timeout: self.required("raft-leader-timeout", value::span)?,
            election_timeout: self.required("raft-election-timeout", value::span)?,
            heartbeat_interval: self.required("raft-heartbeat-interval", value::span)?,
            commit_timeout: self.required("raft-commit-timeout", value::span)?,
            hold_timeout: self.required("raft-hold-timeout", value::span)?,
            write_stall: self.required("raft-write-stall", value::span)?,
            clock_error: self.required("clock-error", value::span)?,
            batch_bytes_max: self.required("raft-batch-max", value::size)?,
            trailing_logs: self.required("raft-trailing-logs", value::entries)?,
            value_bytes_max: self.required("kv-value-max", value::size)?,
            delete_keys_max: self.required("kv-delete-keys-max", value::keys)?,
            answer_bytes_max: self.required("http-answer-bytes-max", value::size)?,
            send_timeout: self.required("http-send-timeout", value::span)?,
            log_level: self.required("log-level", value::level)?,
            tls_ca: self.required("tls-ca", value::path)?,
            tls_cert: self.required("tls-cert", value::path)?,
            tls_key: self.required("tls-key", value::path)?,
            warnings: self.warnings()?,
            origins: self.given.iter().map(|(name, given)| (*name, given.origin.clone())).collect(),
        };
        config.core().validate().map_err(|source| ConfigError::Rule { source, settings: shown(&config) })?;
        if config.value_bytes_max > config.batch_bytes_max.min(VALUE_BYTES_MAX) {
            return Err(ConfigError::Contradiction(
                "kv-value-max must be at most raft-batch-max, and at most 32 MiB",
            ));
        }
        Ok(config)
    }

    /// The parsed value of a setting: the given one, else the default, else none.
    fn optional<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Raw) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let key = find(name).expect("every setting that is read stands in the table");
        let by_default;
        let given = match (self.given.get(name), key.default) {
            (Some(given), _) => given,
            (None, Fallback::Text(text)) => {
                by_default = Given { raw: Raw::One(text.to_owned()), origin: Origin::Default };
                &by_default
            }
            (None, Fallback::Required | Fallback::Unset(_)) => return Ok(None),
        };
        read(&given.raw).map(Some).ok_or_else(|| ConfigError::Invalid {
            key: key.name,
            got: given.raw.shown(),
            origin: given.origin.clone(),
            allowed: key.kind.allowed(),
        })
    }

    fn required<T>(&self, name: &'static str, read: impl Fn(&Raw) -> Option<T>) -> Result<T, ConfigError> {
        self.optional(name, read)?.ok_or_else(|| {
            let key = find(name).expect("every setting that is read stands in the table");
            let hint = if name.starts_with("tls-") {
                " (`raft-node cert ca`, then `raft-node cert node` for each node, make the certificates)"
            } else {
                ""
            };
            ConfigError::Missing { key: key.name, env: key.env(), in_file: key.in_file(), hint }
        })
    }

    fn advertised(&self, raft_addr: SocketAddr) -> Result<String, ConfigError> {
        let advertised = self.optional("raft-advertise-addr", value::place)?;
        match advertised {
            Some(place) => Ok(place),
            None if raft_addr.ip().is_unspecified() => Err(ConfigError::Contradiction(
                "raft-addr listens on every address of this machine, so raft-advertise-addr must name the one that \
                 the other nodes are to use",
            )),
            None => Ok(raft_addr.to_string()),
        }
    }

    fn found(&self) -> Result<Found, ConfigError> {
        let alone = self.required("bootstrap", value::switch)?;
        let servers = self.optional("bootstrap-expect", value::servers)?;
        let join = self.optional("join", value::places)?.unwrap_or_default();
        match (alone, servers) {
            (true, Some(_)) => Err(ConfigError::Contradiction(
                "bootstrap and bootstrap-expect exclude each other: bootstrap forms a cluster of this node alone, \
                 bootstrap-expect one of several",
            )),
            (false, Some(2..)) if join.is_empty() => Err(ConfigError::Contradiction(
                "bootstrap-expect needs join: the raft addresses of the servers that form the cluster",
            )),
            (true, None) => Ok(Found::Alone),
            (false, Some(servers)) => Ok(Found::Together { servers, join }),
            (false, None) => Ok(Found::Nothing),
        }
    }

    fn warnings(&self) -> Result<Vec<String>, ConfigError> {
        let mut warnings = Vec::new();
        let expects = self.given.contains_key("bootstrap-expect");
        let join = self.optional("join", value::places)?.unwrap_or_default();
        if !expects && !join.is_empty() {
            warnings.push("join is set without bootstrap-expect: it is used to find members that have moved, and not to form a cluster".to_owned());
        }
        Ok(warnings)
    }
}

/// The settings that the protocol's rules concern, with their values.
fn shown(config: &Config) -> String {
    format!(
        "raft-heartbeat-interval {:?}, raft-leader-timeout {:?}, raft-election-timeout {:?}, clock-error {:?}, \
         raft-batch-max {}",
        config.heartbeat_interval,
        config.leader_timeout,
        config.election_timeout,
        config.clock_error,
        config.batch_bytes_max
    )
}
