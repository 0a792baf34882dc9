//! The output format of scenarios.

use std::collections::BTreeSet;

use raftkit_core::{AppendOutcome, Body, Member, NodeId, Suffrage};

use crate::backing::Backing;
use crate::cluster::Cluster;
use crate::shown::{damaged, message, role};

fn nodes<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes.into_iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

/// The kind of a message, for counting.
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

impl<B: Backing> Cluster<B> {
    /// Shows the number of messages that each node has sent since the last count, by kind.
    pub fn show_count(&mut self) {
        for (id, kinds) in std::mem::take(&mut self.sent) {
            let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            self.told.push(format!("{id} sent {}", kinds.join(", ")));
        }
    }

    pub fn show_messages(&mut self) {
        self.told.extend(self.wire.iter().map(message));
    }

    /// Shows the promise stored on each node's disk, for how long the node grants no vote from now on, and
    /// the promises on the wire.
    pub fn show_promises(&mut self) {
        for (id, host) in &self.hosts {
            let Some(node) = &host.node else { continue };
            let bound = node.promised_until().since(host.clock(self.now)).as_millis();
            let stored = host.disk.durable().hard.promise.as_millis();
            self.told.push(format!("{id}: no vote for {bound} ms, on its disk {stored} ms"));
        }
        for message in &self.wire {
            if let Body::AppendEntriesResponse(answer) = &message.body {
                let (from, to, promise) = (message.from, message.to, answer.promise.as_millis());
                self.told.push(format!("{from} -> {to}: no vote for {promise} ms"));
            }
        }
    }

    /// Shows each log as its terms, as in the paper's figures: `(base)`, then the terms, with `|` after the
    /// durable part.
    pub fn show_logs(&mut self) {
        for (id, host) in &self.hosts {
            let (view, durable) = (host.disk.view(), host.disk.durable());
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
                    let (role, term, commit) = (role(node.role()), node.term(), node.commit());
                    format!("{role} in term {term}, commit {commit}{}", damaged(node.health()))
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
            let damaged = damaged(of.health);
            let (state, matched, next) = (of.state, of.match_index, of.next_index);
            told.push(format!("  {peer}: {state:?} match {matched} next {next}{damaged}"));
        }
        self.told.extend(told);
    }

    /// Shows the membership in force at a node, its entry, and whether it is known to be committed.
    pub fn show_membership(&mut self, id: NodeId) {
        let node = self.hosts[&id].node.as_ref().unwrap();
        let membership = node.membership();
        let non_voters: BTreeSet<NodeId> = membership
            .members()
            .keys()
            .filter(|member| membership.suffrage(**member) == Some(Suffrage::NonVoter))
            .copied()
            .collect();
        let lists = [
            ("voters", membership.voters()),
            ("outgoing", membership.outgoing()),
            ("staging", membership.staging()),
            ("non-voters", &non_voters),
            ("leaving", membership.leaving()),
        ];
        let lists = lists.iter().filter(|(_, list)| !list.is_empty());
        let mut words: Vec<String> = lists.map(|(name, list)| format!("{name} {}", nodes(*list))).collect();
        let unusual = membership.members().iter().filter(|(_, member)| member.priority != Member::PRIORITY);
        words.extend(unusual.map(|(id, member)| format!("{id} of priority {}", member.priority)));
        let committed = if node.membership_index() <= node.commit() { "committed" } else { "not committed" };
        self.told.push(format!("{id}: {}; of {}, {committed}", words.join(", "), membership.id()));
    }
}
