//! Templates of data folders: their creation, the durability of their names, and their owners.

use raftkit_core::NodeId;

use super::Draft;
use crate::Settings;
use crate::plan::script::{Action, Area, Crash, Target};
use crate::plan::swarm::CALLS_OF_MAKING;

/// Ends nodes while they create their folders, and cuts their power soon after: names that were not made durable are lost.
pub(super) fn first_starts(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.pick(&[3, 5, 7]);
    settings.journal_kib = 16;
    draft.at_ms = 0;
    for _ in 0..3 {
        end_in_making(settings, draft);
        draft.pause(150, 250);
    }
    for _ in 0..8 {
        draft.pause(100, 900);
        draft.act(Action::Burst { writes: 3 });
        draft.pause(0, 300);
        let who = draft.node(settings);
        if draft.rng.permille(500) {
            draft.act(Action::Wipe { who, down_ms: 20 });
            for _ in 0..3 {
                let calls = draft.rng.below(CALLS_OF_MAKING);
                draft.act(Action::CrashAtCall { who, calls, down_ms: 20 });
                draft.at_ms += 21;
            }
        } else if draft.rng.permille(500) {
            draft.act(Action::Rot { who, area: Area::Log, sectors: 30 });
        }
        draft.pause(0, 100);
        for _ in 0..2 {
            let how = draft.rng.pick(&[Crash::LoseAll, Crash::Cut]);
            draft.act(Action::Crash { who, how, down_ms: 50 });
            draft.pause(60, 150);
        }
    }
}

fn end_in_making(settings: &Settings, draft: &mut Draft) {
    for id in 1..=settings.nodes {
        let (who, calls) = (Target::Node(NodeId(id)), draft.rng.below(CALLS_OF_MAKING));
        draft.act(Action::CrashAtCall { who, calls, down_ms: 20 });
    }
}

/// Opens copies of nodes' data folders as other nodes, while the cluster goes on.
pub(super) fn wrong_folder(settings: &mut Settings, draft: &mut Draft) {
    for _ in 0..6 {
        let (who, of) = (draft.node(settings), draft.node(settings));
        draft.act(Action::Misplace { who, of });
        draft.pause(300, 1500);
        let (who, how) = (draft.node(settings), draft.crash());
        draft.act(Action::Crash { who, how, down_ms: 100 });
        draft.pause(300, 1500);
    }
}
