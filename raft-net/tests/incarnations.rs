//! Connections to an incarnation of a peer, or to a data folder, end with that incarnation or folder, and for no other
//! reason.
#![cfg(feature = "quic")]
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

mod support;

use bytes::Bytes;
use raftkit_core::{NodeId, StoreId};
use raftkit_net::{BulkError, HelloError, Inbound, Refusal};
use support::{Log, Plan, authority, heartbeat, plan, round, store, within};

#[tokio::test]
async fn a_removed_node_that_runs_on_does_not_end_the_connections_of_the_member_with_its_id() {
    let ca = authority();
    let (mut one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    two.knows(&one);
    two.connected(1).await;
    one.transport.send(heartbeat(&one, 2, 1));
    assert_eq!(round(&two.message().await), 1);
    // It has the same id, another data folder, and was of the cluster once.
    let removed = Plan { store: StoreId(77), incarnation: 9, ..plan(&ca, 2) }.start();
    removed.knows(&one);
    while one.connected(2).await.store != StoreId(77) {}
    two.transport.send(heartbeat(&two, 1, 2));
    while round(&one.message().await) != 2 {}
    one.transport.send(heartbeat(&one, 2, 3));
    assert_eq!(round(&two.message().await), 3);
    for node in [&mut one, &mut two] {
        let lost = node.passed_over(|event| matches!(event, Inbound::Unreachable(_)));
        assert_eq!(lost, 0, "node {} has lost a connection", node.id);
    }
}

#[tokio::test]
async fn a_member_that_is_replaced_by_another_data_folder_is_cut_off() {
    let ca = authority();
    let (mut one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    two.knows(&one);
    two.transport.send(heartbeat(&two, 1, 1));
    // It came on the connection that node 2 dialled: that one stands.
    one.message().await;
    one.transport.set_peer(NodeId(2), StoreId(77), &two.address());
    assert_eq!(two.unreachable().await, NodeId(1), "what it dialled has ended");
}

#[tokio::test]
async fn an_earlier_life_that_answers_is_not_taken_for_the_later_one_that_called() {
    let log = Log::listen();
    let ca = authority();
    let mut one = plan(&ca, 1).start();
    let later = Plan { incarnation: 5, ..plan(&ca, 2) }.start();
    later.knows(&one);
    one.connected(2).await;
    let earlier = Plan { incarnation: 4, ..plan(&ca, 2) }.start();
    one.transport.set_peer(NodeId(2), store(2), &earlier.address());
    log.line(&["node=1", "no connection to node 2", "incarnation 4", "incarnation 5"]).await;
}

#[tokio::test]
async fn a_bulk_body_goes_to_the_life_that_called_last() {
    let ca = authority();
    let mut one = plan(&ca, 1).start();
    let mut first = plan(&ca, 2).start();
    one.knows(&first);
    within("a bulk body", one.transport.send_bulk(NodeId(2), Bytes::from_static(b"1"))).await.unwrap();
    assert_eq!(first.bulk().await.1, b"1"[..]);
    // The first process stays where it is, so nothing but the later one's call tells that it is over.
    let mut later = Plan { incarnation: 2, ..plan(&ca, 2) }.start();
    later.knows(&one);
    while one.connected(2).await.incarnation.0 != 2 {}
    one.knows(&later);
    one.connected(2).await;
    within("a bulk body", one.transport.send_bulk(NodeId(2), Bytes::from_static(b"2"))).await.unwrap();
    assert_eq!(later.bulk().await.1, b"2"[..]);
}

#[tokio::test]
async fn no_bulk_body_goes_to_an_incarnation_after_a_later_one_has_called() {
    let ca = authority();
    let mut one = plan(&ca, 1).start();
    let mut earlier = plan(&ca, 2).start();
    one.knows(&earlier);
    within("a bulk body", one.transport.send_bulk(NodeId(2), Bytes::from_static(b"1"))).await.unwrap();
    assert_eq!(earlier.bulk().await.1, b"1"[..]);
    let later = Plan { incarnation: 2, ..plan(&ca, 2) }.start();
    later.knows(&one);
    while one.connected(2).await.incarnation.0 != 2 {}
    // The connection to the earlier one has ended with the call, and a new one to it is refused.
    let sent = within("an end", one.transport.send_bulk(NodeId(2), Bytes::from_static(b"2"))).await;
    assert!(matches!(sent, Err(BulkError::NotSent(_))), "{sent:?}");
}

#[tokio::test]
async fn a_process_on_a_copy_of_a_folder_is_refused_by_whoever_dials_it() {
    let ca = authority();
    let mut one = plan(&ca, 1).start();
    let member = plan(&ca, 2).start();
    member.knows(&one);
    one.connected(2).await;
    let copy = plan(&ca, 2).start();
    one.knows(&copy);
    let error = within("a refusal", one.transport.request(NodeId(2), Bytes::new())).await.unwrap_err();
    let text = error.to_string();
    let refused =
        matches!(
            error,
            raftkit_net::RequestError::NotSent(raftkit_net::NotSent::Down(HelloError::Refused(
                Refusal::Copy { refuser: NodeId(1), refused: NodeId(2), .. }
            )))
        );
    assert!(refused, "{text}");
}
