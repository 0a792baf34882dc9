//! The bugs that real systems had, and the switches that put them in: what a simulation of whole nodes must notice.

/// A bug that real systems had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What goes wrong.
    pub bug: &'static str,
    /// Where it can be put in.
    pub switch: Switch,
}

/// Where a bug can be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// These mutants are it, `<crate>/<name>` as `RAFTKIT_MUTANT` takes them. Each mutant stands at one bug.
    In(&'static [&'static str]),
    /// There is no code yet that could have it, and why.
    NotYet(&'static str),
}

const fn known(bug: &'static str, mutants: &'static [&'static str]) -> Known {
    Known { bug, switch: Switch::In(mutants) }
}

const fn not_yet(bug: &'static str, why: &'static str) -> Known {
    Known { bug, switch: Switch::NotYet(why) }
}

/// All of them, in the order of the project's list.
pub const CATALOGUE: &[Known] = &[
    // Elections.
    known("a vote answered before it is on disk", &["raft-core/vote-before-durable"]),
    known("own vote counted before it is on disk", &["raft-core/own-vote-before-durable"]),
    known(
        "a pre-vote that changes the vote",
        &["raft-core/pre-vote-changes-vote", "raft-core/pre-vote-raises-term"],
    ),
    known(
        "a response of an old term counted",
        &["raft-core/old-vote-counted", "raft-core/old-pre-vote-counted", "raft-core/old-answer-counted"],
    ),
    known("a duplicate response counted twice", &["raft-core/duplicate-vote-counted"]),
    known("logs compared index first", &["raft-core/logs-compared-index-first"]),
    known(
        "pre-vote terms that deadlock",
        &["raft-core/lower-term-pre-vote-dropped", "raft-core/lower-term-pre-vote-answer-dropped"],
    ),
    known("granting a vote without resetting the timer", &["raft-core/grant-keeps-timer"]),
    known("a promoted learner that doesn't know it and refuses to vote", &["raft-core/learner-refuses-vote"]),
    known("a learner that campaigns", &["raft-core/learner-campaigns", "raft-core/learner-takes-over"]),
    known("a removed node that disrupts", &["raft-core/not-sticky", "raft-core/pre-vote-not-sticky"]),
    // Replication.
    known("an entry of an old term committed by counting", &["raft-core/old-term-committed"]),
    known("quorum off by one", &["raft-core/quorum-off-by-one"]),
    known("quorum scanned unsorted", &["raft-core/quorum-unsorted"]),
    known("match that goes back", &["raft-core/match-goes-back"]),
    known(
        "commit = min(leader_commit, last) on a follower whose tail conflicts",
        &["raft-core/commit-to-last"],
    ),
    known("an old append that truncates matching entries", &["raft-core/old-append-truncates"]),
    known(
        "truncate and append in two transactions",
        &[
            "raft-core/truncates-in-its-own-write",
            "raft-log/truncates-in-its-own-record",
            "raft-log/write-over-two-records",
        ],
    ),
    known("a compacted prev taken for a conflict", &["raft-core/compacted-prev-conflicts"]),
    known("a conflict hint that doesn't move", &["raft-core/hint-does-not-move"]),
    known("commit that goes back", &["raft-core/commit-goes-back"]),
    known(
        "term taken from a snapshot going back",
        &["raft-core/snapshot-takes-term-back", "raft-replica/reset-takes-term-back"],
    ),
    known("commit sent beyond match", &["raft-core/commit-beyond-log", "raft-core/commit-taken-for-told"]),
    known(
        "a leader rewriting its tail",
        &["raft-core/new-leader-drops-tail", "raft-core/write-failure-retried"],
    ),
    // Membership.
    known(
        "single-server change before the term's first commit",
        &["raft-core/change-before-term-commit", "raft-core/promoted-before-term-commit"],
    ),
    known("leaving joint proposed again and again", &["raft-core/leaves-joint-again"]),
    known(
        "a joint quorum that checks one half",
        &[
            "raft-core/joint-commit-incoming",
            "raft-core/joint-commit-outgoing",
            "raft-core/joint-election-incoming",
            "raft-core/joint-election-outgoing",
            "raft-core/joint-lease-incoming",
            "raft-core/joint-lease-outgoing",
            "raft-core/joint-read-incoming",
            "raft-core/joint-read-outgoing",
            "raft-core/joint-check-incoming",
            "raft-core/joint-check-outgoing",
        ],
    ),
    known("configuration not rolled back on truncation", &["raft-core/truncated-membership-stays"]),
    known(
        "non-voters counted",
        &[
            "raft-core/learner-ack-counted",
            "raft-core/learner-vote-counted",
            "raft-core/learner-promise-counted",
            "raft-core/learner-confirms-read",
            "raft-core/stranger-vote-counted",
        ],
    ),
    known("a second change silently ignored", &["raft-core/second-change-ignored"]),
    // Reads.
    known(
        "ReadIndex before the term's first commit",
        &["raft-core/read-before-term-commit", "raft-core/lease-before-term-commit"],
    ),
    known(
        "an answer after leadership changed hands",
        &[
            "raft-core/former-leader-answers",
            "raft-core/old-read-answer-taken",
            "raft-core/old-round-confirms",
        ],
    ),
    known("a lease counted from receipt, not from sending", &["raft-core/lease-from-receipt"]),
    known("a lease without check-quorum", &["raft-core/lease-without-quorum", "raft-core/no-check-quorum"]),
    known(
        "a read answered before its index is applied",
        &["raft-replica/applied-is-committed", "raft-replica/read-before-applied"],
    ),
    known(
        "a stale read that goes back",
        &["raft-replica/stale-read-before-durable", "raft-replica/stale-read-before-replay"],
    ),
    // Snapshots.
    known(
        "progress stuck in Snapshot after a failed send",
        &[
            "raft-core/stuck-in-snapshot",
            "raft-replica/send-failure-not-reported",
            "raft-replica/build-failure-not-reported",
            "raft-snapshot/silence-never-fails",
            "raft-snapshot/failure-not-heard",
            "raft-snapshot/unreadable-not-told",
        ],
    ),
    known("a fully compacted leader that never sends one", &["raft-core/compacted-never-sends"]),
    known(
        "an older snapshot installed",
        &[
            "raft-core/older-snapshot-installed",
            "raft-replica/older-snapshot-installed",
            "raft-snapshot/unneeded-taken",
            "raft-snapshot/overtaken-installed",
        ],
    ),
    known(
        "log compacted before the snapshot is durable",
        &[
            "raft-core/snapshot-ack-before-durable",
            "raft-replica/cut-before-snapshot-durable",
            "raft-snapshot/finished-before-durable",
        ],
    ),
    known(
        "rename before fsync",
        &[
            "raft-log/journal-renamed-first",
            "raft-log/database-renamed-first",
            "raft-snapshot/renamed-before-sync",
            "raft-replica/image-renamed-first",
            "raft-kv/renamed-before-sync",
        ],
    ),
    known("ModifyIndex not restored", &["raft-kv/modify-index-not-restored"]),
    // Storage.
    known(
        "Durability::None taken for durable against kill -9",
        &[
            "raft-log/none-taken-for-durable",
            "raft-log/opening-does-not-sync",
            "raft-kv/none-taken-for-durable",
        ],
    ),
    known(
        "the log cut above the state machine's last durable commit",
        &["raft-core/compacts-unapplied", "raft-replica/cut-above-durable"],
    ),
    known(
        "log reset before the state machine switched",
        &[
            "raft-replica/log-reset-first",
            "raft-replica/snapshot-removed-first",
            "raft-replica/reset-not-finished",
        ],
    ),
    known(
        "a rotten newest commit silently dropped",
        &[
            "raft-log/rot-below-witness-dropped",
            "raft-log/rot-in-the-middle-dropped",
            "raft-log/ring-reused-too-early",
            "raft-log/opening-frees-ring",
            "raft-log/elsewhere-taken-for-there",
            "raft-kv/one-phase-commit",
        ],
    ),
    known(
        "an fsync error swallowed, or retried",
        &[
            "raft-log/journal-error-swallowed",
            "raft-log/journal-error-retried",
            "raft-log/commit-error-swallowed",
            "raft-log/goes-on-after-error",
            "raft-replica/persist-error-swallowed",
            "raft-kv/commit-error-swallowed",
            "raft-kv/goes-on-after-error",
        ],
    ),
    known(
        "acknowledgement at submit",
        &["raft-core/ack-before-durable", "raft-log/ack-at-submit", "raft-log/reports-at-submit"],
    ),
    known(
        "a client answered before one node's disk",
        &["raft-core/leader-counts-before-disk", "raft-core/applied-before-durable"],
    ),
    known(
        "hard state lost while the log is kept",
        &[
            "raft-core/restart-forgets-vote",
            "raft-log/hard-state-not-in-each-record",
            "raft-log/hard-state-not-replayed",
            "raft-log/loss-takes-older-hard-state",
            "raft-log/salvage-takes-witness-hard-state",
            "raft-log/salvage-forgets-hard-state",
            "raft-replica/reset-forgets-vote",
        ],
    ),
    known("a torn tail that stops the node", &["raft-log/torn-tail-stops"]),
    known(
        "a missing folder fsync",
        &[
            "raft-log/folder-not-synced",
            "raft-log/journal-name-not-synced",
            "raft-log/made-name-not-synced",
            "raft-log/mended-name-not-synced",
            "raft-log/killed-makers-name-not-synced",
            "raft-snapshot/folder-not-synced",
            "raft-snapshot/names-not-synced-at-start",
            "raft-replica/image-folder-not-synced",
            "raft-kv/folder-not-synced",
        ],
    ),
    known(
        "disk full",
        &["raft-log/settle-error-swallowed", "raft-log/settler-hides-errors", "raft-log/ring-is-a-hole"],
    ),
    // Network.
    known(
        "frames of another cluster accepted",
        &["raft-net/other-cluster-accepted", "raft-net/unformed-delivered"],
    ),
    known("a forged length allocated", &["raft-net/forged-length-allocated", "raft-net/length-not-limited"]),
    known("two nodes far apart that drop each other's dials", &["raft-net/crossed-dial-dropped"]),
    // The transport has one more, raft-net/bulk-blocks-messages, which is no part of a build without QUIC.
    known(
        "a slow peer or a snapshot blocking heartbeats",
        &["raft-net/heartbeats-dropped", "raft-net/oldest-kept"],
    ),
    known("a leader with a stuck disk that keeps its followers quiet", &["raft-core/stalled-leader-stays"]),
    known("a peer queue without a bound", &["raft-core/inflight-ignored", "raft-net/queue-unbounded"]),
    // Node.
    known("a forwarded write retried and applied twice", &["raft-replica/forwarded-write-retried"]),
    known(
        "a time-out reported as \"failed\" though it may apply",
        &["raft-replica/jumped-told-not-done", "raft-replica/time-out-told-not-done"],
    ),
    known("a deposed leader answering a read", &["raft-core/deposed-answers-read"]),
    known("state that depends on map order or wall clock", &["raft-kv/index-of-batch"]),
    not_yet("a watch that skips", "there are no watches below HTTP"),
    known(
        "a transaction half applied",
        &[
            "raft-kv/batch-half-applied",
            "raft-kv/meta-in-its-own-transaction",
            "raft-kv/restore-in-two-steps",
        ],
    ),
    // Operations.
    known(
        "two nodes with one id",
        &[
            "raft-core/wiped-store-counted",
            "raft-log/other-node-opened",
            "raft-net/other-store-accepted",
            "raft-net/twin-accepted",
            "raft-net/copy-accepted",
        ],
    ),
    not_yet(
        "bootstrap run twice, then mixed",
        "a cluster is formed by a part of the server that is no library yet",
    ),
    not_yet("lost-quorum recovery that keeps old voters", "a lost quorum is not recovered yet"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn mutants() -> Vec<&'static str> {
        let of = |known: &Known| match known.switch {
            Switch::In(mutants) => mutants,
            Switch::NotYet(_) => &[],
        };
        CATALOGUE.iter().flat_map(of).copied().collect()
    }

    #[test]
    fn each_bug_and_each_mutant_stands_there_once() {
        let bugs: BTreeSet<&str> = CATALOGUE.iter().map(|known| known.bug).collect();
        assert_eq!(bugs.len(), CATALOGUE.len());
        let mutants = mutants();
        let once: BTreeSet<&str> = mutants.iter().copied().collect();
        assert_eq!(once.len(), mutants.len());
    }

    #[test]
    fn each_bug_has_a_switch_or_a_reason_why_not() {
        for known in CATALOGUE {
            match known.switch {
                Switch::In(mutants) => assert!(!mutants.is_empty(), "{}", known.bug),
                Switch::NotYet(why) => assert!(!why.is_empty(), "{}", known.bug),
            }
        }
    }

    #[test]
    fn each_name_is_one_of_a_mutant_where_they_are_built_in() {
        let built_in = !raftkit_log::Mutant::ALL.is_empty();
        for full in mutants() {
            let (krate, name) = full.split_once('/').expect("a name has its crate before it");
            let exists = match krate {
                "raft-core" => raftkit_core::has_mutant(name),
                "raft-log" => raftkit_log::Mutant::find(name).is_some(),
                "raft-snapshot" => raftkit_snapshot::Mutant::find(name).is_some(),
                "raft-replica" => raftkit_replica::Mutant::find(name).is_some(),
                "raft-kv" => raftkit_kv::Mutant::find(name).is_some(),
                "raft-net" => raftkit_net::Mutant::find(name).is_some(),
                other => panic!("{other} has no mutants"),
            };
            assert_eq!(exists, built_in, "{full}");
        }
    }
}
