//! Mutants that no simulation of whole nodes can notice, and who notices them instead: the code that they are in is not in
//! it, what they do wrong is never asked of them there, or it breaks no promise. The tests of their own crate are run
//! against each, so that an excuse is no more than that somebody else notices it.

/// Each with why that is so.
pub(super) const EXCUSED: &[(&str, &str)] = &[
    (
        "raft-core/former-leader-answers",
        "a question to a leader is forgotten with it, so no answer of a former one fits",
    ),
    ("raft-core/compacts-unapplied", "the replica asks to cut no more than is applied and durable"),
    (
        "raft-core/commit-taken-for-told",
        "a follower learns of a commit with the next heartbeat, a fifth of a leader time-out late",
    ),
    ("raft-log/reports-at-submit", "the simulator is in the place of Writer's threads"),
    ("raft-log/settler-hides-errors", "the simulator is in the place of Writer's threads"),
    ("raft-replica/image-renamed-first", "the key-value machine keeps no image"),
    ("raft-replica/image-folder-not-synced", "the key-value machine keeps no image"),
    (
        "raft-snapshot/renamed-before-sync",
        "a start opens no snapshot but the one that the state has switched to, and that was durable by then",
    ),
    (
        "raft-snapshot/names-not-synced-at-start",
        "a start opens no snapshot but the one that the state has switched to, and its name was durable by then",
    ),
    (
        "raft-snapshot/failure-not-heard",
        "the snapshot is offered again in 2 s instead of 1 s, and all goes on as well",
    ),
    (
        "raft-net/other-store-accepted",
        "whom it lets in is of no cluster, so nothing that it says is delivered",
    ),
    (
        "raft-kv/batch-half-applied",
        "no batch fails after its first entry: a commit that is not durable writes to memory",
    ),
    ("raft-kv/goes-on-after-error", "a process ends at the first error of its machine"),
    ("raft-net/forged-length-allocated", "no simulated peer forges a frame"),
    ("raft-net/length-not-limited", "no simulated peer forges a frame"),
    ("raft-net/heartbeats-dropped", "simulated links have queues of their own"),
    ("raft-net/oldest-kept", "simulated links have queues of their own"),
    ("raft-net/queue-unbounded", "simulated links have queues of their own"),
];

/// Why no simulation can notice this mutant.
pub(super) fn why(mutant: &str) -> Option<&'static str> {
    EXCUSED.iter().find(|(name, _)| *name == mutant).map(|(_, why)| *why)
}
