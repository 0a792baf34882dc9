//! Short descriptions of messages, writes and reports for the lines of a trace.

use raftkit_core::{AppendOutcome, Body, Entry, Message, Vote, Write};
use raftkit_replica::{Event, LogReport, MachineReport, SnapshotReport};

fn span(entries: &[Entry]) -> String {
    match entries {
        [] => "nothing".to_owned(),
        [one] => one.id.to_string(),
        [first, .., last] => format!("{} to {}", first.id, last.id),
    }
}

fn granted(vote: Vote) -> &'static str {
    match vote {
        Vote::Granted => "granted",
        Vote::Refused => "refused",
    }
}

/// Describes a message.
pub(crate) fn message(message: &Message) -> String {
    let term = message.term;
    match &message.body {
        Body::PreVote(ask) => {
            format!("would you vote for me in term {}? my last is {}", ask.campaign_term, ask.last)
        }
        Body::PreVoteResponse(answer) => {
            format!("pre-vote for term {} {}", answer.campaign_term, granted(answer.vote))
        }
        Body::RequestVote(ask) => format!("vote for me in term {term}, my last is {}", ask.last),
        Body::RequestVoteResponse(answer) => format!("vote in term {term} {}", granted(answer.vote)),
        Body::AppendEntries(append) if append.entries.is_empty() => {
            format!("term {term}, after {}: nothing new, commit {}", append.prev, append.commit)
        }
        Body::AppendEntries(append) => {
            format!(
                "term {term}, after {}: append {}, commit {}",
                append.prev,
                span(&append.entries),
                append.commit
            )
        }
        Body::AppendEntriesResponse(answer) => match &answer.outcome {
            AppendOutcome::Match(index) => format!("term {term}, I hold all up to {index}"),
            AppendOutcome::Heard => format!("term {term}, heard"),
            AppendOutcome::Conflict { refused, hint } => {
                format!("term {term}, I do not have {refused}; try after {hint}")
            }
        },
        Body::ReadIndex(_) => "from where can I read?".to_owned(),
        Body::ReadIndexResponse(answer) => format!("read answer {answer:?}"),
        Body::TimeoutNow(_) => format!("term {term}, take over"),
    }
}

/// Describes a write to the log.
pub(crate) fn write(write: &Write) -> String {
    let parts = [
        write.reset_to.as_ref().map(|base| format!("a log that starts after {}", base.id)),
        write.truncate_from.map(|from| format!("nothing from {from} on")),
        (!write.append.is_empty()).then(|| span(&write.append)),
        write.compact_to.map(|to| format!("compacted to {to}")),
        write.hard_state.map(|hard| {
            format!(
                "term {} vote {} commit {}",
                hard.term,
                hard.vote.map_or_else(|| "none".to_owned(), |it| it.to_string()),
                hard.commit
            )
        }),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("#{}: {}", write.seq.0, parts.join(", "))
}

/// Describes the report of a thread; none for reports that a trace leaves out.
pub(crate) fn report(event: &Event) -> Option<String> {
    Some(match event {
        Event::Log(LogReport::Persisted(seq)) => format!("write #{} is durable", seq.0),
        Event::Machine(MachineReport::Applied(batch)) => format!("applied up to {}", batch.through),
        Event::Machine(MachineReport::Durable(id)) => format!("the state is durable up to {id}"),
        Event::Log(LogReport::Failed(why)) => format!("the log failed: {why}"),
        Event::Log(LogReport::Damaged(why)) => format!("the log is damaged: {why}"),
        Event::Machine(MachineReport::Failed(why)) => format!("the state machine failed: {why}"),
        Event::Machine(MachineReport::Restored { id, .. }) => {
            format!("the state is that of the snapshot at {id}")
        }
        Event::Snapshot(SnapshotReport::Built(Ok(manifest))) => {
            format!("a snapshot at {} is made", manifest.id)
        }
        Event::Snapshot(SnapshotReport::Built(Err(why))) => format!("no snapshot: {why}"),
        Event::Snapshot(SnapshotReport::Received(Ok(file))) => {
            format!("the snapshot at {} is whole", file.manifest().id)
        }
        Event::Snapshot(SnapshotReport::Received(Err(why))) => format!("a snapshot is not whole: {why}"),
        Event::Log(LogReport::FetchFailed { reason, .. }) => format!("the log could not be read: {reason}"),
        Event::Machine(MachineReport::NoView(why)) => format!("no snapshot: {why}"),
        Event::Transport(_)
        | Event::Log(LogReport::Fetched { .. })
        | Event::Machine(MachineReport::View { .. })
        | Event::Snapshot(
            SnapshotReport::ChunkRead { .. }
            | SnapshotReport::PartialOpened(_)
            | SnapshotReport::ChunkStored(_),
        ) => return None,
    })
}
