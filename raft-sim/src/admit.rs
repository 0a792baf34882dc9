//! Who may come in: raft-net's own rules (`admission`), between two hosts.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use raftkit_core::{
    AppendEntries, Body, ClusterId, Entries, Entry, Incarnation, LogId, Message, NodeId, Payload, StoreId,
};
use raftkit_net::admission::{Admit, Own, Remote, check_hello, check_message};
use raftkit_net::{Frame, Hello, Lane};
use raftkit_replica::{Event, ServiceEvent};

use crate::Mark;
use crate::host::Host;
use crate::network::End;
use crate::subject::Subject;
use crate::world::{CLUSTER, World};

fn own(end: End) -> Own {
    Own { node: end.node, store: end.store, cluster: Some(CLUSTER), process: end.life }
}

fn hello(end: End, cluster: ClusterId) -> Hello {
    Hello {
        lane: Lane::Control,
        cluster: Some(cluster),
        node: end.node,
        store: end.store,
        incarnation: Incarnation(end.incarnation),
        process: end.life,
        address: format!("node-{}", end.node),
        attributes: Bytes::new(),
    }
}

/// A greeting as it comes out of the codec on the other side.
fn heard(hello: Hello) -> Option<Hello> {
    let mut greeting = BytesMut::new();
    raftkit_net::encode_frame(&Frame::Hello(hello), &mut greeting).ok()?;
    if let Ok(Frame::Hello(hello)) = raftkit_net::decode(greeting.freeze()) { Some(hello) } else { None }
}

fn expected<S: Subject>(hosts: &BTreeMap<NodeId, Host<S>>, at: NodeId, of: NodeId) -> Option<StoreId> {
    let process = hosts.get(&at)?.process.as_ref()?;
    process.service.replica().node().membership().store(of)
}

/// Both sides greet and check each other; true when they let each other in.
pub(crate) fn greet<S: Subject>(hosts: &mut BTreeMap<NodeId, Host<S>>, from: End, to: End) -> bool {
    let Some(dialler) = heard(hello(from, CLUSTER)) else { return false };
    if check_hello(&own(to), expected(hosts, to.node, from.node), None, &dialler).is_err() {
        return false;
    }
    let Some(process) = hosts.get_mut(&to.node).and_then(|host| host.process.as_mut()) else { return false };
    if process.lives.admit(to.node, &Remote::of(&dialler)).is_err() {
        return false;
    }
    let Some(answer) = heard(hello(to, CLUSTER)) else { return false };
    check_hello(&own(from), expected(hosts, from.node, to.node), Some(to.node), &answer).is_ok()
}

/// True when a message is one that the connection's other side may send.
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
        cluster: Some(CLUSTER),
    };
    matches!(check_message(&own, &remote, message), Ok(Admit::Deliver))
}

impl<S: Subject> World<S> {
    /// A leader of another cluster calls: a node of that one has the id of a member here, and a wrong address. What it
    /// says would be believed.
    pub(crate) fn stray(&mut self, to: NodeId) {
        const OTHER: ClusterId = ClusterId(8);
        let host = &self.hosts[&to];
        let Some(process) = host.process.as_ref() else { return };
        let node = process.service.replica().node();
        let claimed = node.membership().members().iter().find(|(id, _)| **id != to);
        let Some((claimed, member)) = claimed.map(|(id, member)| (*id, member.clone())) else { return };
        let (term, last) = (raftkit_core::Term(node.term().0 + 3), host.view.last());
        let end = End { node: claimed, life: u64::MAX, store: member.store, incarnation: 1 << 20 };
        let at = End { node: to, life: host.life, store: host.store, incarnation: 0 };
        let Some(hello) = heard(hello(end, OTHER)) else { return };
        if check_hello(&own(at), Some(member.store), None, &hello).is_err() {
            return self.hit(Mark::Refused);
        }
        let entry = Entry {
            id: LogId { term, index: last.index.next() },
            payload: Payload::Command(Bytes::from_static(b"of another cluster")),
        };
        let append = AppendEntries {
            prev: last,
            commit: entry.id.index,
            entries: [entry].into_iter().collect::<Entries>(),
            round: 1 << 40,
        };
        let message = Message {
            from: claimed,
            from_store: member.store,
            from_incarnation: Incarnation(1 << 20),
            to,
            term,
            body: Body::AppendEntries(append),
        };
        self.give(to, ServiceEvent::Replica(Event::Message(message)));
    }
}
