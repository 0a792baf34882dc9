//! Gives one input to one node, checks the invariants, and describes the effects.

use raftkit_core::invariants::{check_delta, check_state};
use raftkit_core::{Effects, Fetch, Fetched, Input, LogIndex, NodeId, SnapshotEffect};

use crate::backing::Backing;
use crate::cluster::{Cluster, Host};

impl<B: Backing> Cluster<B> {
    pub fn input(&mut self, id: NodeId, input: Input) {
        let host = self.hosts.get_mut(&id).unwrap();
        let now = host.clock(self.now);
        let node = host.node.as_mut().expect("it runs");
        if let Input::Applied(index) = &input {
            host.applied = host.applied.max(*index);
        }
        let before = node.clone();
        let mut effects = Effects::default();
        node.handle(now, input, &mut effects);
        check_state(node).unwrap();
        check_delta(&before, node).unwrap();
        let commit = (node.commit() > before.commit()).then(|| node.commit());
        let healed = node.health() != before.health();
        self.tell(id, &effects, commit, healed);
        let host = self.hosts.get_mut(&id).unwrap();
        effects.writes.into_iter().for_each(|write| host.disk.queue(write));
        host.inputs.extend(effects.apply.iter().map(|apply| Input::Applied(apply.last)));
        let fetched: Vec<_> = effects.fetches.into_iter().map(|fetch| fetched(fetch, host)).collect();
        host.inputs.extend(fetched);
        for message in &effects.messages {
            let sent = self.sent.entry(id).or_default();
            *sent.entry(crate::show::kind(&message.body)).or_default() += 1;
        }
        self.wire.extend(effects.messages);
    }

    fn tell(&mut self, id: NodeId, effects: &Effects, commit: Option<LogIndex>, healed: bool) {
        let mut lines = Vec::new();
        if let Some(role) = effects.role {
            let leader = role.leader.filter(|leader| *leader != id).map(|leader| format!(" of {leader}"));
            let name = crate::shown::role(role.role);
            lines.push(format!("{name}{} in term {}", leader.unwrap_or_default(), role.term));
        }
        lines.extend(commit.map(|commit| format!("commit {commit}")));
        lines.extend(healed.then(|| "healed".to_string()));
        for done in &effects.done {
            lines.push(format!("{} -> {}", self.tickets[&done.ticket], crate::shown::outcome(done.outcome)));
        }
        for snapshot in &effects.snapshots {
            lines.push(match snapshot {
                SnapshotEffect::Send { to, at_least } => {
                    format!("send {to} a snapshot of at least {at_least}")
                }
                SnapshotEffect::Cancel { to } => format!("cancel the snapshot to {to}"),
            });
        }
        lines.extend(
            effects.fetches.iter().map(|fetch| format!("fetch from {} to {}", fetch.first, fetch.last)),
        );
        lines.extend(effects.fatal.iter().map(|fatal| format!("fatal: {fatal}")));
        self.told.extend(lines.into_iter().map(|line| format!("{id}: {line}")));
    }
}

fn fetched<B: Backing>(fetch: Fetch, host: &Host<B>) -> Input {
    let result = if host.rotten { Fetched::Damaged } else { host.disk.read(&fetch) };
    Input::Fetched { id: fetch.id, result }
}
