//! The words of a command: those with `=` and those without.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raftkit_core::{NodeId, ReadMode};

pub struct Words<'a> {
    pub plain: Vec<&'a str>,
    pub named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub fn of(line: &'a str) -> Self {
        let (named, plain): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.contains('='));
        Self { plain, named: named.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    pub fn named(&self, name: &str) -> Option<&'a str> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// `name=(1,3)`; empty when it is not there.
    pub fn set(&self, name: &str) -> Result<BTreeSet<NodeId>, String> {
        self.given(name).map(Option::unwrap_or_default)
    }

    /// `name=(1,3)`, if it is there.
    pub fn given(&self, name: &str) -> Result<Option<BTreeSet<NodeId>>, String> {
        self.named(name).map(|value| list(value).map(node).collect()).transpose()
    }

    /// `name=(1:200,3:0)`: a number for each of these nodes.
    pub fn numbers(&self, name: &str) -> Result<BTreeMap<NodeId, u64>, String> {
        let pair = |pair: &str| {
            let (id, value) = pair.split_once(':').ok_or(format!("{pair} is no node with its number"))?;
            Ok((node(id)?, number(value)?))
        };
        self.named(name).map_or(Ok(BTreeMap::new()), |value| list(value).map(pair).collect())
    }

    /// The node that the command is for.
    pub fn node(&self) -> Result<NodeId, String> {
        node(self.plain.get(1).ok_or("which node?")?)
    }

    /// The node in `to=`.
    pub fn to(&self) -> Result<NodeId, String> {
        node(self.named("to").ok_or("to whom?")?)
    }

    pub fn span(&self) -> Result<Duration, String> {
        span(self.plain.get(1).ok_or("how long?")?)
    }

    pub fn mode(&self) -> Result<ReadMode, String> {
        match self.plain.get(2) {
            Some(&"lease") => Ok(ReadMode::Lease),
            Some(&"quorum") => Ok(ReadMode::Quorum),
            Some(&"stale") => Ok(ReadMode::Stale),
            Some(_) | None => Err("lease, quorum or stale?".into()),
        }
    }
}

pub fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

pub fn node(word: &str) -> Result<NodeId, String> {
    number(word).map(NodeId)
}

pub fn bytes(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("{word} is no number of bytes"))
}

/// `(1,3)` as its words.
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.trim_matches(['(', ')']).split(',').filter(|word| !word.is_empty())
}

/// `20ms` or `2s`.
pub fn span(word: &str) -> Result<Duration, String> {
    match word.strip_suffix("ms") {
        Some(ms) => number(ms).map(Duration::from_millis),
        None => number(word.strip_suffix('s').ok_or("a span ends in ms or s")?).map(Duration::from_secs),
    }
}
