//! Mutants that no simulation can notice, because the code that they are in is not in it, and who notices them instead.

/// Each with the part that the simulator has something else for, and the test that notices it in its crate's own suite.
pub(super) const EXCUSED: &[(&str, &str)] = &[
    (
        "raft-log/reports-at-submit",
        "the simulator is in the place of Writer's threads; raft-log/tests/writer",
    ),
    (
        "raft-log/settler-hides-errors",
        "the simulator is in the place of Writer's threads; raft-log/tests/writer",
    ),
    (
        "raft-replica/image-renamed-first",
        "the key-value machine keeps no image; raft-replica/tests/durability",
    ),
    (
        "raft-replica/image-folder-not-synced",
        "the key-value machine keeps no image; raft-replica/tests/membership",
    ),
    ("raft-kv/goes-on-after-error", "a process ends at the first error of its machine; raft-kv/tests/crash"),
    ("raft-net/forged-length-allocated", "no simulated peer forges a frame; raft-net/tests/codec"),
    ("raft-net/length-not-limited", "no simulated peer forges a frame; raft-net/tests/codec"),
    (
        "raft-net/heartbeats-dropped",
        "simulated links have queues of their own; unit tests of raft-net's queue",
    ),
    ("raft-net/oldest-kept", "simulated links have queues of their own; unit tests of raft-net's queue"),
    ("raft-net/queue-unbounded", "simulated links have queues of their own; unit tests of raft-net's queue"),
];

/// Why no simulation can notice this mutant.
pub(super) fn why(mutant: &str) -> Option<&'static str> {
    EXCUSED.iter().find(|(name, _)| *name == mutant).map(|(_, why)| *why)
}
