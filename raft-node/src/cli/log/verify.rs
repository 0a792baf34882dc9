//! `raft-node log verify`: reports what a log holds, and what is wrong with it.

use std::path::Path;

use raftkit_core::{Health, LogIndex};
use raftkit_log::{Contents, FoundDamage, Inspection, LogDamage, Lost, Unsettled, Verdict};
use serde_json::{Value, json};

use super::dump::members;
use super::{chain, counted, judge, range, size};
use crate::cli::{Failure, output};

/// Maximum number of terms, and of memberships, that are listed one by one: the latest of them.
const LISTED_MAX: usize = 8;

pub(super) fn run(inspection: &Inspection, dir: &Path, json: bool) -> Result<(), Failure> {
    let text = if json { format!("{:#}\n", object(inspection)) } else { render(inspection, dir) };
    output::write(text.as_bytes())?;
    judge(inspection, dir)
}

fn verdict(inspection: &Inspection) -> &'static str {
    match inspection.verdict() {
        Verdict::Sound => "sound",
        Verdict::Healing => "healing",
        Verdict::Damaged => "damaged",
    }
}

fn render(inspection: &Inspection, dir: &Path) -> String {
    let mut rows = vec![row("folder", dir.display())];
    for (path, bytes) in &inspection.files {
        rows.push(row("", format!("{}, {}", name(path), size(*bytes))));
    }
    if let Some(contents) = &inspection.contents {
        rows.extend(identity(contents));
        rows.extend(log(contents));
    }
    rows.extend(inspection.unsettled.as_ref().into_iter().flat_map(journal));
    rows.extend(wrong(inspection));
    let said = match inspection.verdict() {
        Verdict::Sound => "all is well",
        Verdict::Healing => "healing: entries were lost at an earlier start; what is here is whole",
        Verdict::Damaged => "DAMAGED",
    };
    rows.push(row("verdict", said));
    output::table(&rows)
}

fn row(title: &str, said: impl ToString) -> Vec<String> {
    vec![title.to_owned(), said.to_string()]
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn identity(contents: &Contents) -> Vec<Vec<String>> {
    let identity = &contents.identity;
    let cluster = identity.cluster.map_or_else(|| "none yet".to_owned(), |cluster| cluster.to_string());
    let opened = counted(identity.incarnation.0, "time", "times");
    vec![
        row("node", format!("{}, opened {opened}", identity.node)),
        row("store", format!("{}, format {}", identity.store, identity.format)),
        row("cluster", cluster),
    ]
}

fn log(contents: &Contents) -> Vec<Vec<String>> {
    let restored = &contents.restored;
    let hard_state = &restored.hard_state;
    let vote =
        hard_state.vote.map_or_else(|| "no vote given in it".to_owned(), |node| format!("voted for {node}"));
    let health = match hard_state.health {
        Health::Sound => "",
        Health::Damaged => "; the node takes no part until it has its entries back",
    };
    let base = restored.base.id;
    let entries = match contents.count() {
        0 => format!("none after {}", base.index),
        count => {
            let listed = range(base.index.next(), restored.last);
            let bytes = size(contents.payload_bytes);
            format!("{listed} ({}, payloads of {bytes})", counted(count, "entry", "entries"))
        }
    };
    let mut rows = vec![
        row("term", format!("{}, {vote}{health}", hard_state.term)),
        row("commit", format!("{}, as this node knows", hard_state.commit)),
        row("promised", format!("no vote for {:?} after a start", hard_state.promise)),
        row("entries", entries),
        row("compacted", compacted(base.index, base.term.0)),
    ];
    let runs = &restored.term_runs;
    let listed = runs.iter().rev().take(LISTED_MAX).rev();
    let mut terms: Vec<String> = listed.map(|run| format!("{} from {} on", run.term, run.first)).collect();
    if let Some(earlier) = runs.len().checked_sub(LISTED_MAX + 1) {
        terms.insert(0, format!("{} earlier ones", earlier + 1));
    }
    rows.push(row(
        "terms",
        if terms.is_empty() { "none after the base".to_owned() } else { terms.join(", ") },
    ));
    rows.push(row("members", format!("{} as of entry {}", members(&restored.base.membership), base.index)));
    let changes = &restored.memberships;
    for (index, membership) in changes.iter().skip(changes.len().saturating_sub(LISTED_MAX)) {
        rows.push(row("", format!("{} from {index} on", members(membership))));
    }
    rows
}

fn compacted(base: LogIndex, term: u64) -> String {
    if base == LogIndex::ZERO { "nothing".to_owned() } else { format!("up to {base}, of term {term}") }
}

fn journal(unsettled: &Unsettled) -> Vec<Vec<String>> {
    let Unsettled { records, bytes, entries, first, truncated_from, reset_to, compacted_to, torn } =
        unsettled;
    let mut rows = Vec::new();
    if *records == 0 {
        rows.push(row("journal", "all of it is in log.redb"));
    } else {
        let said = format!(
            "{} ({}) not in log.redb yet, with {}; the next start moves them",
            counted(*records, "record", "records"),
            size(*bytes),
            counted(*entries, "entry", "entries")
        );
        rows.push(row("journal", said));
    }
    let more = [
        reset_to.map(|base| format!("starts the log anew after {base}")),
        truncated_from.map(|index| format!("cuts off what was there from {index} on")),
        first.map(|index| format!("holds the log from {index} on")),
        compacted_to.map(|index| format!("compacts up to {index}")),
        torn.then(|| "ends in a torn record: never acknowledged, dropped at the next start".to_owned()),
    ];
    rows.extend(more.into_iter().flatten().map(|said| row("", said)));
    rows
}

/// What is wrong with the log, and what the node would lose by it.
fn wrong(inspection: &Inspection) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for damage in &inspection.damages {
        let title = if rows.is_empty() { "damage" } else { "" };
        rows.push(row(title, found(damage)));
    }
    match &inspection.opening {
        Ok(report) => {
            let upgrade = report.upgraded_from.map(|_| "brings the log to the present format".to_owned());
            let cost = report.damage.as_ref().map(cost);
            rows.extend(upgrade.into_iter().chain(cost).map(|said| row("next start", said)));
        }
        Err(error) => rows.push(row("next start", format!("fails: {}", chain(error)))),
    }
    rows
}

fn found(damage: &FoundDamage) -> String {
    let file = name(&damage.file);
    let what = chain(&damage.damage);
    match &damage.entries {
        Some(entries) if entries.start() == entries.end() => {
            format!("{file}, entry {}: {what}", entries.start())
        }
        Some(entries) => format!("{file}, entries {} to {}: {what}", entries.start(), entries.end()),
        None => format!("{file}: {what}"),
    }
}

fn cost(damage: &LogDamage) -> String {
    match damage.lost {
        Lost::Nothing => "loses nothing: all of it is there a second time, log.redb is made anew".to_owned(),
        Lost::Entries { first, last } if last < first => {
            format!("keeps what comes before {first}; what is lost is not known, the other nodes have it")
        }
        Lost::Entries { first, last } => {
            let entries = if first == last { "entry" } else { "entries" };
            format!("loses {entries} {}, which the node then fetches from the others", range(first, last))
        }
    }
}

fn object(inspection: &Inspection) -> Value {
    let contents = inspection.contents.as_ref();
    json!({
        "verdict": verdict(inspection),
        "files": inspection.files.iter().map(|(path, bytes)| json!({ "name": name(path), "bytes": bytes })).collect::<Vec<_>>(),
        "identity": contents.map(|contents| json!({
            "node": contents.identity.node.0,
            "store": contents.identity.store.to_string(),
            "cluster": contents.identity.cluster.map(|cluster| cluster.to_string()),
            "incarnation": contents.identity.incarnation.0,
            "format": contents.identity.format,
        })),
        "log": contents.map(shown_log),
        "unsettled": inspection.unsettled.as_ref().map(|unsettled| json!({
            "records": unsettled.records,
            "bytes": unsettled.bytes,
            "entries": unsettled.entries,
            "first": unsettled.first.map(|index| index.0),
            "truncated_from": unsettled.truncated_from.map(|index| index.0),
            "reset_to": unsettled.reset_to.map(|id| id.index.0),
            "compacted_to": unsettled.compacted_to.map(|index| index.0),
            "torn": unsettled.torn,
        })),
        "damages": inspection.damages.iter().map(|damage| json!({
            "file": name(&damage.file),
            "first": damage.entries.as_ref().map(|entries| entries.start().0),
            "last": damage.entries.as_ref().map(|entries| entries.end().0),
            "what": chain(&damage.damage),
        })).collect::<Vec<_>>(),
        "lost": inspection.opening.as_ref().ok().and_then(|report| report.damage.as_ref()).map(lost),
        "error": inspection.opening.as_ref().err().map(|error| chain(error)),
    })
}

fn shown_log(contents: &Contents) -> Value {
    let restored = &contents.restored;
    json!({
        "term": restored.hard_state.term.0,
        "vote": restored.hard_state.vote.map(|node| node.0),
        "commit": restored.hard_state.commit.0,
        "promise_ms": u64::try_from(restored.hard_state.promise.as_millis()).unwrap_or(u64::MAX),
        "healthy": restored.hard_state.health == Health::Sound,
        "base": { "term": restored.base.id.term.0, "index": restored.base.id.index.0 },
        "last": restored.last.0,
        "entries": contents.count(),
        "payload_bytes": contents.payload_bytes,
        "terms": restored.term_runs.iter().map(|run| json!({ "term": run.term.0, "first": run.first.0 })).collect::<Vec<_>>(),
        "memberships": std::iter::once((&restored.base.id.index, &restored.base.membership))
            .chain(restored.memberships.iter().map(|(index, membership)| (index, membership)))
            .map(|(index, membership)| json!({ "index": index.0, "members": members(membership) }))
            .collect::<Vec<_>>(),
    })
}

fn lost(damage: &LogDamage) -> Value {
    match damage.lost {
        Lost::Nothing => json!({ "first": null, "last": null }),
        // The last lost entry is not known if it is before the first one.
        Lost::Entries { first, last } => {
            json!({ "first": first.0, "last": (last >= first).then_some(last.0) })
        }
    }
}
