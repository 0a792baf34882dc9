//! Members are admitted however many strangers try to connect.
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

use strangers::{Back, Flood, dial_in_vain, first_packets};
use support::{Node, authority, plan, within};

/// Greets `times` times, each time on a connection of its own; a failed greeting is tried again.
async fn greets(node: &Node, address: &str, times: usize) {
    let greetings = async {
        for _ in 0..times {
            while node.transport.hello(address).await.is_err() {}
        }
    };
    within("greetings", greetings).await;
}

/// If handshakes were bounded and the others queued, those that leave the queue would be too old to be of use.
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
