//! Bulk bodies on a slow link: few of their bytes are on their way at a time, and messages on the same link do not wait
//! for them.
#![cfg(feature = "quic")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raftkit_core::{NodeId, Round};
use raftkit_net::{Inbound, Transport};
use raftkit_test_links::{Conditions, Proxy, Way};
use support::{authority, heartbeat, plan, round, within};

const BODY: usize = 256 << 10;
const BODIES: usize = 6;
const RATE: u64 = 250 << 10;

/// Longest delay of a message beyond that of an empty link: below any sensible leader time-out, and far below the four
/// seconds that a full queue of this link would take.
const LATE: Duration = Duration::from_millis(400);

/// Sends a heartbeat every 50 ms until `done`. The round of each is the time at which it was sent, in milliseconds since
/// `began`.
async fn beat_until(
    done: Arc<AtomicBool>,
    transport: Transport,
    beat: raftkit_core::Message,
    began: Instant,
) {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while !done.load(Ordering::Relaxed) {
        pace.tick().await;
        let mut beat = beat.clone();
        let raftkit_core::Body::AppendEntries(append) = &mut beat.body else { unreachable!() };
        append.round = Round(u64::try_from(began.elapsed().as_millis()).unwrap());
        transport.send(beat);
    }
}

#[tokio::test]
async fn bulk_on_a_slow_link_is_bounded_at_the_sender_and_delays_no_messages() {
    let ca = authority();
    let (one, mut two) = (plan(&ca, 1).start(), plan(&ca, 2).start());
    let proxy = Proxy::start(two.transport.local_addr()).unwrap();
    let delay = Duration::from_millis(10);
    proxy.set(
        Way::In,
        Conditions { delay, bytes_per_second: Some(RATE), queue_bytes: 1 << 20, ..Conditions::default() },
    );
    proxy.set(Way::Out, Conditions { delay, ..Conditions::default() });
    one.transport.set_peer(NodeId(2), two.store, &proxy.address().to_string());

    let (left, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let bulk = {
        let (transport, left) = (one.transport.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            for number in 0..BODIES {
                let body = Bytes::from(vec![u8::try_from(number).unwrap(); BODY]);
                transport.send_bulk(NodeId(2), body).await.unwrap();
                left.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let began = Instant::now();
    let beats =
        tokio::spawn(beat_until(Arc::clone(&done), one.transport.clone(), heartbeat(&one, 2, 0), began));
    let (mut arrived, mut on_the_way_max, mut late, mut heard) = (0, 0, 0, 0);
    while arrived < BODIES {
        match within("something", two.events.recv()).await.unwrap() {
            Inbound::Bulk { body, .. } => {
                assert!(body.iter().all(|byte| usize::from(*byte) == arrived), "in order");
                arrived += 1;
            }
            Inbound::Message(message) => {
                heard += 1;
                let took = began.elapsed().saturating_sub(Duration::from_millis(round(&message)));
                late += usize::from(took > LATE);
            }
            Inbound::Request { .. } | Inbound::Unreachable(_) | Inbound::Connected(_) => {}
        }
        on_the_way_max = on_the_way_max.max(left.load(Ordering::Relaxed).saturating_sub(arrived));
    }
    done.store(true, Ordering::Relaxed);
    let (bulk, beats) = within("the senders", async { tokio::join!(bulk, beats) }).await;
    bulk.expect("bulk was sent to the end");
    beats.expect("messages were sent to the end");

    assert!(heard > 20, "{heard} messages");
    assert!(late * 10 <= heard, "{late} of {heard} messages took longer than {LATE:?}");
    // QUIC holds twice what is on the link, and at least 256 KiB, beside the body that is being taken.
    assert!(on_the_way_max <= 2, "{on_the_way_max} bodies had left and not arrived");
    let (carried, given) = (proxy.counters(Way::In).delivered_bytes, (BODY * BODIES) as u64);
    assert!(carried * 10 < given * 12, "{carried} bytes went over the link for {given}");
}
