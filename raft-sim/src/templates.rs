//! Known ways to break a replicated log, for 30 % of the seeds: each a script with its times and places drawn.

use raftkit_core::NodeId;

use crate::rng::Rng;
use crate::script::{Action, Area, Crash, Step, Target};
use crate::swarm::draw_settings;
use crate::{Plan, Settings};

/// A script in the making: actions one after the other, with pauses.
struct Draft {
    rng: Rng,
    at_ms: u64,
    script: Vec<Step>,
}

impl Draft {
    fn act(&mut self, action: Action) {
        self.script.push(Step { at_ms: self.at_ms, action });
    }

    fn pause(&mut self, from_ms: u64, to_ms: u64) {
        self.at_ms += self.rng.range(from_ms, to_ms);
    }

    fn node(&mut self, settings: &Settings) -> Target {
        Target::Node(NodeId(self.rng.range(1, settings.nodes)))
    }

    fn crash(&mut self) -> Crash {
        self.rng.pick(Crash::ALL)
    }
}

type Template = fn(&mut Settings, &mut Draft);

/// Name and script of each.
const TEMPLATES: &[(&str, Template)] = &[
    ("figure-8", figure_8),
    ("two-removals", two_removals),
    ("transfer-lease-pause", transfer_lease_pause),
    ("purge-to-the-tip", purge_to_the_tip),
    ("crash-in-install", crash_in_install),
    ("crash-in-compaction", crash_in_compaction),
    ("crash-in-open", crash_in_open),
    ("rot-and-heal", rot_and_heal),
    ("stuck-leader", stuck_leader),
    ("all-lose-power", all_lose_power),
    ("stale-over-crashes", stale_over_crashes),
    ("wiped-voters", wiped_voters),
    ("deaf-and-mute", deaf_and_mute),
    ("restarts-joint", restarts_joint),
    ("joint-under-split", joint_under_split),
    ("joint-under-split", joint_under_split),
    ("storm-of-elections", storm_of_elections),
    ("crash-in-truncation", crash_in_truncation),
    ("figure-8", figure_8),
];

/// The template's plan, where this seed is one's.
pub(crate) fn plan(seed: u64, nodes: Option<u64>) -> Option<Plan> {
    let mut rng = Rng::new(seed, "template");
    if !rng.permille(300) {
        return None;
    }
    let (name, template) = rng.pick(TEMPLATES);
    let mut settings = draw_settings(&mut rng);
    // Not everything at once: the template is to get somewhere.
    (settings.sync_errors, settings.write_errors) = (0, 0);
    settings.loss = settings.loss.min(30);
    settings.nodes = settings.nodes.max(3);
    settings.gap_ms = settings.gap_ms.min(300);
    let mut draft = Draft { rng, at_ms: 1500, script: Vec::new() };
    template(&mut settings, &mut draft);
    if let Some(nodes) = nodes {
        settings.nodes = nodes;
    }
    settings.duration_ms = draft.at_ms + 500;
    Some(Plan { seed, kind: name.to_owned(), settings, script: draft.script })
}

/// Entries of an old leader that reach one node, and a new leader that does not have them (paper, Figure 8).
fn figure_8(settings: &mut Settings, draft: &mut Draft) {
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

/// Two changes of members, one right after the other, with the leader changing in between.
fn two_removals(settings: &mut Settings, draft: &mut Draft) {
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

/// Reads by lease while leadership goes elsewhere and the old leader stands still.
fn transfer_lease_pause(settings: &mut Settings, draft: &mut Draft) {
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

/// Nothing is kept of the log, and somebody always lacks it.
fn purge_to_the_tip(settings: &mut Settings, draft: &mut Draft) {
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

fn purging(settings: &mut Settings, draft: &mut Draft) {
    settings.trailing_logs = draft.rng.below(3);
    settings.persist_ms = draft.rng.pick(&[50, 100, 300]);
    settings.tail_bytes = draft.rng.pick(&[0, 200]);
    settings.chunk_bytes = draft.rng.pick(&[64, 128, 1024]);
    settings.gap_ms = 120;
}

/// Power is cut in each call of a snapshot's way in.
fn crash_in_install(settings: &mut Settings, draft: &mut Draft) {
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
fn crash_in_compaction(settings: &mut Settings, draft: &mut Draft) {
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

/// Power is cut while a node opens what a crash left, once and again.
fn crash_in_open(settings: &mut Settings, draft: &mut Draft) {
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

/// What rotted is found at a start, or while it is read, and comes back from the others.
fn rot_and_heal(settings: &mut Settings, draft: &mut Draft) {
    if draft.rng.permille(500) {
        purging(settings, draft);
    }
    settings.journal_kib = draft.rng.pick(&[16, 32]);
    for _ in 0..12 {
        let who = draft.node(settings);
        let area = draft.rng.pick(&[Area::Log, Area::Log, Area::Journal, Area::State, Area::Snapshots]);
        let sectors = draft.rng.pick(&[1, 3, 30, 200]);
        draft.act(Action::Rot { who, area, sectors });
        draft.pause(0, 100);
        let (how, down_ms) = (draft.crash(), draft.rng.range(50, 600));
        draft.act(Action::Crash { who, how, down_ms });
        draft.pause(400, 2500);
    }
}

/// A leader whose disk hangs must not hang the cluster (hashicorp/raft#503).
fn stuck_leader(settings: &mut Settings, draft: &mut Draft) {
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

/// Every node at once.
fn all_lose_power(settings: &mut Settings, draft: &mut Draft) {
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

/// Stale reads of nodes that come back from a loss.
fn stale_over_crashes(settings: &mut Settings, draft: &mut Draft) {
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

/// Data folders are lost, and their nodes come back as others.
fn wiped_voters(settings: &mut Settings, draft: &mut Draft) {
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

/// Nodes that hear and are not heard, and those that speak and hear nothing.
fn deaf_and_mute(settings: &mut Settings, draft: &mut Draft) {
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

/// Crashes and rot in the middle of changes that are joint.
fn restarts_joint(settings: &mut Settings, draft: &mut Draft) {
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

/// All voters change at once, and the old ones are cut off from the new ones before the change is through.
fn joint_under_split(settings: &mut Settings, draft: &mut Draft) {
    (settings.nodes, settings.spares) = (3, draft.rng.pick(&[2, 3, 4]));
    settings.delay_us = draft.rng.pick(&[500, 5_000, 20_000]);
    (settings.reads, settings.stale) = (draft.rng.pick(&[0, 500]), 0);
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

/// Elections one after the other, with messages that are as slow as they are.
fn storm_of_elections(settings: &mut Settings, draft: &mut Draft) {
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

/// A leader that is cut off gathers what nobody else has, comes back, and loses its power as its tail is cut.
fn crash_in_truncation(settings: &mut Settings, draft: &mut Draft) {
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
