//! Logs that are cut, and snapshots in their place.

use super::Draft;
use crate::Settings;
use crate::script::{Action, Crash, Target};

/// Nothing is kept of the log, and somebody always lacks it.
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

/// Power is cut in each call of a snapshot's way in.
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

/// Power is cut while logs are cut.
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
