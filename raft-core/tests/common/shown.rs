//! Messages and outcomes in words, for scenarios and timelines.

use raftkit_core::{
    AppendEntries, AppendOutcome, Body, CampaignReason, Health, Message, Outcome, RoleName, Vote,
};

pub fn role(role: RoleName) -> &'static str {
    match role {
        RoleName::Learner => "learner",
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
}

pub fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Committed(id) => format!("committed as {id}"),
        Outcome::ReadAt(index) => format!("may read at {index}"),
        Outcome::Transferred(to) => format!("{to} leads"),
        Outcome::NotLeader(Some(leader)) => format!("not the leader, ask {leader}"),
        Outcome::NotLeader(None) => "not the leader".into(),
        Outcome::Overloaded => "overloaded".into(),
        Outcome::TransferFailed => "failed".into(),
        Outcome::Unknown(id) => format!("unknown, was {id}"),
        Outcome::Stopped => "stopped".into(),
        Outcome::Conflict(id) => format!("conflict, the membership is of {id}"),
        Outcome::Refused(why) => format!("refused: {why}"),
    }
}

fn vote(vote: Vote) -> &'static str {
    match vote {
        Vote::Granted => "granted",
        Vote::Refused => "refused",
    }
}

/// The suffix of everything that a damaged node sends.
pub fn damaged(health: Health) -> &'static str {
    match health {
        Health::Sound => "",
        Health::Damaged => " (damaged)",
    }
}

fn append(append: &AppendEntries) -> String {
    let entries: Vec<_> = append.entries.iter().map(|entry| entry.id.to_string()).collect();
    let entries = if entries.is_empty() { "nothing".into() } else { entries.join(" ") };
    format!("append {entries} after {}, commit {}", append.prev, append.commit)
}

pub fn message(message: &Message) -> String {
    let body = match &message.body {
        Body::PreVote(ask) => format!("pre-vote for term {}? last {}", ask.campaign_term, ask.last),
        Body::PreVoteResponse(answer) => {
            format!("pre-vote for term {} {}", answer.campaign_term, vote(answer.vote))
        }
        Body::RequestVote(ask) => {
            let why = if ask.reason == CampaignReason::Transfer { " (transfer)" } else { "" };
            format!("vote? last {}{why}", ask.last)
        }
        Body::RequestVoteResponse(answer) => format!("vote {}", vote(answer.vote)),
        Body::AppendEntries(body) => append(body),
        Body::AppendEntriesResponse(answer) => {
            let outcome = match answer.outcome {
                AppendOutcome::Match(index) => format!("match {index}"),
                AppendOutcome::Heard => "heard".into(),
                AppendOutcome::Conflict { refused, hint } => format!("conflict at {refused}, try {hint}"),
            };
            outcome + damaged(answer.health)
        }
        Body::ReadIndex(ask) => format!("read index? {:?}", ask.mode).to_lowercase() + damaged(ask.asker),
        Body::ReadIndexResponse(answer) => match answer.index {
            Some(index) => format!("read index {index}"),
            None => "read index refused".into(),
        },
        Body::TimeoutNow(_) => "time-out now".into(),
    };
    format!("{} -> {} term {}: {body}", message.from, message.to, message.term)
}
