//! Shrinking of a failing plan: fewer lines, faults and nodes and less time, as long as the same promise is broken.

use crate::{Plan, Settings};

/// Settings that are never set to their neutral values, as these would make a run larger.
const KEPT: &[&str] = &["nodes", "clients", "keys", "duration_ms", "gap_ms"];

/// Tries smaller and smaller plans while `more` returns true, and returns the smallest one for which `fails` returned true.
pub fn shrink(plan: &Plan, mut fails: impl FnMut(&Plan) -> bool, mut more: impl FnMut() -> bool) -> Plan {
    let mut best = plan.clone();
    let mut again = true;
    while again && more() {
        let before = best.clone();
        drop_lines(&mut best, &mut fails, &mut more);
        calm_settings(&mut best, &mut fails, &mut more);
        shorten(&mut best, &mut fails, &mut more);
        again = best != before;
    }
    best
}

/// Replaces `best` by `tried` if that fails too.
fn take(best: &mut Plan, tried: Plan, fails: &mut impl FnMut(&Plan) -> bool) -> bool {
    let better = tried != *best && fails(&tried);
    if better {
        *best = tried;
    }
    better
}

/// Leaves out parts of the script: first halves, then smaller parts, then single lines.
fn drop_lines(best: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool, more: &mut impl FnMut() -> bool) {
    let mut part = best.script.len().div_ceil(2);
    while part > 0 {
        let mut from = 0;
        while from < best.script.len() && more() {
            let mut tried = best.clone();
            tried.script.drain(from..(from + part).min(best.script.len()));
            if !take(best, tried, fails) {
                from += part;
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
}

/// Sets each setting to its neutral value, then lowers the numbers of hosts, clients and keys one by one.
fn calm_settings(best: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool, more: &mut impl FnMut() -> bool) {
    let calmed = Settings::ALL.iter().filter(|(name, _)| !KEPT.contains(name));
    for (name, neutral) in calmed {
        if !more() {
            return;
        }
        let mut tried = best.clone();
        tried.settings.set(name, *neutral);
        take(best, tried, fails);
    }
    for (name, least) in [("spares", 0), ("clients", 1), ("keys", 1), ("nodes", 1)] {
        while let Some(value) = best.settings.value(name).filter(|value| *value > least)
            && more()
        {
            let mut tried = best.clone();
            tried.settings.set(name, value - 1);
            if !take(best, tried, fails) {
                break;
            }
        }
    }
}

/// Lets faults end sooner.
fn shorten(best: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool, more: &mut impl FnMut() -> bool) {
    for part in [2, 4, 8, 16] {
        let cut = best.settings.duration_ms / part;
        while best.settings.duration_ms > cut.max(500) && more() {
            let mut tried = best.clone();
            tried.settings.duration_ms -= cut;
            tried.script.retain(|step| step.at_ms < tried.settings.duration_ms);
            if !take(best, tried, fails) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::script::{Action, Step, Target};

    #[test]
    fn what_does_not_matter_goes_and_what_does_stays() {
        let action = |ms| Action::Isolate { who: Target::Leader, ms };
        let script = (0..40).map(|at| Step { at_ms: at * 100, action: action(at) }).collect();
        let settings = Settings { nodes: 5, loss: 30, drift: 7, duration_ms: 30_000, ..Settings::default() };
        let plan = Plan { seed: 1, kind: "swarm".to_owned(), settings, script };
        // It fails by two lines together, with at least three nodes and some drift.
        let fails = |plan: &Plan| {
            let has = |ms| plan.script.iter().any(|step| step.action == action(ms));
            has(7) && has(23) && plan.settings.nodes >= 3 && plan.settings.drift > 0
        };
        let small = shrink(&plan, fails, || true);
        assert_eq!(small.script.len(), 2);
        assert_eq!((small.settings.nodes, small.settings.loss, small.settings.drift), (3, 0, 7));
        assert!(small.settings.duration_ms < 5_000);
    }

    #[test]
    fn nothing_is_tried_without_time() {
        let plan = crate::plan_of_seed(1, None);
        assert_eq!(shrink(&plan, |_| panic!("no run"), || false), plan);
    }
}
