//! Nodes that are refused, and how both sides report it.
#![cfg(feature = "quic")]
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

mod support;

use raftkit_core::{ClusterId, NodeId, StoreId};
use raftkit_net::certificates::create_node_certificate;
use raftkit_net::{HelloError, Refusal, StartError, TlsFiles, TlsIdentity, Transport};
use support::{CLUSTER, Log, Plan, authority, heartbeat, plan, round, store, within};

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_and_both_sides_say_so() {
    let log = Log::listen();
    let (one, two) = (plan(&authority(), 1).start(), plan(&authority(), 2).start());
    one.knows(&two);
    let advice = "the same CA signed";
    log.line(&["node=1", "no connection to node 2", &two.address(), advice]).await;
    log.line(&["node=2", &one.address(), "refused our certificate", advice]).await;
    let error = within("a failure", one.transport.hello(&two.address())).await.unwrap_err();
    assert!(matches!(error, HelloError::TheirCertificate { .. }), "{error}");
}

#[tokio::test]
async fn a_dialler_with_a_certificate_of_another_ca_is_refused_and_both_sides_say_so() {
    let log = Log::listen();
    let (ours, theirs) = (authority(), authority());
    let two = plan(&ours, 2).start();
    // Node 1 trusts both authorities; node 2 trusts its own alone. So only node 2 refuses.
    let certificate = create_node_certificate(&theirs, NodeId(1), &[]).unwrap();
    let mut config = plan(&theirs, 1).config();
    config.tls = TlsIdentity::parse(&TlsFiles {
        ca_pem: format!("{}{}", theirs.cert, ours.cert).into_bytes(),
        cert_pem: certificate.cert.into_bytes(),
        key_pem: certificate.key.into_bytes(),
    })
    .unwrap();
    let (one, _) = Transport::start(config).unwrap();
    let error = within("a failure", one.hello(&two.address())).await.unwrap_err();
    assert!(matches!(error, HelloError::OurCertificate { .. }), "{error}");
    log.line(&[
        "node=2",
        "refused",
        &one.local_addr().to_string(),
        "it bears the name of an authority in our CA file, and another key signed it",
    ])
    .await;
}

#[tokio::test]
async fn another_cluster_is_refused_and_both_are_named_on_both_sides() {
    let log = Log::listen();
    let ca = authority();
    let mut other = plan(&ca, 2);
    other.cluster = Some(ClusterId(0xbad));
    let (one, two) = (plan(&ca, 1).start(), other.start());
    one.knows(&two);
    let (ours, theirs) = (format!("cluster {CLUSTER}"), format!("cluster {}", ClusterId(0xbad)));
    log.line(&["node=1", &ours, &theirs, "different clusters"]).await;
    log.line(&["node=2", &ours, &theirs, "different clusters"]).await;
    let error = within("a refusal", one.transport.hello(&two.address())).await.unwrap_err();
    let expected = Refusal::OtherCluster {
        refuser: NodeId(2),
        refuser_cluster: ClusterId(0xbad),
        refused: NodeId(1),
        refused_cluster: CLUSTER,
    };
    assert!(matches!(error, HelloError::Refused(refusal) if refusal == expected), "{error}");
}

#[tokio::test]
async fn a_peer_that_returns_without_its_data_folder_is_refused_by_either_side() {
    let log = Log::listen();
    let ca = authority();
    let mut wiped = plan(&ca, 2);
    wiped.store = StoreId(77);
    wiped.cluster = None;
    let (one, two) = (plan(&ca, 1).start(), wiped.start());
    one.transport.set_peer(NodeId(2), store(2), &two.address());
    let (expected, claimed) = (format!("store {}", store(2)), format!("store {}", StoreId(77)));
    let parts = ["node 2", &expected, &claimed];
    log.line(&[&["node=1", "no connection"][..], &parts].concat()).await;
    log.line(&[&["node=2"][..], &parts].concat()).await;
    let error = within("a refusal", two.transport.hello(&one.address())).await.unwrap_err();
    let expected = Refusal::OtherStore {
        refuser: NodeId(1),
        refused: NodeId(2),
        expected: store(2),
        claimed: StoreId(77),
    };
    assert!(matches!(error, HelloError::Refused(refusal) if refusal == expected), "{error}");
}

#[tokio::test]
async fn a_node_id_that_is_not_in_the_certificate_is_refused_at_the_start() {
    let ca = authority();
    let mut claimed = plan(&ca, 1);
    claimed.certificate_of = 3;
    let error = Transport::start(claimed.config()).err().unwrap();
    assert!(matches!(error, StartError::OtherNodesCertificate { node: NodeId(1) }), "{error}");
}

#[tokio::test]
async fn another_node_at_a_peers_address_is_refused() {
    let log = Log::listen();
    let ca = authority();
    let (one, three) = (plan(&ca, 1).start(), plan(&ca, 3).start());
    one.transport.set_peer(NodeId(2), store(2), &three.address());
    log.line(&["node=1", "expected node 2", "met node 3"]).await;
}

#[tokio::test]
async fn two_nodes_with_one_id_refuse_each_other() {
    let ca = authority();
    let mut twin = plan(&ca, 1);
    twin.store = StoreId(5);
    let (one, two) = (plan(&ca, 1).start(), twin.start());
    let error = within("a refusal", one.transport.hello(&two.address())).await.unwrap_err();
    let expected = Refusal::Twin { node: NodeId(1), refuser_store: StoreId(5), refused_store: store(1) };
    assert!(matches!(error, HelloError::Refused(refusal) if refusal == expected), "{error}");
    assert!(error.to_string().contains("two nodes with one id"), "{error}");
}

#[tokio::test]
async fn a_node_that_dials_itself_is_told_so() {
    let ca = authority();
    let one = plan(&ca, 1).start();
    let error = within("a refusal", one.transport.hello(&one.address())).await.unwrap_err();
    assert!(matches!(error, HelloError::Refused(Refusal::Myself { node: NodeId(1) })), "{error}");
}

#[tokio::test]
async fn an_earlier_life_of_a_node_is_refused_once_a_later_one_was_met() {
    let log = Log::listen();
    let ca = authority();
    let mut one = plan(&ca, 1).start();
    let mut later = plan(&ca, 2);
    later.incarnation = 5;
    let five = later.start();
    five.knows(&one);
    one.connected(2).await;
    let mut earlier = plan(&ca, 2);
    earlier.incarnation = 4;
    let four = earlier.start();
    four.knows(&one);
    let line = log.line(&["node=1", "incarnation 4", "incarnation 5"]).await;
    assert!(line.contains("node 2"), "{line}");
}

#[tokio::test]
async fn a_process_on_a_copy_of_a_members_folder_is_refused_while_the_other_stays() {
    let log = Log::listen();
    let ca = authority();
    let mut one = plan(&ca, 1).start();
    let member = plan(&ca, 2).start();
    member.knows(&one);
    one.connected(2).await;
    let copy = plan(&ca, 2).start();
    copy.knows(&one);
    log.line(&["node=1", "node 2 in incarnation", "its data folder was copied"]).await;
    // The first one is still heard.
    member.transport.send(heartbeat(&member, 1, 7));
    assert_eq!(round(&one.message().await), 7);
}

#[tokio::test]
async fn the_same_refusal_is_logged_once_in_a_while_only() {
    let log = Log::listen();
    let (one, two) = (plan(&authority(), 1).start(), plan(&authority(), 2).start());
    for _ in 0..20 {
        let error = within("a failure", one.transport.hello(&two.address())).await.unwrap_err();
        assert!(matches!(error, HelloError::TheirCertificate { .. }), "{error}");
    }
    log.line(&["node=2", "refused our certificate"]).await;
    assert_eq!(log.lines().iter().filter(|line| line.contains("node=2")).count(), 1, "{:?}", log.lines());
}

#[tokio::test]
async fn a_dead_peer_is_spoken_of_once_in_a_while_only() {
    let log = Log::listen();
    let mut one = Plan { dial_timeout_ms: 50, ..plan(&authority(), 1) }.start();
    // A port that nobody listens at, now that its socket is gone.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let since = tokio::time::Instant::now();
    one.transport.set_peer(NodeId(2), store(2), &nobody.to_string());
    for _ in 0..5 {
        assert_eq!(one.unreachable().await, NodeId(2));
    }
    let lines: Vec<String> = log.lines().into_iter().filter(|line| line.contains("node=1")).collect();
    let spoken = since.elapsed().as_secs() / 5 + 1;
    assert!(lines[0].contains("no connection to node 2"), "{lines:?}");
    assert!(lines.len() as u64 <= spoken, "{:?}: {lines:?}", since.elapsed());
}
