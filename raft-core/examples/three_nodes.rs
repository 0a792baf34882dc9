//! Three nodes in memory elect a leader and commit a command: everything that a driver does, on one page.
//!
//! `cargo run -p raftkit-core --example three_nodes`

#![allow(missing_docs, reason = "example")]

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raftkit_core::{
    Config, Effects, Incarnation, Input, Member, Membership, Message, Node, NodeId, Payload, Proposal,
    Restored, StoreId, Ticket, Time,
};

/// One node with its "disk" and "state machine", which both complete at once here.
struct Server {
    node: Node,
    applied: Vec<Bytes>,
}

/// Gives one input to the node and carries out its effects, until there are no more.
fn drive(server: &mut Server, now: Time, input: Input, wire: &mut VecDeque<Message>) {
    let mut inputs = VecDeque::from([input]);
    let mut effects = Effects::default();
    while let Some(input) = inputs.pop_front() {
        server.node.handle(now, input, &mut effects);
        // A real driver writes and syncs here. One fsync may cover several writes; the last number is enough.
        if let Some(write) = effects.writes.drain(..).next_back() {
            inputs.push_back(Input::Persisted(write.seq));
        }
        for apply in effects.apply.drain(..) {
            for entry in apply.entries.iter().flatten() {
                if let Payload::Command(command) = &entry.payload {
                    server.applied.push(command.clone());
                }
            }
            inputs.push_back(Input::Applied(apply.last));
        }
        if let Some(role) = effects.role.take() {
            println!(
                "{:>7} us: node {} is {:?} in term {}",
                now.0,
                server.node.status().node,
                role.role,
                role.term
            );
        }
        for done in effects.done.drain(..) {
            println!("{:>7} us: proposal {} -> {:?}", now.0, done.ticket, done.outcome);
        }
        wire.extend(effects.messages.drain(..));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Every node starts with the same founding membership, which counts as the first entry of the log.
    let member = |id: u64| (NodeId(id), Member::new(StoreId(u128::from(id)), format!("node{id}:7000")));
    let membership = Membership::founding((1..=3).map(member).collect());
    let mut servers = BTreeMap::new();
    for id in 1..=3 {
        let config = Config::new(NodeId(id), StoreId(u128::from(id)), Incarnation(1), 42);
        let node = Node::restore(config, Restored::founded(membership.clone()), Time(0))?;
        servers.insert(NodeId(id), Server { node, applied: Vec::new() });
    }

    let mut wire: VecDeque<Message> = VecDeque::new();
    let mut now = Time(0);
    let mut proposed = false;
    while servers.values().any(|server| server.applied.is_empty()) {
        // Deliver what is on the wire, each message 100 us after the last one.
        if let Some(message) = wire.pop_front() {
            now = Time(now.0 + 100);
            if let Some(server) = servers.get_mut(&message.to) {
                drive(server, now, Input::Message(message), &mut wire);
            }
            continue;
        }
        // Nothing is on the wire: propose if there is a leader, else sleep until the next deadline.
        if let Some(leader) = servers.values_mut().find(|server| server.node.is_leader() && !proposed) {
            proposed = true;
            let proposal = Proposal { ticket: Ticket(1), command: Bytes::from_static(b"x = 1") };
            drive(leader, now, Input::Propose(vec![proposal]), &mut wire);
            continue;
        }
        if let Some(next) = servers.values_mut().min_by_key(|server| server.node.next_deadline()) {
            now = now.max(next.node.next_deadline());
            drive(next, now, Input::Tick, &mut wire);
        }
    }
    for (id, server) in &servers {
        println!("node {id} has applied {:?}", server.applied);
    }
    Ok(())
}
