//! Two transports on a path with a long delay: they connect, however long the delay is, and stay connected.
#![cfg(feature = "quic")]
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

mod support;

use std::time::{Duration, Instant};

use raftkit_core::NodeId;
use raftkit_net::Inbound;
use raftkit_net::certificates::CaPem;
use raftkit_test_links::{Conditions, Proxy, Way};
use support::{Node, Plan, authority, heartbeat, plan, round, start_again, within};
use tokio::task::JoinSet;

/// Extra time for a busy machine, beside the time that the delay makes necessary.
const MARGIN: Duration = Duration::from_secs(8);

/// Round trips until a message must have arrived: dialling takes two, the message half of one, and a lost packet some
/// more.
const ROUND_TRIPS: u32 = 6;

/// The two directions between two nodes: to node 2, and to node 1.
#[derive(Clone, Copy, Debug)]
struct Path {
    there: Conditions,
    back: Conditions,
}

fn path(there_ms: u64, back_ms: u64, loss_permille: u32) -> Path {
    let way = |ms| Conditions { delay: Duration::from_millis(ms), loss_permille, ..Conditions::default() };
    Path { there: way(there_ms), back: way(back_ms) }
}

impl Path {
    fn round_trip(self) -> Duration {
        self.there.delay + self.back.delay
    }
}

/// Starts a proxy before `node`, which the other node dials.
fn before(node: &Node, to: Conditions, from: Conditions) -> Proxy {
    let proxy = Proxy::start(node.transport.local_addr()).unwrap();
    proxy.set(Way::In, to);
    proxy.set(Way::Out, from);
    proxy
}

/// Nodes 1 and 2, and the path between them.
struct Pair {
    one: Node,
    two: Node,
    path: Path,
    to_one: Proxy,
    to_two: Proxy,
}

impl Pair {
    fn new(ca: &CaPem, path: Path) -> Self {
        Self::of(&plan(ca, 1), &plan(ca, 2), path)
    }

    fn of(one: &Plan, two: &Plan, path: Path) -> Self {
        let (one, two) = (one.start(), two.start());
        let (to_one, to_two) = (before(&one, path.back, path.there), before(&two, path.there, path.back));
        Self { one, two, path, to_one, to_two }
    }

    fn one_dials(&self) {
        self.one.transport.set_peer(NodeId(2), self.two.store, &self.to_two.address().to_string());
    }

    fn two_dials(&self) {
        self.two.transport.set_peer(NodeId(1), self.one.store, &self.to_one.address().to_string());
    }

    /// Checks that a message of each node arrives at the other, on the connection that its sender has dialled.
    async fn exchange(&mut self, number: u64) {
        self.one.transport.send(heartbeat(&self.one, 2, number));
        self.two.transport.send(heartbeat(&self.two, 1, number));
        let (at_one, at_two) = tokio::join!(self.one.message(), self.two.message());
        assert_eq!((round(&at_one), round(&at_two)), (number, number));
    }
}

/// Lets pairs of nodes with these paths dial each other at the same moment, and returns how long each pair took.
async fn dial_at_once(paths: Vec<Path>) -> Vec<(Path, Duration)> {
    let ca = authority();
    let mut pairs = JoinSet::new();
    for path in paths {
        let mut pair = Pair::new(&ca, path);
        pairs.spawn(async move {
            let begun = Instant::now();
            pair.one_dials();
            pair.two_dials();
            pair.exchange(1).await;
            (path, begun.elapsed())
        });
    }
    pairs.join_all().await
}

#[tokio::test]
async fn two_nodes_that_dial_at_the_same_time_connect_at_any_distance() {
    let symmetric = [0, 20, 40, 60, 100, 150, 300].map(|ms| path(ms, ms, 0));
    let asymmetric = [(300, 20), (20, 300), (150, 0), (60, 45)].map(|(there, back)| path(there, back, 0));
    for (path, took) in dial_at_once([symmetric.as_slice(), &asymmetric].concat()).await {
        assert!(took < path.round_trip() * ROUND_TRIPS + MARGIN, "{took:?} at {path:?}");
    }
}

#[tokio::test]
async fn two_nodes_that_dial_at_the_same_time_connect_over_a_path_that_loses_packets() {
    let symmetric = [0, 40, 100, 300].map(|ms| path(ms, ms, 50));
    let asymmetric = [(300, 20), (20, 150)].map(|(there, back)| path(there, back, 50));
    for (path, took) in dial_at_once([symmetric.as_slice(), &asymmetric].concat()).await {
        assert!(took < path.round_trip() * 4 * ROUND_TRIPS + MARGIN, "{took:?} at {path:?}");
    }
}

#[tokio::test]
async fn two_nodes_connect_over_a_path_that_takes_longer_than_a_first_attempt_waits() {
    let ca = authority();
    let (one, two) = (plan(&ca, 1), plan(&ca, 2));
    let mut pair = Pair::of(
        &Plan { dial_timeout_ms: 100, ..one },
        &Plan { dial_timeout_ms: 100, ..two },
        path(300, 300, 0),
    );
    pair.one_dials();
    pair.two_dials();
    pair.exchange(1).await;
}

#[tokio::test]
async fn an_address_that_is_far_away_says_who_is_there() {
    let ca = authority();
    let one = Plan { dial_timeout_ms: 100, ..plan(&ca, 1) };
    let pair = Pair::of(&one, &plan(&ca, 2), path(250, 250, 0));
    let address = pair.to_two.address().to_string();
    // What each attempt that times out has shown of the path makes the next one wait longer.
    let remote = within("a greeting", async {
        loop {
            if let Ok(remote) = pair.one.transport.hello(&address).await {
                return remote;
            }
        }
    })
    .await;
    assert_eq!(remote.node, NodeId(2));
}

#[tokio::test]
async fn a_standing_connection_outlives_later_dials_of_the_same_life() {
    let ca = authority();
    let mut pair = Pair::new(&ca, path(60, 60, 0));
    pair.one_dials();
    pair.two_dials();
    pair.exchange(1).await;
    let port = pair.to_one.address().port();
    for (number, host) in (2..).zip(["localhost", "127.0.0.1", "localhost"]) {
        // Under another name for the same address node 2 dials anew.
        pair.two.transport.set_peer(NodeId(1), pair.one.store, &format!("{host}:{port}"));
        pair.exchange(number).await;
    }
    pair.exchange(9).await;
    let lost = pair.one.passed_over(|event| matches!(event, Inbound::Unreachable(_)));
    assert_eq!(lost, 0, "node 1 has lost its connection");
}

#[tokio::test]
async fn an_idle_connection_stays_over_a_long_path_that_loses_packets() {
    let ca = authority();
    let (one, two) = (plan(&ca, 1), plan(&ca, 2));
    // Keep-alives go out every 100 ms, and the silence that ends a connection is shorter than a round trip.
    let short = |plan: Plan| Plan { peer_timeout_ms: 400, ..plan };
    let mut pair = Pair::of(&short(one), &short(two), path(300, 300, 30));
    pair.one_dials();
    pair.two_dials();
    pair.exchange(1).await;
    let until = Instant::now() + pair.path.round_trip() * 8;
    while let Ok(event) = tokio::time::timeout_at(until.into(), pair.one.events.recv()).await {
        assert!(!matches!(event, Some(Inbound::Unreachable(_)) | None), "lost: {event:?}");
    }
    pair.exchange(2).await;
}

#[tokio::test]
async fn a_far_peer_that_restarts_is_reached_again() {
    let ca = authority();
    let again = plan(&ca, 2);
    let mut pair = Pair::of(&plan(&ca, 1), &again, path(150, 150, 0));
    pair.one_dials();
    pair.two_dials();
    pair.exchange(1).await;
    let Pair { one, two, path, to_one, to_two } = pair;
    let port = two.transport.local_addr().port();
    drop(two);
    let two = start_again(&Plan { port, incarnation: 2, ..again }).await;
    let mut pair = Pair { one, two, path, to_one, to_two };
    let begun = Instant::now();
    pair.two_dials();
    pair.two.transport.send(heartbeat(&pair.two, 1, 2));
    while round(&pair.one.message().await) != 2 {}
    // Node 1 has heard of the new incarnation now at the latest, and lets go of the connection to the earlier one.
    pair.one.transport.send(heartbeat(&pair.one, 2, 3));
    while round(&pair.two.message().await) != 3 {}
    assert!(begun.elapsed() < pair.path.round_trip() * 2 * ROUND_TRIPS + MARGIN, "{:?}", begun.elapsed());
}
