//! Removed peers: messages that were queued for them are still delivered, and then nobody dials them any more.
#![cfg(feature = "quic")]
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use raftkit_core::NodeId;
use support::{Plan, authority, heartbeat, plan, round, store, within};

/// A peer that hears nothing for this long is not dialled: attempts follow each other faster at first.
const SILENCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_is_queued_for_a_removed_peer_arrives_and_the_connection_ends() {
    let ca = authority();
    let (mut one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    two.knows(&one);
    one.connected(2).await;
    two.connected(1).await;
    for number in 0..100 {
        one.transport.send(heartbeat(&one, 2, number));
    }
    one.transport.remove_peer(NodeId(2));
    for number in 0..100 {
        assert_eq!(round(&two.message().await), number);
    }
    assert!(one.transport.stats().is_empty());
    // What it dials itself is still served.
    two.transport.send(heartbeat(&two, 1, 7));
    assert_eq!(round(&one.message().await), 7);
}

#[tokio::test]
async fn the_last_message_to_a_removed_peer_waits_for_it_to_be_back() {
    let ca = authority();
    let one = plan(&ca, 1).start();
    let port = {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    one.transport.set_peer(NodeId(2), store(2), &format!("127.0.0.1:{port}"));
    one.transport.send(heartbeat(&one, 2, 5));
    one.transport.remove_peer(NodeId(2));
    let mut two = Plan { port, ..plan(&ca, 2) }.start();
    assert_eq!(round(&two.message().await), 5);
}

#[tokio::test]
async fn a_removed_peer_that_is_away_is_not_dialled_any_more() {
    let ca = authority();
    let one = Plan { dial_timeout_ms: 100, ..plan(&ca, 1) }.start();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    one.transport.set_peer(NodeId(2), store(2), &silent.local_addr().unwrap().to_string());
    let dialled = |silent: &UdpSocket| silent.recv(&mut [0; 2048]).is_ok();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let silent = within(
        "an attempt",
        tokio::task::spawn_blocking(move || {
            assert!(dialled(&silent));
            silent
        }),
    )
    .await
    .unwrap();
    one.transport.remove_peer(NodeId(2));
    let silent_from = Instant::now();
    silent.set_read_timeout(Some(SILENCE)).unwrap();
    let last = tokio::task::spawn_blocking(move || {
        let mut last = silent_from;
        while dialled(&silent) {
            last = Instant::now();
            if last - silent_from > Duration::from_secs(8) {
                break;
            }
        }
        last
    });
    let last = within("silence", last).await.unwrap();
    assert!(last - silent_from < Duration::from_secs(5), "still dialled after {:?}", last - silent_from);
}
