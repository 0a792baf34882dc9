//! Random writes, relative to the log that they are applied to.

use std::time::Duration;

use proptest::prelude::*;
use raftkit_core::*;

use super::{Model, base, command, member};

/// A write, relative to the log that it is applied to.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// A reset of the log, to this many terms and indexes above the last entry.
    reset: Option<(u64, u64)>,
    /// The share of the log to truncate, in 256ths.
    truncate: Option<u8>,
    /// For each entry: its term relative to the one before, and its content.
    append: Vec<(u64, Body)>,
    hard_state: Option<(u64, Option<u64>)>,
    /// The share of the log to compact, in 256ths.
    compact: Option<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Noop,
    Command(usize),
    Membership(u64),
}

/// Writes of every kind, some of them too large for the journal.
pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let size = prop_oneof![100 => 0..300_usize, 8 => 5_000..40_000_usize, 1 => 90_000..400_000_usize];
    let body = prop_oneof![
        1 => Just(Body::Noop),
        8 => size.prop_map(Body::Command),
        1 => (1..9_u64).prop_map(Body::Membership),
    ];
    let delta = prop_oneof![8 => Just(0), 1 => 1..3_u64];
    let option = prop::option::weighted::<BoxedStrategy<u8>>;
    (
        prop::option::weighted(0.03, (0..3_u64, 0..20_u64)),
        option(0.2, any::<u8>().boxed()),
        prop::collection::vec((delta, body), 0..12),
        prop::option::weighted(0.3, (0..5_u64, prop::option::of(1..4_u64))),
        option(0.2, any::<u8>().boxed()),
    )
        .prop_map(|(reset, truncate, append, hard_state, compact)| Plan {
            reset,
            truncate,
            append,
            hard_state,
            compact,
        })
}

impl Plan {
    pub(crate) fn write(&self, seq: u64, log: &Model) -> Write {
        let mut log = log.clone();
        let mut write = Write { seq: WriteSeq(seq), ..Write::default() };
        if let Some((terms, indexes)) = self.reset {
            let last = log.last();
            write.reset_to =
                Some(base(last.term.0 + terms, last.index.0.saturating_sub(10) + indexes).into());
            log.apply(&write);
        }
        let part =
            |log: &Model, of: u8| log.base.id.index.plus(log.entries.len() as u64 * u64::from(of) / 256);
        if let Some(of) = self.truncate {
            write.truncate_from = Some(part(&log, of).next());
            log.apply(&Write { truncate_from: write.truncate_from, ..Write::default() });
        }
        for (terms, body) in &self.append {
            let (term, index) = (log.last().term.0 + terms, log.last().index.0 + 1);
            let entry = match body {
                Body::Noop => Entry { id: LogId::new(term, index), payload: Payload::Noop },
                Body::Command(len) => command(term, index, *len),
                Body::Membership(node) => member(term, index, *node),
            };
            log.entries.push(entry.clone());
            write.append.extend(entry.into());
        }
        write.hard_state = self.hard_state.map(|(term, vote)| HardState {
            term: Term(log.hard_state.term.0 + term),
            vote: vote.map(NodeId),
            commit: log.base.id.index,
            promise: Duration::from_millis(term * 100),
            ..HardState::default()
        });
        write.compact_to = self.compact.map(|of| part(&log, of));
        write
    }
}
