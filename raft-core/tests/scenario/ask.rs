//! Requests to a node, and a driver's snapshots.

use std::collections::BTreeSet;

use bytes::Bytes;
use raftkit_core::{
    Input, LogId, LogIndex, Member, Membership, MembershipChange, NodeId, Proposal, ReadMode, SnapshotSent,
    Suffrage, Term, Ticket,
};

use crate::backing::Backing;
use crate::cluster::Cluster;
use crate::members::member;
use crate::words::{Words, number};

impl<B: Backing> Cluster<B> {
    pub fn propose(&mut self, id: NodeId, commands: &[&str]) {
        let proposals = commands
            .iter()
            .map(|command| Proposal {
                ticket: self.ticket((*command).to_string()),
                command: Bytes::copy_from_slice(command.as_bytes()),
            })
            .collect();
        self.input(id, Input::Propose(proposals));
    }

    pub fn read(&mut self, id: NodeId, mode: ReadMode) {
        let ticket = self.ticket(format!("read on {id}"));
        self.input(id, Input::Read { ticket, mode });
    }

    pub fn transfer(&mut self, id: NodeId, to: Option<NodeId>) {
        let ticket = self.ticket(format!("transfer by {id}"));
        self.input(id, Input::Transfer { ticket, to });
    }

    pub fn change(&mut self, id: NodeId, words: &Words<'_>) -> Result<(), String> {
        let target = self.target(id, words)?;
        let in_force = self.hosts[&id].node.as_ref().unwrap().membership().id();
        let seen = words.named("seen").map(log_id).transpose()?.unwrap_or(in_force);
        let ticket = self.ticket(format!("change by {id}"));
        self.input(id, Input::Change(Box::new(MembershipChange { ticket, seen, target })));
        Ok(())
    }

    pub fn what_if(&mut self, id: NodeId, words: &Words<'_>) -> Result<(), String> {
        let target = self.target(id, words)?;
        let answer = self.hosts[&id].node.as_ref().unwrap().what_if(&target, &words.set("down")?);
        self.told.push(match answer {
            Ok(it) => {
                format!("{id}: it survives, and bears the loss of {} more; weakest: {}", it.spare, it.weakest)
            }
            Err(loss) => format!("{id}: no: {loss}"),
        });
        Ok(())
    }

    /// The membership in force at a node, changed as the words say. Lists that are not given stay as they
    /// are, less the nodes that another list names. Machines named for the first time exist from then on.
    fn target(&mut self, id: NodeId, words: &Words<'_>) -> Result<Membership, String> {
        let current = self.hosts[&id].node.as_ref().ok_or("it is down")?.membership().clone();
        let priorities = words.numbers("priorities")?;
        let fresh = words.set("fresh")?;
        let lists = [
            (Suffrage::Voter, words.given("voters")?),
            (Suffrage::Staging, words.given("staging")?),
            (Suffrage::NonVoter, words.given("nonvoters")?),
        ];
        let named: BTreeSet<NodeId> =
            lists.iter().filter_map(|(_, list)| list.as_ref()).flatten().copied().collect();
        let mut target = Membership::default();
        for (suffrage, list) in lists {
            let stays = |node: &NodeId| current.suffrage(*node) == Some(suffrage) && !named.contains(node);
            let list = list
                .unwrap_or_else(|| current.members().keys().copied().filter(|node| stays(node)).collect());
            for node in list {
                if !self.hosts.contains_key(&node) {
                    self.add_host(node);
                }
                let folder = self.hosts[&node].config.store;
                let mut member = current
                    .members()
                    .get(&node)
                    .cloned()
                    .unwrap_or_else(|| Member { store: folder, ..member(node.0) });
                if fresh.contains(&node) {
                    member.store = folder;
                }
                if let Some(priority) = priorities.get(&node) {
                    member.priority = u8::try_from(*priority).map_err(|_| "a priority is at most 255")?;
                }
                target = target.with(node, member, suffrage);
            }
        }
        Ok(target)
    }

    pub fn ticket(&mut self, name: String) -> Ticket {
        let ticket = Ticket(self.tickets.len() as u64 + 1);
        self.tickets.insert(ticket, name);
        ticket
    }

    /// Completes a snapshot transfer: of what its sender has applied, or as of an earlier index.
    pub fn snapshot(&mut self, from: NodeId, to: NodeId, at: Option<LogIndex>) {
        let host = &self.hosts[&from];
        let (sender, at) = (host.node.as_ref().unwrap(), at.unwrap_or(host.applied));
        let base = host.disk.view().entry(at).map_or(sender.status().base, |entry| entry.id);
        let membership = sender.membership_as_of(at).clone();
        let host = self.hosts.get_mut(&to).unwrap();
        host.applied = host.applied.max(base.index);
        self.input(to, Input::SnapshotInstalled { base, membership: membership.into() });
        self.input(from, Input::SnapshotSent { to, result: SnapshotSent::Installed(base) });
    }

    pub fn snapshot_fails(&mut self, from: NodeId, to: NodeId) {
        self.input(from, Input::SnapshotSent { to, result: SnapshotSent::Failed });
    }
}

/// `2.3`: index 3 of term 2.
fn log_id(word: &str) -> Result<LogId, String> {
    let (term, index) = word.split_once('.').ok_or(format!("{word} is no entry"))?;
    Ok(LogId { term: Term(number(term)?), index: LogIndex(number(index)?) })
}
