//! Connections that are used for many requests: each request gets its own answer.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::time::Duration;

use http_support::{Answer, Served, all};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECTIONS: usize = 8;
/// Number of requests on each connection.
const REQUESTS: usize = 150;
const ENTRIES: usize = 50;
/// Number of keys and bytes per value of a long list. A list above 4 MiB is not held in memory and is sent in chunks.
const LONG: (usize, usize) = (34, 100 << 10);

/// A request. Where possible, its answer differs from that of every other request.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Value(usize),
    Entry(usize),
    Head(usize),
    Absent(usize),
    Names(usize),
    Put(usize),
    /// A write whose condition does not hold.
    Condition(usize),
    Refused(usize),
    Long(usize),
}

impl Ask {
    /// The request with this number on a connection. Each connection sends all kinds in turn, in a different order.
    fn nth(connection: usize, number: usize) -> Self {
        if connection < 4 && number == 20 + 10 * connection {
            return Self::Long(connection % 2);
        }
        let entry = (number * (2 * connection + 3) + connection) % ENTRIES;
        match (number * 3 + connection) % 8 {
            0 => Self::Value(entry),
            1 => Self::Entry(entry),
            2 => Self::Head(entry),
            3 => Self::Absent(number),
            4 => Self::Names(entry / 10),
            5 => Self::Put(number),
            6 => Self::Condition(entry),
            _ => Self::Refused(number),
        }
    }

    fn bytes(self, connection: usize) -> Vec<u8> {
        let (method, target, body) = match self {
            Self::Value(entry) => ("GET", format!("own/{entry:02}?raw"), String::new()),
            Self::Entry(entry) => ("GET", format!("own/{entry:02}"), String::new()),
            Self::Head(entry) => ("HEAD", format!("own/{entry:02}?raw"), String::new()),
            Self::Absent(number) => ("GET", format!("absent/{connection}/{number}"), String::new()),
            Self::Names(ten) => ("GET", format!("own/{ten}?keys&separator=/"), String::new()),
            Self::Put(number) => ("PUT", format!("put/{connection}/{number}"), put(connection, number)),
            Self::Condition(entry) => ("PUT", format!("own/{entry:02}?cas=0"), value(0)),
            Self::Refused(number) => ("GET", format!("own/?max_stale={connection}x{number}"), String::new()),
            Self::Long(which) => ("GET", format!("long/{which}/?recurse"), String::new()),
        };
        let length = body.len();
        let head =
            format!("{method} /v1/kv/{target} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n");
        [head, body].concat().into_bytes()
    }

    fn check(self, connection: usize, answer: &Answer, long: &[Vec<u8>]) {
        let what = format!("connection {connection}, {self:?}");
        let (status, body) = match self {
            Self::Value(entry) => (200, value(entry)),
            Self::Entry(entry) => {
                let json = answer.json();
                let named = (json[0]["Key"].as_str().unwrap(), json[0]["Flags"].as_u64().unwrap());
                assert_eq!(named, (format!("own/{entry:02}").as_str(), entry as u64), "{what}");
                assert_eq!(answer.status, 200, "{what}");
                return;
            }
            Self::Head(entry) => {
                let length = value(entry).len().to_string();
                assert_eq!(answer.header("Content-Length"), Some(length.as_str()), "{what}");
                (200, String::new())
            }
            Self::Absent(_) => (404, String::new()),
            Self::Names(ten) => {
                let names: Vec<String> = (0..10).map(|one| format!("own/{ten}{one}")).collect();
                (200, serde_json::to_string(&names).unwrap())
            }
            Self::Put(_) => (200, "true".to_owned()),
            Self::Condition(_) => (200, "false".to_owned()),
            Self::Refused(number) => {
                let named = format!("\"{connection}x{number}\"");
                assert!(answer.status == 400 && answer.text().contains(&named), "{what}: {answer:?}");
                return;
            }
            Self::Long(which) => {
                assert_eq!(
                    (answer.status, answer.header("Transfer-Encoding")),
                    (200, Some("chunked")),
                    "{what}"
                );
                assert!(answer.body == long[which], "{what}: another list, or none that is whole");
                return;
            }
        };
        assert_eq!((answer.status, answer.text()), (status, body.as_str()), "{what}");
    }
}

/// The value of an entry. Each entry has a different length.
fn value(entry: usize) -> String {
    format!("value {entry} ").repeat(entry + 1)
}

fn put(connection: usize, number: usize) -> String {
    format!("{number} of {connection}")
}

/// Reads the next answer on a connection that stays open. The chunks of a body are joined.
async fn next(stream: &mut BufReader<TcpStream>, has_body: bool) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read_until(b'\n', &mut head).await.unwrap();
        assert!(read > 0, "the connection ended: {:?}", String::from_utf8_lossy(&head));
    }
    let mut answer = Answer::parse(&head);
    if !has_body {
        return answer;
    }
    if let Some(length) = answer.header("Content-Length") {
        answer.body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut answer.body).await.unwrap();
        return answer;
    }
    assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"), "{answer:?}");
    loop {
        let mut size = String::new();
        stream.read_line(&mut size).await.unwrap();
        let mut chunk = vec![0; usize::from_str_radix(size.trim_end(), 16).unwrap() + 2];
        stream.read_exact(&mut chunk).await.unwrap();
        assert!(chunk.ends_with(b"\r\n"));
        if chunk.len() == 2 {
            return answer;
        }
        answer.body.extend_from_slice(&chunk[..chunk.len() - 2]);
    }
}

/// Sends all requests of one connection, one to four of them in one write before their answers are read.
async fn use_again_and_again(served: &Served, connection: usize, long: &[Vec<u8>]) {
    let mut stream = BufReader::new(TcpStream::connect(served.addr).await.unwrap());
    let (mut first, mut together) = (0, connection % 4);
    while first < REQUESTS {
        let asked: Vec<Ask> =
            (first..REQUESTS.min(first + 1 + together)).map(|number| Ask::nth(connection, number)).collect();
        let bytes: Vec<u8> = asked.iter().flat_map(|ask| ask.bytes(connection)).collect();
        stream.write_all(&bytes).await.unwrap();
        for ask in &asked {
            ask.check(connection, &next(&mut stream, !matches!(ask, Ask::Head(_))).await, long);
        }
        (first, together) = (first + asked.len(), (together + 1) % 4);
    }
}

#[tokio::test]
async fn each_answer_on_a_reused_connection_is_its_own() {
    let served = Served::alone().await;
    for entry in 0..ENTRIES {
        let target = format!("/v1/kv/own/{entry:02}?flags={entry}");
        assert_eq!(served.request("PUT", &target, value(entry).as_bytes()).await.text(), "true");
    }
    let mut long = Vec::new();
    for which in 0..2 {
        served.fill(&format!("long/{which}/"), LONG.0, LONG.1).await;
        let mut stream = BufReader::new(TcpStream::connect(served.addr).await.unwrap());
        stream.write_all(&Ask::Long(which).bytes(0)).await.unwrap();
        long.push(next(&mut stream, true).await.body);
    }
    assert_ne!(long[0], long[1]);
    let connections =
        (0..CONNECTIONS).map(|connection| use_again_and_again(&served, connection, &long)).collect();
    timeout(Duration::from_secs(60), all(connections)).await.expect("each request is answered");
    // Each write was made to its own key.
    for connection in 0..CONNECTIONS {
        for number in 0..REQUESTS {
            if matches!(Ask::nth(connection, number), Ask::Put(_)) {
                let stored = served.get(&format!("/v1/kv/put/{connection}/{number}?raw")).await;
                assert_eq!(stored.text(), put(connection, number));
            }
        }
    }
    served.stop().await;
}
