//! Creates an empty log. Both files are created under temporary names, so that a crash leaves nothing that looks like a
//! log.

use std::path::Path;

use raftkit_core::{Base, HardState, Incarnation, LogId};
use raftkit_disk::{Disk, RedbFile, ReplaceError, create_aside, replace_durably};
use redb::WriteTransaction;

use super::{FILE, FILE_IN_THE_MAKING, OpenOptions, database, failed, in_opening};
use crate::error::{OpenError, Trouble};
use crate::journal::witness::Witness;
use crate::journal::{self, RING_BYTES_MIN, SECTOR};
use crate::layout::{FORMAT, Identity, Mark, encode_hard_state, encode_identity, encode_mark};
use crate::shared::contain;
use crate::state::LogState;
use crate::tables::{
    Ends, MEMBERSHIPS, META, RUNS, TERMS, encode_ends, put_membership, put_meta, put_term, record,
};

/// Creates an empty log. The journal gets its name first, because a database without a journal counts as damaged.
pub(super) fn make(disk: &dyn Disk, dir: &Path, options: &OpenOptions) -> Result<(), OpenError> {
    let identity = Identity {
        node: options.node,
        store: options.new_store,
        cluster: None,
        incarnation: Incarnation(0),
        format: FORMAT,
    };
    make_journal(disk, dir, &identity, HardState::default(), LogId::ZERO, options)?;
    make_database(disk, dir, options, |txn| {
        write_all(txn, &identity, &LogState { base: Base::default(), ..LogState::default() }, Mark::default())
    })
}

/// Creates an empty journal in front of a log with the given state.
pub(super) fn make_journal(
    disk: &dyn Disk,
    dir: &Path,
    identity: &Identity,
    hard_state: HardState,
    last: LogId,
    options: &OpenOptions,
) -> Result<(), OpenError> {
    let ring = options.journal_bytes.next_multiple_of(SECTOR as u64).max(RING_BYTES_MIN);
    let identity = Identity { format: FORMAT, ..*identity };
    let witness = Witness { generation: 0, identity, ring, mark: Mark::default(), last, hard_state };
    let path = dir.join(journal::FILE);
    journal::make(disk, dir, &witness).map_err(failed(&path))
}

/// Creates a database in one transaction, filled by `fill`, and renames it over the existing one once it is durable.
pub(super) fn make_database(
    disk: &dyn Disk,
    dir: &Path,
    options: &OpenOptions,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>,
) -> Result<(), OpenError> {
    let new = dir.join(FILE_IN_THE_MAKING);
    let file = create_aside(disk, &new).map_err(failed(&new))?;
    contain(|| {
        let database = database(RedbFile::new(file.clone()), options.cache_bytes, false)?;
        let txn = database.begin_write()?;
        fill(&txn)?;
        txn.commit()?;
        drop(database);
        Ok(())
    })
    .map_err(|trouble| in_opening(trouble, new.clone()))?;
    let replaced = replace_durably(disk, &*file, &new, &dir.join(FILE));
    replaced.map_err(|ReplaceError { path, source, .. }| failed(&path)(source))
}

/// Writes everything except the entries into empty tables.
pub(super) fn write_all(
    txn: &WriteTransaction,
    identity: &Identity,
    state: &LogState,
    settled: Mark,
) -> Result<(), Trouble> {
    txn.open_table(RUNS)?;
    let mut terms = txn.open_table(TERMS)?;
    for (first, term) in &state.terms {
        put_term(&mut terms, *first, *term)?;
    }
    let mut memberships = txn.open_table(MEMBERSHIPS)?;
    for (index, membership) in &state.memberships {
        put_membership(&mut memberships, *index, membership)?;
    }
    let mut meta = txn.open_table(META)?;
    let ends = Ends { base: state.base.id, last: state.last };
    put_meta(&mut meta, record::IDENTITY, &encode_identity(identity))?;
    put_meta(&mut meta, record::HARD_STATE, &encode_hard_state(&state.hard_state))?;
    put_meta(&mut meta, record::ENDS, &encode_ends(&ends))?;
    put_meta(&mut meta, record::BASE_MEMBERSHIP, &state.base.membership.encode())?;
    put_meta(&mut meta, record::SETTLED, &encode_mark(&settled))
}
