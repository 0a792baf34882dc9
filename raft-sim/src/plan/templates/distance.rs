//! A template of a cluster over a wide area.

use raftkit_core::NodeId;

use super::Draft;
use crate::Settings;
use crate::plan::script::{Action, Crash, Target};

/// Breaks connections again and again between nodes that are up to half a second apart, with time-outs to match: both sides
/// dial at the same moment, and a greeting takes as long as some of the time-outs.
pub(super) fn far_apart(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.pick(&[3, 3, 5]);
    settings.ahead_us = draft.rng.pick(&[20_000, 40_000, 60_000, 100_000, 150_000, 300_000]);
    settings.back_us =
        draft.rng.pick(&[0, 20_000, settings.ahead_us, settings.ahead_us, settings.ahead_us, 500_000]);
    settings.dial_timeout_ms = draft.rng.pick(&[100, 1000, 1000]);
    let round_trip_ms = (settings.ahead_us + settings.back_us) / 1000;
    settings.leader_timeout_ms = 500 + 4 * round_trip_ms;
    settings.election_timeout_ms = 2 * settings.leader_timeout_ms;
    settings.commit_timeout_ms = 1000 + 4 * round_trip_ms;
    settings.hold_timeout_ms = 3000 + 4 * settings.leader_timeout_ms;
    settings.write_stall_ms = settings.write_stall_ms.max(2 * settings.leader_timeout_ms);
    settings.delay_us = settings.delay_us.min(2_000);
    for _ in 0..8 {
        let ms = draft.rng.range(round_trip_ms, 4 * round_trip_ms + 1000);
        let (one, two) = (draft.node(settings), draft.node(settings));
        let action = match draft.rng.below(6) {
            0 | 1 => Action::Reset { from: one, to: two },
            2 => Action::Split { side: draft.rng.below(128), ms },
            // A delay of seconds, in one direction only.
            3 => Action::Clog { from: one, to: two, ms: 4 * ms },
            4 => Action::Isolate { who: one, ms: 3 * settings.election_timeout_ms },
            _ => Action::Crash { who: one, how: Crash::Kill, down_ms: ms },
        };
        draft.act(action);
        if draft.rng.permille(300) {
            // All connections break at once, as after a change of route.
            for id in 2..=settings.nodes {
                draft.act(Action::Reset { from: Target::Node(NodeId(1)), to: Target::Node(NodeId(id)) });
            }
        }
        draft.act(Action::Burst { writes: 2 });
        draft.pause(round_trip_ms, 4000 + 4 * round_trip_ms);
    }
}
