//! Wrong code that does not fit into the line where its bug lives. Without the bugs built in nothing reaches it.

use std::io;

use raftkit_core::Write;
use raftkit_disk::DiskFile;
use redb::Database;

use crate::error::Trouble;
use crate::journal::Mark;
use crate::journal::witness::Witness;
use crate::settler::write_flushes;
use crate::state::LogState;

/// Cuts each write in two, where this bug does that: its truncation and its entries, or the halves of its entries.
pub(crate) fn split(writes: Vec<Write>) -> Vec<Write> {
    let mut parts = Vec::new();
    for mut write in writes {
        if mutant!(TruncatesInItsOwnRecord) && !write.append.is_empty() {
            let truncate_from = write.truncate_from.take();
            parts.extend(truncate_from.map(|from| Write { truncate_from: Some(from), ..Write::default() }));
        }
        if mutant!(WriteOverTwoRecords) && write.append.len() > 1 {
            let (half, len) = (write.append.len() / 2, write.append.len());
            let rest = write.append.part(half..len);
            let first = Write {
                append: write.append.part(0..half),
                hard_state: None,
                compact_to: None,
                ..write.clone()
            };
            parts.push(first);
            write = Write { append: rest, reset_to: None, truncate_from: None, ..write };
        }
        parts.push(write);
    }
    parts
}

/// Whether each write gets a record of its own: so that what is cut in two is.
pub(crate) fn is_alone() -> bool {
    mutant!(TruncatesInItsOwnRecord | WriteOverTwoRecords)
}

/// Writes the witness of a record before the record.
pub(crate) fn witness_ahead(file: &dyn DiskFile, witness: &mut Witness, mark: Mark) -> io::Result<()> {
    let ahead = Witness { generation: witness.generation + 1, mark, ..*witness };
    file.write_durably(ahead.offset(), &ahead.encode())?;
    // The next witness goes to the other place, and is written as ever.
    witness.generation = ahead.generation;
    Ok(())
}

/// Commits up to where the journal is, and nothing else.
pub(crate) fn mark_apart(database: &Database, state: &mut LogState, mark: Mark) -> Result<(), Trouble> {
    let txn = database.begin_write()?;
    write_flushes(&txn, state, std::iter::empty(), mark)?;
    Ok(txn.commit()?)
}

/// The writes of a flush in their order, or in the opposite one.
pub(crate) fn in_order(writes: &[Write]) -> impl Iterator<Item = &Write> {
    let len = writes.len();
    (0..len).filter_map(move |at| writes.get(mutant!(WritesOutOfOrder, len - 1 - at, at)))
}
