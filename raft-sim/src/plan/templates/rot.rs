//! Templates of rot, above all of the newest commit of a database and of the newest records of the journal.

use super::Draft;
use super::snapshots::purging;
use crate::Settings;
use crate::plan::script::{Action, Area, Crash, Target};

/// Lets any files rot. A node notices at its start or when it reads, and gets the lost entries back from the others.
pub(super) fn rot_and_heal(settings: &mut Settings, draft: &mut Draft) {
    if draft.rng.permille(500) {
        purging(settings, draft);
    }
    settings.journal_kib = draft.rng.pick(&[16, 32]);
    for _ in 0..12 {
        let who = draft.node(settings);
        let area = draft.rng.pick(&[
            Area::Log,
            Area::Log,
            Area::Journal,
            Area::State,
            Area::Snapshots,
            Area::Record,
        ]);
        let sectors = draft.rng.pick(&[1, 3, 30, 200]);
        draft.act(Action::Rot { who, area, sectors });
        draft.pause(0, 100);
        let (how, down_ms) = (draft.crash(), draft.rng.range(50, 600));
        draft.act(Action::Crash { who, how, down_ms });
        draft.pause(400, 2500);
    }
}

/// Lets the newest commit of a database rot. Everything since the commit before must still be in the journal, whose ring is so
/// small that it is used up between two commits.
pub(super) fn rotten_commit(settings: &mut Settings, draft: &mut Draft) {
    settings.journal_kib = 16;
    settings.value_bytes = draft.rng.pick(&[500, 1000, 2500]);
    // Larger batches would be too large for the journal.
    settings.batch_bytes = draft.rng.pick(&[1, 1000]);
    settings.reads = 0;
    settings.delay_us = settings.delay_us.min(2000);
    let around = draft.rng.permille(500);
    for _ in 0..20 {
        let writes = draft.rng.range(5, 20);
        draft.act(Action::Burst { writes });
        draft.pause(0, 600);
        let who = draft.node(settings);
        if around {
            draft.act(Action::Big { bytes: 9000 });
            draft.pause(3, 60);
        }
        let area = draft.rng.pick(&[Area::LogCommit, Area::LogCommit, Area::LogCommit, Area::StateCommit]);
        draft.act(Action::Rot { who, area, sectors: 1 });
        draft.pause(0, 30);
        let (how, down_ms) = (draft.crash(), draft.rng.range(20, 200));
        draft.act(Action::Crash { who, how, down_ms });
        draft.pause(250, 900);
    }
}

/// Cuts the power while a settling is under way beside flushes, and lets the commit before it rot. The records since the last
/// commit but one must still be in the ring: a flush beside the settling may overwrite them only once the settling is durable.
pub(super) fn rotten_commit_in_settling(settings: &mut Settings, draft: &mut Draft) {
    (settings.nodes, settings.spares, settings.crippled) = (3, 0, 0);
    (settings.journal_kib, settings.batch_bytes) = (16, 1);
    settings.value_bytes = draft.rng.pick(&[600, 1000]);
    // Slow enough that the ring is not full before the burst: a full ring makes every flush settle, and commit twice.
    (settings.clients, settings.gap_ms, settings.reads) = (3, draft.rng.pick(&[600, 1000, 1500]), 0);
    (settings.flush_us, settings.delay_us) = (150, settings.delay_us.min(2000));
    (settings.stalls, settings.link_kbps, settings.apply_us) = (0, 0, 0);
    for _ in 0..8 {
        draft.pause(2_500, 4_000);
        let who = draft.node(settings);
        // A settling begins within a second and a half, and lasts until the crash.
        draft.act(Action::Lag { who, each_ms: 2_500, ms: 2_500 });
        draft.pause(1_500, 2_200);
        let writes = draft.rng.range(6, 20);
        draft.act(Action::Burst { writes });
        draft.pause(30, 250);
        draft.act(Action::Rot { who, area: Area::LogCommit, sectors: 1 });
        draft.act(Action::Crash { who, how: Crash::LoseAll, down_ms: 50 });
    }
    draft.pause(500, 1_000);
}

/// Kills a process whose records are only in the page cache; the next process replays them. Then cuts the power and lets the
/// commit rot that the replay has made.
pub(super) fn rotten_commit_after_kill(settings: &mut Settings, draft: &mut Draft) {
    settings.journal_kib = draft.rng.pick(&[16, 32]);
    (settings.value_bytes, settings.batch_bytes) = (3000, 1);
    settings.reads = 0;
    (settings.flush_us, settings.delay_us) = (20_000, settings.delay_us.min(2000));
    for _ in 0..30 {
        let who = draft.node(settings);
        draft.act(Action::Burst { writes: 4 });
        draft.pause(2, 40);
        draft.act(Action::Crash { who, how: Crash::Kill, down_ms: 20 });
        draft.at_ms += 21;
        draft.act(Action::Rot { who, area: Area::LogCommit, sectors: 1 });
        draft.pause(0, 4);
        let how = draft.rng.pick(&[Crash::LoseAll, Crash::LoseAll, Crash::Cut]);
        draft.act(Action::Crash { who, how, down_ms: 100 });
        draft.pause(250, 700);
    }
}

/// Lets one of the newest records of a journal rot before its contents are settled.
pub(super) fn rotten_record(settings: &mut Settings, draft: &mut Draft) {
    settings.gap_ms = 150;
    for _ in 0..12 {
        let who = draft.node(settings);
        if draft.rng.permille(400) {
            let to = Target::Follower(draft.rng.below(4));
            draft.act(Action::Transfer { to });
        }
        draft.act(Action::Burst { writes: 2 });
        draft.pause(0, 20);
        draft.act(Action::Burst { writes: 2 });
        draft.pause(0, 60);
        draft.act(Action::Rot { who, area: Area::Record, sectors: 1 });
        let (how, down_ms) = (draft.crash(), draft.rng.range(50, 400));
        draft.act(Action::Crash { who, how, down_ms });
        draft.pause(900, 2000);
    }
}

/// Lets one of the newest records rot in a log that is quiet: the witness covers all records, and holds the hard state of the last.
pub(super) fn rotten_record_at_rest(settings: &mut Settings, draft: &mut Draft) {
    (settings.clients, settings.gap_ms, settings.reads) = (1, 2_000, 0);
    (settings.flush_us, settings.delay_us, settings.stalls) = (150, settings.delay_us.min(2_000), 0);
    for _ in 0..10 {
        let (who, to) = (draft.node(settings), Target::Follower(draft.rng.below(2)));
        draft.act(Action::Transfer { to });
        draft.pause(20, 200);
        let writes = draft.rng.range(1, 3);
        draft.act(Action::Burst { writes });
        draft.pause(40, 400);
        draft.act(Action::Rot { who, area: Area::Record, sectors: 1 });
        let how = draft.rng.pick(&[Crash::Cut, Crash::LoseAll]);
        draft.act(Action::Crash { who, how, down_ms: 50 });
        draft.pause(1_200, 2_500);
    }
}

/// Lets the log's database rot, and cuts the power of the node right after it has voted.
pub(super) fn rotten_log_after_vote(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.pick(&[3, 5]);
    settings.flush_us = 150;
    for _ in 0..10 {
        let who = draft.node(settings);
        let sectors = draft.rng.pick(&[3, 30, 200]);
        draft.act(Action::Rot { who, area: Area::Log, sectors });
        let to = Target::Follower(draft.rng.below(settings.nodes - 1));
        draft.act(Action::Transfer { to });
        draft.pause(1, 18);
        let (how, down_ms) = (draft.crash(), draft.rng.range(50, 400));
        draft.act(Action::Crash { who, how, down_ms });
        draft.pause(0, 500);
        let (who, how) = (draft.node(settings), draft.crash());
        draft.act(Action::Crash { who, how, down_ms: 100 });
        draft.pause(900, 2000);
    }
}
