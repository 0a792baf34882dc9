//! Bytes on the connection: packets, limits, and clients that violate the protocol.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::time::Duration;

use http_support::{Answer, Served};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX: usize = 524_288;

fn too_large(got: usize) -> String {
    format!(
        "Request body({got} bytes) too large, max size: 524288 bytes. \
         The setting kv-value-max raises it, on every node."
    )
}

/// Reads one answer on a connection that stays open. Returns the answer and the number of reads that it took.
async fn answer_of(stream: &mut TcpStream) -> (Answer, usize) {
    let (mut all, mut pieces) = (Vec::new(), 0);
    loop {
        let mut piece = [0; 65_536];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the connection ended within an answer: {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&piece[..read]);
        pieces += 1;
        if all.windows(4).any(|four| four == b"\r\n\r\n") {
            let answer = Answer::parse(&all);
            let length: usize = answer.header("Content-Length").unwrap().parse().unwrap();
            if answer.body.len() >= length {
                return (answer, pieces);
            }
        }
    }
}

#[tokio::test]
async fn headers_and_body_come_in_one_packet_and_under_their_canonical_names() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k", b"value").await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    for _ in 0..50 {
        stream.write_all(b"GET /v1/kv/k HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
        let (answer, pieces) = answer_of(&mut stream).await;
        assert_eq!((answer.status, pieces), (200, 1));
        for name in [
            "X-Consul-Index",
            "X-Consul-Knownleader",
            "X-Consul-Lastcontact",
            "Content-Type",
            "Content-Length",
        ] {
            assert!(answer.header(name).is_some(), "{name}: {answer:?}");
        }
        stream
            .write_all(b"PUT /v1/kv/k HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nvalue")
            .await
            .unwrap();
        let (answer, pieces) = answer_of(&mut stream).await;
        assert_eq!((answer.status, answer.text(), pieces), (200, "true", 1));
    }
    drop(stream);
    served.stop().await;
}

#[tokio::test]
async fn the_largest_value_is_stored_and_one_byte_more_is_refused() {
    let served = Served::alone().await;
    assert_eq!(served.request("PUT", "/v1/kv/big", &vec![b'x'; MAX]).await.text(), "true");
    assert_eq!(served.get("/v1/kv/big?raw").await.body.len(), MAX);
    let answer = served.request("PUT", "/v1/kv/big2", &vec![b'x'; MAX + 1]).await;
    assert_eq!((answer.status, answer.text()), (413, too_large(MAX + 1).as_str()));
    // The body is much larger than the buffers of a connection, and the client still gets the answer.
    let answer = served.request("PUT", "/v1/kv/big2", &vec![b'x'; 16 << 20]).await;
    assert_eq!((answer.status, answer.text()), (413, too_large(16 << 20).as_str()));
    assert_eq!(served.get("/v1/kv/big2").await.status, 404);
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let served = Served::alone().await;
    let head =
        "PUT /v1/kv/k HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n";
    let answer = served.exchange(head.as_bytes()).await;
    assert_eq!((answer.status, answer.text()), (413, too_large(999_999_999).as_str()));
    served.stop().await;
}

#[tokio::test]
async fn bodies_in_chunks_are_taken_up_to_the_limit() {
    let served = Served::alone().await;
    let chunked = |sizes: &[usize]| {
        let head =
            "PUT /v1/kv/c HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut bytes = head.as_bytes().to_vec();
        for size in sizes {
            bytes.extend(
                format!("{size:x}\r\n").bytes().chain(std::iter::repeat_n(b'c', *size)).chain(*b"\r\n"),
            );
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    };
    assert_eq!(served.exchange(&chunked(&[1, 2, 100_000])).await.text(), "true");
    assert_eq!(served.get("/v1/kv/c?raw").await.body.len(), 100_003);
    assert_eq!(served.exchange(&chunked(&[1000, MAX - 1000])).await.text(), "true");
    assert_eq!(served.get("/v1/kv/c?raw").await.body.len(), MAX);
    let answer = served.exchange(&chunked(&[MAX, 1, 1000])).await;
    assert_eq!((answer.status, answer.text()), (413, too_large(MAX + 1001).as_str()));
    assert_eq!(served.get("/v1/kv/c?raw").await.body.len(), MAX);
    served.stop().await;
}

#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// The client closes its sending side and continues to read.
    HalfOpen,
    Closed,
    Reset,
}

#[tokio::test]
async fn a_body_that_ends_early_writes_nothing() {
    // With one connection at a time, the next request is answered only after the broken one has ended.
    let served = Served::alone_with(|state| state.with_connections_max(1)).await;
    assert_eq!(served.request("PUT", "/v1/kv/half", b"old").await.text(), "true");
    let index = served.get("/v1/kv/half").await.index();
    for sent in [
        "Content-Length: 10\r\n\r\nhalf",
        "Content-Length: 10\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n9\r\nand",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ] {
        for leaves in [Leaves::HalfOpen, Leaves::Closed, Leaves::Reset] {
            let mut stream = TcpStream::connect(served.addr).await.unwrap();
            let bytes = format!("PUT /v1/kv/half HTTP/1.1\r\nHost: t\r\n{sent}");
            stream.write_all(bytes.as_bytes()).await.unwrap();
            match leaves {
                Leaves::HalfOpen => {
                    stream.shutdown().await.unwrap();
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all).await.unwrap();
                    let text = String::from_utf8_lossy(&all);
                    assert!(all.is_empty() || Answer::parse(&all).status == 400, "{sent:?}: {text:?}");
                }
                Leaves::Closed => {}
                Leaves::Reset => {
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                }
            }
            drop(stream);
            let answer = served.get("/v1/kv/half").await;
            assert_eq!(answer.json()[0]["Value"], "b2xk", "{sent:?}, {leaves:?}");
            assert_eq!(answer.index(), index, "{sent:?}, {leaves:?}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let served = Served::alone().await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let mut requests = Vec::new();
    for number in 0..10 {
        requests.extend(
            format!("PUT /v1/kv/p{number} HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n{number}").bytes(),
        );
    }
    requests.extend(b"GET /v1/kv/p?keys HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    stream.write_all(&requests).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let text = String::from_utf8(all).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 11, "{text}");
    assert!(text.ends_with(r#"["p0","p1","p2","p3","p4","p5","p6","p7","p8","p9"]"#), "{text}");
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_harms_nobody() {
    let served = Served::alone().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET\r\n\r\n",
        b"GET /v1/kv/k HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert!(all.is_empty() || all.starts_with(b"HTTP/1.1 400 "), "{:?}", String::from_utf8_lossy(&all));
    }
    let long = format!("GET /v1/kv/{} HTTP/1.1\r\nHost: t\r\n\r\n", "k".repeat(70_000));
    assert_eq!(served.exchange(long.as_bytes()).await.status, 414);
    assert_eq!(served.request("PUT", "/v1/kv/k", b"v").await.text(), "true");
    served.stop().await;
}
