//! Sending lists: whole or in pieces, from one state, within the byte budget, and to clients that do not read.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::time::Duration;

use http_support::{Answer, Served, all, dechunked};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Number of keys of a list that is too long to be held in memory or buffered by the kernel: 8 MiB, or 11 MiB as JSON.
const KEYS: usize = 80;
const VALUE_BYTES: usize = 100 << 10;

async fn rest(mut stream: TcpStream, mut begun: Vec<u8>) -> std::io::Result<Answer> {
    timeout(Duration::from_secs(60), stream.read_to_end(&mut begun)).await.expect("an end in time")?;
    Ok(Answer::parse(&begun))
}

/// Reads the first bytes of an answer.
async fn begin(stream: &mut TcpStream) -> Vec<u8> {
    let mut begun = vec![0; 1000];
    let read = timeout(Duration::from_secs(60), stream.read(&mut begun)).await.expect("it begins").unwrap();
    begun.truncate(read);
    begun
}

#[tokio::test]
async fn a_long_list_is_that_of_one_state_however_slowly_it_is_taken() {
    let served = Served::alone().await;
    served.fill("tree/", KEYS, VALUE_BYTES).await;
    for parameters in ["recurse", "recurse&stale", "recurse&pretty"] {
        let index = served.get("/v1/kv/tree/?keys").await.index();
        let mut stream = served.ask(&format!("/v1/kv/tree/?{parameters}")).await;
        let begun = begin(&mut stream).await;
        // Change the last keys, which cannot have been sent yet.
        let last = format!("/v1/kv/tree/{:06}", KEYS - 1);
        served.request("PUT", &last, b"changed meanwhile").await;
        served.request("DELETE", &format!("/v1/kv/tree/{:06}", KEYS - 2), b"").await;
        served.request("PUT", "/v1/kv/tree/000000x", b"new").await;
        let answer = rest(stream, begun).await.unwrap();
        assert_eq!((answer.status, answer.header("Transfer-Encoding")), (200, Some("chunked")));
        let list: serde_json::Value = serde_json::from_slice(&dechunked(&answer.body).unwrap()).unwrap();
        let list = list.as_array().unwrap();
        assert_eq!(list.len(), KEYS, "{parameters}");
        assert_eq!(answer.index(), index, "{parameters}");
        assert!(list.iter().all(|entry| entry["Value"].as_str().unwrap().len() > 100_000), "{parameters}");
        // Restore the tree for the next round.
        served.request("DELETE", "/v1/kv/tree/000000x", b"").await;
        for number in [KEYS - 2, KEYS - 1] {
            let value = vec![b'v'; VALUE_BYTES];
            served.request("PUT", &format!("/v1/kv/tree/{number:06}"), &value).await;
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn a_short_list_has_a_length_and_head_has_it_as_well() {
    let served = Served::alone().await;
    served.fill("short/", 30, 5000).await;
    for target in ["/v1/kv/short/?recurse", "/v1/kv/short/?keys&pretty"] {
        let answer = served.get(target).await;
        let length: usize = answer.header("Content-Length").unwrap().parse().unwrap();
        assert_eq!((answer.json().as_array().unwrap().len(), answer.body.len()), (30, length));
        let head = served.request("HEAD", target, b"").await;
        assert_eq!(head.header("Content-Length"), answer.header("Content-Length"));
        assert_eq!((head.status, head.index(), head.body.len()), (200, answer.index(), 0));
    }
    served.stop().await;
}

#[tokio::test]
async fn silent_clients_hold_no_more_than_the_bound_and_are_closed() {
    // The budget is enough for eight long lists at a time.
    let settings = |state: raftkit_node::http::HttpState| {
        state.with_answer_bytes_max(1 << 20).with_send_timeout(Duration::from_secs(2))
    };
    let served = Served::alone_with(settings).await;
    served.fill("tree/", KEYS, VALUE_BYTES).await;
    let mut silent = all((0..30).map(|_| served.ask("/v1/kv/tree/?recurse")).collect()).await;
    let begun = all(silent.iter_mut().map(begin).collect()).await;
    let refused: Vec<_> = begun.iter().filter(|begun| begun.starts_with(b"HTTP/1.1 503")).collect();
    // The kernel buffers some pieces of each list, so more than eight may be admitted.
    assert!((1..=28).contains(&refused.len()), "{} of 30 refused", refused.len());
    for answer in refused {
        let answer = Answer::parse(answer);
        assert!(answer.header("Retry-After").is_some() && answer.text().contains("http-answer-bytes-max"));
    }
    // Requests that need no share of the budget are served.
    assert_eq!(served.request("PUT", "/v1/kv/other", b"v").await.text(), "true");
    assert_eq!(served.get("/v1/kv/other?raw").await.text(), "v");
    // Each connection is closed before its whole list was sent, because no client has continued to read.
    let sent = silent.iter().zip(&begun).filter(|(_, begun)| begun.starts_with(b"HTTP/1.1 200")).count();
    let mut closed = 0;
    for (mut stream, begun) in silent.into_iter().zip(begun) {
        if begun.starts_with(b"HTTP/1.1 200") {
            until_closed(&mut stream).await;
            let ended = rest(stream, begun).await;
            let whole = ended.is_ok_and(|answer| dechunked(&answer.body).is_some());
            assert!(!whole, "a list that was cut off must not look whole");
            closed += 1;
        }
    }
    assert_eq!(closed, sent);
    // After that a new client gets its list.
    let answer = rest(served.ask("/v1/kv/tree/?recurse").await, Vec::new()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(dechunked(&answer.body).is_some());
    served.stop().await;
}

/// Waits until the server has closed a connection, without reading from it.
async fn until_closed(stream: &mut TcpStream) {
    let closed = async {
        // The server does not read these bytes before it has sent its answer.
        while stream.write_all(b"\n").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), closed).await.expect("the server gives up");
}

#[tokio::test]
async fn large_values_count_and_a_value_larger_than_the_bound_is_still_served() {
    let served = Served::alone_with(|state| state.with_answer_bytes_max(300 << 10)).await;
    let value: Vec<u8> = (0..400_u32 << 10).map(|number| number.to_le_bytes()[0]).collect();
    assert_eq!(served.request("PUT", "/v1/kv/large", &value).await.text(), "true");
    assert_eq!(served.get("/v1/kv/large?raw").await.body, value);
    let json = served.get("/v1/kv/large").await.json();
    assert_eq!(json[0]["Value"].as_str().unwrap().len(), value.len().div_ceil(3) * 4);
    let list = served.get("/v1/kv/large?recurse").await;
    let body = dechunked(&list.body).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), json);
    served.stop().await;
}

#[tokio::test]
async fn writes_and_reads_go_on_while_many_take_long_lists() {
    let served = Served::alone().await;
    served.fill("tree/", KEYS, VALUE_BYTES).await;
    let mut written = 0;
    let lists = {
        let lists = all((0..20).map(|_| served.get("/v1/kv/tree/?recurse")).collect());
        let mut lists = std::pin::pin!(lists);
        loop {
            let value = format!("{written}");
            tokio::select! {
                lists = &mut lists => break lists,
                answer = served.request("PUT", "/v1/kv/other", value.as_bytes()) => {
                    assert_eq!(answer.text(), "true");
                    written += 1;
                }
            }
        }
    };
    assert!(written > 0);
    assert!(lists.iter().all(|list| dechunked(&list.body) == dechunked(&lists[0].body)));
    served.stop().await;
}

#[tokio::test]
async fn a_tree_with_too_many_keys_is_not_deleted_and_says_what_to_do() {
    let served = Served::alone_with(|state| state.with_delete_keys_max(10)).await;
    served.fill("tree/a/", 10, 1).await;
    served.fill("tree/b/", 1, 1).await;
    let index = served.get("/v1/kv/tree/?keys").await.index();
    let refused = served.request("DELETE", "/v1/kv/tree/?recurse", b"").await;
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("kv-delete-keys-max") && refused.text().contains("nothing was deleted"));
    let all = served.get("/v1/kv/tree/?keys").await;
    assert_eq!((all.json().as_array().unwrap().len(), all.index()), (11, index));
    for part in ["a", "b"] {
        let deleted = served.request("DELETE", &format!("/v1/kv/tree/{part}/?recurse"), b"").await;
        assert_eq!((deleted.status, deleted.text()), (200, "true"));
    }
    assert_eq!(served.get("/v1/kv/tree/?keys").await.status, 404);
    served.stop().await;
}
