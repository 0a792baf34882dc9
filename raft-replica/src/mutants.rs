//! Known bugs of the assembly around a protocol, each of which a test-only build can switch on (see raftkit-mutants).
//! `cargo xtask mutants --crate raft-replica` runs the tests against each.

raftkit_mutants::catalogue! { "raft-replica";
    // How far the log is cut.
    1 CutAboveDurable "cut-above-durable" "log cut above the state"
        "The log is cut above what the state machine holds durably.",
    2 CutBeforeSnapshotDurable "cut-before-snapshot-durable" "log cut before its snapshot"
        "The log behind a snapshot that is being made is not kept.",
    3 TransferLogNotKept "transfer-log-not-kept" "etcd progress"
        "The log behind a snapshot that is being sent is not kept.",
    4 PersistNeverDue "persist-never-due" "compaction"
        "A state machine to which little is applied is never made durable.",
    // Installing a snapshot.
    5 LogResetFirst "log-reset-first" "order of an install"
        "The log is reset to a snapshot before the state machine has switched.",
    6 InstalledSaidEarly "installed-said-early" "acknowledged early"
        "A snapshot is told to be installed before the state machine has switched.",
    7 SnapshotRemovedFirst "snapshot-removed-first" "order of an install"
        "An installed snapshot is removed before the log's reset is durable.",
    8 OlderSnapshotInstalled "older-snapshot-installed" "older snapshot installed"
        "The state machine switches to a snapshot of less than it holds.",
    9 InstallsAfterEnd "installs-after-end" "order of an install"
        "A node whose log has failed goes on installing a snapshot.",
    10 JumpedNeverAnswered "jumped-never-answered" "step-down"
        "Whoever waits for an entry that a snapshot jumped over is told nothing.",
    11 JumpedToldNotDone "jumped-told-not-done" "time-out reported as failed"
        "A proposal that a snapshot jumped over is told to be certainly not applied.",
    // Making and sending one.
    12 SendFailureNotReported "send-failure-not-reported" "etcd progress"
        "The core is not told that a snapshot could not be sent.",
    13 BuildFailureNotReported "build-failure-not-reported" "etcd progress"
        "The core is not told that a snapshot could not be made.",
    14 ViewNamesNewest "view-names-newest" "paper 7"
        "A snapshot names the membership that the protocol has now.",
    15 RestoreKeepsMembership "restore-keeps-membership" "paper 7"
        "A snapshot's membership is forgotten when the state machine switches.",
    16 ViewWhileBehind "view-while-behind" "protocol-aware recovery"
        "A snapshot is made of a state whose membership the log has lost.",
    // Applying.
    17 EntriesAppliedTwice "entries-applied-twice" "applied twice"
        "Entries that come again are applied again.",
    18 GapPassedOver "gap-passed-over" "entries skipped"
        "Committed entries that are gone from the log are passed over.",
    19 OtherEntryAnswers "other-entry-answers" "answer of another entry"
        "A proposal gets the answer of another leader's entry at its index.",
    20 AppliedIsCommitted "applied-is-committed" "stale read"
        "What is committed is told to be applied, so that a read is answered before.",
    21 PersistErrorSwallowed "persist-error-swallowed" "ATC 2020, fsync failures"
        "A state machine that could not be made durable counts as durable.",
    22 UnappliedUnbounded "unapplied-unbounded" "memory"
        "Entries that wait to be applied are kept in memory without a bound.",
    23 HeldAppliedAgain "held-applied-again" "protocol-aware recovery"
        "Entries that come again to a damaged log are applied to a state that holds them.",
    24 HeldNotChecked "held-not-checked" "mixed backups"
        "Entries that the state holds are not compared with its last one.",
    25 HeldMembershipMissed "held-membership-missed" "protocol-aware recovery"
        "A membership is not read from entries that are passed over.",
    // Opening.
    26 ResetNotFinished "reset-not-finished" "order of an install"
        "An opening does not reset the log to the snapshot that the state machine has switched to.",
    27 StateAheadAccepted "state-ahead-accepted" "mixed backups"
        "A state machine ahead of a sound log is opened.",
    28 StateBehindAccepted "state-behind-accepted" "mixed backups"
        "A state machine behind the start of its log is opened.",
    29 OpensAppliedToCommit "opens-applied-to-commit" "entries skipped"
        "After a restart all that is committed is taken for applied.",
    30 OpensWithNewestMembership "opens-with-newest-membership" "restart"
        "After a restart a snapshot names the last membership in the log.",
    31 ResetForgetsVote "reset-forgets-vote" "hard state lost"
        "An opening that resets the log forgets the vote.",
    32 ResetTakesTermBack "reset-takes-term-back" "term"
        "An opening that resets the log takes the term back to the snapshot's.",
    33 ResetForgetsDamage "reset-forgets-damage" "protocol-aware recovery"
        "An opening that resets a damaged log forgets that it is damaged.",
    // The state machine in memory.
    34 ImageRenamedFirst "image-renamed-first" "rename before fsync"
        "The image of a state gets its name before its bytes are durable.",
    35 ImageFolderNotSynced "image-folder-not-synced" "missing folder fsync"
        "The folder is not synced after the image of a state got its name.",
    36 ImageChecksumIgnored "image-checksum-ignored" "bit rot"
        "The checksum of the image of a state is not checked.",
    // Found by the simulator.
    37 SnapshotDroppedBeforeLogDurable "snapshot-dropped-before-log-durable" "order of an install"
        "A snapshot whose last entry the log holds in memory is removed before that entry is durable.",
    38 IncomingForgottenByInstall "incoming-forgotten-by-install" "order of an install"
        "A snapshot that comes in is forgotten when the log is durably reset to an earlier one.",
    39 FirstResetFreesAll "first-reset-frees-all" "order of an install"
        "Once the log is durably up to one snapshot, a later one that the state machine has switched to is removed too.",
    40 WrittenNotKept "written-not-kept" "removed while it is written"
        "A snapshot is removed right after it was written, as nobody had heard of it yet.",
    41 HeldNotPersisted "held-not-persisted" "log cut above the state"
        "A snapshot of which the state machine holds all in memory counts as durable.",
    42 LatestDroppedByFailure "latest-dropped-by-failure" "made over and over"
        "A snapshot that a peer was too busy to take is made anew for the next try.",
    43 RetriedAtOnce "retried-at-once" "made over and over"
        "A peer that could not be given a snapshot is tried again with its next answer.",
    44 UnreadableOfferedAgain "unreadable-offered-again" "etcd progress"
        "A snapshot that cannot be read is used for the next try.",
    45 CutOnceInstalled "cut-once-installed" "hashicorp/raft#212"
        "The log behind a snapshot is not kept any more once that is installed, and before its peer has read on.",
    // After a process that was killed.
    46 ImageNameNotSyncedAtStart "image-name-not-synced-at-start" "missing folder fsync"
        "The image of a state that an earlier life could not make durable counts as durable.",
    47 LeftoversStay "leftovers-stay" "disk space"
        "Snapshots that an earlier life left stay on disk until another one is installed or sent.",
    48 StaleAnswerHeard "stale-answer-heard" "answer to an earlier question"
        "A store that fails after its transfer was given up ends the next one.",
    // Requests.
    49 ForwardedWriteRetried "forwarded-write-retried" "etcd#18424"
        "A forwarded write whose answer is lost is sent again, though it may be in the log.",
    50 TimeOutToldNotDone "time-out-told-not-done" "a time-out told as a failure"
        "A write that is not confirmed in time is told as certainly not done.",
    51 ReadBeforeApplied "read-before-applied" "thesis 6.4"
        "A read is answered before its index is applied.",
    52 StaleReadBeforeDurable "stale-read-before-durable" "stale reads go back"
        "A stale read shows what a power cut here may take back.",
    53 StaleReadBeforeReplay "stale-read-before-replay" "stale reads go back"
        "A stale read after a start does not wait for what was known to be committed.",
    54 LateAnswerTold "late-answer-told" "answered twice"
        "A write whose time-out was told is answered again once its outcome is known.",
    // A log that lost entries.
    55 ReplacedTakenForApplied "replaced-taken-for-applied" "rot"
        "All that is left of a damaged log is taken for applied where the state machine is ahead of it.",
}
