//! Members get in however many strangers are at the door.
#![cfg(feature = "quic")]
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

#[path = "support/strangers.rs"]
mod strangers;
mod support;

use raftkit_core::NodeId;
use raftkit_net::certificates::CaPem;
use strangers::{Back, Flood, dial_in_vain, first_packets};
use support::{Node, authority, plan, store, within};

/// Greets `times` times, each on a connection of its own; one that fails is tried again.
async fn greets(node: &Node, address: &str, times: usize) {
    let greetings = async {
        for _ in 0..times {
            while node.transport.hello(address).await.is_err() {}
        }
    };
    within("greetings", greetings).await;
}

/// Waits until nodes that were never here before are passed over.
async fn all_places_of_one_source_are_taken(ca: &CaPem, address: &str) {
    within("strangers in all places of this source", async {
        // Nodes that got in are remembered, and the oldest forgotten: there must not be many of them.
        let mut pace = tokio::time::interval(core::time::Duration::from_millis(500));
        while plan(ca, 3).start().transport.hello(address).await.is_ok() {
            pace.tick().await;
        }
    })
    .await;
}

/// With a bound on handshakes and a queue for the others, whatever leaves the queue is too old to be of use to anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_strangers_keep_no_member_out() {
    let ca = authority();
    let foreign = plan(&authority(), 9).start();
    let mut one = plan(&ca, 1).start();
    let (address, target) = (one.address(), one.transport.local_addr());
    let packets = first_packets(&foreign.transport, 3_000).await;
    let forged = Flood::start(target, packets, 50, 3_000);
    let attempts = dial_in_vain(&foreign.transport, target, 100, Back::Nothing).await;
    within("the strangers", async {
        let mut pace = tokio::time::interval(core::time::Duration::from_millis(1));
        while forged.sent() < 6_000 {
            pace.tick().await;
        }
    })
    .await;
    let two = plan(&ca, 2).start();
    greets(&two, &address, 10).await;
    two.knows(&one);
    one.connected(2).await;
    drop((forged, attempts));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_prove_their_address_take_no_room_of_a_peer_on_the_same_machine() {
    let ca = authority();
    let foreign = plan(&authority(), 9).start();
    let (one, two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    let address = one.address();
    // More than there are places for claimed addresses and for one source together: all come from 127.0.0.1.
    let attempts = dial_in_vain(&foreign.transport, one.transport.local_addr(), 40, Back::Retry).await;
    one.transport.set_peer(NodeId(2), store(2), &two.address());
    all_places_of_one_source_are_taken(&ca, &address).await;
    // The peer's address is known since it was dialled.
    greets(&two, &address, 10).await;
    drop(attempts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_prove_their_address_take_no_room_of_a_node_that_was_here_before() {
    let ca = authority();
    let foreign = plan(&authority(), 9).start();
    let (one, two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    let address = one.address();
    greets(&two, &address, 1).await;
    let attempts = dial_in_vain(&foreign.transport, one.transport.local_addr(), 40, Back::Retry).await;
    all_places_of_one_source_are_taken(&ca, &address).await;
    greets(&two, &address, 10).await;
    drop(attempts);
}
