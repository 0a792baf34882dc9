//! Templates of crashes and of disks that hang or are full.

use raftkit_core::NodeId;

use super::Draft;
use super::snapshots::purging;
use crate::Settings;
use crate::plan::script::{Action, Crash, Target};

/// Cuts the power of a node while it opens the files that a crash has left, twice in a row.
pub(super) fn crash_in_open(settings: &mut Settings, draft: &mut Draft) {
    purging(settings, draft);
    settings.journal_kib = 16;
    for _ in 0..9 {
        let who = draft.node(settings);
        let how = draft.crash();
        draft.act(Action::Crash { who, how, down_ms: 300 });
        draft.pause(1, 200);
        let calls = draft.rng.below(40);
        draft.act(Action::CrashAtCall { who, calls, down_ms: 50 });
        draft.pause(320, 400);
        let calls = draft.rng.below(40);
        draft.act(Action::CrashAtCall { who, calls, down_ms: 50 });
        draft.pause(500, 1500);
    }
}

/// Lets the leader's disk hang, which must not stop the cluster (hashicorp/raft#503).
pub(super) fn stuck_leader(settings: &mut Settings, draft: &mut Draft) {
    settings.write_stall_ms = draft.rng.pick(&[400, 1000, 2000]);
    for _ in 0..6 {
        let ms = draft.rng.range(1000, 6000);
        draft.act(Action::Stall { who: Target::Leader, ms });
        draft.act(Action::Burst { writes: 5 });
        draft.pause(500, 3000);
        if draft.rng.permille(400) {
            let how = draft.crash();
            let who = draft.node(settings);
            draft.act(Action::Crash { who, how, down_ms: 200 });
        }
        draft.pause(500, 3000);
    }
}

/// Ends every node at about the same time.
pub(super) fn all_lose_power(settings: &mut Settings, draft: &mut Draft) {
    for _ in 0..14 {
        draft.act(Action::Burst { writes: 6 });
        draft.pause(0, 400);
        let how = draft.crash();
        for id in 1..=settings.nodes {
            let down_ms = draft.rng.range(1, 300);
            draft.act(Action::Crash { who: Target::Node(NodeId(id)), how, down_ms });
            if draft.rng.permille(300) {
                draft.pause(0, 2);
            }
        }
        draft.pause(1000, 2000);
    }
}

/// Sends stale reads to nodes that have just restarted without their unsynced changes.
pub(super) fn stale_over_crashes(settings: &mut Settings, draft: &mut Draft) {
    (settings.reads, settings.stale) = (600, 1000);
    (settings.clients, settings.gap_ms) = (5, 60);
    settings.persist_ms = draft.rng.pick(&[300, 1000]);
    for _ in 0..14 {
        let who = draft.node(settings);
        draft.act(Action::Burst { writes: 3 });
        draft.pause(0, 60);
        let down_ms = draft.rng.range(10, 500);
        let how = draft.rng.pick(&[Crash::LoseAll, Crash::LoseAll, Crash::Cut, Crash::Kill]);
        draft.act(Action::Crash { who, how, down_ms });
        if draft.rng.permille(300) {
            let ms = draft.rng.range(300, 1200);
            draft.act(Action::Isolate { who, ms });
        }
        draft.pause(200, 1200);
    }
}

/// Isolates a leader that goes on appending entries, brings it back, and cuts its power while its log is truncated.
pub(super) fn crash_in_truncation(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.pick(&[3, 3, 5]);
    (settings.commit_timeout_ms, settings.hold_timeout_ms) = (300, 1000);
    for round in 0..10 {
        let who = Target::Node(NodeId(1 + round % settings.nodes));
        draft.act(Action::Transfer { to: who });
        draft.pause(100, 300);
        let ms = draft.rng.range(900, 1600);
        draft.act(Action::Isolate { who, ms });
        draft.act(Action::Burst { writes: 9 });
        draft.pause(700, 800);
        draft.act(Action::Burst { writes: 9 });
        draft.at_ms += ms - 750;
        let calls = draft.rng.below(8);
        draft.act(Action::CrashAtCall { who, calls, down_ms: 100 });
        draft.pause(600, 1500);
    }
}

/// Fills disks at any time, also before the journal has used its whole ring once.
pub(super) fn full_disk(settings: &mut Settings, draft: &mut Draft) {
    settings.journal_kib = draft.rng.pick(&[16, 64]);
    draft.at_ms = draft.rng.range(300, 900);
    for _ in 0..10 {
        let (who, ms) = (draft.node(settings), draft.rng.range(200, 1200));
        draft.act(Action::Full { who, ms });
        draft.act(Action::Burst { writes: 3 });
        draft.pause(300, 1500);
    }
}

/// Writes large values faster than disks take them. Neither files nor memory may grow with the amount that has passed through.
pub(super) fn large_values(settings: &mut Settings, draft: &mut Draft) {
    let neutral = Settings::default();
    (settings.nodes, settings.spares, settings.crippled) = (3, 0, 0);
    (settings.clients, settings.gap_ms, settings.keys) = (5, 1, 3);
    (settings.reads, settings.conditional) = (0, 0);
    settings.value_bytes = draft.rng.pick(&[65_536, 65_536, 200_000]);
    settings.flush_us = draft.rng.pick(&[2_000, 20_000]);
    settings.journal_kib = draft.rng.pick(&[256, 1024]);
    (settings.trailing_kib, settings.trailing_logs) = (1024, neutral.trailing_logs);
    (settings.slack_kib, settings.chunk_bytes) = (64, 65_536);
    (settings.batch_bytes, settings.inflight_messages) = (1 << 20, neutral.inflight_messages);
    (settings.uncommitted_bytes, settings.unapplied_bytes) = (4 << 20, neutral.unapplied_bytes);
    settings.tail_bytes = neutral.tail_bytes;
    for _ in 0..2 {
        draft.pause(1000, 2000);
        let (who, ms) = (draft.node(settings), draft.rng.range(200, 1000));
        match draft.rng.below(4) {
            0 => draft.act(Action::Isolate { who, ms }),
            1 => {
                let how = draft.crash();
                draft.act(Action::Crash { who, how, down_ms: ms });
            }
            2 => draft.act(Action::Full { who, ms }),
            _ => {}
        }
    }
    draft.pause(1000, 2000);
}

/// Restarts an isolated leader with a long uncommitted tail: its start copies the log's database in several steps, and the new
/// leader's entries truncate the tail between two of them. A second restart reads the copy.
pub(super) fn copy_beside_truncation(settings: &mut Settings, draft: &mut Draft) {
    // Two entries fill a run of the log.
    const BYTES: u64 = 120_000;
    let neutral = Settings::default();
    *settings = Settings { leader_timeout_ms: settings.leader_timeout_ms, apart: settings.apart, ..neutral };
    (settings.clients, settings.gap_ms, settings.reads) = (2, 500, 0);
    (settings.journal_kib, settings.slack_kib, settings.trailing_kib) = (512, 64, 800);
    (settings.chunk_bytes, settings.persist_ms) = (65_536, 300);
    (settings.batch_bytes, settings.uncommitted_bytes) = (1 << 20, 8 << 20);
    (settings.delay_us, settings.flush_us) = (2_000, 2_000);
    for round in 0..3 {
        let who = Target::Node(NodeId(1 + round));
        draft.flow_of_big(12, BYTES, 20);
        draft.at_ms += 600;
        draft.act(Action::Transfer { to: who });
        draft.pause(300, 500);
        let ms = draft.rng.range(1_900, 2_100);
        draft.act(Action::Isolate { who, ms });
        // Most of the log: with the entries before it the file becomes more than twice as long as the log that is kept.
        draft.flow_of_big(20, BYTES, 0);
        draft.at_ms += 1_300;
        // More than the journal holds, so that the truncation is settled at once.
        draft.flow_of_big(6, BYTES, 0);
        draft.at_ms += 600;
        draft.act(Action::Crash { who, how: Crash::Kill, down_ms: 50 });
        let each_ms = draft.rng.range(60, 300);
        draft.act(Action::Lag { who, each_ms, ms: 3_000 });
        draft.pause(3_000, 3_500);
        draft.act(Action::Crash { who, how: Crash::LoseAll, down_ms: 50 });
        draft.pause(900, 1_200);
    }
}
