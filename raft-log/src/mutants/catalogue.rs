//! The list of mutants: what each does wrong, and where that is known from.

raftkit_mutants::catalogue! { "raft-log";
    // What is told before it is durable, and errors that are not told.
    1 AckAtSubmit "ack-at-submit" "acknowledged at submit"
        "A flush answers for its last write before that is written.",
    2 RecordNotSynced "record-not-synced" "missing fsync"
        "A record is left to the page cache.",
    3 ReportsAtSubmit "reports-at-submit" "acknowledged at submit"
        "The threads report a write before they have flushed it.",
    4 JournalErrorSwallowed "journal-error-swallowed" "ATC 2020, fsync failures"
        "An error of the journal's write or sync is swallowed.",
    5 JournalErrorRetried "journal-error-retried" "PostgreSQL, fsyncgate"
        "A failed sync of the journal is tried again, and that one counts.",
    6 CommitErrorSwallowed "commit-error-swallowed" "ATC 2020, fsync failures"
        "An error of the database's commit is swallowed.",
    7 SettleErrorSwallowed "settle-error-swallowed" "full disk"
        "An error of settling, a full disk for one, is swallowed.",
    8 SettlerHidesErrors "settler-hides-errors" "full disk"
        "The thread that settles does not report its error.",
    9 GoesOnAfterError "goes-on-after-error" "PostgreSQL, fsyncgate"
        "The store goes on after an error.",
    10 NoneTakenForDurable "none-taken-for-durable" "redb, Durability::None"
        "Settling commits without a sync, and its stretch of the ring is free.",
    // The journal's end.
    11 TornTailStops "torn-tail-stops" "torn write"
        "A torn record at the end keeps the node from starting.",
    12 TornTailIsDamage "torn-tail-is-damage" "torn write"
        "A torn record at the end, never acknowledged, makes the node damaged.",
    13 TornTailAccepted "torn-tail-accepted" "torn write"
        "The checksum of a record is not checked.",
    14 RotBelowWitnessDropped "rot-below-witness-dropped" "protocol-aware recovery"
        "A rotten record that the witness knows of is dropped as if torn.",
    15 RotInTheMiddleDropped "rot-in-the-middle-dropped" "protocol-aware recovery"
        "A rotten record with a valid one behind it is dropped with that as if torn.",
    16 WitnessNotWritten "witness-not-written" "protocol-aware recovery"
        "The witness is never written.",
    17 WitnessBeforeRecord "witness-before-record" "write order"
        "The witness is written before the record that it speaks of.",
    18 WitnessChecksumIgnored "witness-checksum-ignored" "torn write"
        "The checksum of a witness is not checked.",
    // The ring.
    19 RingReusedTooEarly "ring-reused-too-early" "rotten newest commit"
        "A stretch of the ring is free when one commit has it, not two.",
    20 OpeningFreesRing "opening-frees-ring" "rotten newest commit"
        "An opening frees the stretch of the ring that it has just settled.",
    21 RoomForASectorMore "room-for-a-sector-more" "off by one"
        "A record may touch the first sector of what is still needed.",
    22 RecordGoesAround "record-goes-around" "ring buffer"
        "A record that does not fit before the ring's end is written across it.",
    23 RingIsAHole "ring-is-a-hole" "full disk"
        "The ring's space is not reserved: a flush needs room on the disk.",
    // The hard state.
    24 HardStateNotInEachRecord "hard-state-not-in-each-record" "hard state lost"
        "A record that does not change the hard state does not hold it.",
    25 HardStateNotReplayed "hard-state-not-replayed" "hard state lost"
        "The log is replayed and the hard state is not.",
    26 LossTakesOlderHardState "loss-takes-older-hard-state" "hard state lost"
        "After a loss the hard state is the database's older one.",
    27 LossKeepsHealth "loss-keeps-health" "protocol-aware recovery"
        "A node that lost records does not know that it is damaged.",
    28 SalvageTakesWitnessHardState "salvage-takes-witness-hard-state" "hard state lost"
        "A database made anew gets the witness's hard state, not the newest.",
    29 SalvageForgetsHardState "salvage-forgets-hard-state" "hard state lost"
        "A database made anew gets an empty hard state.",
    30 SalvageKeepsHealth "salvage-keeps-health" "protocol-aware recovery"
        "A node whose database lost entries does not know that it is damaged.",
    // Files and folders.
    31 FolderNotSynced "folder-not-synced" "missing folder fsync"
        "The folder is made and not synced into the one above.",
    32 JournalNameNotSynced "journal-name-not-synced" "missing folder fsync"
        "The journal's name is not durable before the database's.",
    33 MadeNameNotSynced "made-name-not-synced" "missing folder fsync"
        "The folder is not synced after the making.",
    34 MendedNameNotSynced "mended-name-not-synced" "missing folder fsync"
        "The folder is not synced after the mending.",
    35 KilledMakersNameNotSynced "killed-makers-name-not-synced" "missing folder fsync"
        "An opening does not sync what a killed maker has renamed.",
    36 JournalRenamedFirst "journal-renamed-first" "rename before fsync"
        "The journal gets its name before it is durable.",
    37 DatabaseRenamedFirst "database-renamed-first" "rename before fsync"
        "The database gets its name before it is filled and durable.",
    // Openings.
    38 JournalCacheKept "journal-cache-kept" "ATC 2020, fsync failures"
        "An opening reads the journal from a cache that shows what a failed sync lost.",
    39 DatabaseCacheKept "database-cache-kept" "ATC 2020, fsync failures"
        "An opening reads the database from a cache that shows what a failed sync lost.",
    40 OpeningDoesNotSync "opening-does-not-sync" "kill -9"
        "What a killed process left in the cache is replayed and not synced.",
    41 UnreadableJournalMadeAnew "unreadable-journal-made-anew" "upgrade"
        "A database that fell back to format 1 gets a new journal in place of one that cannot be read.",
    42 NewerFormatOpened "newer-format-opened" "downgrade"
        "A newer format is opened.",
    43 OtherNodeOpened "other-node-opened" "two nodes with one folder"
        "The folder of another node is opened.",
    44 OtherNodeMended "other-node-mended" "two nodes with one folder"
        "The folder of another node is opened when its database is damaged.",
    45 OtherJournalAccepted "other-journal-accepted" "mixed backups"
        "The journal of another store is replayed.",
    46 OtherHistoryAccepted "other-history-accepted" "mixed backups"
        "A journal that went another way to the same number is taken for the database's own.",
    47 ChainIgnored "chain-ignored" "mixed backups"
        "A record is replayed that does not follow the one before.",
    48 LockNotTaken "lock-not-taken" "two processes"
        "The folder is not locked.",
    // Atomicity and order.
    49 TruncatesInItsOwnRecord "truncates-in-its-own-record" "not atomic"
        "A truncation and the entries after it go into two records.",
    50 WriteOverTwoRecords "write-over-two-records" "not atomic"
        "The entries of one write go into two records.",
    51 WritesOutOfOrder "writes-out-of-order" "write order"
        "The writes of a flush go into its record in the opposite order.",
    52 SettledMarkFirst "settled-mark-first" "not atomic"
        "The database says that it holds a record in a transaction before the one that does it.",
    53 SettledMarkLast "settled-mark-last" "not atomic"
        "The database says that it holds a record in a transaction after the one that does it.",
    54 FirstRecordNotReplayed "first-record-not-replayed" "off by one"
        "A replay begins after the first record.",
    55 RecordReplayedTwice "record-replayed-twice" "off by one"
        "A replay does the first record again.",
    56 ElsewhereTakenForThere "elsewhere-taken-for-there" "rotten newest commit"
        "A record that says what redb holds is believed, though redb fell back.",
    57 OversizedAckBeforeRecord "oversized-ack-before-record" "acknowledged early"
        "What goes around the journal is acknowledged without its record.",
    58 OversizedRecordFirst "oversized-record-first" "write order"
        "The record of what goes around the journal comes before the database has it.",
    59 CompactionNotSettled "compaction-not-settled" "compaction"
        "A compaction does not reach the database.",
    60 BaseRunRemoved "base-run-removed" "off by one"
        "Compaction removes the run that the base is in the middle of.",
    61 CompactsUnsettledBase "compacts-unsettled-base" "compaction"
        "Compaction removes what only the journal knows to be compacted.",
    62 ResetKeepsRuns "reset-keeps-runs" "reset"
        "A reset leaves the old entries in the database.",
    63 TruncationKeepsRun "truncation-keeps-run" "truncation"
        "A truncation in the middle of a run keeps all of it.",
    // Whose log it is.
    64 IdentityNotInJournal "identity-not-in-journal" "identity lost"
        "The record of a forming does not hold the cluster.",
    65 IncarnationNotInJournal "incarnation-not-in-journal" "rotten newest commit"
        "The incarnation of an opening is in one commit of the database alone.",
    66 IncarnationNotDurable "incarnation-not-durable" "delayed packets"
        "The incarnation is raised in memory alone.",
    // Reads.
    67 GenerationNotChecked "generation-not-checked" "torn read"
        "A read goes on though the log was truncated meanwhile.",
    68 CutNotSeen "cut-not-seen" "stale read"
        "A reader sees what the database holds of a truncated tail.",
    69 CompactedServed "compacted-served" "compaction"
        "What is compacted is read.",
    70 EntryChecksumIgnored "entry-checksum-ignored" "bit rot"
        "The checksum of an entry is not checked.",
    71 TableChecksumIgnored "table-checksum-ignored" "bit rot"
        "The checksum of a record of the database is not checked.",
    72 HoleSkipped "hole-skipped" "bit rot"
        "A read skips entries that are missing.",
    // Whose log it is, and rot.
    73 WitnessIdentityIgnored "witness-identity-ignored" "rotten newest commit"
        "Where records are missing the incarnation is that of what comes before them.",
    74 ClosedByWriting "closed-by-writing" "bit rot"
        "A database that may be rotten is closed as a sound one is, which may end the process.",
}
