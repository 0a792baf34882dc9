//! Admission: which nodes a transport lets in, and which of their messages it delivers. Only the decisions are here;
//! the connections are the transport's.
//!
//! ```text
//! greeting   check_hello  -> Refusal, or the node may speak
//!            Incarnations::admit -> Refusal, or whether a later incarnation has come
//! later on   check_message, check_cluster, check_again -> Violation, or whether to deliver
//! ```
//!
//! The transport checks certificates, as only it has them. Everything else is decided here, so that another transport,
//! or a simulator, refuses what the transport over QUIC refuses.

use std::collections::BTreeMap;

use raftkit_core::{ClusterId, Incarnation, Message, NodeId, StoreId};

use crate::refusal::{Hello, Refusal};

/// The identity of this node that greetings and messages of others are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Id of the node.
    pub node: NodeId,
    /// The id of the node's data folder.
    pub store: StoreId,
    /// The cluster that the node belongs to; none before it has formed or joined one.
    pub cluster: Option<ClusterId>,
    /// The number that the process drew at its start, see [`Hello::process`].
    pub process: u64,
}

/// The identity of the node at the other end of a connection, as its greeting stated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Id of the node.
    pub node: NodeId,
    /// The id of the node's data folder.
    pub store: StoreId,
    /// The number of the process's run on its data folder.
    pub incarnation: Incarnation,
    /// The number that the process drew at its start, see [`Hello::process`].
    pub process: u64,
    /// The cluster that the node named in its last greeting; none before it has formed or joined one.
    pub cluster: Option<ClusterId>,
}

impl Remote {
    /// The identity that a greeting states.
    #[must_use]
    pub fn of(hello: &Hello) -> Self {
        let Hello { node, store, incarnation, process, cluster, .. } = *hello;
        Self { node, store, incarnation, process, cluster }
    }
}

/// Decision on a message or body that is no violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Both nodes belong to the same cluster: deliver.
    Deliver,
    /// One of the two nodes has no cluster yet: drop silently.
    Drop,
}

/// A breach of the protocol that ends the connection of the node that committed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The message names a sender other than the node at the other end.
    #[error("a message in the name of node {node} with store {store}")]
    Forged {
        /// The node that the message names as its sender.
        node: NodeId,
        /// The data folder that the message names.
        store: StoreId,
    },
    /// The message is addressed to another node.
    #[error("a message for node {0}")]
    Misdirected(NodeId),
    /// A later greeting on the connection states another identity, or takes back the cluster that an earlier one named.
    #[error("a greeting that does not fit its first one")]
    ChangedIdentity,
    /// The connection would have been refused at its greeting, had that stated what is known now.
    #[error("{0}")]
    Refused(Refusal),
}

/// Checks a greeting. `expected_store` is the data folder that the membership names for the greeting node, if it names
/// the node; `expected_node` is the node that was dialled, if a particular one was.
///
/// # Errors
/// The reason for which the node is refused; it is sent to the node.
pub fn check_hello(
    own: &Own,
    expected_store: Option<StoreId>,
    expected_node: Option<NodeId>,
    hello: &Hello,
) -> Result<(), Refusal> {
    if hello.process == own.process && hello.node == own.node {
        return Err(Refusal::Myself { node: own.node });
    }
    if hello.node == own.node {
        return Err(Refusal::Twin { node: own.node, refuser_store: own.store, refused_store: hello.store });
    }
    one_cluster(own, &Remote::of(hello))?;
    match expected_node {
        Some(expected) if expected != hello.node => {
            return Err(Refusal::OtherNode { refuser: own.node, expected, refused: hello.node });
        }
        Some(_) | None => {}
    }
    match expected_store {
        // Only of a node that belongs to no cluster: it lost its data folder. One that came into this cluster with another
        // folder than the membership here names has been removed and added again, and that membership is old. It may lead
        // by now, and nobody else could tell of it.
        Some(expected) if expected != hello.store && hello.cluster.is_none() => Err(Refusal::OtherStore {
            refuser: own.node,
            refused: hello.node,
            expected,
            claimed: hello.store,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Checks a message on the connection of `remote`.
///
/// # Errors
/// The connection must end: the message is from or for another node, or the two nodes belong to different clusters.
pub fn check_message(own: &Own, remote: &Remote, message: &Message) -> Result<Admit, Violation> {
    if (message.from, message.from_store) != (remote.node, remote.store) {
        return Err(Violation::Forged { node: message.from, store: message.from_store });
    }
    if message.to != own.node {
        return Err(Violation::Misdirected(message.to));
    }
    check_cluster(own, remote)
}

/// Checks a body that names no sender, such as a bulk body, on the connection of `remote`.
///
/// # Errors
/// The connection must end: the two nodes belong to different clusters.
pub fn check_cluster(own: &Own, remote: &Remote) -> Result<Admit, Violation> {
    one_cluster(own, remote).map_err(Violation::Refused)
}

/// Checks a later greeting on the connection of `remote`, which a node sends when it has joined a cluster. Returns the
/// identity that counts from then on.
///
/// # Errors
/// The connection must end: the node has joined another cluster, or states another identity than before.
pub fn check_again(own: &Own, remote: &Remote, hello: &Hello) -> Result<Remote, Violation> {
    let again = Remote::of(hello);
    one_cluster(own, &again).map_err(Violation::Refused)?;
    let cluster = remote.cluster.or(again.cluster);
    if again == (Remote { cluster, ..*remote }) { Ok(again) } else { Err(Violation::ChangedIdentity) }
}

/// Two nodes that both have a cluster must have the same one. Until both have one, no message or bulk body passes.
fn one_cluster(own: &Own, remote: &Remote) -> Result<Admit, Refusal> {
    match (own.cluster, remote.cluster) {
        (Some(ours), Some(theirs)) if ours == theirs => Ok(Admit::Deliver),
        (Some(ours), Some(theirs)) => Err(Refusal::OtherCluster {
            refuser: own.node,
            refuser_cluster: ours,
            refused: remote.node,
            refused_cluster: theirs,
        }),
        (_, None) | (None, _) => Ok(Admit::Drop),
    }
}

/// The newest incarnation of a data folder that was met, and its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    incarnation: Incarnation,
    process: u64,
}

/// The newest incarnation met of each data folder, whichever side dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incarnations {
    newest: BTreeMap<(NodeId, StoreId), Met>,
}

/// Relation of an incarnation that was met to those met before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The incarnation that was met last.
    Same,
    /// A later incarnation, or the first one: connections of the folder's earlier incarnations are over.
    Later,
}

impl Incarnations {
    /// Records that the node `own` has met `remote`.
    ///
    /// Each data folder is recorded for itself: a removed node that runs on without knowing it must not end the
    /// connections of the node that has its id now.
    ///
    /// # Errors
    /// A later incarnation of the same data folder was met; or the same incarnation was met in another process. An
    /// incarnation has only one process, so in that case the data folder was copied.
    pub fn admit(&mut self, own: NodeId, remote: &Remote) -> Result<Arrival, Refusal> {
        let Remote { node: refused, store, incarnation, process, .. } = *remote;
        let came = Met { incarnation, process };
        match self.newest.get(&(refused, store)).copied() {
            Some(met) if met == came => Ok(Arrival::Same),
            Some(met) if met.incarnation == incarnation => {
                Err(Refusal::Copy { refuser: own, refused, incarnation })
            }
            Some(met) if incarnation < met.incarnation => {
                let (newest, claimed) = (met.incarnation, incarnation);
                Err(Refusal::Stale { refuser: own, refused, newest, claimed })
            }
            Some(_) | None => {
                self.newest.insert((refused, store), came);
                Ok(Arrival::Later)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raftkit_core::{Body, Term, TimeoutNow};

    use super::*;
    use crate::refusal::Lane;

    const OWN: Own =
        Own { node: NodeId(1), store: StoreId(10), cluster: Some(ClusterId(100)), process: 1000 };

    fn hello() -> Hello {
        Hello {
            lane: Lane::Control,
            cluster: Some(ClusterId(100)),
            node: NodeId(2),
            store: StoreId(20),
            incarnation: Incarnation(3),
            process: 2000,
            address: "there:1".to_owned(),
            attributes: Bytes::new(),
        }
    }

    fn message() -> Message {
        Message {
            from: NodeId(2),
            from_store: StoreId(20),
            from_incarnation: Incarnation(3),
            to: NodeId(1),
            term: Term(1),
            body: Body::TimeoutNow(TimeoutNow {}),
        }
    }

    #[test]
    fn a_member_of_the_cluster_comes_in() {
        for (store, node) in [(None, None), (Some(StoreId(20)), Some(NodeId(2)))] {
            assert_eq!(check_hello(&OWN, store, node, &hello()), Ok(()));
        }
    }

    #[test]
    fn a_node_that_reached_itself_is_told_from_a_twin() {
        let own = Hello { node: NodeId(1), process: 1000, ..hello() };
        assert_eq!(check_hello(&OWN, None, None, &own), Err(Refusal::Myself { node: NodeId(1) }));
        let twin = Hello { node: NodeId(1), ..hello() };
        assert_eq!(
            check_hello(&OWN, None, None, &twin),
            Err(Refusal::Twin { node: NodeId(1), refuser_store: StoreId(10), refused_store: StoreId(20) })
        );
        let same_number = Hello { process: 1000, ..hello() };
        assert_eq!(check_hello(&OWN, None, None, &same_number), Ok(()));
    }

    #[test]
    fn another_cluster_is_refused_and_none_yet_is_not() {
        let hello = |cluster: Option<u128>| Hello { cluster: cluster.map(ClusterId), ..hello() };
        let refusal = Refusal::OtherCluster {
            refuser: NodeId(1),
            refuser_cluster: ClusterId(100),
            refused: NodeId(2),
            refused_cluster: ClusterId(101),
        };
        assert_eq!(check_hello(&OWN, None, None, &hello(Some(101))), Err(refusal));
        assert_eq!(check_hello(&OWN, None, None, &hello(None)), Ok(()));
        let unformed = Own { cluster: None, ..OWN };
        assert_eq!(check_hello(&unformed, None, None, &hello(Some(101))), Ok(()));
    }

    #[test]
    fn another_data_folder_or_another_node_than_expected_is_refused() {
        let other_store = Refusal::OtherStore {
            refuser: NodeId(1),
            refused: NodeId(2),
            expected: StoreId(21),
            claimed: StoreId(20),
        };
        let wiped = Hello { cluster: None, ..hello() };
        assert_eq!(check_hello(&OWN, Some(StoreId(21)), None, &wiped), Err(other_store));
        let other_node = Refusal::OtherNode { refuser: NodeId(1), expected: NodeId(3), refused: NodeId(2) };
        assert_eq!(check_hello(&OWN, None, Some(NodeId(3)), &hello()), Err(other_node));
    }

    #[test]
    fn a_member_that_was_added_again_comes_in_where_its_old_data_folder_is_expected() {
        assert_eq!(check_hello(&OWN, Some(StoreId(21)), Some(NodeId(2)), &hello()), Ok(()));
    }

    #[test]
    fn a_message_is_its_connections_and_for_this_node() {
        let remote = Remote::of(&hello());
        assert_eq!(check_message(&OWN, &remote, &message()), Ok(Admit::Deliver));
        for (node, store) in [(3, 20), (2, 21)] {
            let (node, store) = (NodeId(node), StoreId(store));
            let forged = Message { from: node, from_store: store, ..message() };
            assert_eq!(check_message(&OWN, &remote, &forged), Err(Violation::Forged { node, store }));
        }
        let misdirected = Message { to: NodeId(3), ..message() };
        assert_eq!(check_message(&OWN, &remote, &misdirected), Err(Violation::Misdirected(NodeId(3))));
    }

    #[test]
    fn what_is_of_a_cluster_passes_between_its_nodes_alone() {
        let remote =
            |cluster: Option<u128>| Remote { cluster: cluster.map(ClusterId), ..Remote::of(&hello()) };
        assert_eq!(check_cluster(&OWN, &remote(Some(100))), Ok(Admit::Deliver));
        assert_eq!(check_cluster(&OWN, &remote(None)), Ok(Admit::Drop));
        assert_eq!(check_cluster(&Own { cluster: None, ..OWN }, &remote(Some(100))), Ok(Admit::Drop));
        for result in
            [check_cluster(&OWN, &remote(Some(101))), check_message(&OWN, &remote(Some(101)), &message())]
        {
            assert!(matches!(result, Err(Violation::Refused(Refusal::OtherCluster { .. }))), "{result:?}");
        }
        assert_eq!(check_message(&OWN, &remote(None), &message()), Ok(Admit::Drop));
    }

    #[test]
    fn another_greeting_may_name_a_cluster_and_change_nothing_else() {
        let joined = Remote::of(&hello());
        let unformed = Remote { cluster: None, ..joined };
        assert_eq!(check_again(&OWN, &unformed, &hello()), Ok(joined));
        assert_eq!(check_again(&OWN, &joined, &hello()), Ok(joined));
        for changed in [
            Hello { node: NodeId(3), ..hello() },
            Hello { store: StoreId(21), ..hello() },
            Hello { incarnation: Incarnation(4), ..hello() },
            Hello { process: 77, ..hello() },
            Hello { cluster: None, ..hello() },
        ] {
            assert_eq!(check_again(&OWN, &joined, &changed), Err(Violation::ChangedIdentity), "{changed:?}");
        }
        let elsewhere = Hello { cluster: Some(ClusterId(101)), ..hello() };
        let result = check_again(&OWN, &unformed, &elsewhere);
        assert!(matches!(result, Err(Violation::Refused(Refusal::OtherCluster { .. }))), "{result:?}");
    }

    #[test]
    fn an_earlier_life_is_refused_once_a_later_one_was_met() {
        let mut met = Incarnations::default();
        let remote = |store, incarnation| Remote {
            store: StoreId(store),
            incarnation: Incarnation(incarnation),
            ..Remote::of(&hello())
        };
        let own = OWN.node;
        assert_eq!(met.admit(own, &remote(20, 3)), Ok(Arrival::Later));
        assert_eq!(met.admit(own, &remote(20, 3)), Ok(Arrival::Same));
        assert_eq!(met.admit(own, &remote(20, 4)), Ok(Arrival::Later));
        let (newest, claimed) = (Incarnation(4), Incarnation(3));
        let stale = Refusal::Stale { refuser: own, refused: NodeId(2), newest, claimed };
        assert_eq!(met.admit(own, &remote(20, 3)), Err(stale));
        assert_eq!(met.admit(own, &remote(20, 4)), Ok(Arrival::Same));
        assert_eq!(
            met.admit(own, &remote(21, 1)),
            Ok(Arrival::Later),
            "a wiped folder counts from the start"
        );
        assert_eq!(
            met.admit(own, &remote(20, 4)),
            Ok(Arrival::Same),
            "the other folder's incarnation goes on beside it"
        );
        assert_eq!(met.admit(own, &remote(20, 3)), Err(stale), "and its earlier ones are still over");
        let other = Remote { node: NodeId(3), ..remote(20, 1) };
        assert_eq!(met.admit(own, &other), Ok(Arrival::Later), "each node has its own incarnations");
        // A copy of its folder, which was opened as often.
        let copy = Remote { process: 77, ..remote(21, 1) };
        let copied = Refusal::Copy { refuser: own, refused: NodeId(2), incarnation: Incarnation(1) };
        assert_eq!(met.admit(own, &copy), Err(copied));
        assert_eq!(met.admit(own, &remote(21, 1)), Ok(Arrival::Same), "the first stays");
        assert_eq!(met.admit(own, &Remote { process: 78, ..remote(21, 2) }), Ok(Arrival::Later), "a restart");
    }
}
