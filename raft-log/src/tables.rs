//! The tables of the database, and the records in them.
//!
//! ```text
//! runs         first index -> a run of entries                               (codec.rs)
//! terms        first index of a term after the base -> term: u64
//! memberships  index after the base -> Membership::encode
//! meta         "identity"   -> identity                                    (layout.rs)
//!              "hard state" -> hard state                                  (layout.rs)
//!              "ends"       -> base: (term: u64, index: u64), last: (term: u64, index: u64)
//!              "base membership" -> Membership::encode
//!              "settled"    -> mark: the journal position that the tables cover   (layout.rs)
//! ```
//!
//! Format 1 had no journal, and so no "settled".

use raftkit_core::{LogId, LogIndex, Membership, Term};
use redb::{ReadableTable, Table, TableDefinition};

use crate::codec::{seal, unseal};
use crate::error::{Damage, Trouble};
use crate::fields::Fields;
use crate::layout::encode_id;

pub(crate) const RUNS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("runs");
pub(crate) const TERMS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("terms");
pub(crate) const MEMBERSHIPS: TableDefinition<'static, u64, &'static [u8]> =
    TableDefinition::new("memberships");
pub(crate) const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");

pub(crate) type MetaTable<'txn> = Table<'txn, &'static str, &'static [u8]>;
pub(crate) type IndexTable<'txn> = Table<'txn, u64, &'static [u8]>;

/// Names of the records in `meta`.
pub(crate) mod record {
    pub(crate) const IDENTITY: &str = "identity";
    pub(crate) const HARD_STATE: &str = "hard state";
    pub(crate) const ENDS: &str = "ends";
    pub(crate) const SETTLED: &str = "settled";
    pub(crate) const BASE_MEMBERSHIP: &str = "base membership";
    pub(crate) const TERM: &str = "term";
    pub(crate) const MEMBERSHIP: &str = "membership";
}

/// Base and last entry of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) base: LogId,
    pub(crate) last: LogId,
}

/// Writes a record of `meta`.
pub(crate) fn put_meta(meta: &mut MetaTable<'_>, record: &'static str, body: &[u8]) -> Result<(), Trouble> {
    let sealed = seal(record, 0, body);
    assert!(unseal(record, 0, &sealed).is_ok_and(|read| read == body), "{record} cannot be read back");
    meta.insert(record, sealed.as_slice())?;
    Ok(())
}

/// Reads a record of `meta`.
pub(crate) fn meta<T>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    record: &'static str,
    decode: impl FnOnce(&[u8]) -> Result<T, Damage>,
) -> Result<T, Trouble> {
    let value = table.get(record)?.ok_or(Damage::Missing { record })?;
    Ok(decode(unseal(record, 0, value.value())?)?)
}

pub(crate) fn encode_ends(ends: &Ends) -> Vec<u8> {
    assert!(ends.base.index <= ends.last.index && ends.base.term <= ends.last.term, "{ends:?} go back");
    [encode_id(ends.base), encode_id(ends.last)].concat()
}

pub(crate) fn decode_ends(body: &[u8]) -> Result<Ends, Damage> {
    let mut fields = Fields::new(record::ENDS, body);
    let (base, last) = (fields.log_id()?, fields.log_id()?);
    fields.end()?;
    if last.index < base.index || last.term < base.term {
        return Err(Damage::Contradiction { what: "ends" });
    }
    Ok(Ends { base, last })
}

pub(crate) fn decode_membership(index: LogIndex, body: &[u8]) -> Result<Membership, Damage> {
    Membership::decode(body).map_err(|source| Damage::Payload { index, source })
}

/// Stores a term by its first index.
pub(crate) fn put_term(terms: &mut IndexTable<'_>, first: LogIndex, term: Term) -> Result<(), Trouble> {
    terms.insert(first.0, seal(record::TERM, first.0, &term.0.to_le_bytes()).as_slice())?;
    Ok(())
}

pub(crate) fn decode_term(first: u64, bytes: &[u8]) -> Result<Term, Damage> {
    let mut fields = Fields::keyed(record::TERM, first, unseal(record::TERM, first, bytes)?);
    let term = Term(fields.u64()?);
    fields.end()?;
    Ok(term)
}

/// Stores a membership after the base.
pub(crate) fn put_membership(
    table: &mut IndexTable<'_>,
    index: LogIndex,
    membership: &Membership,
) -> Result<(), Trouble> {
    table.insert(index.0, seal(record::MEMBERSHIP, index.0, &membership.encode()).as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data folders hold these bytes: any change is a new format.
    #[test]
    fn the_bytes_of_the_ends_are_these() {
        let ends = Ends { base: LogId::new(1, 2), last: LogId::new(3, 4) };
        let body = encode_ends(&ends);
        let numbers: Vec<u64> = vec![1, 2, 3, 4];
        assert_eq!(body, numbers.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>());
        assert_eq!(decode_ends(&body).expect("sound"), ends);
    }

    #[test]
    fn ends_that_go_back_are_damage() {
        let ends = |base: LogId, last: LogId| [encode_id(base), encode_id(last)].concat();
        assert!(decode_ends(&ends(LogId::new(1, 2), LogId::new(1, 2))).is_ok());
        assert!(decode_ends(&ends(LogId::new(1, 2), LogId::new(1, 1))).is_err());
        assert!(decode_ends(&ends(LogId::new(2, 2), LogId::new(1, 3))).is_err());
    }
}
