//! Who may come in, and what of theirs is taken: the decisions of a transport, without its connections.
//!
//! ```text
//! greeting   check_hello  -> Refusal, or it may speak
//!            Lives::admit -> Refusal, or whether it is a later life than the one that was met
//! later on   check_message, check_cluster, check_again -> Violation, or whether to deliver
//! ```
//!
//! A certificate is checked by the transport that has one. What is left is here, so that another transport, or a
//! simulator, refuses what the one over QUIC does.

use std::collections::BTreeMap;

use raftkit_core::{ClusterId, Incarnation, Message, NodeId, StoreId};

use crate::refusal::{Hello, Refusal};

/// Who this node is, as far as others are judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The node.
    pub node: NodeId,
    /// Its data folder.
    pub store: StoreId,
    /// Its cluster, if it has one yet.
    pub cluster: Option<ClusterId>,
    /// As in its greeting, see [`Hello::process`].
    pub process: u64,
}

/// Who is at the other end of a connection, as its greeting said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The node.
    pub node: NodeId,
    /// Its data folder.
    pub store: StoreId,
    /// Its life.
    pub incarnation: Incarnation,
    /// As in its greeting, see [`Hello::process`].
    pub process: u64,
    /// Its cluster, if it had one when it last greeted.
    pub cluster: Option<ClusterId>,
}

impl Remote {
    /// Who greets so.
    #[must_use]
    pub fn of(hello: &Hello) -> Self {
        let Hello { node, store, incarnation, process, cluster, .. } = *hello;
        Self { node, store, incarnation, process, cluster }
    }
}

/// What becomes of something that came in and is no violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Both nodes are of one cluster: it is delivered.
    Deliver,
    /// One of them has no cluster yet: it is dropped.
    Drop,
}

/// What a node did that ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A message in another's name.
    #[error("a message in the name of node {node} with store {store}")]
    Forged {
        /// The node that it names as its sender.
        node: NodeId,
        /// The data folder that it names.
        store: StoreId,
    },
    /// A message for somebody else.
    #[error("a message for node {0}")]
    Misdirected(NodeId),
    /// A later greeting is another node's, or takes back the cluster that an earlier one named.
    #[error("a greeting that does not fit its first one")]
    ChangedIdentity,
    /// What would have been refused at the greeting.
    #[error("{0}")]
    Refused(Refusal),
}

/// Checks a greeting. `expected_store` is what the membership names for the node that greets, if it names it;
/// `expected_node` is who was dialled, if it was somebody in particular.
///
/// # Errors
/// The node must not come in, and is told why.
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
/// The connection must end: the message is another node's or for another node, or the clusters are two.
pub fn check_message(own: &Own, remote: &Remote, message: &Message) -> Result<Admit, Violation> {
    if (message.from, message.from_store) != (remote.node, remote.store) {
        return Err(Violation::Forged { node: message.from, store: message.from_store });
    }
    if message.to != own.node {
        return Err(Violation::Misdirected(message.to));
    }
    check_cluster(own, remote)
}

/// Checks what names no sender of its own, such as a bulk body, on the connection of `remote`.
///
/// # Errors
/// The connection must end: the clusters are two.
pub fn check_cluster(own: &Own, remote: &Remote) -> Result<Admit, Violation> {
    one_cluster(own, remote).map_err(Violation::Refused)
}

/// Checks another greeting on the connection of `remote`, which has joined a cluster. Returns who it is from then on.
///
/// # Errors
/// The connection must end: the node has joined another cluster, or is not the one that it was.
pub fn check_again(own: &Own, remote: &Remote, hello: &Hello) -> Result<Remote, Violation> {
    let again = Remote::of(hello);
    one_cluster(own, &again).map_err(Violation::Refused)?;
    let cluster = remote.cluster.or(again.cluster);
    if again == (Remote { cluster, ..*remote }) { Ok(again) } else { Err(Violation::ChangedIdentity) }
}

/// Two nodes that each have a cluster must have the same; until both have, nothing of a cluster's passes.
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

/// A life that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    incarnation: Incarnation,
    process: u64,
}

/// The newest life of each data folder that was met, whichever side dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    lives: BTreeMap<(NodeId, StoreId), Met>,
}

/// Which life of a data folder has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The one that was met last.
    Same,
    /// A new one: the connections of this folder's earlier ones are over.
    New,
}

impl Lives {
    /// Takes note of a node that `own` has met.
    ///
    /// Each data folder is looked at alone: a node that was removed, runs on and does not know it, must not end the
    /// connections of the one that has its id now.
    ///
    /// # Errors
    /// It is an earlier life than one that was met, in the same data folder; or the same one in another process, and a life
    /// has only one: the folder was copied.
    pub fn admit(&mut self, own: NodeId, remote: &Remote) -> Result<Life, Refusal> {
        let Remote { node: refused, store, incarnation, process, .. } = *remote;
        let came = Met { incarnation, process };
        match self.lives.get(&(refused, store)).copied() {
            Some(met) if met == came => Ok(Life::Same),
            Some(met) if met.incarnation == incarnation => {
                Err(Refusal::Copy { refuser: own, refused, incarnation })
            }
            Some(met) if incarnation < met.incarnation => {
                let (newest, claimed) = (met.incarnation, incarnation);
                Err(Refusal::Stale { refuser: own, refused, newest, claimed })
            }
            Some(_) | None => {
                self.lives.insert((refused, store), came);
                Ok(Life::New)
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
        let mut lives = Lives::default();
        let life = |store, incarnation| Remote {
            store: StoreId(store),
            incarnation: Incarnation(incarnation),
            ..Remote::of(&hello())
        };
        let own = OWN.node;
        assert_eq!(lives.admit(own, &life(20, 3)), Ok(Life::New));
        assert_eq!(lives.admit(own, &life(20, 3)), Ok(Life::Same));
        assert_eq!(lives.admit(own, &life(20, 4)), Ok(Life::New));
        let (newest, claimed) = (Incarnation(4), Incarnation(3));
        let stale = Refusal::Stale { refuser: own, refused: NodeId(2), newest, claimed };
        assert_eq!(lives.admit(own, &life(20, 3)), Err(stale));
        assert_eq!(lives.admit(own, &life(20, 4)), Ok(Life::Same));
        assert_eq!(lives.admit(own, &life(21, 1)), Ok(Life::New), "a wiped folder counts from the start");
        assert_eq!(
            lives.admit(own, &life(20, 4)),
            Ok(Life::Same),
            "the other folder's life goes on beside it"
        );
        assert_eq!(lives.admit(own, &life(20, 3)), Err(stale), "and its earlier ones are still over");
        let other = Remote { node: NodeId(3), ..life(20, 1) };
        assert_eq!(lives.admit(own, &other), Ok(Life::New), "each node has its own lives");
        // A copy of its folder, which was opened as often.
        let copy = Remote { process: 77, ..life(21, 1) };
        let copied = Refusal::Copy { refuser: own, refused: NodeId(2), incarnation: Incarnation(1) };
        assert_eq!(lives.admit(own, &copy), Err(copied));
        assert_eq!(lives.admit(own, &life(21, 1)), Ok(Life::Same), "the first stays");
        assert_eq!(lives.admit(own, &Remote { process: 78, ..life(21, 2) }), Ok(Life::New), "a restart");
    }
}
