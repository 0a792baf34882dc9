//! `raft-node kv`: keys and values of a running cluster.

use std::fs;
use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::{Args, Subcommand};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Failure, Target, output};
use crate::client::{Answer, Client, encode_path, encode_query};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Print a key's value
    #[command(
        long_about = "Print a key's value, followed by a line end. It is an error if the key does not exist (exit code 1).",
        after_help = "Examples:\n\n  raft-node kv get config/port\n  raft-node kv get --raw images/logo > logo.png\n  raft-node kv get --detailed config/port"
    )]
    Get {
        /// The key
        key: String,
        /// Print the value without a line end
        #[arg(long, conflicts_with = "detailed")]
        raw: bool,
        /// Also print flags and indexes
        #[arg(long)]
        detailed: bool,
        #[command(flatten)]
        freshness: Freshness,
        #[command(flatten)]
        target: Target,
    },
    /// Store a value under a key
    #[command(
        long_about = "Store a value under a key: the text VALUE, with @FILE the content of FILE, or with `-` stdin.",
        after_help = "Examples:\n\n  raft-node kv put config/port 8080\n  raft-node kv put images/logo @logo.png\n  date | raft-node kv put started -\n  raft-node kv put --cas 0 lock/owner me        (only if the key does not exist)"
    )]
    Put {
        /// The key
        key: String,
        /// The value, @FILE, or - for stdin
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// A number of your choice, stored beside the value
        #[arg(long, value_name = "N")]
        flags: Option<u64>,
        /// Store the value only if the key's ModifyIndex is this; with 0, only if the key does not exist
        #[arg(long, value_name = "INDEX")]
        cas: Option<u64>,
        #[command(flatten)]
        target: Target,
    },
    /// Remove a key, or all keys under a prefix
    #[command(
        long_about = "Remove a key, or with --recurse all keys that begin with KEY. Removing a key that does not exist succeeds.",
        after_help = "Examples:\n\n  raft-node kv delete config/port\n  raft-node kv delete --recurse config/"
    )]
    Delete {
        /// The key, or with --recurse the prefix, where an empty one means all keys
        key: String,
        /// Remove every key that begins with KEY
        #[arg(long, conflicts_with = "cas")]
        recurse: bool,
        /// Remove the key only if its ModifyIndex is this
        #[arg(long, value_name = "INDEX")]
        cas: Option<u64>,
        #[command(flatten)]
        target: Target,
    },
    /// List keys with their values
    #[command(
        long_about = "List keys with their values, one on each line: the key, a tab, and the value, in which unprintable \
                      characters are escaped. A prefix without keys is not an error.",
        after_help = "Examples:\n\n  raft-node kv list config/\n  raft-node kv list --keys\n  raft-node kv list --separator / config/     (a folder's content)"
    )]
    List {
        /// List only keys that begin with this
        #[arg(default_value = "")]
        prefix: String,
        /// List the names only
        #[arg(long)]
        keys: bool,
        /// List the names only, each cut after the first TEXT behind the prefix
        #[arg(long, value_name = "TEXT")]
        separator: Option<String>,
        #[command(flatten)]
        freshness: Freshness,
        #[command(flatten)]
        target: Target,
    },
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Freshness {
    /// Read the state of the node that is asked, which may be old; works without a leader
    #[arg(long, conflicts_with = "consistent")]
    stale: bool,
    /// Have a quorum confirm the leader before reading, so that the answer depends on no clock
    #[arg(long)]
    consistent: bool,
}

impl Freshness {
    fn parameter(self) -> Option<String> {
        match (self.stale, self.consistent) {
            (true, _) => Some("stale".to_owned()),
            (false, true) => Some("consistent".to_owned()),
            (false, false) => None,
        }
    }
}

/// The fields of an entry that are printed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    flags: u64,
    value: Option<String>,
    session: Option<String>,
    lock_index: u64,
    create_index: u64,
    modify_index: u64,
}

impl Entry {
    fn value(&self) -> Result<Vec<u8>, Failure> {
        let encoded = self.value.as_deref().unwrap_or("");
        STANDARD
            .decode(encoded)
            .map_err(|error| Failure::Failed(format!("the answer holds no base64: {error}")))
    }
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Get { key, raw, detailed, freshness, target } => {
            let client = target.client()?;
            if detailed {
                details(&client, &key, freshness).await
            } else {
                get(&client, &key, raw, freshness).await
            }
        }
        Command::Put { key, value, flags, cas, target } => {
            let body = value_of(value)?;
            put(&target.client()?, &key, body, flags, cas).await
        }
        Command::Delete { key, recurse, cas, target } => delete(&target.client()?, &key, recurse, cas).await,
        Command::List { prefix, keys, separator, freshness, target } => {
            let client = target.client()?;
            if keys || separator.is_some() {
                names(&client, &prefix, separator, freshness).await
            } else {
                entries(&client, &prefix, freshness).await
            }
        }
    }
}

async fn get(client: &Client, key: &str, raw: bool, freshness: Freshness) -> Result<(), Failure> {
    let parameters = [Some("raw".to_owned()), freshness.parameter()];
    let answer = ask(client, Method::GET, key, parameters, Bytes::new()).await?;
    let answer = found(answer, key)?;
    let mut out = answer.body.to_vec();
    if !raw {
        out.push(b'\n');
    }
    output::write(&out)
}

async fn details(client: &Client, key: &str, freshness: Freshness) -> Result<(), Failure> {
    let answer = ask(client, Method::GET, key, [freshness.parameter()], Bytes::new()).await?;
    let entries: Vec<Entry> = parsed(&found(answer, key)?)?;
    for entry in entries {
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let mut rows = vec![
            row("Key", output::printable(entry.key.as_bytes())),
            row("Value", output::printable(&entry.value()?)),
            row("Flags", entry.flags.to_string()),
            row("CreateIndex", entry.create_index.to_string()),
            row("ModifyIndex", entry.modify_index.to_string()),
            row("LockIndex", entry.lock_index.to_string()),
        ];
        rows.extend(entry.session.map(|session| row("Session", session)));
        output::write(output::table(&rows).as_bytes())?;
    }
    Ok(())
}

async fn put(
    client: &Client,
    key: &str,
    value: Bytes,
    flags: Option<u64>,
    cas: Option<u64>,
) -> Result<(), Failure> {
    let parameters = [flags.map(|flags| format!("flags={flags}")), cas.map(|index| format!("cas={index}"))];
    if truth(&ask(client, Method::PUT, key, parameters, value).await?)? {
        return Ok(());
    }
    Err(Failure::Failed(match cas {
        Some(0) => format!("not written: the key {key:?} is there already"),
        Some(index) => format!("not written: the ModifyIndex of {key:?} is not {index}"),
        None => format!("the key {key:?} was not written"),
    }))
}

async fn delete(client: &Client, key: &str, recurse: bool, cas: Option<u64>) -> Result<(), Failure> {
    let parameters = [recurse.then(|| "recurse".to_owned()), cas.map(|index| format!("cas={index}"))];
    if truth(&ask(client, Method::DELETE, key, parameters, Bytes::new()).await?)? {
        return Ok(());
    }
    let index = cas.unwrap_or(0);
    Err(Failure::Failed(format!("not removed: the ModifyIndex of {key:?} is not {index}")))
}

async fn entries(client: &Client, prefix: &str, freshness: Freshness) -> Result<(), Failure> {
    let parameters = [Some("recurse".to_owned()), freshness.parameter()];
    let answer = ask(client, Method::GET, prefix, parameters, Bytes::new()).await?;
    for entry in listed::<Entry>(&answer)? {
        let value = output::printable(&entry.value()?);
        output::line(&format!("{}\t{value}", output::printable(entry.key.as_bytes())))?;
    }
    Ok(())
}

async fn names(
    client: &Client,
    prefix: &str,
    separator: Option<String>,
    freshness: Freshness,
) -> Result<(), Failure> {
    let separator = separator.map(|separator| format!("separator={}", encode_query(&separator)));
    let parameters = [Some("keys".to_owned()), separator, freshness.parameter()];
    let answer = ask(client, Method::GET, prefix, parameters, Bytes::new()).await?;
    for name in listed::<String>(&answer)? {
        output::line(&output::printable(name.as_bytes()))?;
    }
    Ok(())
}

/// Sends a request about a key.
async fn ask(
    client: &Client,
    method: Method,
    key: &str,
    parameters: impl IntoIterator<Item = Option<String>>,
    body: Bytes,
) -> Result<Answer, Failure> {
    let parameters: Vec<String> = parameters.into_iter().flatten().collect();
    let mark = if parameters.is_empty() { "" } else { "?" };
    let target = format!("/v1/kv/{}{mark}{}", encode_path(key), parameters.join("&"));
    let answer = client.send(method, &target, body).await?;
    from_a_node(client, answer)
}

/// Refuses an answer of another web server, whose 404 does not mean a missing key and whose pages are not values. A node is
/// recognized by its headers: each answer has the default ACL policy, and each answer to a read an index.
pub(super) fn from_a_node(client: &Client, answer: Answer) -> Result<Answer, Failure> {
    let says = |name: &str| answer.headers.contains_key(name);
    let looked = says("x-consul-index");
    if looked || (says("x-consul-default-acl-policy") && answer.status != StatusCode::NOT_FOUND) {
        return Ok(answer);
    }
    Err(Failure::Failed(format!(
        "the server at {} ({}) is no raft-node, or something in between changes its answers: choose another node with --addr or \
         RAFT_NODE_ADDR",
        client.addr(),
        answer.status
    )))
}

/// The bytes that the value argument stands for.
fn value_of(argument: String) -> Result<Bytes, Failure> {
    if argument == "-" {
        let mut value = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut value);
        read.map_err(|error| Failure::Failed(format!("stdin cannot be read: {error}")))?;
        return Ok(value.into());
    }
    match argument.strip_prefix('@') {
        Some(path) => {
            let read = fs::read(path);
            read.map(Bytes::from).map_err(|error| Failure::Failed(format!("{path} cannot be read: {error}")))
        }
        None => Ok(argument.into()),
    }
}

fn found(answer: Answer, key: &str) -> Result<Answer, Failure> {
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Failure::Failed(format!("there is no key {key:?}")));
    }
    done(&answer)?;
    Ok(answer)
}

/// The entries of an answer; empty if nothing was found.
fn listed<T: DeserializeOwned>(answer: &Answer) -> Result<Vec<T>, Failure> {
    if answer.status == StatusCode::NOT_FOUND { Ok(Vec::new()) } else { parsed(answer) }
}

fn truth(answer: &Answer) -> Result<bool, Failure> {
    parsed(answer)
}

/// Parses the JSON of an answer.
pub(super) fn parsed<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    done(answer)?;
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::Failed(format!("the answer is not what a raft-node answers: {error}")))
}

fn done(answer: &Answer) -> Result<(), Failure> {
    if answer.status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim();
    let text = if text.is_empty() { answer.status.to_string() } else { text.to_owned() };
    Err(Failure::Failed(format!("the node refused: {text}")))
}
