//! Admission between two hosts, by raft-net's own rules (`admission`).

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use raftkit_core::{
    AppendEntries, Body, ClusterId, Entries, Entry, Incarnation, LogId, Membership, Message, NodeId, Payload,
    Round, StoreId, Term,
};
use raftkit_net::admission::{Admit, Arrival, Own, Remote, check_cluster, check_hello, check_message};
use raftkit_net::{Frame, Hello, Lane};
use raftkit_replica::{Event, ServiceEvent, TransportReport};
use raftkit_snapshot::{Manifest, SnapshotMessage};

use crate::Mark;
use crate::network::End;
use crate::plan::script::Stranger;
use crate::process::host::Host;
use crate::subject::Subject;
use crate::world::{CLUSTER, World};

fn own(end: End) -> Own {
    Own { node: end.node, store: end.store, cluster: Some(CLUSTER), process: end.life }
}

fn hello(end: End, cluster: Option<ClusterId>) -> Hello {
    Hello {
        lane: Lane::Control,
        cluster,
        node: end.node,
        store: end.store,
        incarnation: Incarnation(end.incarnation),
        process: end.life,
        address: format!("node-{}", end.node),
        attributes: Bytes::new(),
    }
}

/// Returns a greeting as the other side reads it, encoded and decoded.
fn heard(hello: Hello) -> Option<Hello> {
    let mut greeting = BytesMut::new();
    raftkit_net::encode_frame(&Frame::Hello(hello), &mut greeting).ok()?;
    if let Ok(Frame::Hello(hello)) = raftkit_net::decode(greeting.freeze()) { Some(hello) } else { None }
}

fn expected<S: Subject>(hosts: &BTreeMap<NodeId, Host<S>>, at: NodeId, of: NodeId) -> Option<StoreId> {
    let process = hosts.get(&at)?.process.as_ref()?;
    process.service.replica().node().membership().store(of)
}

/// Lets both sides of a connection greet and check each other. Returns true when both admit the other.
pub(crate) fn greet<S: Subject>(hosts: &mut BTreeMap<NodeId, Host<S>>, from: End, to: End) -> bool {
    admit_dialler(hosts, from, to) && admit_dialled(hosts, from, to)
}

/// True when the node that was dialled admits the dialler.
pub(crate) fn admit_dialler<S: Subject>(hosts: &mut BTreeMap<NodeId, Host<S>>, from: End, to: End) -> bool {
    admit(hosts, from, to, None)
}

/// True when the dialler accepts the node that answered.
pub(crate) fn admit_dialled<S: Subject>(hosts: &mut BTreeMap<NodeId, Host<S>>, from: End, to: End) -> bool {
    admit(hosts, to, from, Some(to.node))
}

fn admit<S: Subject>(
    hosts: &mut BTreeMap<NodeId, Host<S>>,
    who: End,
    by: End,
    expected_node: Option<NodeId>,
) -> bool {
    let Some(hello) = heard(hello(who, Some(CLUSTER))) else { return false };
    if check_hello(&own(by), expected(hosts, by.node, who.node), expected_node, &hello).is_err() {
        return false;
    }
    let Some(process) = hosts.get_mut(&by.node).and_then(|host| host.process.as_mut()) else { return false };
    process.met.admit(by.node, &Remote::of(&hello)).is_ok()
}

/// True when the other side of a connection may send this message.
pub(crate) fn message<S: Subject>(
    hosts: &BTreeMap<NodeId, Host<S>>,
    to: NodeId,
    greeted: End,
    message: &Message,
) -> bool {
    let Some(host) = hosts.get(&to) else { return false };
    let own = Own { node: to, store: host.store, cluster: Some(CLUSTER), process: host.life };
    let remote = Remote {
        node: greeted.node,
        store: greeted.store,
        incarnation: Incarnation(greeted.incarnation),
        process: greeted.life,
        cluster: Some(CLUSTER),
    };
    matches!(check_message(&own, &remote, message), Ok(Admit::Deliver))
}

/// The identity that a stranger claims: its end of the connection, and its cluster.
struct Caller {
    end: End,
    cluster: Option<ClusterId>,
}

impl<S: Subject> World<S> {
    /// Lets a stranger dial a node and send messages of a leader. If the node admits it, any promise may be broken.
    pub(crate) fn stray(&mut self, to: NodeId, stranger: Stranger) {
        let Some(caller) = self.caller(to, stranger) else { return };
        let Some(heard) = heard(hello(caller.end, caller.cluster)) else { return };
        let host = &self.hosts[&to];
        let Some(process) = host.process.as_ref() else { return };
        let own =
            own(End { node: to, life: host.life, store: host.store, incarnation: process.incarnation.0 });
        let node = process.service.replica().node();
        let (term, last) = (Term(node.term().0 + 3), host.view.last());
        if check_hello(&own, expected(&self.hosts, to, heard.node), None, &heard).is_err() {
            return self.hit(Mark::Refused);
        }
        let message = of_a_leader(caller.end, to, term, last);
        let remote = Remote::of(&heard);
        // A copy of the record of met incarnations is used: this checks admission only, and must not end a member's own
        // connections.
        if process.met.clone().admit(to, &remote).is_err() {
            return self.hit(Mark::Refused);
        }
        if let Ok(Admit::Deliver) = check_message(&own, &remote, &message) {
            self.give(to, ServiceEvent::Replica(Event::Transport(TransportReport::Message(message))));
        }
        let offer = an_empty_snapshot(LogId { term, index: last.index.next() });
        if let Ok(Admit::Deliver) = check_cluster(&own, &remote) {
            let from = remote.node;
            self.give(
                to,
                ServiceEvent::Replica(Event::Transport(TransportReport::Bulk { from, body: offer.encode() })),
            );
        }
    }

    fn caller(&self, to: NodeId, stranger: Stranger) -> Option<Caller> {
        const OTHER: ClusterId = ClusterId(8);
        let host = &self.hosts[&to];
        let node = host.process.as_ref()?.service.replica().node();
        let end = |node, store| End { node, life: u64::MAX, store, incarnation: 1 << 20 };
        Some(match stranger {
            // The stranger has the id of a member of this cluster.
            Stranger::OtherCluster => {
                let (id, member) = node.membership().members().iter().find(|(id, _)| **id != to)?;
                Caller { end: end(*id, member.store), cluster: Some(OTHER) }
            }
            // Its id is no member's, so that it cannot be refused for another member's data folder.
            Stranger::Unformed => Caller { end: end(NodeId(99), StoreId(1 << 60)), cluster: None },
            // All data folders were copied, and the copies run as another cluster, with the addresses of this one.
            Stranger::Twin => Caller { end: end(to, host.store), cluster: Some(CLUSTER) },
            // Only where the member itself has been met: a copy that is met first cannot be told from the member.
            Stranger::Copy => {
                let met_here = &host.process.as_ref()?.met;
                let is_met = |end: &End| {
                    let member = Remote::of(&hello(*end, Some(CLUSTER)));
                    met_here.clone().admit(to, &member) == Ok(Arrival::Same)
                };
                let met = self.running().into_iter().map(|id| self.end_of(id)).find(is_met)?;
                Caller { end: End { life: u64::MAX, ..met }, cluster: Some(CLUSTER) }
            }
        })
    }
}

/// A snapshot of no bytes: it is whole as soon as it is offered.
fn an_empty_snapshot(id: LogId) -> SnapshotMessage {
    SnapshotMessage::Offer(Manifest {
        id,
        membership: Membership::default(),
        length: 0,
        chunk_bytes: 1,
        chunks: Vec::new(),
    })
}

/// Returns an append of a leader, with one entry right after the node's last one and a commit index that covers it.
fn of_a_leader(from: End, to: NodeId, term: Term, last: LogId) -> Message {
    let entry = Entry {
        id: LogId { term, index: last.index.next() },
        payload: Payload::Command(Bytes::from_static(b"of a stranger")),
    };
    let append = AppendEntries {
        prev: last,
        commit: entry.id.index,
        entries: [entry].into_iter().collect::<Entries>(),
        round: Round(1 << 40),
    };
    Message {
        from: from.node,
        from_store: from.store,
        from_incarnation: Incarnation(from.incarnation),
        to,
        term,
        body: Body::AppendEntries(append),
    }
}
