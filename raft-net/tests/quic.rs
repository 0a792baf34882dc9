//! Two and three transports on loopback: messages, requests and bodies arrive.
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

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use raftkit_core::{Body, NodeId, StoreId};
use raftkit_net::{BulkError, FRAME_BYTES_MAX, Inbound, NotSent, RequestError, StartError, Transport};
use support::{CLUSTER, append, authority, heartbeat, plan, round, store, within};

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    let message = append(&one, 2, 1, 300);
    one.transport.send(message.clone());
    assert_eq!(two.message().await, message);
}

#[tokio::test]
async fn thousands_of_messages_arrive_in_order() {
    const COUNT: u64 = 5000;
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    for number in 0..COUNT {
        one.transport.send(append(&one, 2, number, 256));
    }
    for number in 0..COUNT {
        assert_eq!(round(&two.message().await), number);
    }
}

#[tokio::test]
async fn a_large_entry_arrives_whole() {
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    let message = append(&one, 2, 9, 8 << 20);
    one.transport.send(message.clone());
    assert!(two.message().await == message, "the large entry differs");
}

#[tokio::test]
async fn bulk_bodies_arrive_in_order_beside_small_messages() {
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    let bulk = {
        let transport = one.transport.clone();
        tokio::spawn(async move {
            for number in 0..20u8 {
                transport.send_bulk(NodeId(2), Bytes::from(vec![number; 1 << 20])).await.unwrap();
            }
        })
    };
    for number in 0..50 {
        one.transport.send(heartbeat(&one, 2, number));
        assert_eq!(round(&two.message().await), number);
    }
    for number in 0..20u8 {
        let (from, body) = two.bulk().await;
        assert_eq!((from, body.len(), body[0]), (NodeId(1), 1 << 20, number));
    }
    within("the bulk sender", bulk).await.unwrap();
}

#[tokio::test]
async fn bulk_bodies_that_are_kept_make_the_sender_wait() {
    let ca = authority();
    let one = plan(&ca, 1).start();
    let mut config = plan(&ca, 2).config();
    config.bulk_bytes_max = 2 << 20;
    let (two, mut events) = Transport::start(config).unwrap();
    one.transport.set_peer(NodeId(2), store(2), &two.local_addr().to_string());
    let transport = one.transport.clone();
    let sender = tokio::spawn(async move {
        for _ in 0..200u8 {
            transport.send_bulk(NodeId(2), Bytes::from(vec![7; 1 << 20])).await.unwrap();
        }
    });
    // Only as many bodies as the limit allows are ever alive here, however many are sent.
    let mut kept = Vec::new();
    for _ in 0..200 {
        loop {
            match within("a bulk body", events.recv()).await.unwrap() {
                Inbound::Bulk { body, .. } => break kept.push(body),
                _other => {}
            }
        }
        if kept.len() == 2 {
            assert!(events.try_recv().is_none(), "a third body came in beside two that are alive");
            kept.clear();
        }
    }
    within("the sender", sender).await.unwrap();
}

#[tokio::test]
async fn messages_pass_while_bulk_bodies_wait() {
    let ca = authority();
    let one = plan(&ca, 1).start();
    let mut config = plan(&ca, 2).config();
    config.bulk_bytes_max = 2 << 20;
    let (two, mut events) = Transport::start(config).unwrap();
    one.transport.set_peer(NodeId(2), store(2), &two.local_addr().to_string());
    let sent = Arc::new(AtomicU64::new(0));
    let (transport, count) = (one.transport.clone(), Arc::clone(&sent));
    let sender = tokio::spawn(async move {
        while transport.send_bulk(NodeId(2), Bytes::from(vec![7; 1 << 20])).await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    // The bodies that came in are kept, so no more can come: at some time none can be sent any more.
    let (mut kept, mut unchanged, mut before) = (Vec::new(), 0, 0);
    for number in 0.. {
        one.transport.send(heartbeat(&one, 2, number));
        loop {
            match within("a heartbeat", events.recv()).await.unwrap() {
                Inbound::Message(message) => break assert_eq!(round(&message), number),
                Inbound::Bulk { body, .. } => kept.push(body),
                _other => {}
            }
        }
        let now = sent.load(Ordering::Relaxed);
        unchanged = if now == before { unchanged + 1 } else { 0 };
        before = now;
        if kept.len() == 2 && unchanged == 300 {
            break;
        }
    }
    sender.abort();
}

#[tokio::test]
async fn requests_are_answered_each_by_its_own_answer() {
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    let asked: Vec<_> = (0..100u8)
        .map(|number| {
            let transport = one.transport.clone();
            tokio::spawn(async move { transport.request(NodeId(2), Bytes::from(vec![number; 10])).await })
        })
        .collect();
    let mut open = Vec::new();
    for _ in 0..100 {
        let (from, body, reply) = two.request().await;
        assert_eq!((from.node, from.store, from.cluster), (NodeId(1), store(1), Some(CLUSTER)));
        open.push((body, reply));
    }
    while let Some((body, reply)) = open.pop() {
        reply.send(body.slice(..1));
    }
    for (number, task) in (0..100u8).zip(asked) {
        let answer = within("an answer", task).await.unwrap().unwrap();
        assert_eq!(answer, Bytes::from(vec![number]));
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_unanswered_is_lost() {
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    let (answer, ()) = tokio::join!(one.transport.request(NodeId(2), Bytes::from_static(b"?")), async {
        drop(two.request().await);
    });
    assert!(matches!(answer, Err(RequestError::Lost { .. })), "{answer:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_a_frame_is_lost_and_later_ones_arrive() {
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    for (length, arrives) in [(FRAME_BYTES_MAX, false), (5, true)] {
        let asked = one.transport.request(NodeId(2), Bytes::from_static(b"?"));
        let served = async {
            let (_from, _body, reply) = two.request().await;
            reply.send(Bytes::from(vec![0; length]));
        };
        let (answer, ()) = within("an answer", async { tokio::join!(asked, served) }).await;
        assert_eq!(answer.is_ok(), arrives, "{length} bytes");
    }
}

#[tokio::test]
async fn a_frame_above_the_limit_of_the_receiver_ends_the_connection() {
    let ca = authority();
    let one = plan(&ca, 1).start();
    let mut config = plan(&ca, 2).config();
    config.frame_bytes_max = 10_000;
    let (two, mut events) = Transport::start(config).unwrap();
    one.transport.set_peer(NodeId(2), store(2), &two.local_addr().to_string());
    let answer = within("an end", one.transport.request(NodeId(2), Bytes::from(vec![0; 10_000]))).await;
    assert!(matches!(answer, Err(RequestError::Lost { .. })), "{answer:?}");
    while let Some(event) = events.try_recv() {
        assert!(!matches!(event, Inbound::Request { .. }), "it is not delivered");
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_is_told_also_when_the_next_one_follows_at_once() {
    let ca = authority();
    let (mut one, two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    one.connected(2).await;
    // It closes what node 1 dialled, as that must have another store, and takes the next dial all the same.
    two.transport.set_peer(NodeId(1), StoreId(77), "127.0.0.1:9");
    one.connected(2).await;
    assert_eq!(one.passed_over(|event| matches!(event, Inbound::Unreachable(_))), 1);
}

#[tokio::test]
async fn a_request_whose_peer_stops_is_lost() {
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    let asked = {
        let transport = one.transport.clone();
        tokio::spawn(async move { transport.request(NodeId(2), Bytes::from_static(b"?")).await })
    };
    let (_from, _body, reply) = two.request().await;
    two.transport.close().await;
    let answer = within("an end", asked).await.unwrap();
    assert!(matches!(answer, Err(RequestError::Lost { .. })), "{answer:?}");
    drop(reply);
}

#[tokio::test]
async fn a_request_to_a_peer_that_is_down_is_not_sent() {
    let ca = authority();
    let one = plan(&ca, 1).start();
    let gone = plan(&ca, 2).start();
    one.knows(&gone);
    gone.transport.close().await;
    drop(gone);
    let answer = within("a failure", one.transport.request(NodeId(2), Bytes::from_static(b"?"))).await;
    assert!(matches!(answer, Err(RequestError::NotSent(NotSent::Down(_)))), "{answer:?}");
    let unknown = one.transport.request(NodeId(9), Bytes::new()).await;
    assert!(matches!(unknown, Err(RequestError::NotSent(NotSent::UnknownPeer { node: NodeId(9) }))));
    let bulk = within("a failure", one.transport.send_bulk(NodeId(2), Bytes::new())).await;
    assert!(matches!(bulk, Err(BulkError::NotSent(_))), "{bulk:?}");
}

#[tokio::test]
async fn an_address_says_who_is_there_and_answers() {
    let ca = authority();
    let mut one_plan = plan(&ca, 1);
    one_plan.cluster = None;
    let (one, mut two) = (one_plan.start(), plan(&ca, 2).start());
    let remote = within("a greeting", one.transport.hello(&two.address())).await.unwrap();
    assert_eq!((remote.node, remote.store, remote.cluster), (NodeId(2), store(2), Some(CLUSTER)));
    assert_eq!(remote.address, "node-2.example:1");
    assert_eq!(remote.attributes, Bytes::from_static(b"attributes of 2"));
    let address = two.address();
    let (answer, ()) = tokio::join!(one.transport.request_at(&address, Bytes::from_static(b"join")), async {
        let (from, body, reply) = two.request().await;
        assert_eq!((from.node, from.cluster, &body[..]), (NodeId(1), None, &b"join"[..]));
        reply.send(Bytes::from_static(b"welcome"));
    });
    let (remote, answer) = answer.unwrap();
    assert_eq!((remote.node, &answer[..]), (NodeId(2), &b"welcome"[..]));
}

#[tokio::test]
async fn a_node_without_a_cluster_takes_part_once_it_has_one() {
    let ca = authority();
    let mut joining = plan(&ca, 2);
    joining.cluster = None;
    let (mut one, mut two) = (plan(&ca, 1).start(), joining.start());
    one.knows(&two);
    two.knows(&one);
    one.connected(2).await;
    // A request passes, and shows that the message before it was taken off the wire and dropped.
    one.transport.send(heartbeat(&one, 2, 1));
    let (answer, ()) =
        tokio::join!(one.transport.request(NodeId(2), Bytes::from_static(b"join us")), async {
            let (_, _, reply) = two.request().await;
            two.transport.set_cluster(CLUSTER);
            reply.send(Bytes::new());
        });
    answer.unwrap();
    let mut number = 2;
    let received = loop {
        one.transport.send(heartbeat(&one, 2, number));
        two.transport.send(heartbeat(&two, 1, number));
        number += 1;
        tokio::select! {
            message = two.message() => break message,
            () = tokio::task::yield_now() => {}
        }
    };
    assert!(round(&received) >= 2, "a message from before the node had a cluster was delivered");
    assert_eq!(one.message().await.from, NodeId(2), "the other direction works on the same connection");
}

#[tokio::test]
async fn the_queue_for_a_peer_that_is_down_stays_bounded() {
    const LIMIT: usize = 1 << 20;
    let ca = authority();
    let mut bounded = plan(&ca, 1);
    bounded.queue_bytes_max = LIMIT;
    let mut one = bounded.start();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    one.transport.set_peer(NodeId(2), store(2), &silent.local_addr().unwrap().to_string());
    for number in 0..10_000 {
        one.transport.send(append(&one, 2, number, 1000));
        one.transport.send(heartbeat(&one, 2, number));
        // One small message of each kind may stand above the limit.
        assert!(one.transport.stats()[0].queued_bytes <= LIMIT + 2048);
    }
    assert_eq!(one.unreachable().await, NodeId(2), "the core hears that appends were dropped");
}

#[tokio::test]
async fn an_address_in_use_is_said_so() {
    let ca = authority();
    let one = plan(&ca, 1).start();
    let mut other = plan(&ca, 2);
    other.port = one.transport.local_addr().port();
    let error = Transport::start(other.config()).err().unwrap();
    assert!(
        matches!(error, StartError::AddressInUse { addr } if addr == one.transport.local_addr()),
        "{error}"
    );
}

#[tokio::test]
async fn closing_sends_what_is_queued() {
    let ca = authority();
    let (mut one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    one.connected(2).await;
    for number in 0..100 {
        one.transport.send(heartbeat(&one, 2, number));
    }
    one.transport.close().await;
    for number in 0..100 {
        assert_eq!(round(&two.message().await), number);
    }
}

#[tokio::test]
async fn a_forged_sender_ends_the_connection() {
    let ca = authority();
    let (mut one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    one.knows(&two);
    one.connected(2).await;
    let mut forged = heartbeat(&one, 2, 1);
    forged.from = NodeId(3);
    one.transport.send(forged);
    assert_eq!(one.unreachable().await, NodeId(2));
    one.transport.send(heartbeat(&one, 2, 2));
    let message = two.message().await;
    assert_eq!(message.from, NodeId(1));
    assert!(matches!(message.body, Body::AppendEntries(_)));
}
