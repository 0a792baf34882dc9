//! Known bugs of snapshots, each of which a test-only build can switch on (see raftkit-mutants). `cargo xtask mutants
//! --crate raft-snapshot` runs the tests against each.

raftkit_mutants::catalogue! { "raft-snapshot";
    // Files.
    1 RenamedBeforeSync "renamed-before-sync" "rename before fsync"
        "A finished snapshot gets its name before its bytes are durable.",
    2 FinishedBeforeDurable "finished-before-durable" "acknowledged early"
        "A snapshot is told to be whole and its bytes are in the page cache.",
    3 FolderNotSynced "folder-not-synced" "missing folder fsync"
        "The folder is not synced after a snapshot got its name.",
    4 NamesNotSyncedAtStart "names-not-synced-at-start" "missing folder fsync"
        "A start relies on names that an earlier life may not have made durable.",
    5 LeftoverNotCut "leftover-not-cut" "partial file"
        "What is behind the snapshot in a longer file is left there.",
    6 LatestFallsBack "latest-falls-back" "protocol-aware recovery"
        "An older snapshot is opened in place of a damaged one.",
    7 NamesNotCompared "names-not-compared" "mixed backups"
        "A file that holds another snapshot than its name says is opened.",
    // What is checked.
    8 ChunkHashIgnored "chunk-hash-ignored" "bit rot"
        "A chunk of the right length is taken for good.",
    9 ManifestChecksumIgnored "manifest-checksum-ignored" "bit rot"
        "The checksum of a manifest is not checked.",
    10 PartialNotChecked "partial-not-checked" "torn write"
        "A transfer goes on after a restart with chunks that nobody looked at.",
    11 PartialCacheKept "partial-cache-kept" "ATC 2020, fsync failures"
        "A transfer goes on with chunks from a cache that shows what a failed sync lost.",
    12 IncompleteFinished "incomplete-finished" "partial file"
        "A snapshot that lacks chunks is finished.",
    // The receiving end.
    13 FinishesWhileStoring "finishes-while-storing" "acknowledged early"
        "A transfer is finished while chunks are still being stored.",
    14 UnneededTaken "unneeded-taken" "older snapshot installed"
        "A snapshot is taken whose entries the state machine has applied.",
    15 OvertakenInstalled "overtaken-installed" "older snapshot installed"
        "A snapshot is installed though the log was faster while it came in.",
    16 OlderTakesItsPlace "older-takes-its-place" "older snapshot installed"
        "The offer of an older snapshot ends the transfer of a newer one.",
    17 OtherManifestGoesOn "other-manifest-goes-on" "partial of another snapshot"
        "A transfer goes on with chunks of another snapshot of the same entry.",
    18 InstalledSaidEarly "installed-said-early" "acknowledged early"
        "The sender is told that a snapshot is installed when it is only received.",
    19 UnaskedChunkStored "unasked-chunk-stored" "memory"
        "Chunks that nobody asked for are taken.",
    20 WindowIgnored "window-ignored" "memory"
        "All chunks are asked for at once.",
    // The sending end.
    21 SilenceNeverFails "silence-never-fails" "etcd progress"
        "A transfer to a node that is gone never ends.",
    22 FailureTakenForInstalled "failure-taken-for-installed" "etcd progress"
        "A transfer that failed at the receiver counts as done.",
    23 FailureNotHeard "failure-not-heard" "etcd progress"
        "A transfer that failed at the receiver goes on until it falls silent.",
    24 UnreadableNotTold "unreadable-not-told" "etcd progress"
        "A snapshot that cannot be read is offered on and on.",
    // Found by the simulator.
    25 ReceivedRemoved "received-removed" "our own: removed while it comes in"
        "A folder that is told to keep a snapshot removes the chunks of it that were received.",
}
