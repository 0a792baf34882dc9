//! Drawing of a plan from a seed: the faults that are on (each is off about half of the time), how strong they are, and the script.

use raftkit_core::NodeId;

use crate::plan::script::{Action, Area, Call, Crash, Moment, Step, Stranger, Target};
use crate::rng::Rng;
use crate::{Plan, Settings};

/// Number of kinds of actions. Each kind is on or off for a whole run.
const KINDS: usize = 15;

/// About the number of calls in a first start that change the disk.
pub(crate) const CALLS_OF_MAKING: u64 = 90;

/// Draws the plan of a seed. `nodes` fixes the number of voters.
#[must_use]
pub fn plan(seed: u64, nodes: Option<u64>) -> Plan {
    let mut plan = crate::plan::templates::plan(seed, nodes).unwrap_or_else(|| swarm(seed, nodes));
    // This setting has a generator of its own, as a further draw from another one would change every known seed.
    plan.settings.watched = u64::from(Rng::new(seed, "watched").permille(400));
    plan
}

/// Draws a plan in which every setting and every line is random.
fn swarm(seed: u64, nodes: Option<u64>) -> Plan {
    let mut rng = Rng::new(seed, "swarm");
    let mut settings = draw_settings(&mut rng);
    if let Some(nodes) = nodes {
        settings.nodes = nodes;
    }
    let script = draw_script(&mut rng, &settings);
    draw_rates(&mut Rng::new(seed, "rates"), &mut settings);
    Plan { seed, kind: "swarm".to_owned(), settings, script }
}

/// Draws 0 half of the time, else 1 to `most`.
fn some(rng: &mut Rng, most: u64) -> u64 {
    if rng.permille(500) { rng.range(1, most) } else { 0 }
}

/// Draws the settings.
pub(crate) fn draw_settings(rng: &mut Rng) -> Settings {
    let small = rng.permille(600);
    let neutral = Settings::default();
    let mut settings = Settings {
        nodes: rng.pick(&[1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]),
        spares: rng.pick(&[0, 0, 1, 2]),
        clients: rng.pick(&[1, 2, 3, 4, 5]),
        keys: rng.range(1, 3),
        gap_ms: rng.pick(&[150, 300, 600, 600, 1000]),
        duration_ms: rng.range(15_000, 45_000),
        reads: rng.pick(&[0, 200, 400]),
        consistent: rng.pick(&[0, 300, 500]),
        stale: rng.pick(&[0, 200, 400]),
        conditional: rng.pick(&[0, 300, 600]),
        value_bytes: rng.pick(&[8, 16, 16, 100, 3000]),
        drift: some(rng, 46),
        ahead_us: rng.pick(&[0, 0, 0, 0, 0, 0, 0, 1_000, 15_000, 30_000]),
        back_us: rng.pick(&[0, 0, 0, 0, 0, 0, 0, 1_000, 15_000, 30_000]),
        delay_us: rng.pick(&[100, 500, 500, 2000, 20_000]),
        loss: some(rng, 150),
        duplicates: some(rng, 100),
        reorder: some(rng, 200),
        slow: some(rng, 60),
        split: some(rng, 30),
        late: some(rng, 300),
        flush_us: rng.pick(&[100, 150, 150, 2000, 20_000]),
        stalls: some(rng, 8),
        sync_errors: some(rng, 3000),
        write_errors: some(rng, 500),
        hiccups: some(rng, 20),
        priorities: u64::from(rng.permille(150)),
        crippled: u64::from(rng.permille(250)),
        ..neutral
    };
    if small {
        settings.trailing_logs = rng.pick(&[0, 2, 8, 30]);
        settings.persist_ms = rng.pick(&[100, 300, 1000]);
        settings.uneven = u64::from(rng.permille(300));
        settings.batch_bytes = rng.pick(&[1, 100, 1000, neutral.batch_bytes]);
        settings.inflight_messages = rng.pick(&[1, 2, 8, neutral.inflight_messages]);
        settings.uncommitted_bytes = rng.pick(&[200, 1000, neutral.uncommitted_bytes]);
        settings.tail_bytes = rng.pick(&[0, 200, 1000, neutral.tail_bytes]);
        settings.unapplied_bytes = rng.pick(&[0, 500, neutral.unapplied_bytes]);
        settings.journal_kib = rng.pick(&[16, 16, 32, 64]);
        settings.chunk_bytes = rng.pick(&[64, 256, 4096]);
        settings.slack_kib = rng.pick(&[64, 4096]);
    }
    settings.apart = u64::from(rng.permille(500));
    if rng.permille(200) {
        settings.write_stall_ms = rng.pick(&[400, 1000, 2000]);
    }
    if rng.permille(250) {
        settings.retimed = rng.range(100, 900);
    }
    settings
}

/// Draws rates of links and disks, and slow state machines.
fn draw_rates(rng: &mut Rng, settings: &mut Settings) {
    if rng.permille(150) {
        settings.link_kbps = rng.pick(&[30, 100, 300, 1000]);
        settings.link_queue_kib = rng.pick(&[1, 8, 32]);
    }
    if rng.permille(100) {
        settings.disk_kbps = rng.pick(&[30, 100, 300, 1000]);
    }
    if rng.permille(150) {
        settings.apply_us = rng.pick(&[2_000, 20_000, 50_000, 200_000]);
    }
}

fn target(rng: &mut Rng, settings: &Settings) -> Target {
    match rng.below(10) {
        0..=3 => Target::Leader,
        4..=6 => Target::Follower(rng.below(settings.nodes)),
        _ => Target::Node(NodeId(rng.range(1, settings.nodes + settings.spares))),
    }
}

/// Draws the script.
fn draw_script(rng: &mut Rng, settings: &Settings) -> Vec<Step> {
    let on: Vec<usize> = (0..KINDS).filter(|_| rng.permille(500)).collect();
    let gap = rng.pick(&[300, 600, 1000, 1000, 2000]);
    let mut script = draw_first_starts(rng, settings);
    let mut at_ms = 600;
    if on.is_empty() {
        return script;
    }
    loop {
        at_ms += 20 + rng.around(gap);
        if at_ms >= settings.duration_ms {
            return script;
        }
        let kind = rng.pick(&on);
        let action = draw_action(rng, settings, kind);
        // Gaps are often short, so that an action hits what the one before has just begun.
        script.push(Step { at_ms, action });
    }
}

/// Draws power cuts while data folders are created, and further ones soon after.
fn draw_first_starts(rng: &mut Rng, settings: &Settings) -> Vec<Step> {
    let mut script = Vec::new();
    if !rng.permille(250) {
        return script;
    }
    for at_ms in [0, 250] {
        for id in 1..=settings.nodes {
            let (who, calls) = (Target::Node(NodeId(id)), rng.below(CALLS_OF_MAKING));
            script.push(Step { at_ms, action: Action::CrashAtCall { who, calls, down_ms: 50 } });
        }
    }
    for id in 1..=settings.nodes {
        let (who, how) = (Target::Node(NodeId(id)), rng.pick(&[Crash::Cut, Crash::LoseAll]));
        script.push(Step { at_ms: 500, action: Action::Crash { who, how, down_ms: 50 } });
    }
    script
}

/// Draws an action of one kind.
fn draw_action(rng: &mut Rng, settings: &Settings, kind: usize) -> Action {
    let who = target(rng, settings);
    let ms = rng.pick(&[50, 200, 500, 1000, 3000]);
    let ms = rng.range(ms / 2, ms);
    match kind {
        0..=5 => draw_end_or_pause(rng, kind, (who, ms)),
        6..=8 => draw_cut(rng, settings, kind, (who, ms)),
        9..=11 => draw_disk_fault(rng, settings, kind, (who, ms)),
        _ => draw_change(rng, settings, kind, (who, ms)),
    }
}

/// Draws an end of a process, or a standstill.
fn draw_end_or_pause(rng: &mut Rng, kind: usize, (who, ms): (Target, u64)) -> Action {
    match kind {
        0..=2 => Action::Crash {
            who,
            how: rng.pick(&[Crash::Cut, Crash::Cut, Crash::LoseAll, Crash::Kill]),
            down_ms: ms,
        },
        3 => {
            if rng.permille(700) {
                Action::CrashAtCall { who, calls: rng.below(40), down_ms: ms }
            } else {
                let (moment, how) = (rng.pick(Moment::ALL), rng.pick(Crash::ALL));
                Action::CrashAfter { who, moment, how, us: rng.below(1000), down_ms: ms }
            }
        }
        4 => Action::Stop { who, down_ms: ms },
        _ => {
            if rng.permille(500) {
                Action::Pause { who, ms }
            } else {
                Action::Hiccup { who, ms }
            }
        }
    }
}

/// Draws a fault of links.
fn draw_cut(rng: &mut Rng, settings: &Settings, kind: usize, (who, ms): (Target, u64)) -> Action {
    match kind {
        6 => Action::Isolate { who, ms },
        7 => Action::OneWay { from: who, to: target(rng, settings), ms },
        _ => match rng.below(3) {
            0 => Action::Clog { from: who, to: target(rng, settings), ms },
            1 => Action::Reset { from: who, to: target(rng, settings) },
            _ => Action::Split { side: rng.bits() & 0x7f, ms },
        },
    }
}

/// Draws a fault of a disk.
fn draw_disk_fault(rng: &mut Rng, settings: &Settings, kind: usize, (who, ms): (Target, u64)) -> Action {
    match kind {
        9 => match rng.below(5) {
            0 => Action::Hold { who, ms },
            1 => Action::Starve { from: who, to: target(rng, settings), ms: 4 * ms },
            _ => Action::Stall { who, ms },
        },
        10 => {
            if rng.permille(800) {
                let call = rng.pick(Call::ALL);
                Action::Fail { who, call, nth: rng.below(10) }
            } else {
                Action::Full { who, ms }
            }
        }
        _ => {
            let area = if rng.permille(400) {
                rng.pick(&[Area::LogCommit, Area::LogCommit, Area::StateCommit, Area::Record, Area::Record])
            } else {
                rng.pick(&[Area::Log, Area::Log, Area::Journal, Area::Journal, Area::State, Area::Snapshots])
            };
            Action::Rot { who, area, sectors: rng.pick(&[1, 1, 3, 30]) }
        }
    }
}

/// Draws an action of the operator or of a client, or a rare fault.
fn draw_change(rng: &mut Rng, settings: &Settings, kind: usize, (who, ms): (Target, u64)) -> Action {
    match kind {
        12 => {
            if rng.permille(300) {
                Action::Wipe { who, down_ms: ms }
            } else {
                Action::Transfer { to: who }
            }
        }
        13 => match rng.below(5) {
            0 => Action::Add,
            1 => Action::Remove { who },
            2 => Action::Swap { who },
            3 => Action::Reshape { voters: rng.range(1, (1 << (settings.nodes + settings.spares)) - 1) },
            _ => Action::Demote { who },
        },
        _ => {
            if rng.permille(50) {
                Action::Misplace { who, of: target(rng, settings) }
            } else if rng.permille(150) {
                Action::Stray { who, stranger: rng.pick(Stranger::ALL) }
            } else if rng.permille(800) {
                Action::Burst { writes: rng.range(2, 12) }
            } else {
                Action::Big { bytes: rng.pick(&[3000, 9000, 20_000]) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_the_same_as_text() {
        for seed in 0..200 {
            let drawn = plan(seed, None);
            assert_eq!(Plan::parse(&drawn.to_string()), Ok(drawn), "seed {seed}");
        }
    }
}
