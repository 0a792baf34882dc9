//! Blocking queries: which changes wake which queries, and the end of queries whose client is gone.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::time::Duration;

use http_support::{Answer, Served, all};
use raftkit_node::Consistency;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Number of watches that the node has.
async fn watching(served: &Served) -> usize {
    let count = |reader: &raftkit_kv::KvReader| Ok((reader.watching(), reader.applied()?));
    served.server.handle().read(Consistency::Stale, count).await.unwrap().value
}

/// Waits until the node has `wanted` watches.
async fn until_watching(served: &Served, wanted: usize) {
    let reached = async {
        while watching(served).await != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = timeout(Duration::from_secs(30), reached).await;
    assert!(in_time.is_ok(), "{} watches, not {wanted}", watching(served).await);
}

async fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(30), stream.read_to_end(&mut bytes))
        .await
        .expect("an answer in time")
        .unwrap();
    Answer::parse(&bytes)
}

/// Whether no bytes have arrived yet.
fn is_silent(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn a_watch_on_an_absent_key_is_woken_by_that_key_alone() {
    let served = Served::alone().await;
    for target in ["/v1/kv/absent", "/v1/kv/none/?recurse", "/v1/kv/none/?keys"] {
        let first = served.get(target).await;
        assert_eq!(first.status, 404);
        let joiner = if target.contains('?') { '&' } else { '?' };
        let blocked = served.ask(&format!("{target}{joiner}index={}&wait=60s", first.index())).await;
        until_watching(&served, 1).await;
        for number in 0..20 {
            served.request("PUT", "/v1/kv/other", format!("{target}{number}").as_bytes()).await;
        }
        served.request("DELETE", "/v1/kv/other", b"").await;
        assert!(is_silent(&blocked), "{target}");
        let key = if joiner == '?' { "absent" } else { "none/at-last" };
        served.request("PUT", &format!("/v1/kv/{key}"), b"here").await;
        let woken = answer(blocked).await;
        assert!(woken.status == 200 && woken.index() > first.index(), "{target}: {woken:?}");
        served.request("DELETE", &format!("/v1/kv/{key}"), b"").await;
        until_watching(&served, 0).await;
    }
    served.stop().await;
}

#[tokio::test]
async fn of_a_thousand_watchers_a_write_wakes_its_own() {
    const KEYS: usize = 1000;
    const LISTS: usize = 50;
    let served = Served::alone().await;
    served.fill("w/", KEYS, 10).await;
    let index = served.get("/v1/kv/w/?recurse").await.index();
    let target = |number: usize| format!("/v1/kv/w/{number:06}?index={index}&wait=5m");
    let mut watchers = all((0..KEYS)
        .map(|number| {
            let (target, served) = (target(number), &served);
            async move { served.ask(&target).await }
        })
        .collect())
    .await;
    let lists = ["recurse", "keys"].map(|what| format!("/v1/kv/w/?{what}&index={index}&wait=5m"));
    let lists = all(lists.iter().flat_map(|target| (0..LISTS).map(|_| served.ask(target))).collect()).await;
    let elsewhere = served.ask(&format!("/v1/kv/x/?recurse&index={index}&wait=5m")).await;
    until_watching(&served, KEYS + 2 * LISTS + 1).await;

    served.request("PUT", "/v1/kv/w/000500", b"new").await;
    let woken = answer(watchers.remove(500)).await;
    assert!(woken.index() > index && woken.text().contains("000500"));
    let lists = all(lists.into_iter().map(answer).collect()).await;
    for list in &lists {
        assert_eq!((list.status, list.index()), (200, woken.index()));
        assert_eq!(list.json().as_array().unwrap().len(), KEYS);
    }
    for kind in lists.chunks(LISTS) {
        assert!(kind.iter().all(|list| list.body == kind[0].body), "all were told the same");
    }
    assert!(watchers.iter().all(is_silent), "nobody else was woken");
    until_watching(&served, KEYS - 1 + 1).await;

    // One change wakes all others.
    served.request("DELETE", "/v1/kv/w/?recurse", b"").await;
    for gone in all(watchers.into_iter().map(answer).collect()).await {
        assert!(gone.status == 404 && gone.index() > index);
    }
    assert!(is_silent(&elsewhere));
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_follows_a_key_sees_its_last_value() {
    const WRITES: usize = 300;
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/counter", b"0").await;
    let writes = async {
        for number in 1..=WRITES {
            served.request("PUT", "/v1/kv/counter", number.to_string().as_bytes()).await;
        }
    };
    let follow = |parameters: &'static str| {
        let served = &served;
        async move {
            let (mut index, mut seen) = (1, 0);
            while seen != WRITES {
                let target = format!("/v1/kv/counter?raw&{parameters}index={index}&wait=5m");
                let answer = timeout(Duration::from_secs(30), served.get(&target)).await;
                let answer = answer.expect("a change that was missed is waited for in vain");
                assert!(answer.index() > index, "{parameters}");
                let value: usize = answer.text().parse().unwrap();
                assert!(value > seen || index == 1, "{parameters}: {value} after {seen}");
                (index, seen) = (answer.index(), value);
            }
        }
    };
    tokio::join!(writes, follow(""), follow("stale&"), follow("consistent&"));
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_is_gone_is_forgotten() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k/1", b"v").await;
    let index = served.get("/v1/kv/k/1").await.index();
    let targets = ["k/1?", "k/?recurse&", "k/?keys&", "absent?"]
        .map(|what| format!("/v1/kv/{what}index={}&wait=10m", index + 1000));
    let clients = all(targets.iter().flat_map(|target| (0..25).map(|_| served.ask(target))).collect()).await;
    until_watching(&served, 100).await;
    drop(clients);
    until_watching(&served, 0).await;
    served.stop().await;
}

/// Each write under the tree wakes all watchers of the tree, and each of them sends the next query at once.
#[tokio::test]
async fn writes_succeed_beside_many_who_follow_a_tree_and_those_elsewhere_wake_nobody() {
    const WATCHERS: usize = 50;
    const LISTS: usize = 2;
    const WRITES: usize = 10;
    let served = Served::alone().await;
    served.fill("w/", 50, 100).await;
    let index = served.get("/v1/kv/w/?recurse").await.index();
    let answered = std::cell::Cell::new(0);
    let last = std::cell::Cell::new(u64::MAX);
    let follow = |number: usize| {
        let (served, answered, last) = (&served, &answered, &last);
        async move {
            let (mut index, what) = (index, if number.is_multiple_of(2) { "recurse" } else { "keys" });
            while index < last.get() {
                let target = format!("/v1/kv/w/?{what}&index={index}&wait=5m");
                let answer = timeout(Duration::from_secs(60), served.get(&target)).await;
                let answer = answer.expect("a change that was missed is waited for in vain");
                assert!(answer.status == 200 && answer.index() > index, "{target}: {}", answer.status);
                index = answer.index();
                answered.set(answered.get() + 1);
            }
            index
        }
    };
    let put = async |target: String| {
        let answer = served.request("PUT", &target, b"new").await;
        assert_eq!((answer.status, answer.text()), (200, "true"), "{target}");
    };
    let writes = async {
        // A list that several queries wait for is kept for a while, and the kept list has a watch of its own.
        until_watching(&served, WATCHERS + LISTS).await;
        for number in 0..50 {
            put(format!("/v1/kv/other/{number}")).await;
        }
        assert_eq!(
            (answered.get(), watching(&served).await),
            (0, WATCHERS + LISTS),
            "somebody was woken by others' keys"
        );
        for number in 0..WRITES {
            put(format!("/v1/kv/w/{number:06}")).await;
        }
        last.set(last_of(&served, WRITES).await);
        // Watchers that had read the last write before `last` was set wait for one more change.
        put("/v1/kv/w/end".to_owned()).await;
    };
    let (ends, ()) = tokio::join!(all((0..WATCHERS).map(follow).collect()), writes);
    assert!(ends.iter().all(|end| *end >= last.get()), "{ends:?}, the last is {}", last.get());
    // Each watcher is woken at most once per change.
    assert!(answered.get() <= WATCHERS * (WRITES + 1), "{} answers", answered.get());
    served.stop().await;
}

/// The index of the last of `writes` writes under the tree.
async fn last_of(served: &Served, writes: usize) -> u64 {
    served.get(&format!("/v1/kv/w/{:06}", writes - 1)).await.json()[0]["ModifyIndex"].as_u64().unwrap()
}
