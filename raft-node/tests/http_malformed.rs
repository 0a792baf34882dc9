//! Malformed requests, and attempts to smuggle a request past a proxy: each is refused with a reason, touches no key, and ends the
//! connection, so that the request behind it is not carried out.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use http_support::{Answer, exchange, untouched, with_tree};

/// A description, the status of the refusal, and the bytes.
type Malformed = (&'static str, u16, String);

/// A request behind each malformed one. It must not be carried out.
const DELETE: &str = "DELETE /v1/kv/app?recurse HTTP/1.1\r\nHost: t\r\n\r\n";

/// A PUT with these headers, a body, and the request behind it.
fn put(headers: &str, body: &str) -> String {
    format!("PUT /v1/kv/new HTTP/1.1\r\nHost: t\r\n{headers}\r\n{body}{DELETE}")
}

/// Requests whose body has no clear end, because of their Content-Length or Transfer-Encoding.
fn lengths() -> Vec<Malformed> {
    vec![
        ("length and chunks", 400, put("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("chunks and length", 400, put("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n")),
        ("two lengths", 400, put("Content-Length: 0\r\nContent-Length: 49\r\n", "")),
        ("two lengths in one", 400, put("Content-Length: 0, 0\r\n", "")),
        ("a length with a sign", 400, put("Content-Length: +0\r\n", "")),
        ("a length too large", 400, put("Content-Length: 18446744073709551616\r\n", "")),
        ("a negative length", 400, put("Content-Length: -1\r\n", "")),
        ("a length in hexadecimal", 400, put("Content-Length: 0x0\r\n", "")),
        ("a length with a separator", 400, put("Content-Length: 1_0\r\n", "")),
        ("an empty length", 400, put("Content-Length:\r\n", "")),
        ("a length of other digits", 400, put("Content-Length: \u{661}\r\n", "")),
        ("a length with a vertical tab", 400, put("Content-Length: \x0b0\r\n", "")),
        ("a length in disguise", 400, put("Content-Length : 49\r\n", "")),
        ("a length behind a bare CR", 400, put("X: y\rContent-Length: 49\r\n", "")),
        ("a length folded", 400, put("Content-Length:\r\n 49\r\n", "")),
        ("two lengths apart", 400, put("Content-Length: 0\r\nX: y\r\nCONTENT-LENGTH: 0\r\n", "")),
        (
            "two codings",
            400,
            put("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        ("another coding", 501, put("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        ("the same coding twice", 501, put("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        ("no coding", 501, put("Transfer-Encoding: identity\r\n", "")),
        ("a coding like chunked", 501, put("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        ("a coding in quotes", 501, put("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n")),
        ("a coding with a parameter", 501, put("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n")),
        ("an empty coding", 501, put("Transfer-Encoding:\r\n", "")),
        ("a coding behind a NUL", 400, put("Transfer-Encoding: \0chunked\r\n", "0\r\n\r\n")),
        (
            "a coding in HTTP/1.0",
            400,
            format!("PUT /v1/kv/new HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{DELETE}"),
        ),
        ("a coding in disguise", 400, put("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
    ]
}

/// Requests with other malformed headers.
fn headers() -> Vec<Malformed> {
    vec![
        ("a folded header", 400, put("X: a\r\n b: c\r\n", "")),
        ("a header that begins with a space", 400, put(" X: a\r\n", "")),
        ("a space in a header's name", 400, put("X Y: a\r\n", "")),
        ("a NUL in a header's name", 400, put("X\0: a\r\n", "")),
        ("a name that is not ASCII", 400, put("\u{e4}: a\r\n", "")),
        ("a DEL in a header", 400, put("X: a\u{7f}\r\n", "")),
        ("a bare LF at the end of the head", 400, put("X: a\r\n\n", "")),
        ("a bare LF within the head", 400, put("X: a\nY: b\r\n", "")),
        ("a NUL in a header", 400, put("X: a\0b\r\n", "")),
        ("a CR in a header", 400, put("X: a\rb\r\n", "")),
        ("a header without a colon", 400, put("X\r\n", "")),
        ("a header without a name", 400, put(": x\r\n", "")),
        ("two hosts", 400, put("Host: u\r\n", "")),
        ("many headers", 431, put(&"X: y\r\n".repeat(101), "")),
        ("long headers", 431, put(&format!("X: {}\r\n", "y".repeat(200_000)), "")),
    ]
}

/// Requests whose beginning, request line or Host is malformed.
fn lines() -> Vec<Malformed> {
    vec![
        ("no host", 400, format!("GET /v1/kv/app HTTP/1.1\r\n\r\n{DELETE}")),
        ("a host that is none", 400, format!("GET /v1/kv/app HTTP/1.1\r\nHost: a/b\r\n\r\n{DELETE}")),
        ("bare LFs", 400, format!("GET /v1/kv/app HTTP/1.1\nHost: t\n\n{DELETE}")),
        ("two hosts in one", 400, format!("GET /v1/kv/app HTTP/1.1\r\nHost: t, u\r\n\r\n{DELETE}")),
        ("a tab in the request line", 400, format!("GET\t/v1/kv/app HTTP/1.1\r\nHost: t\r\n\r\n{DELETE}")),
        ("a space behind the version", 400, format!("GET /v1/kv/app HTTP/1.1 \r\nHost: t\r\n\r\n{DELETE}")),
        ("a version in small letters", 400, format!("GET /v1/kv/app http/1.1\r\nHost: t\r\n\r\n{DELETE}")),
        ("a version of two digits", 505, format!("GET /v1/kv/app HTTP/1.10\r\nHost: t\r\n\r\n{DELETE}")),
        ("a request line of two", 400, format!("GET /v1/kv/app HTTP/1.1\rX: y\r\nHost: t\r\n\r\n{DELETE}")),
        ("no version", 400, format!("GET /v1/kv/app\r\n\r\n{DELETE}")),
        ("another version", 505, format!("GET /v1/kv/app HTTP/3.0\r\nHost: t\r\n\r\n{DELETE}")),
        ("HTTP/2", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("two spaces", 400, format!("GET  /v1/kv/app HTTP/1.1\r\nHost: t\r\n\r\n{DELETE}")),
        ("a tunnel", 501, format!("CONNECT h:80 HTTP/1.1\r\nHost: t\r\n\r\n{DELETE}")),
        ("a method of other characters", 400, format!("G\u{e9}T / HTTP/1.1\r\nHost: t\r\n\r\n{DELETE}")),
        ("empty lines", 400, "\r\n".repeat(20)),
        ("TLS", 400, "\u{16}\u{3}\u{1}".to_owned()),
        ("a long target", 414, format!("GET /v1/kv/{} HTTP/1.1\r\nHost: t\r\n\r\n", "k".repeat(70_000))),
    ]
}

/// Requests with a malformed chunked body.
fn chunks() -> Vec<Malformed> {
    let chunked = |chunks: &str| put("Transfer-Encoding: chunked\r\n", chunks);
    vec![
        ("a chunk's size that is none", 400, chunked("x\r\n\r\n")),
        ("a chunk's size with a sign", 400, chunked("+1\r\na\r\n0\r\n\r\n")),
        ("a chunk's size with 0x", 400, chunked("0x1\r\na\r\n0\r\n\r\n")),
        ("a chunk's size with a separator", 400, chunked("1_0\r\n")),
        ("a chunk's size behind a space", 400, chunked(" 1\r\na\r\n0\r\n\r\n")),
        ("an empty size", 400, chunked("\r\n\r\n")),
        ("a bare CR in an extension", 400, chunked("1;a\rb\r\na\r\n0\r\n\r\n")),
        ("a bare LF in an extension", 400, chunked("1;a\nb\r\na\r\n0\r\n\r\n")),
        ("a chunk that ends with LF", 400, chunked("1\r\na\n0\r\n\r\n")),
        ("a chunk that ends with CR", 400, chunked("1\r\na\r0\r\n\r\n")),
        ("a last chunk that ends with LF", 400, chunked("0\r\n\n")),
        ("a chunk's size too large", 400, chunked("fffffffffffffffff\r\n")),
        ("a chunk longer than it says", 400, chunked("1\r\nab\r\n0\r\n\r\n")),
        ("a chunk with a bare LF", 400, chunked("1\na\n0\n\n")),
        ("a trailer with a bare LF", 400, chunked("0\r\nX: y\n\r\n")),
    ]
}

#[tokio::test]
async fn what_is_malformed_is_refused_in_words_and_smuggles_nothing() {
    let served = with_tree().await;
    for (what, status, bytes) in [lengths(), headers(), lines(), chunks()].concat() {
        // A well-formed request before it in the same packet is answered nevertheless.
        for before in ["", "GET /v1/kv/app?raw HTTP/1.1\r\nHost: t\r\n\r\n"] {
            let all = exchange(&served, &[before.as_bytes(), bytes.as_bytes()].concat()).await;
            let text = String::from_utf8(all).unwrap();
            let refused = match before {
                "" => text.as_str(),
                // The text of a refusal may contain the version, too; that of the first answer does not.
                _ => text[1..].find("HTTP/1.1 ").map(|at| &text[at + 1..]).unwrap_or_default(),
            };
            let answer = Answer::parse(refused.as_bytes());
            assert_eq!(answer.status, status, "{what}: {text}");
            assert!(answer.text().len() > 20, "{what}: {text}");
            assert_eq!(answer.header("Connection"), Some("close"), "{what}: {text}");
            let answers = text.matches("X-Consul-Default-Acl-Policy").count();
            assert_eq!(answers, if before.is_empty() { 1 } else { 2 }, "{what}: {text}");
        }
        untouched(&served, what).await;
    }
    // The answer to a refused HEAD request has no body either.
    let head = exchange(&served, b"HEAD /v1/kv/app#x HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 400 ") && head.ends_with(b"\r\n\r\n"));
    served.stop().await;
}
