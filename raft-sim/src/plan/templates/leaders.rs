//! Templates of elections and changes of leadership.

use raftkit_core::NodeId;

use super::Draft;
use crate::Settings;
use crate::plan::script::{Action, Crash, Target};

/// Lets entries of a leader reach one node only, and elects a leader that lacks them (paper, Figure 8).
pub(super) fn figure_8(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = 5;
    for _ in 0..12 {
        let nth = draft.rng.below(4);
        for other in 0..4 {
            if other != nth {
                draft.act(Action::OneWay { from: Target::Leader, to: Target::Follower(other), ms: 400 });
            }
        }
        draft.act(Action::Burst { writes: 3 });
        draft.pause(5, 300);
        let down_ms = draft.rng.range(600, 1500);
        let how = draft.crash();
        draft.act(Action::Crash { who: Target::Leader, how, down_ms });
        draft.pause(500, 1300);
    }
}

/// Reads by the lease while leadership is transferred and the former leader stands still.
pub(super) fn transfer_lease_pause(settings: &mut Settings, draft: &mut Draft) {
    (settings.reads, settings.consistent, settings.stale) = (650, 0, 0);
    (settings.clients, settings.gap_ms) = (5, 60);
    settings.drift = draft.rng.pick(&[0, 30, 46]);
    for _ in 0..14 {
        let nth = Target::Follower(draft.rng.below(6));
        if draft.rng.permille(500) {
            draft.act(Action::Transfer { to: nth });
            draft.pause(0, 3);
        }
        let ms = draft.rng.range(300, 1600);
        let harm = match draft.rng.below(4) {
            0 => Action::Pause { who: Target::Leader, ms },
            1 => Action::Hiccup { who: Target::Leader, ms },
            2 => Action::Isolate { who: Target::Leader, ms },
            _ => Action::Clog { from: nth, to: Target::Leader, ms },
        };
        draft.act(harm);
        draft.pause(600, 1900);
    }
}

/// Cuts links in one direction: some nodes receive and are not heard, others send and hear nothing.
pub(super) fn deaf_and_mute(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.pick(&[3, 3, 5]);
    for _ in 0..12 {
        let (nth, ms) = (draft.rng.below(5), draft.rng.range(500, 3000));
        let (from, to) = (Target::Follower(nth), Target::Leader);
        let (from, to) = if draft.rng.permille(500) { (from, to) } else { (to, from) };
        draft.act(Action::OneWay { from, to, ms });
        draft.act(Action::Burst { writes: 2 });
        draft.pause(300, 2000);
        if draft.rng.permille(250) {
            draft.act(Action::Isolate { who: Target::Leader, ms });
            draft.pause(500, 1500);
        }
    }
}

/// Holds one election after the other, with messages that take about as long as an election.
pub(super) fn storm_of_elections(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.pick(&[3, 5, 5, 7]);
    settings.leader_timeout_ms = draft.rng.pick(&[50, 100, 200]);
    settings.election_timeout_ms = settings.leader_timeout_ms + draft.rng.below(100);
    (settings.slow, settings.duplicates, settings.reorder) = (draft.rng.range(50, 300), 150, 400);
    settings.late = 400;
    settings.flush_us = draft.rng.pick(&[150, 2_000, 20_000]);
    for _ in 0..25 {
        let ms = draft.rng.range(100, 700);
        let action = match draft.rng.below(5) {
            0 => Action::Pause { who: Target::Leader, ms },
            1 => Action::Isolate { who: Target::Leader, ms },
            2 => Action::Transfer { to: Target::Follower(draft.rng.below(6)) },
            3 => Action::Split { side: draft.rng.below(128), ms },
            _ => Action::Crash { who: Target::Leader, how: Crash::Cut, down_ms: ms },
        };
        draft.act(action);
        draft.act(Action::Burst { writes: 1 });
        draft.pause(50, 600);
    }
}

/// Moves leadership to and fro faster than messages arrive, so that nodes get answers and votes of earlier terms, and kills
/// voters in between, which must not forget their votes.
pub(super) fn to_and_fro(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.pick(&[3, 3, 5]);
    settings.leader_timeout_ms = draft.rng.pick(&[50, 100]);
    settings.election_timeout_ms = settings.leader_timeout_ms + draft.rng.below(50);
    (settings.slow, settings.reorder, settings.duplicates) = (draft.rng.range(100, 400), 800, 300);
    settings.flush_us = draft.rng.pick(&[150, 2_000, 20_000]);
    let timeout = settings.leader_timeout_ms;
    for round in 0..30 {
        let who = Target::Node(NodeId(1 + round % 2));
        match draft.rng.below(4) {
            0 => draft.act(Action::Isolate { who: Target::Leader, ms: 2 * timeout }),
            1 => {
                let who = draft.node(settings);
                let down_ms = draft.rng.range(1, timeout / 2);
                draft.act(Action::Crash { who, how: Crash::Kill, down_ms });
            }
            _ => draft.act(Action::Transfer { to: who }),
        }
        draft.act(Action::Burst { writes: 2 });
        draft.pause(timeout / 10, 3 * timeout);
    }
}

/// Lets a candidate that cannot win raise its term, while an isolated leader of an older term has the longer log, and then leaves
/// only these two (etcd's pre-vote deadlock).
pub(super) fn terms_apart(settings: &mut Settings, draft: &mut Draft) {
    (settings.nodes, settings.spares, settings.crippled) = (3, 0, 1);
    settings.flush_us = settings.flush_us.min(2_000);
    let timeout = settings.leader_timeout_ms;
    // One follower grants pre-votes and cannot vote, as its disk hangs.
    let who = Target::Follower(draft.rng.below(2));
    draft.act(Action::Stall { who, ms: 20 * timeout });
    draft.act(Action::Isolate { who: Target::Leader, ms: 20 * timeout });
    draft.act(Action::Burst { writes: 9 });
    draft.pause(4 * timeout, 10 * timeout);
}

/// Isolates a leader that goes on appending entries, and brings it back when its successor has lost its power: of the two nodes
/// that are left one has the longer log and the other one the log with the newer last entry (paper, section 5.4.1).
pub(super) fn longer_but_older(settings: &mut Settings, draft: &mut Draft) {
    (settings.nodes, settings.spares) = (3, 0);
    settings.flush_us = settings.flush_us.min(2_000);
    let timeout = settings.leader_timeout_ms;
    settings.commit_timeout_ms = timeout;
    for _ in 0..8 {
        let ms = draft.rng.range(4, 6) * timeout;
        draft.act(Action::Isolate { who: Target::Leader, ms });
        draft.act(Action::Burst { writes: 12 });
        draft.at_ms += ms - draft.rng.below(timeout / 5);
        let how = draft.crash();
        draft.act(Action::Crash { who: Target::Leader, how, down_ms: 3 * timeout });
        draft.pause(4 * timeout, 6 * timeout);
    }
}

/// Restarts node by node with shorter and longer time-outs while clients read by the lease, and isolates the leader right after
/// a voter is back.
pub(super) fn rolling_settings(settings: &mut Settings, draft: &mut Draft) {
    (settings.nodes, settings.spares) = (draft.rng.pick(&[3, 3, 5]), 0);
    (settings.retimed, settings.reads, settings.consistent, settings.stale) = (1000, 500, 0, 0);
    settings.drift = draft.rng.pick(&[0, 20, 45]);
    settings.flush_us = draft.rng.pick(&[150, 2_000, 20_000]);
    for round in 0..12 {
        let who = Target::Node(NodeId(1 + round % settings.nodes));
        let down_ms = draft.rng.range(10, 200);
        let how = draft.crash();
        let ends = if draft.rng.permille(500) {
            Action::Stop { who, down_ms }
        } else {
            Action::Crash { who, how, down_ms }
        };
        draft.act(ends);
        draft.at_ms += down_ms;
        draft.pause(10, 1500);
        if draft.rng.permille(600) {
            draft.act(Action::Isolate { who: Target::Leader, ms: 2500 });
            draft.pause(1000, 3000);
        }
    }
}
