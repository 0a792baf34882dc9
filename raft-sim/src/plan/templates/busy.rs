//! Templates of clusters that are only busy: clients ask for more than a link or a disk carries, or a node is far behind.

use super::Draft;
use crate::Settings;
use crate::plan::script::{Action, Crash, Target};

/// Switches off all faults, and sets the number of nodes to three.
fn calm(settings: &mut Settings) {
    let neutral = Settings::default();
    *settings = Settings {
        nodes: 3,
        delay_us: settings.delay_us.min(2_000),
        flush_us: settings.flush_us.min(2_000),
        drift: settings.drift,
        apart: settings.apart,
        patience_ms: settings.patience_ms,
        ..neutral
    };
    settings.journal_kib = 1024;
}

/// Lets many clients write large values without a pause.
fn flood(settings: &mut Settings, draft: &mut Draft, value_bytes: u64) {
    calm(settings);
    // They ask for 20 times of what can be carried. With more, only more requests would be refused.
    (settings.clients, settings.gap_ms) = (64, 100);
    (settings.reads, settings.conditional, settings.keys) = (20, 0, 64);
    settings.value_bytes = value_bytes;
    (settings.steady_ms, settings.flowing) = (12_000, 1);
    draft.at_ms = 22_000;
}

/// Writes more than links carry.
pub(super) fn narrow_links(settings: &mut Settings, draft: &mut Draft) {
    let value_bytes = draft.rng.pick(&[10_000, 20_000, 30_000]);
    flood(settings, draft, value_bytes);
    settings.link_kbps = kbps_that_take_seconds(settings, draft);
}

/// Writes more than disks take.
pub(super) fn slow_disks(settings: &mut Settings, draft: &mut Draft) {
    // A node accepts 2 MiB before it has measured its disk. With smaller values the disk would be drawn so slow that it takes 10 s
    // for those alone.
    let value_bytes = draft.rng.pick(&[50_000, 100_000]);
    flood(settings, draft, value_bytes);
    settings.journal_kib = 4096;
    // Each byte is written twice: into the journal, and a moment later into the database.
    settings.disk_kbps = 2 * kbps_that_take_seconds(settings, draft);
}

/// Draws a rate at which the requests of all clients together take 1.5 to 3 s.
fn kbps_that_take_seconds(settings: &Settings, draft: &mut Draft) -> u64 {
    settings.value_bytes * settings.clients / 2 / draft.rng.range(1500, 3000)
}

/// Brings a follower back that is far behind, over a slow link, while the other follower is down: the leader keeps its quorum
/// only if it counts the follower that catches up.
pub(super) fn far_behind(settings: &mut Settings, draft: &mut Draft) {
    calm(settings);
    (settings.clients, settings.gap_ms, settings.reads, settings.conditional) = (16, 20, 0, 0);
    (settings.value_bytes, settings.keys) = (20_000, 16);
    settings.link_kbps = draft.rng.range(250, 500);
    draft.at_ms = 2_500;
    draft.act(Action::Crash { who: Target::Follower(0), how: Crash::Kill, down_ms: 8_000 });
    settings.steady_ms = draft.at_ms + 1_000;
    draft.at_ms += 8_300;
    // The node with the lower id is back, and is follower 0 again.
    draft.act(Action::Crash { who: Target::Follower(1), how: Crash::Kill, down_ms: 60_000 });
    draft.at_ms += 12_000;
}

/// Injects no fault at all, so that no request may end in doubt, and transfers leadership from time to time.
pub(super) fn quiet(settings: &mut Settings, draft: &mut Draft) {
    calm(settings);
    settings.calls_kept = 1;
    (settings.clients, settings.gap_ms) = (draft.rng.range(2, 9), draft.rng.pick(&[10, 50, 200]));
    settings.trailing_logs = draft.rng.pick(&[0, 100, 10_240]);
    settings.persist_ms = draft.rng.pick(&[100, 1000]);
    draft.at_ms = 9_000;
    draft.act(Action::Transfer { to: Target::Follower(0) });
    draft.at_ms = 20_000;
}

/// Lets many clients read from nodes whose state machines are slower than their logs. Several runs of entries are applied in one
/// batch, and reads wait for indexes in the middle of a batch. No fault is injected, so every read must be answered.
pub(super) fn many_readers(settings: &mut Settings, draft: &mut Draft) {
    calm(settings);
    settings.calls_kept = 1;
    (settings.clients, settings.gap_ms) = (draft.rng.range(10, 25), draft.rng.pick(&[20, 50]));
    (settings.reads, settings.stale, settings.keys) = (draft.rng.pick(&[400, 700]), 100, 8);
    settings.apply_us = draft.rng.pick(&[20_000, 50_000]);
    settings.trailing_logs = draft.rng.pick(&[0, 100]);
    settings.persist_ms = draft.rng.pick(&[100, 1000]);
    draft.at_ms = 7_000;
}

/// Makes all nodes stand still together, as on a host that pauses its guests; they must go on as they were.
pub(super) fn standstill(settings: &mut Settings, draft: &mut Draft) {
    calm(settings);
    settings.gap_ms = draft.rng.pick(&[50, 300, 1000]);
    settings.steady_ms = 2_500;
    draft.at_ms = 4_000;
    for _ in 0..4 {
        let ms = draft.rng.range(1_500, 5_000);
        draft.act(Action::PauseAll { ms });
        draft.at_ms += ms;
        draft.pause(1_500, 3_000);
    }
}
