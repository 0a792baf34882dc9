//! Templates of compaction and of snapshots.

use raftkit_core::NodeId;

use super::Draft;
use crate::Settings;
use crate::plan::script::{Action, Area, Call, Crash, Moment, Target};

/// Compacts the whole log all the time, while one node always lacks entries.
pub(super) fn purge_to_the_tip(settings: &mut Settings, draft: &mut Draft) {
    purging(settings, draft);
    for _ in 0..10 {
        let who = draft.node(settings);
        let (how, down_ms) = (draft.crash(), draft.rng.range(500, 2500));
        draft.act(Action::Crash { who, how, down_ms });
        draft.act(Action::Burst { writes: 6 });
        draft.pause(300, 2000);
        if draft.rng.permille(400) {
            draft.act(Action::Crash { who: Target::Leader, how: Crash::Cut, down_ms: 300 });
        }
        draft.pause(300, 1500);
    }
}

pub(super) fn purging(settings: &mut Settings, draft: &mut Draft) {
    settings.trailing_logs = draft.rng.below(3);
    settings.persist_ms = draft.rng.pick(&[50, 100, 300]);
    settings.tail_bytes = draft.rng.pick(&[0, 200]);
    settings.chunk_bytes = draft.rng.pick(&[64, 128, 1024]);
    settings.gap_ms = 120;
}

/// Cuts the power in each call to the disk while a snapshot is installed.
pub(super) fn crash_in_install(settings: &mut Settings, draft: &mut Draft) {
    purging(settings, draft);
    for _ in 0..9 {
        let who = draft.node(settings);
        let down_ms = draft.rng.range(500, 1500);
        draft.act(Action::Crash { who, how: Crash::LoseAll, down_ms });
        draft.act(Action::Burst { writes: 8 });
        draft.at_ms += down_ms + 1;
        let calls = draft.rng.below(120);
        draft.act(Action::CrashAtCall { who, calls, down_ms: 100 });
        if draft.rng.permille(400) {
            let ms = draft.rng.range(200, 1500);
            draft.act(Action::Stall { who, ms });
        }
        draft.pause(800, 2500);
    }
}

/// Cuts the power while logs are compacted.
pub(super) fn crash_in_compaction(settings: &mut Settings, draft: &mut Draft) {
    purging(settings, draft);
    for _ in 0..14 {
        let who = draft.node(settings);
        let calls = draft.rng.below(60);
        draft.act(Action::CrashAtCall { who, calls, down_ms: 200 });
        draft.pause(300, 1500);
        if draft.rng.permille(300) {
            draft.act(Action::Crash { who: Target::Leader, how: Crash::Cut, down_ms: 200 });
        }
    }
}

/// Switches off all other faults, so that the leader stays: another leader would repair what the template has broken.
fn calm(settings: &mut Settings) {
    let neutral = Settings::default();
    (settings.loss, settings.slow, settings.stalls, settings.hiccups) = (0, 0, 0, 0);
    (settings.delay_us, settings.flush_us) = (neutral.delay_us, neutral.flush_us);
    (settings.leader_timeout_ms, settings.election_timeout_ms) =
        (neutral.leader_timeout_ms, neutral.election_timeout_ms);
    (settings.write_stall_ms, settings.priorities) = (neutral.write_stall_ms, 0);
}

/// Lets one step of a snapshot transfer fail, or one end fall silent, while the leader stays and must try again by itself.
pub(super) fn snapshot_fails(settings: &mut Settings, draft: &mut Draft) {
    purging(settings, draft);
    calm(settings);
    (settings.nodes, settings.value_bytes) = (3, draft.rng.pick(&[16, 300, 3000]));
    let who = draft.node(settings);
    let (how, call) = (draft.crash(), draft.rng.pick(&[Call::Create, Call::Rename]));
    let harm = draft.rng.pick(&[0, 1, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7]);
    // A transfer whose other end is silent ends after 10 s.
    let down_ms = if harm == 0 { draft.rng.range(11_500, 15_000) } else { draft.rng.range(1500, 3000) };
    draft.act(Action::Crash { who, how, down_ms });
    let back_ms = draft.at_ms + down_ms;
    draft.pause(400, 900);
    if harm == 1 {
        // The snapshot is built while its receiver is down.
        draft.act(Action::Fail { who: Target::Leader, call, nth: 0 });
    }
    draft.act(Action::Burst { writes: 8 });
    draft.pause(200, 400);
    draft.act(Action::Burst { writes: 8 });
    if harm == 2 {
        // With no other fault it takes no longer than noticing the failure and building another snapshot.
        (settings.patience_ms, settings.crippled) = (7_000, 0);
        while draft.at_ms + 100 < back_ms {
            draft.pause(80, 120);
            draft.act(Action::Rot { who: Target::Leader, area: Area::Snapshots, sectors: 40 });
        }
    }
    draft.at_ms = back_ms;
    draft.pause(0, 60);
    let ms = draft.rng.range(2000, 13_000);
    match harm {
        3 => draft.act(Action::Fail { who, call, nth: 0 }),
        4 => draft.act(Action::Starve { from: Target::Leader, to: who, ms }),
        5 => draft.act(Action::Starve { from: who, to: Target::Leader, ms }),
        6 => draft.act(Action::CrashAfter { who, moment: Moment::Stored, how, us: 100, down_ms: 300 }),
        7 => draft.act(Action::Hold { who: Target::Leader, ms }),
        _ => {}
    }
    draft.pause(50, if harm == 2 { 100 } else { 2500 });
}

/// Sends a snapshot over a link on which it takes longer than any time-out. It must end all the same, also with restarts meanwhile.
pub(super) fn slow_link(settings: &mut Settings, draft: &mut Draft) {
    purging(settings, draft);
    calm(settings);
    (settings.nodes, settings.spares, settings.crippled) = (3, 0, 0);
    (settings.value_bytes, settings.keys, settings.reads) = (3000, 3, 300);
    settings.chunk_bytes = draft.rng.pick(&[128, 256, 1024]);
    // The state has up to 9 KB, so that the transfer takes 10 to 60 s, and the slowest chunk 7 s.
    settings.bulk_bytes_s = draft.rng.pick(&[150, 300, 600]);
    settings.patience_ms = 240_000;
    if draft.rng.permille(500) {
        (settings.split, settings.duplicates, settings.reorder) = (0, 0, 0);
    }
    let behind = draft.node(settings);
    let ms = draft.rng.range(1500, 2500);
    draft.act(Action::Isolate { who: behind, ms });
    for _ in 0..4 {
        draft.act(Action::Burst { writes: 6 });
        draft.pause(200, 400);
    }
    draft.at_ms += ms;
    for _ in 0..draft.rng.below(4) {
        draft.pause(3000, 12_000);
        let (how, down_ms) = (draft.crash(), draft.rng.range(300, 2000));
        let who = draft.rng.pick(&[behind, behind, Target::Leader]);
        match draft.rng.below(3) {
            0 => draft.act(Action::Reset { from: Target::Leader, to: behind }),
            1 => draft.act(Action::Isolate { who: behind, ms: down_ms }),
            _ => draft.act(Action::Crash { who, how, down_ms }),
        }
    }
    draft.pause(8000, 20_000);
}

/// Crashes a node between the steps of an install: the snapshot is complete, the state machine switches, the log is reset.
pub(super) fn crash_between_steps(settings: &mut Settings, draft: &mut Draft) {
    purging(settings, draft);
    settings.flush_us = draft.rng.pick(&[150, 2_000, 20_000]);
    for _ in 0..7 {
        let who = draft.node(settings);
        let down_ms = draft.rng.range(500, 1500);
        draft.act(Action::Crash { who, how: Crash::LoseAll, down_ms });
        draft.act(Action::Burst { writes: 8 });
        draft.at_ms += down_ms + 1;
        let moment = draft.rng.pick(&[
            Moment::Stored,
            Moment::Received,
            Moment::Received,
            Moment::Received,
            Moment::Switched,
            Moment::Switched,
            Moment::Switched,
        ]);
        // During the switch the power is cut, which may happen at any point of it.
        let how = if moment == Moment::Received { Crash::Cut } else { draft.crash() };
        let us = draft.rng.below(3 * settings.flush_us + 200);
        let down_ms = draft.rng.range(10, 300);
        draft.act(Action::CrashAfter { who, moment, how, us, down_ms });
        if draft.rng.permille(400) {
            // The snapshot's last entry is then of an earlier term than the node's.
            let ms = draft.rng.range(400, 1000);
            draft.act(Action::Hold { who, ms });
            draft.pause(100, 250);
            draft.act(Action::Transfer { to: Target::Leader });
        }
        draft.pause(800, 2500);
    }
}

/// Has another leader send the log to a node whose snapshot is slow to become durable, so that the state has passed the snapshot by
/// then.
pub(super) fn overtaken(settings: &mut Settings, draft: &mut Draft) {
    let [first, behind, second] = [1, 2, 3].map(|id| Target::Node(NodeId(id)));
    purging(settings, draft);
    calm(settings);
    (settings.nodes, settings.trailing_logs) = (3, 0);
    // Nodes compact at different times, so that the second leader still has entries that the first one has compacted.
    (settings.persist_ms, settings.uneven) = (draft.rng.range(100, 250), 1);
    for _ in 0..8 {
        draft.act(Action::Transfer { to: first });
        draft.pause(150, 300);
        miss_some(draft, behind);
        let ms = draft.rng.range(1500, 5000);
        draft.act(Action::Hold { who: behind, ms });
        let end_ms = draft.at_ms + ms;
        draft.pause(150, 350);
        draft.act(Action::Transfer { to: second });
        draft.pause(30, 100);
        draft.act(Action::Burst { writes: 4 });
        if draft.rng.permille(500) {
            // The next snapshot is offered before the last one is complete.
            draft.pause(300, 600);
            draft.act(Action::Transfer { to: first });
            draft.pause(50, 150);
            miss_some(draft, behind);
        }
        draft.at_ms = draft.at_ms.max(end_ms);
        draft.pause(300, 1200);
    }
}

/// Isolates a node while the others write.
fn miss_some(draft: &mut Draft, who: Target) {
    let ms = draft.rng.range(300, 600);
    draft.act(Action::Isolate { who, ms });
    draft.act(Action::Burst { writes: 4 });
    draft.act(Action::Burst { writes: 4 });
    draft.at_ms += ms;
}
