//! The parts of the HTTP interface that were not recorded from Consul: our own endpoints, blocking queries, refusals.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::time::Duration;

use http_support::Served;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn a_key_may_hold_anything_that_is_text() {
    let served = Served::alone().await;
    for target in ["a%20b", "a+b", "%c3%a4", "a%2f%2e%2e%2fb", "a//b", "%25", "a?x=1", "trailing/"] {
        let target = format!("/v1/kv/{target}");
        assert_eq!(served.request("PUT", &target, target.as_bytes()).await.text(), "true", "{target}");
    }
    let keys = served.get("/v1/kv/?keys").await.json();
    assert_eq!(keys, json!(["%", "a", "a b", "a+b", "a/../b", "a//b", "trailing/", "ä"]));
    for target in ["%00", "%ff", "a%0a", "%"] {
        assert_eq!(served.get(&format!("/v1/kv/{target}")).await.status, 400, "{target}");
    }
    let long = "k".repeat(20_000);
    let answer = served.get(&format!("/v1/kv/{long}")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("Key name too long: 20000 bytes"), "{}", answer.text());
    served.stop().await;
}

#[tokio::test]
async fn every_answer_of_a_read_says_how_fresh_it_is() {
    let served = Served::alone().await;
    for (target, consistency) in [
        ("/v1/kv/none", "leader"),
        ("/v1/kv/none?stale", "stale"),
        ("/v1/kv/none?consistent", "consistent"),
        ("/v1/kv/none?max_stale=10s", "stale"),
        ("/v1/kv/none?keys&consistent", "consistent"),
        ("/v1/kv/none?recurse&stale", "stale"),
    ] {
        let answer = served.get(target).await;
        assert_eq!(answer.status, 404, "{target}");
        assert_eq!(answer.header("X-Consul-Effective-Consistency"), Some(consistency), "{target}");
        assert_eq!(answer.header("X-Consul-Knownleader"), Some("true"), "{target}");
        assert_eq!(answer.header("X-Consul-Lastcontact"), Some("0"), "{target}");
        assert_eq!(answer.header("X-Consul-Default-Acl-Policy"), Some("allow"), "{target}");
        assert!(answer.index() > 0, "{target}");
    }
    served.stop().await;
}

#[tokio::test]
async fn lists_of_nothing_and_of_everything() {
    let served = Served::alone().await;
    let answer = served.get("/v1/kv/?keys").await;
    assert_eq!((answer.status, answer.text()), (200, "[]"));
    assert_eq!(served.get("/v1/kv/?recurse").await.status, 404);
    assert_eq!(served.get("/v1/kv?recurse").await.status, 404);
    served.request("PUT", "/v1/kv/k", b"v").await;
    assert_eq!(served.get("/v1/kv?keys").await.json(), json!(["k"]));
    // `raw` has a meaning for single keys only.
    assert_eq!(served.get("/v1/kv/?recurse&raw").await.json()[0]["Value"], "dg==");
    assert_eq!(served.request("DELETE", "/v1/kv/?recurse", b"").await.text(), "true");
    assert_eq!(served.get("/v1/kv/?keys").await.text(), "[]");
    served.stop().await;
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k", b"value").await;
    let (get, head) = (served.get("/v1/kv/k?raw").await, served.request("HEAD", "/v1/kv/k?raw", b"").await);
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    for name in ["Content-Length", "Content-Type", "X-Consul-Index"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!(served.request("HEAD", "/v1/kv/none", b"").await.status, 404);
    served.stop().await;
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let served = Served::alone().await;
    for (method, target, allow) in [
        ("POST", "/v1/kv/k", "OPTIONS,GET,PUT,DELETE"),
        ("PUT", "/v1/status/leader", "OPTIONS,GET"),
        ("DELETE", "/v1/status/peers", "OPTIONS,GET"),
        ("PUT", "/v1/operator/raft/configuration", "OPTIONS,GET"),
        ("POST", "/v1/catalog/datacenters", "OPTIONS,GET"),
        ("PUT", "/v1/raft/status", "OPTIONS,GET"),
        ("PUT", "/health", "OPTIONS,GET"),
    ] {
        let answer = served.request(method, target, b"x").await;
        assert_eq!(answer.status, 405, "{target}");
        assert_eq!(answer.header("Allow"), Some(allow), "{target}");
        assert_eq!(answer.text(), format!("method {method} not allowed"));
        let answer = served.request("OPTIONS", target, b"").await;
        assert_eq!((answer.status, answer.header("Allow")), (200, Some(allow)), "{target}");
    }
    for target in ["/v1/txn", "/v1/session/list", "/v1/agent/self", "/nosuch", "/"] {
        let answer = served.get(target).await;
        assert_eq!((answer.status, answer.text()), (404, ""), "{target}");
    }
    served.stop().await;
}

#[tokio::test]
async fn locks_are_refused_and_nothing_is_written() {
    let served = Served::alone().await;
    for target in ["/v1/kv/lock?acquire=0a", "/v1/kv/lock?release=0a", "/v1/kv/lock?acquire"] {
        let answer = served.request("PUT", target, b"x").await;
        assert_eq!(answer.status, 500, "{target}");
        assert!(answer.text().starts_with("invalid session"), "{}", answer.text());
    }
    assert_eq!(served.get("/v1/kv/lock").await.status, 404);
    served.stop().await;
}

#[tokio::test]
async fn a_blocking_query_returns_when_its_key_changes_and_not_before() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/watched", b"one").await;
    for parameters in ["", "&stale", "&consistent"] {
        let index = served.get("/v1/kv/watched").await.index();
        let target = format!("/v1/kv/watched?index={index}&wait=60s{parameters}");
        let blocked = served.get(&target);
        let mut blocked = std::pin::pin!(blocked);
        // Writes to other keys do not wake the query.
        let others = async {
            for number in 0..20 {
                served.request("PUT", "/v1/kv/other", format!("{parameters}{number}").as_bytes()).await;
            }
        };
        tokio::select! {
            answer = &mut blocked => panic!("{target}: it did not wait: {answer:?}"),
            () = others => {}
        }
        served.request("PUT", "/v1/kv/watched", format!("new{parameters}").as_bytes()).await;
        let answer = timeout(Duration::from_secs(10), blocked).await.expect("the change wakes it");
        assert!(answer.index() > index, "{target}");
        // A query with an older index is answered at once.
        let again = timeout(Duration::from_secs(10), served.get(&target)).await.expect("at once");
        assert_eq!(again.body, answer.body);
    }
    served.stop().await;
}

#[tokio::test]
async fn prefixes_are_watched_with_what_is_deleted_under_them() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/dir/a", b"1").await;
    served.request("PUT", "/v1/kv/dir/b", b"1").await;
    for parameters in ["recurse", "keys", "keys&stale", "recurse&consistent"] {
        let index = served.get(&format!("/v1/kv/dir/?{parameters}")).await.index();
        let target = format!("/v1/kv/dir/?{parameters}&index={index}&wait=60s");
        let blocked = served.get(&target);
        let mut blocked = std::pin::pin!(blocked);
        tokio::select! {
            answer = &mut blocked => panic!("{target}: it did not wait: {answer:?}"),
            _ = served.request("PUT", "/v1/kv/elsewhere", parameters.as_bytes()) => {}
        }
        assert_eq!(served.request("DELETE", "/v1/kv/dir/b", b"").await.text(), "true");
        let answer = timeout(Duration::from_secs(10), blocked).await.expect("the deletion wakes it");
        assert!(answer.index() > index, "{target}");
        assert_eq!(answer.json().as_array().map(Vec::len), Some(1), "{target}");
        served.request("PUT", "/v1/kv/dir/b", b"1").await;
    }
    served.stop().await;
}

#[tokio::test]
async fn a_blocking_query_ends_with_its_wait() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k", b"v").await;
    let index = served.get("/v1/kv/k").await.index();
    let began = tokio::time::Instant::now();
    let answer = served.get(&format!("/v1/kv/k?index={index}&wait=160ms")).await;
    let took = began.elapsed();
    assert_eq!((answer.status, answer.index()), (200, index));
    assert!(took >= Duration::from_millis(160), "{took:?}");
    // Index 0 never blocks.
    let answer = served.get("/v1/kv/k?index=0&wait=10m");
    assert_eq!(timeout(Duration::from_secs(10), answer).await.expect("at once").index(), index);
    served.stop().await;
}

#[tokio::test]
async fn a_stop_answers_blocking_queries_at_once() {
    let served = Served::alone().await;
    let addr = served.addr;
    served.request("PUT", "/v1/kv/k", b"v").await;
    let index = served.get("/v1/kv/k").await.index();
    let head = format!("GET /v1/kv/k?index={index}&wait=10m HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    // Once a request that was sent later has been answered, the first one is under way.
    served.get("/v1/kv/k").await;
    let mut all = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut all);
    let both = async { tokio::join!(read, served.stop()) };
    timeout(Duration::from_secs(10), both).await.expect("it ends in time").0.unwrap();
    assert_eq!(http_support::Answer::parse(&all).status, 200);
}

#[tokio::test]
async fn status_and_health_of_a_node_that_leads() {
    let served = Served::alone().await;
    let status = served.get("/v1/raft/status").await.json();
    assert_eq!(
        (&status["Node"], &status["Role"], &status["Leader"]),
        (&json!(1), &json!("leader"), &json!(1))
    );
    let all = served.get("/v1/raft/status?all&pretty").await;
    assert!(all.text().starts_with("[\n    {\n        \"Node\": 1,"), "{}", all.text());
    assert_eq!(all.json().as_array().map(Vec::len), Some(1));
    let health = served.get("/health").await;
    assert_eq!((health.status, &health.json()["Healthy"]), (200, &json!(true)));
    let leader = served.get("/v1/status/leader").await.json();
    assert_eq!(leader, status["RaftAddr"]);
    assert_eq!(served.get("/v1/status/peers").await.json(), json!([leader]));
    let configuration = served.get("/v1/operator/raft/configuration").await.json();
    let expected = json!({
        "ID": "1", "Node": "node-1", "Address": leader, "Leader": true, "ProtocolVersion": "3", "Voter": true,
    });
    assert_eq!(configuration["Servers"], Value::Array(vec![expected]));
    served.stop().await;
}

#[tokio::test]
async fn without_a_leader_requests_are_held_and_then_refused() {
    let served = Served::leaderless().await;
    for (method, target) in [
        ("GET", "/v1/kv/k"),
        ("GET", "/v1/kv/k?consistent"),
        // This node has never heard from a leader, so its state is older than that.
        ("GET", "/v1/kv/k?max_stale=5s"),
        ("GET", "/v1/kv/?recurse"),
        ("PUT", "/v1/kv/k"),
        ("DELETE", "/v1/kv/k"),
        ("GET", "/v1/operator/raft/configuration"),
    ] {
        let answer = served.request(method, target, b"x").await;
        assert_eq!((answer.status, answer.text()), (500, "No cluster leader"), "{method} {target}");
    }
    let answer = served.get("/v1/kv/k?stale").await;
    assert_eq!((answer.status, answer.header("X-Consul-Knownleader")), (404, Some("false")));
    assert_eq!(served.get("/v1/status/leader").await.text(), "\"\"");
    let health = served.get("/health").await;
    assert_eq!((health.status, &health.json()["Reason"]), (503, &json!("no leader is known")));
    served.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_no_client_that_hangs() {
    let served = Served::alone().await;
    served.fill("tree/", 40, 200_000).await;
    // Clients that have sent half a head or half a body, that do not read a long list, or that are idle after one answer.
    let open = async |bytes: &str| {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    };
    let head = open("GET /v1/kv/tree").await;
    let mut body = open("PUT /v1/kv/half HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf").await;
    let mut list = served.ask("/v1/kv/tree/?recurse").await;
    let mut idle = open("GET /v1/status/leader HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let mut first = [0];
    for answered in [&mut list, &mut idle] {
        answered.read_exact(&mut first).await.unwrap();
    }
    timeout(Duration::from_secs(10), served.stop()).await.expect("it does not wait for them");
    // The client that has sent half a value is not told that it was stored.
    let mut all = Vec::new();
    let _ = body.read_to_end(&mut all).await;
    assert!(!all.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&all));
    drop((head, list, idle));
}
