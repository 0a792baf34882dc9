//! The flags of `raft-node serve`, made from the table of settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use super::keys::{Fallback, KEYS, Key, Kind};

/// The command line of `raft-node serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Whether the node stops when its stdin ends.
    pub stop_on_stdin_eof: bool,
    /// The given settings by name; a flag that was repeated has several texts.
    pub settings: BTreeMap<&'static str, Vec<String>>,
}

const CONFIG: &str = "config";
const STOP_ON_STDIN_EOF: &str = "stop-on-stdin-eof";

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .env("RAFT_NODE_CONFIG")
            .hide_env_values(true)
            .value_parser(value_parser!(PathBuf))
            .help("A TOML file with settings; flags and environment variables take precedence over it");
        let stop = Arg::new(STOP_ON_STDIN_EOF)
            .long(STOP_ON_STDIN_EOF)
            .action(ArgAction::SetTrue)
            .help("Stop when stdin ends, so that the node ends together with a program that started it and holds its stdin");
        command.arg(config).arg(stop).args(KEYS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let settings = KEYS.iter().filter_map(|key| {
            let texts: Vec<String> = matches.get_many(key.name)?.cloned().collect();
            Some((key.name, texts))
        });
        Ok(Self {
            config: matches.get_one(CONFIG).cloned(),
            stop_on_stdin_eof: matches.get_flag(STOP_ON_STDIN_EOF),
            settings: settings.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag of one setting. clap is not told of the environment variable and the default, which appear in the help text
/// only, because the file comes between these two in precedence.
fn flag(key: &Key) -> Arg {
    let default = match key.default {
        Fallback::Required => "[required]".to_owned(),
        Fallback::Text(text) => format!("[default: {text}]"),
        Fallback::Unset(meaning) => format!("[default: {meaning}]"),
    };
    let file =
        if key.name.starts_with("tls-") { format!(" [file: {}]", key.in_file()) } else { String::new() };
    let arg = Arg::new(key.name).long(key.name).value_name(key.kind.placeholder()).help(format!(
        "{}\n{default} [env: {}]{file}",
        key.help,
        key.env()
    ));
    match key.kind {
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Places => arg.action(ArgAction::Append),
        Kind::Id
        | Kind::Path
        | Kind::Name
        | Kind::Address
        | Kind::Place
        | Kind::Servers
        | Kind::Span
        | Kind::Size
        | Kind::Entries
        | Kind::Keys
        | Kind::Connections
        | Kind::Level => arg,
    }
}
