//! Peers that restart: each is found again, and connections to its earlier incarnation are closed.
#![cfg(feature = "quic")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

mod support;

use std::time::{Duration, Instant};

use raftkit_core::{Incarnation, NodeId, StoreId};
use raftkit_net::certificates::CaPem;
use raftkit_net::{Inbound, Inbox, Transport, TransportConfig};
use support::{authority, heartbeat, heartbeat_of, plan, round, start_again, store, within};
use tokio::sync::mpsc;

#[tokio::test]
async fn a_peer_that_restarts_is_reached_again() {
    let ca = authority();
    let mut one = plan(&ca, 1).start();
    let mut restarting = plan(&ca, 2);
    let (port, address) = {
        let mut two = restarting.start();
        two.knows(&one);
        one.knows(&two);
        one.transport.send(heartbeat(&one, 2, 1));
        assert_eq!(round(&two.message().await), 1);
        (two.transport.local_addr().port(), two.address())
        // Dropped without a word to anybody but QUIC's close.
    };
    assert_eq!(one.unreachable().await, NodeId(2));
    restarting.port = port;
    restarting.incarnation = 2;
    let mut two = start_again(&restarting).await;
    assert_eq!(two.address(), address);
    two.knows(&one);
    let remote = loop {
        let remote = one.connected(2).await;
        if remote.incarnation.0 == 2 {
            break remote;
        }
    };
    assert_eq!(remote.store, store(2));
    one.transport.send(heartbeat(&one, 2, 2));
    while round(&two.message().await) != 2 {}
}

/// A node in a thread of its own, which can end as a killed process does: without closing its connections.
struct Mortal {
    address: std::net::SocketAddr,
    kill: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
    rounds: mpsc::UnboundedReceiver<u64>,
}

impl Mortal {
    /// Starts the node, which keeps a connection to `peer` if one is given.
    fn start(config: TransportConfig, peer: Option<(NodeId, StoreId, String)>) -> Self {
        let (started, address) = std::sync::mpsc::channel();
        let (kill, killed) = tokio::sync::oneshot::channel();
        let (seen, rounds) = mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let transport = runtime.block_on(async move {
                let (transport, mut events) = Transport::start(config).unwrap();
                if let Some((node, store, address)) = peer {
                    transport.set_peer(node, store, &address);
                }
                started.send(transport.local_addr()).unwrap();
                let read = async {
                    while let Some(event) = events.recv().await {
                        if let Inbound::Message(message) = event {
                            seen.send(round(&message)).unwrap();
                        }
                    }
                };
                tokio::select! { () = read => {}, _ = killed => {} }
                transport
            });
            // With the runtime ends whatever could send a last packet.
            drop(runtime);
            drop(transport);
        });
        Self { address: address.recv().unwrap(), kill, thread, rounds }
    }

    fn kill(self) {
        self.kill.send(()).unwrap();
        self.thread.join().unwrap();
    }

    async fn round(&mut self) -> u64 {
        within("a message", self.rounds.recv()).await.unwrap()
    }
}

/// A node that keeps a silent connection for ten minutes.
fn patient(plan: &support::Plan) -> (Transport, Inbox) {
    let mut config = plan.config();
    config.peer_timeout = Duration::from_secs(600);
    Transport::start(config).unwrap()
}

/// Starts node 2, which keeps silent connections for as long, waits until node 1 has met it, and kills it. Returns the
/// settings for starting it again at the same address.
async fn met_and_killed(ca: &CaPem, one_plan: &support::Plan, one: &Transport) -> TransportConfig {
    let mut config = plan(ca, 2).config();
    config.peer_timeout = Duration::from_secs(600);
    let mut two = Mortal::start(config.clone(), None);
    meet(one_plan, one, &mut two).await;
    config.listen = two.address;
    config.identity.incarnation = Incarnation(2);
    two.kill();
    config
}

/// Checks that the first heartbeat of node 1 to node 2 arrives.
async fn meet(one_plan: &support::Plan, one: &Transport, two: &mut Mortal) {
    one.set_peer(NodeId(2), store(2), &two.address.to_string());
    one.send(heartbeat_of(one_plan, 2, 1));
    assert_eq!(two.round().await, 1);
}

/// Waits until node 1 reports that it has lost node 2.
async fn loss(events: &mut Inbox) {
    while !matches!(within("the loss", events.recv()).await.unwrap(), Inbound::Unreachable(NodeId(2))) {}
}

#[tokio::test]
async fn a_killed_process_that_is_back_says_that_old_connections_are_over() {
    let ca = authority();
    let one_plan = plan(&ca, 1);
    let (one, mut events) = patient(&one_plan);
    let config = met_and_killed(&ca, &one_plan, &one).await;
    // It does not dial node 1, so only its answer to the old connection's packets can tell.
    let mut two = Mortal::start(config, None);
    one.send(heartbeat_of(&one_plan, 2, 2));
    loss(&mut events).await;
    one.send(heartbeat_of(&one_plan, 2, 3));
    assert_eq!(two.round().await, 3);
    two.kill();
}

#[tokio::test]
async fn a_later_life_of_a_peer_is_proof_that_old_connections_are_over() {
    let ca = authority();
    let one_plan = plan(&ca, 1);
    let (one, mut events) = patient(&one_plan);
    let mut config = met_and_killed(&ca, &one_plan, &one).await;
    // Another certificate: its stateless resets mean nothing to node 1, which is idle besides.
    config.tls = plan(&ca, 2).config().tls;
    let to_one = (NodeId(1), store(1), one.local_addr().to_string());
    let mut two = Mortal::start(config, Some(to_one));
    loss(&mut events).await;
    one.send(heartbeat_of(&one_plan, 2, 2));
    assert_eq!(two.round().await, 2);
    two.kill();
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed() {
    let ca = authority();
    let one_plan = plan(&ca, 1);
    let mut config = one_plan.config();
    config.peer_timeout = Duration::from_millis(300);
    let (one, mut events) = Transport::start(config).unwrap();
    let mut two = Mortal::start(plan(&ca, 2).config(), None);
    meet(&one_plan, &one, &mut two).await;
    two.kill();
    let killed = Instant::now();
    loss(&mut events).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
}
