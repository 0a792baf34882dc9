//! Loads the log's state from the tables and checks all of them.

use raftkit_core::{Base, LogId, LogIndex, NodeId};
use redb::{ReadTransaction, ReadableTable};

use crate::codec::{RunCursor, unseal};
use crate::error::{Damage, Trouble};
use crate::layout::Mark;
use crate::layout::{Identity, decode_hard_state, decode_identity, decode_mark};
use crate::state::LogState;
use crate::tables::{
    MEMBERSHIPS, META, RUNS, TERMS, decode_ends, decode_membership, decode_term, meta, record,
};

/// State loaded from a sound database.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) identity: Identity,
    pub(crate) state: LogState,
    /// Journal position that the database covers.
    pub(crate) settled: Mark,
}

/// Reasons to refuse a sound log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    OtherNode(NodeId),
    NewerFormat(u32),
}

/// Loads the state and checks everything, including all entries. If `node` is given, the log must belong to it.
pub(super) fn load(txn: &ReadTransaction, node: Option<NodeId>) -> Result<Result<Loaded, Refused>, Trouble> {
    let meta_table = txn.open_table(META)?;
    let identity = match meta(&meta_table, record::IDENTITY, decode_identity)? {
        Ok(identity) if node.is_none_or(|node| node == identity.node) => identity,
        Ok(other) => return Ok(Err(Refused::OtherNode(other.node))),
        Err(newer) => return Ok(Err(Refused::NewerFormat(newer))),
    };
    // Format 1 had no journal. The one that it gets in the upgrade starts from nothing.
    let settled =
        if identity.format == 1 { Mark::default() } else { meta(&meta_table, record::SETTLED, decode_mark)? };
    let ends = meta(&meta_table, record::ENDS, decode_ends)?;
    let membership =
        meta(&meta_table, record::BASE_MEMBERSHIP, |body| decode_membership(LogIndex::ZERO, body))?;
    let mut state = LogState {
        base: Base { id: ends.base, membership },
        last: ends.last,
        hard_state: meta(&meta_table, record::HARD_STATE, decode_hard_state)?,
        ..LogState::default()
    };
    for row in txn.open_table(TERMS)?.iter()? {
        let (first, bytes) = row?;
        state.terms.insert(LogIndex(first.value()), decode_term(first.value(), bytes.value())?);
    }
    for row in txn.open_table(MEMBERSHIPS)?.iter()? {
        let (index, bytes) = row?;
        let body = unseal(record::MEMBERSHIP, index.value(), bytes.value())?;
        let index = LogIndex(index.value());
        state.memberships.insert(index, decode_membership(index, body)?);
    }
    check(&state)?;
    check_runs(&state, &txn.open_table(RUNS)?)?;
    Ok(Ok(Loaded { identity, state, settled }))
}

/// Checks that the ends, terms and memberships agree.
fn check(state: &LogState) -> Result<(), Damage> {
    let (base, last) = (state.base.id, state.last);
    let first = state.terms.first_key_value().map(|(first, _)| *first);
    let wanted = (last.index > base.index).then(|| base.index.next());
    let mut before = base.term;
    let rising = state.terms.iter().enumerate().all(|(at, (_, term))| {
        // Terms must rise, except that the first run after the base may continue the base's term.
        let rises = *term > before || (at == 0 && *term == before);
        before = *term;
        rises
    });
    let end =
        state.terms.last_key_value().is_none_or(|(first, term)| *first <= last.index && *term == last.term);
    if first != wanted || !rising || !end || (wanted.is_none() && base != last) {
        return Err(Damage::Contradiction { what: "terms" });
    }
    if state.memberships.keys().any(|index| *index <= base.index || *index > last.index) {
        return Err(Damage::Contradiction { what: "memberships" });
    }
    Ok(())
}

/// Checks that every entry after the base is present, whole, and of the term that the tables state, and that no entry
/// follows the last one.
fn check_runs(state: &LogState, runs: &impl ReadableTable<u64, &'static [u8]>) -> Result<(), Trouble> {
    let (base, last) = (state.base.id.index, state.last.index);
    let mut next = base.next();
    for run in runs.iter()? {
        let (key, run) = run?;
        let mut cursor = RunCursor::new(key.value(), run.value())?;
        if cursor.last() <= base {
            // This run is compacted but not freed yet.
            continue;
        }
        if key.value() > next.0 {
            return Err(Damage::Hole { wanted: next }.into());
        }
        while let Some(entry) = cursor.next()? {
            if entry.id.index < next {
                continue;
            }
            if entry.id.index > last || entry.id != state.id(entry.id.index) {
                return Err(Damage::Contradiction { what: "ends and terms" }.into());
            }
            next = entry.id.index.next();
        }
    }
    if next <= last { Err(Damage::Hole { wanted: next }.into()) } else { Ok(()) }
}

/// What can still be read of a damaged database.
#[derive(Debug, Default)]
pub(super) struct Remains {
    pub(super) settled: Option<Mark>,
    pub(super) base: Option<Base>,
    /// The last entry, according to the tables.
    pub(super) last: LogId,
    /// The stored commit index; 0 if it cannot be read.
    pub(super) commit: LogIndex,
    pub(super) entries: Vec<raftkit_core::Entry>,
}

impl Remains {
    /// Reads the base, if it is whole.
    pub(super) fn read_ends(&mut self, txn: &ReadTransaction) -> Result<(), Trouble> {
        let meta_table = txn.open_table(META)?;
        let ends = meta(&meta_table, record::ENDS, decode_ends)?;
        let membership =
            meta(&meta_table, record::BASE_MEMBERSHIP, |body| decode_membership(LogIndex::ZERO, body))?;
        self.last = ends.last;
        self.settled = Some(meta(&meta_table, record::SETTLED, decode_mark)?);
        self.base = Some(Base { id: ends.base, membership });
        self.commit = meta(&meta_table, record::HARD_STATE, decode_hard_state)?.commit;
        Ok(())
    }

    /// Reads the entries after the base, up to the first one that is damaged or missing.
    pub(super) fn read_entries(&mut self, txn: &ReadTransaction) -> Result<(), Trouble> {
        let Some(base) = &self.base else { return Ok(()) };
        let mut before = base.id;
        for run in txn.open_table(RUNS)?.iter()? {
            let (key, run) = run?;
            let mut cursor = RunCursor::new(key.value(), run.value())?;
            if cursor.last() <= base.id.index {
                continue;
            }
            let bytes = bytes::Bytes::copy_from_slice(run.value());
            while let Some(entry) = cursor.next()? {
                if entry.id.index <= before.index || entry.id.index > self.last.index {
                    continue;
                }
                if entry.id.index != before.index.next() || entry.id.term < before.term {
                    return Ok(());
                }
                before = entry.id;
                self.entries.push(entry.decode(&bytes, 0)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use raftkit_core::{HardState, Membership, Term};

    use super::*;

    #[test]
    fn records_that_contradict_each_other_are_damage() {
        let sound = LogState {
            base: Base { id: LogId::new(2, 10), membership: Membership::default() },
            last: LogId::new(4, 20),
            terms: [(LogIndex(11), Term(2)), (LogIndex(15), Term(4))].into(),
            memberships: [(LogIndex(11), Membership::default()), (LogIndex(20), Membership::default())]
                .into(),
            hard_state: HardState::default(),
        };
        check(&sound).expect("it is sound");
        let unsound: [fn(&mut LogState); 8] = [
            |log| log.terms = log.terms.split_off(&LogIndex(15)),
            |log| drop(log.terms.split_off(&LogIndex(15))),
            |log| log.terms.extend([(LogIndex(10), Term(2))]),
            |log| log.terms.extend([(LogIndex(13), Term(2))]),
            |log| log.terms.extend([(LogIndex(13), Term(5))]),
            |log| log.terms.extend([(LogIndex(21), Term(4))]),
            |log| log.memberships.extend([(LogIndex(10), Membership::default())]),
            |log| log.memberships.extend([(LogIndex(21), Membership::default())]),
        ];
        for (at, spoil) in unsound.iter().enumerate() {
            let mut log = sound.clone();
            spoil(&mut log);
            assert!(check(&log).is_err(), "{at}");
        }
    }
}
