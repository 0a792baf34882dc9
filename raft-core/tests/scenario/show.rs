//! How things are written in a scenario.

use raftkit_core::{
    AppendEntries, AppendOutcome, Body, CampaignReason, Message, NodeId, Outcome, RoleName, Vote,
};

use crate::cluster::Cluster;

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
        Body::AppendEntriesResponse(answer) => match answer.outcome {
            AppendOutcome::Match(index) => format!("match {index}"),
            AppendOutcome::Heard => "heard".into(),
            AppendOutcome::Conflict { refused, hint } => format!("conflict at {refused}, try {hint}"),
        },
        Body::ReadIndex(ask) => format!("read index? {:?}", ask.mode).to_lowercase(),
        Body::ReadIndexResponse(answer) => match answer.index {
            Some(index) => format!("read index {index}"),
            None => "read index refused".into(),
        },
        Body::TimeoutNow(_) => "time-out now".into(),
    };
    format!("{} -> {} term {}: {body}", message.from, message.to, message.term)
}

/// What kind of message it is, for counting.
pub fn kind(body: &Body) -> &'static str {
    match body {
        Body::PreVote(_) | Body::PreVoteResponse(_) => "pre-vote",
        Body::RequestVote(_) | Body::RequestVoteResponse(_) => "vote",
        Body::AppendEntries(body) if body.entries.is_empty() => "empty append",
        Body::AppendEntries(_) => "append",
        Body::AppendEntriesResponse(answer) => match answer.outcome {
            AppendOutcome::Match(_) => "match",
            AppendOutcome::Heard => "heard",
            AppendOutcome::Conflict { .. } => "conflict",
        },
        Body::ReadIndex(_) | Body::ReadIndexResponse(_) => "read index",
        Body::TimeoutNow(_) => "time-out now",
    }
}

impl Cluster {
    /// How many messages each node sent since the last time, by kind.
    pub fn show_count(&mut self) {
        for (id, kinds) in std::mem::take(&mut self.sent) {
            let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            self.told.push(format!("{id} sent {}", kinds.join(", ")));
        }
    }

    pub fn show_messages(&mut self) {
        self.told.extend(self.wire.iter().map(message));
    }

    /// Each log as its terms, as in the paper's figures: `(base)`, then the terms, `|` behind what is durable.
    pub fn show_logs(&mut self) {
        for (id, host) in &self.hosts {
            let (view, durable) = (&host.disk.view, &host.disk.durable);
            let mut line = format!("{id}: ({})", view.base.id);
            let mut on_disk = true;
            for entry in &view.entries {
                if on_disk && !durable.holds(entry.id) {
                    on_disk = false;
                    line.push_str(" |");
                }
                line.push_str(&format!(" {}", entry.id.term));
            }
            let state = match &host.node {
                Some(node) => {
                    format!("{} in term {}, commit {}", role(node.role()), node.term(), node.commit())
                }
                None => "down".into(),
            };
            self.told.push(format!("{line}   {state}"));
        }
    }

    pub fn show_status(&mut self, id: NodeId) {
        let status = self.hosts[&id].node.as_ref().unwrap().status();
        let leader = status.leader.map_or("nobody".into(), |leader| leader.to_string());
        let mut told = vec![format!(
            "{} in term {}, leader {leader}, last {}, commit {}, durably {}, applied {}",
            role(status.role),
            status.term,
            status.last,
            status.commit,
            status.durable_commit,
            status.applied
        )];
        for (peer, of) in &status.peers {
            told.push(format!("  {peer}: {:?} match {} next {}", of.state, of.match_index, of.next_index));
        }
        self.told.extend(told);
    }
}
