//! Known bugs of replicated key-value stores, each of which a test-only build can switch on (see raftkit-mutants).
//! `cargo xtask mutants --crate raft-kv` runs the tests against each.

use raftkit_core::LogId;
use redb::Database;

use crate::fault::Fault;
use crate::tables::{META, META_KEY, Meta};

raftkit_mutants::catalogue! { "raft-kv";
    // Durability.
    1 NoneTakenForDurable "none-taken-for-durable" "redb, Durability::None"
        "What is to be made durable is committed without a sync.",
    2 OnePhaseCommit "one-phase-commit" "rotten newest commit"
        "A durable commit that is rotten when the file is opened falls back to the one before, and nobody is told.",
    3 IntegrityNotChecked "integrity-not-checked" "bit rot"
        "The pages of a file are not checked when it is opened.",
    4 GoesOnAfterError "goes-on-after-error" "PostgreSQL, fsyncgate"
        "Commands are applied after a commit that failed.",
    5 CommitErrorSwallowed "commit-error-swallowed" "ATC 2020, fsync failures"
        "An error of a commit is swallowed.",
    6 RenamedBeforeSync "renamed-before-sync" "rename before fsync"
        "A new file gets its name before it holds an empty state.",
    7 FolderNotSynced "folder-not-synced" "missing folder fsync"
        "The folder is not synced after an opening.",
    // Atomicity.
    8 MetaInItsOwnTransaction "meta-in-its-own-transaction" "transaction half applied"
        "The mark that entries are applied is durable before they are.",
    9 BatchHalfApplied "batch-half-applied" "transaction half applied"
        "Each entry of a batch is committed by itself: an error leaves some of them.",
    10 RestoreInTwoSteps "restore-in-two-steps" "not atomic"
        "A restore removes the old state, durably, before it has the new one.",
    11 RestoreKeepsOld "restore-keeps-old" "older snapshot installed"
        "Keys that a snapshot does not have stay.",
    // Indexes, and what they depend on.
    12 IndexOfBatch "index-of-batch" "state depends on one node"
        "A change gets the index of the last entry that was applied with it.",
    13 ModifyIndexNotRestored "modify-index-not-restored" "consul snapshots"
        "Keys that come from a snapshot get its newest index.",
    14 FloorNotRestored "floor-not-restored" "consul snapshots"
        "An index to block on goes back after a restore.",
    15 TombstonesNotRestored "tombstones-not-restored" "consul snapshots"
        "Deletions are forgotten by a snapshot.",
    16 CreateIndexChanged "create-index-changed" "consul KV"
        "A put gives a key a new CreateIndex.",
    17 ChangedIndexKept "changed-index-kept" "consul KV"
        "The table's index does not rise with a deletion.",
    18 ViewNamedAfterDurable "view-named-after-durable" "applied twice"
        "A snapshot is named after what is durable and holds what is applied.",
    // What is checked.
    19 GapApplied "gap-applied" "entries skipped"
        "Entries are applied that do not follow the last one.",
    20 SnapshotChecksumIgnored "snapshot-checksum-ignored" "bit rot"
        "The checksum of a snapshot is not checked.",
    21 OtherSnapshotRestored "other-snapshot-restored" "mixed backups"
        "A snapshot of another entry than its name says is taken.",
    // Commands.
    22 CasNotChecked "cas-not-checked" "compare and swap"
        "A put goes through whatever index its client saw.",
    23 CasComparesCreate "cas-compares-create" "compare and swap"
        "A put is compared with the index at which its key was made.",
    24 CasZeroOverwrites "cas-zero-overwrites" "compare and swap"
        "A put that may only make a key overwrites one.",
    25 DeleteCasNotChecked "delete-cas-not-checked" "compare and swap"
        "A delete goes through whatever index its client saw.",
    26 TreeTakesNeighbour "tree-takes-neighbour" "off by one"
        "Deleting a tree deletes what is behind it and differs in the last byte alone.",
    27 TreeLeavesOne "tree-leaves-one" "off by one"
        "Deleting a tree leaves its last key.",
}

/// Makes the mark durable that everything up to `applied` is applied.
pub(crate) fn mark_apart(database: &Database, before: Meta, applied: LogId) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    let meta = Meta { applied, ..before };
    transaction.open_table(META)?.insert(META_KEY, meta.encode().as_slice())?;
    transaction.commit()?;
    Ok(())
}
