//! Reads one line of a scenario and runs it.

use std::collections::BTreeSet;
use std::time::Duration;

use raftkit_core::{Input, LogIndex, NodeId, ReadMode};

use crate::cluster::{Cluster, Limits};

/// A command's words: those with `=` and those without.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let (named, plain): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.contains('='));
        Self { plain, named: named.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    fn named(&self, name: &str) -> Option<&'a str> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// `name=(1,3)`; empty when it is not there.
    fn set(&self, name: &str) -> Result<BTreeSet<NodeId>, String> {
        let list = self.named(name).unwrap_or_default().trim_matches(|c| c == '(' || c == ')');
        list.split(',').filter(|id| !id.is_empty()).map(node).collect()
    }

    fn node(&self) -> Result<NodeId, String> {
        node(self.plain.get(1).ok_or("which node?")?)
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

fn node(word: &str) -> Result<NodeId, String> {
    number(word).map(NodeId)
}

/// `20ms` or `2s`.
fn span(word: &str) -> Result<Duration, String> {
    match word.strip_suffix("ms") {
        Some(ms) => number(ms).map(Duration::from_millis),
        None => number(word.strip_suffix('s').ok_or("a span ends in ms or s")?).map(Duration::from_secs),
    }
}

fn mode(word: Option<&&str>) -> Result<ReadMode, String> {
    match word {
        Some(&"lease") => Ok(ReadMode::Lease),
        Some(&"quorum") => Ok(ReadMode::Quorum),
        _ => Err("lease or quorum?".into()),
    }
}

/// Runs one command; what came of it is in `cluster.told`.
pub fn run(cluster: &mut Cluster, line: &str) -> Result<(), String> {
    let words = Words::of(line);
    let first = *words.plain.first().ok_or("no command")?;
    let limits = Limits { drop: words.set("drop")?, stuck: words.set("stuck")? };
    match first {
        "cluster" => {
            let count = number(words.plain.get(1).ok_or("how many?")?)?;
            let learners = words.set("learners")?;
            let mut config = Cluster::config();
            for (name, value) in &words.named {
                match *name {
                    "learners" => {}
                    "batch" => config.batch_bytes_max = bytes(value)?,
                    "inflight" => config.inflight_bytes_max = bytes(value)?,
                    "messages" => config.inflight_messages_max = bytes(value)?,
                    "uncommitted" => config.uncommitted_bytes_max = bytes(value)?,
                    "tail" => config.tail_bytes_max = bytes(value)?,
                    other => return Err(format!("{other} is no setting")),
                }
            }
            cluster.found(count, &learners, &config);
        }
        "log" => {
            let terms: Result<Vec<u64>, String> =
                words.plain.iter().skip(2).map(|term| number(term)).collect();
            let term = words.named("term").map(number).transpose()?;
            cluster.write_log(words.node()?, &terms?, term);
        }
        "start" => cluster.start_all(),
        "elect" => cluster.elect(words.node()?, &limits),
        "campaign" => cluster.campaign(words.node()?),
        "propose" => {
            let node = words.node()?;
            cluster.propose(node, &words.plain[2..]);
        }
        "read" => cluster.read(words.node()?, mode(words.plain.get(2))?),
        "transfer" => cluster.transfer(words.node()?, words.named("to").map(node).transpose()?),
        "deliver" => cluster.deliver(&limits),
        "drop" => cluster.drop_wire(&words.set("to")?, &words.set("from")?),
        "repeat" => cluster.repeat_wire(),
        "persist" => cluster.persist(words.node()?),
        "answer" => cluster.answer(words.node()?),
        "settle" => cluster.settle(&limits),
        "wait" => cluster.wait(span(words.plain.get(1).ok_or("how long?")?)?),
        "run" => cluster.run(span(words.plain.get(1).ok_or("how long?")?)?, &limits),
        "crash" => cluster.crash(words.node()?),
        "restart" => cluster.restart(words.node()?),
        "fail" => cluster.input(words.node()?, Input::WriteFailed),
        "lost" => {
            let peer = node(words.named("to").ok_or("to whom?")?)?;
            cluster.input(words.node()?, Input::Unreachable(peer));
        }
        "compact" => {
            let to = number(words.named("to").ok_or("to where?")?)?;
            cluster.input(words.node()?, Input::Compact(LogIndex(to)));
        }
        "snapshot" => {
            let to = node(words.named("to").ok_or("to whom?")?)?;
            cluster.snapshot(words.node()?, to, words.plain.get(2) == Some(&"fails"));
        }
        "messages" => cluster.show_messages(),
        "count" => cluster.show_count(),
        "logs" => cluster.show_logs(),
        "status" => cluster.show_status(words.node()?),
        other => return Err(format!("{other} is no command")),
    }
    Ok(())
}

fn bytes(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("{word} is no number of bytes"))
}
