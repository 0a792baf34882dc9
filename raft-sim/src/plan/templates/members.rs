//! Templates of changes of the membership.

use super::Draft;
use crate::Settings;
use crate::plan::script::{Action, Crash, Stranger, Target};

/// Changes the membership twice in quick succession, with another leader in between.
pub(super) fn two_removals(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.range(4, 6);
    settings.spares = 2;
    for _ in 0..6 {
        let who = Target::Follower(draft.rng.below(5));
        draft.act(Action::Remove { who });
        draft.pause(0, 5);
        let ms = draft.rng.range(300, 1500);
        match draft.rng.below(3) {
            0 => draft.act(Action::Isolate { who: Target::Leader, ms }),
            1 => draft.act(Action::Crash { who: Target::Leader, how: Crash::Cut, down_ms: ms }),
            _ => {}
        }
        draft.pause(0, 900);
        let who = Target::Follower(draft.rng.below(5));
        let again = if draft.rng.permille(500) { Action::Remove { who } } else { Action::Swap { who } };
        draft.act(again);
        draft.pause(800, 2000);
        draft.act(Action::Add);
        draft.pause(100, 1200);
        draft.act(Action::Add);
        draft.pause(500, 2000);
    }
}

/// Loses data folders of voters, which come back with new store ids.
pub(super) fn wiped_voters(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.range(3, 5);
    for _ in 0..7 {
        let who = draft.node(settings);
        let down_ms = draft.rng.range(10, 800);
        draft.act(Action::Wipe { who, down_ms });
        draft.pause(100, 3000);
        if draft.rng.permille(500) {
            let how = draft.crash();
            draft.act(Action::Crash { who: Target::Leader, how, down_ms: 400 });
        }
        draft.pause(500, 3000);
    }
}

/// Restarts nodes, and lets files rot, during joint consensus.
pub(super) fn restarts_joint(settings: &mut Settings, draft: &mut Draft) {
    (settings.nodes, settings.spares) = (draft.rng.range(3, 5), 2);
    settings.trailing_logs = draft.rng.pick(&[0, 2, 10_240]);
    for _ in 0..10 {
        let who = Target::Follower(draft.rng.below(5));
        draft.act(Action::Swap { who });
        draft.pause(0, 6);
        let how = draft.crash();
        let down_ms = draft.rng.range(10, 900);
        let who = if draft.rng.permille(500) { Target::Leader } else { draft.node(settings) };
        draft.act(Action::Crash { who, how, down_ms });
        draft.pause(500, 1800);
        if draft.rng.permille(400) {
            draft.act(Action::Demote { who: Target::Follower(0) });
            draft.pause(300, 900);
        }
    }
}

/// Changes all voters at once, and cuts the old ones off from the new ones before the change is complete.
pub(super) fn joint_under_split(settings: &mut Settings, draft: &mut Draft) {
    (settings.nodes, settings.spares) = (3, draft.rng.pick(&[2, 3, 4]));
    settings.delay_us = draft.rng.pick(&[500, 5_000, 20_000]);
    (settings.reads, settings.stale) = (draft.rng.pick(&[0, 500, 800]), 0);
    settings.gap_ms = settings.gap_ms.min(draft.rng.pick(&[20, 100, 300]));
    let hosts = settings.nodes + settings.spares;
    let mut old = 0b111;
    for _ in 0..12 {
        let new = loop {
            let drawn = draft.rng.below(1 << hosts);
            if (1..=4).contains(&drawn.count_ones()) && drawn != old {
                break drawn;
            }
        };
        draft.act(Action::Reshape { voters: new });
        draft.pause(0, 1 + settings.delay_us / 300);
        let side = match draft.rng.below(4) {
            0 => old,
            1 => new,
            2 => old & !new,
            _ => draft.rng.below(1 << hosts),
        };
        let ms = draft.rng.range(800, 3000);
        draft.act(Action::Split { side, ms });
        draft.act(Action::Burst { writes: 3 });
        draft.pause(0, 400);
        if draft.rng.permille(500) {
            let how = draft.crash();
            let down_ms = draft.rng.range(50, 900);
            draft.act(Action::Crash { who: Target::Leader, how, down_ms });
        }
        draft.pause(200, 1500);
        draft.act(Action::Burst { writes: 3 });
        draft.pause(500, 2500);
        old = new;
    }
}

/// Lets processes that do not belong to the cluster dial its members.
pub(super) fn strangers(settings: &mut Settings, draft: &mut Draft) {
    for _ in 0..10 {
        let stranger = draft.rng.pick(Stranger::ALL);
        let who = if draft.rng.permille(300) { Target::Leader } else { draft.node(settings) };
        draft.act(Action::Stray { who, stranger });
        draft.pause(50, 1000);
        if draft.rng.permille(300) {
            let (how, down_ms) = (draft.crash(), draft.rng.range(50, 900));
            draft.act(Action::Crash { who, how, down_ms });
        }
        draft.pause(50, 1000);
    }
}

/// Delays the message that has a voter campaign at once, until the node is no voter any more.
pub(super) fn called_and_demoted(settings: &mut Settings, draft: &mut Draft) {
    settings.nodes = draft.rng.range(3, 5);
    settings.election_timeout_ms = settings.leader_timeout_ms;
    (settings.delay_us, settings.slow, settings.reorder) = (500, 0, 1000);
    (settings.flush_us, settings.stalls) = (settings.flush_us.min(2_000), 0);
    let timeout = settings.election_timeout_ms;
    for _ in 0..8 {
        let who = draft.node(settings);
        draft.act(Action::Clog { from: Target::Leader, to: who, ms: 3 * timeout });
        draft.act(Action::Transfer { to: who });
        // Wait until the leader takes the transfer for failed. Its later messages then overtake the delayed one.
        draft.pause(timeout, timeout + 100);
        draft.act(Action::Clog { from: Target::Leader, to: who, ms: 1 });
        draft.act(Action::Demote { who });
        draft.pause(2 * timeout, 3 * timeout);
        draft.act(Action::Demote { who });
        draft.pause(timeout, 2 * timeout);
    }
}
