//! Plain requests for one key are answered by the server's own loop, all others by the HTTP library. A client cannot tell
//! which of the two answered it, and gets its answers in order from both.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::time::Duration;

use http_support::{Answer, Served, exchange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

/// A header that makes a request the library's, and which nobody heeds.
const FOR_LIBRARY: &str = "Upgrade: nothing\r\n";

/// An answer without the date's digits, and with the header `Connection` moved behind the date: the library's place for it
/// depends on whether there is a body. The other headers stay in their order.
fn comparable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let closes = text.contains("\r\nConnection: close\r\n");
    let date = if closes { "Date\r\nConnection: close" } else { "Date" };
    let lines = text.split("\r\n").filter(|line| *line != "Connection: close");
    let lines = lines.map(|line| if line.starts_with("Date: ") { date } else { line });
    lines.collect::<Vec<_>>().join("\r\n")
}

/// Method, target, and length of the body. None of these changes the answer to another one.
const REQUESTS: &[(&str, &str, usize)] = &[
    ("GET", "/v1/kv/k", 0),
    ("GET", "/v1/kv/k?pretty", 0),
    ("GET", "/v1/kv/k?raw", 0),
    ("GET", "/v1/kv/k?raw&stale", 0),
    ("GET", "/v1/kv/k?consistent", 0),
    ("GET", "/v1/kv/k?index=1&wait=1s", 0),
    ("GET", "/v1/kv/empty", 0),
    ("GET", "/v1/kv/empty?raw", 0),
    ("GET", "/v1/kv/absent", 0),
    ("GET", "/v1/kv/", 0),
    ("GET", "/v1/kv/%0a", 0),
    ("GET", "/v1/kv/%ff", 0),
    ("GET", "/v1/kv/k?cas=%", 0),
    ("GET", "/v1/kv/k?stale&consistent", 0),
    ("GET", "/v1/kv/k?dc=elsewhere", 0),
    ("GET", "/v1/kv/k?wait=x", 0),
    ("GET", "/v1/kv/\u{e4}{}|\\^[]?raw", 0),
    ("GET", "/v1/kv/k", 10),
    ("HEAD", "/v1/kv/k", 0),
    ("HEAD", "/v1/kv/k?raw", 0),
    ("HEAD", "/v1/kv/absent", 0),
    ("HEAD", "/v1/kv/%0a", 0),
    ("HEAD", "/v1/kv/?keys", 0),
    ("PUT", "/v1/kv/other", 0),
    ("PUT", "/v1/kv/other", 5),
    ("PUT", "/v1/kv/other", 1000),
    ("PUT", "/v1/kv/other", 1001),
    ("PUT", "/v1/kv/k?cas=0", 5),
    ("PUT", "/v1/kv/k?cas=x", 5),
    ("PUT", "/v1/kv/k?acquire=x", 5),
    ("PUT", "/v1/kv/", 5),
    ("DELETE", "/v1/kv/absent", 0),
    ("DELETE", "/v1/kv/absent", 3),
    ("DELETE", "/v1/kv/k?cas=1", 0),
    ("DELETE", "/v1/kv/none/?recurse", 0),
    ("DELETE", "/v1/kv/k?recurse&cas=1", 0),
    ("DELETE", "/v1/kv/", 0),
];

#[tokio::test]
async fn both_ways_give_the_same_answer() {
    let served = Served::alone_with(|state| state.with_value_bytes_max(1000)).await;
    served.request("PUT", "/v1/kv/k?flags=7", b"value").await;
    served.request("PUT", "/v1/kv/empty", b"").await;
    for (method, target, body) in REQUESTS.iter().copied() {
        let request = |headers: &str| {
            let value = "x".repeat(body);
            format!("{method} {target} HTTP/1.1\r\nHost: t\r\nContent-Length: {body}\r\n{headers}\r\n{value}")
        };
        for last in ["Connection: close\r\n", "Connection: close\r\nX: y\r\n"] {
            let direct = exchange(&served, request(last).as_bytes()).await;
            let library = exchange(&served, request(&format!("{FOR_LIBRARY}{last}")).as_bytes()).await;
            let (direct, library) = (comparable(&direct), comparable(&library));
            assert_eq!(direct, library, "{method} {target} with {body} bytes");
            assert!(direct.contains("\r\nDate\r\nConnection: close\r\n"), "{direct}");
        }
        // On a connection that is kept, each of them behind the other.
        let (direct, library) = (request(""), request(FOR_LIBRARY));
        // A body that is too large ends its connection.
        let times = if body > 1000 { 1 } else { 4 };
        let kept = match times {
            1 => direct,
            _ => [&*direct, &library, &library, &direct].concat(),
        };
        let end = "GET /v1/kv/end HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        let all = comparable(&exchange(&served, [&*kept, end].concat().as_bytes()).await);
        let answers: Vec<_> = all.split("HTTP/1.1 ").skip(1).collect();
        assert_eq!(answers.len(), if times == 1 { 1 } else { times + 1 }, "{method} {target}: {all}");
        assert!(answers[..times].iter().all(|answer| *answer == answers[0]), "{method} {target}: {all}");
    }
    served.stop().await;
}

#[tokio::test]
async fn an_answer_is_not_held_back_by_a_query_that_waits_behind_it() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k", b"v").await;
    let index = served.get("/v1/kv/k").await.index();
    for before in ["GET /v1/kv/k?raw&stale", "GET /v1/kv/k?raw", "PUT /v1/kv/other", "GET /v1/kv/k?wait=x"] {
        for headers in ["", FOR_LIBRARY] {
            let mut stream = TcpStream::connect(served.addr).await.unwrap();
            let bytes = format!(
                "{before} HTTP/1.1\r\nHost: t\r\n\r\n\
                 GET /v1/kv/k?index={index}&wait=10m HTTP/1.1\r\nHost: t\r\n{headers}\r\n"
            );
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let mut begun = [0; 12];
            timeout(LONG, stream.read_exact(&mut begun)).await.expect(before).unwrap();
            assert!(begun.starts_with(b"HTTP/1.1 "), "{before}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn answers_that_are_there_at_once_are_sent_together() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k", b"v").await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    for _ in 0..20 {
        let requests: String =
            (0..5).map(|number| format!("GET /v1/kv/k?wait=x{number} HTTP/1.1\r\nHost: t\r\n\r\n")).collect();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut piece = vec![0; 8192];
        let read = timeout(LONG, stream.read(&mut piece)).await.expect("answers").unwrap();
        let text = String::from_utf8_lossy(&piece[..read]);
        assert_eq!(text.matches("HTTP/1.1 400 Bad Request\r\n").count(), 5, "{text}");
    }
    drop(stream);
    served.stop().await;
}

/// The sizes on both sides of what is sent together, and of what is counted.
#[tokio::test]
async fn small_and_large_answers_come_in_the_order_of_their_requests() {
    let served = Served::alone().await;
    let sizes = [1_usize, 16_383, 16_384, 16_385, 300_000, 2, 16_384, 3, 40_000, 16_000, 500];
    for (number, size) in sizes.iter().enumerate() {
        let value = vec![b'a' + u8::try_from(number).unwrap(); *size];
        assert_eq!(served.request("PUT", &format!("/v1/kv/{number}"), &value).await.text(), "true");
    }
    for parameters in ["raw", "raw&stale"] {
        for headers in ["", FOR_LIBRARY] {
            let mut requests = String::new();
            for number in 0..sizes.len() {
                // A refusal, which is there at once, before each value.
                requests += &format!("GET /v1/kv/k?wait=x{number} HTTP/1.1\r\nHost: t\r\n\r\n");
                let headers = if number % 3 == 0 { headers } else { "" };
                requests += &format!("GET /v1/kv/{number}?{parameters} HTTP/1.1\r\nHost: t\r\n{headers}\r\n");
            }
            requests += "GET /v1/kv/none HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
            let mut all = &exchange(&served, requests.as_bytes()).await[..];
            for (number, size) in sizes.iter().enumerate() {
                for expected in [None, Some(*size)] {
                    let answer = Answer::parse(all);
                    let length: usize = answer.header("Content-Length").unwrap().parse().unwrap();
                    let body = &answer.body[..length];
                    all = &all[all.len() - answer.body.len() + length..];
                    let letter = b'a' + u8::try_from(number).unwrap();
                    match expected {
                        None => {
                            assert_eq!((answer.status, body), (400, &b"Invalid wait time"[..]), "{number}")
                        }
                        Some(size) => {
                            assert_eq!((answer.status, length), (200, size), "{number}, {parameters}");
                            assert!(body.iter().all(|byte| *byte == letter), "{number}, {parameters}");
                        }
                    }
                }
            }
            assert_eq!(Answer::parse(all).status, 404);
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_whole_and_the_next_request_begins_behind_it() {
    let served = Served::alone().await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let value = "GET /v1/kv/x HTTP/1.1\r\n\r\n";
    let put =
        format!("PUT /v1/kv/slow HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{value}", value.len());
    let get = "GET /v1/kv/slow?raw HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    for byte in [&*put, get].concat().as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut all = Vec::new();
    timeout(LONG, stream.read_to_end(&mut all)).await.expect("both are answered").unwrap();
    let text = String::from_utf8(all).unwrap();
    assert!(text.contains("\r\n\r\ntrueHTTP/1.1 200 OK\r\n") && text.ends_with(value), "{text}");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    served.stop().await;
}

#[tokio::test]
async fn a_request_behind_a_large_body_is_answered() {
    let served = Served::alone().await;
    let value = "v".repeat(200_000);
    let mut requests = String::new();
    for number in 0..5 {
        let length = value.len();
        requests +=
            &format!("PUT /v1/kv/{number} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n{value}");
        requests += "PUT /v1/kv/small HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\ns";
    }
    requests += "GET /v1/kv/?keys HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    let text = String::from_utf8(exchange(&served, requests.as_bytes()).await).unwrap();
    assert_eq!(text.matches("\r\n\r\ntrue").count(), 10, "{text}");
    assert!(text.ends_with(r#"["0","1","2","3","4","small"]"#), "{text}");
    assert_eq!(served.get("/v1/kv/4?raw").await.text(), value);
    served.stop().await;
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends_others_after_their_answer() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k", b"v").await;
    let index = served.get("/v1/kv/k").await.index();
    let mut streams = Vec::new();
    for headers in ["", FOR_LIBRARY] {
        let mut idle = TcpStream::connect(served.addr).await.unwrap();
        idle.write_all(format!("GET /v1/kv/k?raw HTTP/1.1\r\nHost: t\r\n{headers}\r\n").as_bytes())
            .await
            .unwrap();
        let mut begun = [0; 12];
        timeout(LONG, idle.read_exact(&mut begun)).await.expect("an answer").unwrap();
        let mut waiting = TcpStream::connect(served.addr).await.unwrap();
        let query =
            format!("GET /v1/kv/k?index={index}&wait=10m HTTP/1.1\r\nHost: t\r\n{headers}\r\nGET /v1/kv/k");
        waiting.write_all(query.as_bytes()).await.unwrap();
        streams.extend([(idle, false), (waiting, true)]);
    }
    // One who asks now passes through the node behind those who wait.
    served.get("/v1/kv/k").await;
    timeout(Duration::from_secs(10), served.stop()).await.expect("nothing holds it up");
    for (mut stream, waits) in streams {
        let mut all = Vec::new();
        let read = timeout(LONG, stream.read_to_end(&mut all)).await.expect("it is closed");
        if waits {
            // The half of a request that was not read may reset the connection behind the answer.
            drop(read);
            let answer = Answer::parse(&all);
            assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")), "{answer:?}");
        } else {
            read.unwrap();
        }
    }
}
