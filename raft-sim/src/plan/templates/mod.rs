//! Templates: scripts of known ways to break a replicated log, with random times and nodes. A third of the seeds use one.

mod busy;
mod disks;
mod distance;
mod folders;
mod leaders;
mod members;
mod rot;
mod snapshots;

use raftkit_core::NodeId;

use crate::plan::script::{Action, Crash, Step, Target};
use crate::plan::swarm::draw_settings;
use crate::rng::Rng;
use crate::{Plan, Settings};

/// A script that is being written: actions one after the other, with pauses.
struct Draft {
    rng: Rng,
    /// Time of the next action, in milliseconds.
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

    /// Sends writes of `bytes` bytes to the leader, with a pause of `gap_ms` after each.
    fn flow_of_big(&mut self, writes: u64, bytes: u64, gap_ms: u64) {
        for _ in 0..writes {
            self.act(Action::Big { bytes });
            self.at_ms += gap_ms;
        }
    }

    fn node(&mut self, settings: &Settings) -> Target {
        Target::Node(NodeId(self.rng.range(1, settings.nodes)))
    }

    fn crash(&mut self) -> Crash {
        self.rng.pick(Crash::ALL)
    }
}

type Template = fn(&mut Settings, &mut Draft);

/// Names and scripts of all templates. A template that needs more seeds to show its bugs stands here several times.
const TEMPLATES: &[(&str, Template)] = &[
    ("figure-8", leaders::figure_8),
    ("two-removals", members::two_removals),
    ("transfer-lease-pause", leaders::transfer_lease_pause),
    ("purge-to-the-tip", snapshots::purge_to_the_tip),
    ("crash-in-install", snapshots::crash_in_install),
    ("crash-between-steps", snapshots::crash_between_steps),
    ("crash-between-steps", snapshots::crash_between_steps),
    ("snapshot-fails", snapshots::snapshot_fails),
    ("snapshot-fails", snapshots::snapshot_fails),
    ("slow-link", snapshots::slow_link),
    ("overtaken", snapshots::overtaken),
    ("strangers", members::strangers),
    ("crash-in-compaction", snapshots::crash_in_compaction),
    ("crash-in-open", disks::crash_in_open),
    ("rot-and-heal", rot::rot_and_heal),
    ("rotten-commit", rot::rotten_commit),
    ("rotten-commit", rot::rotten_commit),
    ("rotten-commit", rot::rotten_commit),
    ("rotten-commit-after-kill", rot::rotten_commit_after_kill),
    ("rotten-commit-after-kill", rot::rotten_commit_after_kill),
    ("rotten-record", rot::rotten_record),
    ("rotten-log-after-vote", rot::rotten_log_after_vote),
    ("first-starts", folders::first_starts),
    ("first-starts", folders::first_starts),
    ("wrong-folder", folders::wrong_folder),
    ("full-disk", disks::full_disk),
    ("large-values", disks::large_values),
    ("stuck-leader", disks::stuck_leader),
    ("all-lose-power", disks::all_lose_power),
    ("stale-over-crashes", disks::stale_over_crashes),
    ("wiped-voters", members::wiped_voters),
    ("deaf-and-mute", leaders::deaf_and_mute),
    ("restarts-joint", members::restarts_joint),
    ("joint-under-split", members::joint_under_split),
    ("joint-under-split", members::joint_under_split),
    ("joint-under-split", members::joint_under_split),
    ("joint-under-split", members::joint_under_split),
    ("storm-of-elections", leaders::storm_of_elections),
    ("crash-in-truncation", disks::crash_in_truncation),
    ("figure-8", leaders::figure_8),
    ("to-and-fro", leaders::to_and_fro),
    ("to-and-fro", leaders::to_and_fro),
    ("terms-apart", leaders::terms_apart),
    ("rolling-settings", leaders::rolling_settings),
    ("longer-but-older", leaders::longer_but_older),
    ("called-and-demoted", members::called_and_demoted),
    ("narrow-links", busy::narrow_links),
    ("slow-disks", busy::slow_disks),
    ("far-behind", busy::far_behind),
    ("standstill", busy::standstill),
    ("quiet", busy::quiet),
    ("many-readers", busy::many_readers),
    ("many-readers", busy::many_readers),
    ("far-apart", distance::far_apart),
    ("far-apart", distance::far_apart),
];

/// Templates that were added later. They take seeds that no template of the first list takes: a longer first list would give
/// every known seed of a template another one.
const LATER: &[(&str, Template)] = &[
    ("rotten-commit-in-settling", rot::rotten_commit_in_settling),
    ("copy-beside-truncation", disks::copy_beside_truncation),
    ("rotten-record-at-rest", rot::rotten_record_at_rest),
];

/// Draws the plan of a template, if the seed uses one.
pub(crate) fn plan(seed: u64, nodes: Option<u64>) -> Option<Plan> {
    let (mut rng, name, template) = draw(seed)?;
    let mut settings = draw_settings(&mut rng);
    // Weaken faults that would keep most templates from getting to their point.
    (settings.sync_errors, settings.write_errors) = (0, 0);
    settings.loss = settings.loss.min(30);
    settings.nodes = settings.nodes.max(3);
    settings.gap_ms = settings.gap_ms.min(300);
    let mut draft = Draft { rng, at_ms: 1500, script: Vec::new() };
    template(&mut settings, &mut draft);
    if let Some(nodes) = nodes {
        settings.nodes = nodes;
        if nodes.is_multiple_of(2) {
            // Where half of the nodes are no quorum a leader may lose its quorum that was to stay.
            settings.steady_ms = 0;
        }
    }
    // A cluster whose nodes are farther apart than its time-outs allow for never settles.
    let one_way_max = settings.leader_timeout_ms * 1000 / 8;
    settings.ahead_us = settings.ahead_us.min(2 * one_way_max);
    settings.back_us = settings.back_us.min(2 * one_way_max - settings.ahead_us);
    settings.duration_ms = draft.at_ms + 500;
    Some(Plan { seed, kind: name.to_owned(), settings, script: draft.script })
}

/// Draws a template, with the generator that draws everything else in its plan.
fn draw(seed: u64) -> Option<(Rng, &'static str, Template)> {
    for (concern, share, templates) in [("template", 300, TEMPLATES), ("later template", 40, LATER)] {
        let mut rng = Rng::new(seed, concern);
        if rng.permille(share) {
            let (name, template) = rng.pick(templates);
            return Some((rng, name, template));
        }
    }
    None
}
