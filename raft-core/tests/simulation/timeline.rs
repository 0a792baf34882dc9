//! Inputs and effects in words: messages, durable writes and outcomes.

use raftkit_core::{
    Effects, Entry, Fetched, HardState, Health, Input, NodeId, ReadMode, SnapshotEffect, SnapshotSent, Write,
};

use crate::liveness::in_words;
use crate::shown;

pub fn input(id: NodeId, input: &Input) -> String {
    match input {
        Input::Tick => format!("{id} wakes"),
        Input::Message(message) => format!("{id} hears {}", shown::message(message)),
        Input::Propose(proposals) => {
            let tickets: Vec<String> = proposals.iter().map(|it| it.ticket.to_string()).collect();
            format!("{id} is asked to write {}", tickets.join(" "))
        }
        Input::Read { ticket, mode } => {
            let how = match mode {
                ReadMode::Lease => "by lease",
                ReadMode::Quorum => "by quorum",
                ReadMode::Stale => "what is there",
            };
            format!("{id} is asked to read {how}: {ticket}")
        }
        Input::Transfer { ticket, to: Some(to) } => format!("{id} is asked to hand over to {to}: {ticket}"),
        Input::Transfer { ticket, to: None } => format!("{id} is asked to hand over: {ticket}"),
        Input::Change(change) => format!(
            "{id} is asked, with {} in mind, for {}: {}",
            change.seen,
            in_words(&change.target),
            change.ticket
        ),
        Input::PersistCommit => format!("{id} is to write its commit index"),
        Input::Compact(to) => format!("{id} may drop its log up to {to}"),
        Input::Persisted(seq) => format!("{id} has write {seq} on its disk, and all before it"),
        Input::WriteFailed => format!("{id} fails to write"),
        Input::Applied(index) => format!("{id} has applied all up to {index}"),
        Input::Fetched { id: fetch, result } => {
            let what = match result {
                Fetched::Entries(entries) => ids(entries),
                Fetched::Compacted => "compacted".to_owned(),
                Fetched::Damaged => "unreadable".to_owned(),
            };
            format!("{id} has read of its log, for request {fetch}: {what}")
        }
        Input::SnapshotInstalled { base, .. } => format!("{id} has installed a snapshot up to {base}"),
        Input::SnapshotSent { to, result: SnapshotSent::Installed(at) } => {
            format!("{id} hears that {to} has installed its snapshot up to {at}")
        }
        Input::SnapshotSent { to, result: SnapshotSent::Failed } => {
            format!("{id} hears that its snapshot to {to} failed")
        }
        Input::Unreachable(peer) => format!("{id} loses its connection to {peer}"),
    }
}

/// One line for each effect.
pub fn effects(effects: &Effects) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(role) = effects.role {
        let leader = role.leader.map_or("nobody".to_owned(), |leader| leader.to_string());
        lines.push(format!("is {} in term {}, {leader} leads", shown::role(role.role), role.term));
    }
    lines.extend(effects.writes.iter().map(write));
    lines.extend(effects.messages.iter().map(|message| format!("sends {}", shown::message(message))));
    lines.extend(effects.apply.iter().map(|apply| format!("applies {} to {}", apply.first, apply.last)));
    let answer = |ticket, outcome| format!("answers {ticket}: {}", shown::outcome(outcome));
    lines.extend(effects.done.iter().map(|done| answer(done.ticket, done.outcome)));
    let fetch = |request, first, last| format!("reads its log, request {request}: {first} to {last}");
    lines.extend(effects.fetches.iter().map(|it| fetch(it.id, it.first, it.last)));
    lines.extend(effects.snapshots.iter().map(|snapshot| match snapshot {
        SnapshotEffect::Send { to, at_least } => {
            format!("wants {to} to get a snapshot up to {at_least} or later")
        }
        SnapshotEffect::Cancel { to } => format!("wants no snapshot sent to {to} any more"),
    }));
    lines.extend(effects.fatal.iter().map(|why| format!("ends: {why}")));
    lines
}

fn write(write: &Write) -> String {
    let mut parts = Vec::new();
    parts.extend(write.reset_to.as_ref().map(|base| format!("reset to {}", base.id)));
    parts.extend(write.truncate_from.map(|from| format!("drop {from} and all after it")));
    if !write.append.is_empty() {
        parts.push(format!("append {}", ids(&write.append)));
    }
    parts.extend(write.hard_state.map(hard));
    parts.extend(write.compact_to.map(|to| format!("drop up to {to}")));
    format!("writes {}: {}", write.seq, parts.join(", "))
}

fn hard(hard: HardState) -> String {
    let vote = hard.vote.map_or("nobody".to_owned(), |to| to.to_string());
    let health = match hard.health {
        Health::Sound => "",
        Health::Damaged => ", damaged",
    };
    format!("term {} with its vote for {vote}, commit {}{health}", hard.term, hard.commit)
}

fn ids(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>().join(" ")
}
