//! Requests as bytes: all forms of target, malformed requests, and clients that close their side early. A refused request is
//! refused with a reason, touches no key, and is never carried out on another key.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::time::Duration;

use http_support::{Answer, Served, exchange, untouched, with_tree};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_target_that_would_be_cut_is_refused_and_no_other_key_is_touched() {
    let served = with_tree().await;
    for (method, target) in [
        ("DELETE", "/v1/kv/app#old"),
        ("DELETE", "/v1/kv/app?recurse#x"),
        ("PUT", "/v1/kv/app#1?cas=0"),
        ("PUT", "/v1/kv/app?flags=1#&cas=0"),
        ("GET", "/v1/kv/app#old?raw"),
        ("PUT", "http://h/v1/kv/app#1?cas=0"),
    ] {
        let answer = served.request(method, target, b"new").await;
        assert_eq!(answer.status, 400, "{method} {target}");
        assert!(answer.text().contains("%23"), "{method} {target}: {}", answer.text());
        untouched(&served, target).await;
    }
    assert_eq!(served.get("/v1/kv/app%23old?raw").await.text(), "app#old");
    assert_eq!(served.request("DELETE", "/v1/kv/app%23old", b"").await.text(), "true");
    assert_eq!(served.get("/v1/kv/app?raw").await.text(), "app");
    served.stop().await;
}

#[tokio::test]
async fn a_write_whose_parameters_are_in_doubt_is_refused_and_carried_out_on_nothing() {
    let served = with_tree().await;
    for (method, target, words) in [
        ("DELETE", "/v1/kv/app?recurse=false", "Invalid recurse value \"false\""),
        ("DELETE", "/v1/kv/app?recurse=0", "Invalid recurse value \"0\""),
        ("DELETE", "/v1/kv/app?recurse=no&x", "Invalid recurse value \"no\""),
        ("DELETE", "/v1/kv/app?Recurse", "did you mean \"recurse\"?"),
        ("DELETE", "/v1/kv/app?CAS=1", "did you mean \"cas\"?"),
        ("PUT", "/v1/kv/app?raw?cas=0", "two raw `?`"),
        ("PUT", "/v1/kv/app?raw;cas=0", "separated by `&`"),
        ("PUT", "/v1/kv/app?cas=999&cas=0", "is given twice"),
        ("PUT", "/v1/kv/app?Cas=0", "did you mean \"cas\"?"),
        ("PUT", "/v1/kv/app?%20cas=0", "separated by `&`"),
        ("PUT", "/v1/kv/app?cas=%", "Invalid query"),
    ] {
        let answer = served.request(method, target, b"new").await;
        assert_eq!(answer.status, 400, "{method} {target}: {}", answer.text());
        assert!(answer.text().contains(words), "{method} {target}: {}", answer.text());
        untouched(&served, target).await;
    }
    for target in ["/v1/kv/app?recurse", "/v1/kv/app?recurse=true", "/v1/kv/app?recurse=1"] {
        assert_eq!(served.request("DELETE", target, b"").await.text(), "true", "{target}");
        assert_eq!(served.get("/v1/kv/?keys").await.text(), "[]");
        served.request("PUT", "/v1/kv/app/a", b"x").await;
    }
    served.stop().await;
}

#[tokio::test]
async fn every_form_of_target_is_taken_literally_or_refused_in_words() {
    let served = Served::alone().await;
    // The absolute form, which proxies send. The server ignores the host in it.
    assert_eq!(served.request("PUT", "http://any:80/v1/kv/abs?flags=7", b"v").await.text(), "true");
    assert_eq!(served.get("/v1/kv/abs").await.json()[0]["Flags"], 7);
    let options = served.request("OPTIONS", "*", b"").await;
    assert_eq!((options.status, options.header("Allow")), (200, Some("OPTIONS,GET,PUT,DELETE")));
    // Dots, slashes and all other characters that are allowed are kept as they are.
    let plain = ["/lead", "//two", "a/../b", "./c", "d//", "e{}|\\^[]f", "g!$&'()*+,;=:@~h"];
    // So are letters of any length in UTF-8. One of them consists of two code points, which must not be composed into one.
    let letters = ["\u{e4}", "\u{65e5}\u{672c}", "\u{1f980}", "e\u{301}", "\u{e9}"];
    for key in plain.into_iter().chain(letters) {
        assert_eq!(
            served.request("PUT", &format!("/v1/kv/{key}"), key.as_bytes()).await.text(),
            "true",
            "{key}"
        );
        let entry = served.get(&format!("/v1/kv/{key}")).await.json();
        assert_eq!(entry[0]["Key"], key);
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(served.get(&format!("/v1/kv/{encoded}")).await.json(), entry, "{key} as {encoded}");
        assert_eq!(served.get(&format!("/v1/kv/{encoded}?raw")).await.text(), key);
    }
    for (method, target) in [
        ("GET", "*"),
        ("GET", "v1/kv/a"),
        ("GET", "?raw"),
        ("GET", "a:80"),
        ("GET", "http:///v1/kv/a"),
        ("GET", "ftp://h/v1/kv/a"),
        ("GET", "http://u:p@h/v1/kv/a"),
        ("PUT", "/v1/kv/a<b"),
        ("PUT", "/v1/kv/a>b"),
        ("PUT", "/v1/kv/a`b"),
        ("PUT", "/v1/kv/a\"b"),
        ("PUT", "/v1/kv/a\tb"),
        ("PUT", "/v1/kv/a b"),
        ("PUT", "/v1/kv/%0a"),
        ("PUT", "/v1/kv/%c2%85"),
        ("PUT", "/v1/kv/\u{85}"),
        ("PUT", "/v1/kv/%e4"),
        ("PUT", "/v1/kv/%zz"),
        ("GET", "/no/such/%0a"),
        ("GET", "/no/such/%ff"),
    ] {
        let answer = served.request(method, target, b"x").await;
        assert_eq!(answer.status, 400, "{method} {target}");
        assert!(answer.text().len() > 20, "{method} {target:?}: {:?}", answer.text());
        assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"), "{method} {target:?}");
    }
    let latin_1 = exchange(&served, b"GET /v1/kv/\xe4 HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let latin_1 = Answer::parse(&latin_1);
    assert!(latin_1.status == 400 && latin_1.text().contains("not UTF-8"), "{latin_1:?}");
    served.stop().await;
}

#[tokio::test]
async fn every_printable_character_comes_back_in_its_key() {
    let served = Served::alone().await;
    for byte in 0x20..0x7f_u8 {
        let (key, sent) = (format!("k{}", char::from(byte)), format!("k%{byte:02X}"));
        assert_eq!(served.request("PUT", &format!("/v1/kv/{sent}"), &[byte]).await.text(), "true", "{key}");
        assert_eq!(served.get(&format!("/v1/kv/{sent}")).await.json()[0]["Key"], key.as_str());
        // Sent without encoding, the character names the same key or is refused.
        let raw = served.get(&format!("/v1/kv/{key}?raw")).await;
        match byte {
            b' ' | b'"' | b'#' | b'<' | b'>' | b'?' | b'`' => assert_eq!(raw.status, 400, "{key}"),
            b'%' => assert_eq!(raw.status, 400, "{key}"),
            _ => assert_eq!((raw.status, raw.body), (200, vec![byte]), "{key}"),
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_on_and_on_still_sees_why_it_was_refused() {
    let served = Served::alone().await;
    let mut bytes = b"PUT /v1/kv/a#b HTTP/1.1\r\nHost: t\r\nContent-Length: 8388608\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + (8 << 20), b'x');
    let answer = Answer::parse(&exchange(&served, &bytes).await);
    assert!(answer.status == 400 && answer.text().contains("%23"), "{answer:?}");
    served.stop().await;
}

#[tokio::test]
async fn bodies_come_whole_whatever_the_client_does_with_them() {
    let served = Served::alone().await;
    // Chunks that arrive in later packets, each sent after the server has read the previous one.
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let head = "PUT /v1/kv/late HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
    for piece in [head, "\r", "\n", "5\r\nfirst\r", "\n6;ext=1\r", "\nsecond\r\n0", "\r\nTrailer: x\r\n\r\n"]
    {
        stream.write_all(piece.as_bytes()).await.unwrap();
        // Meanwhile the node answers another request.
        served.get("/v1/kv/none").await;
    }
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert_eq!(Answer::parse(&all).text(), "true");
    assert_eq!(served.get("/v1/kv/late?raw").await.text(), "firstsecond");
    // A client that waits for `100 Continue` before it sends the body.
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let head = "PUT /v1/kv/asks HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    timeout(LONG, stream.read_exact(&mut go_on)).await.expect("it is told to go on").unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(served.get("/v1/kv/asks?raw").await.text(), "body");
    // HTTP/1.0.
    let old = exchange(&served, b"PUT /v1/kv/old HTTP/1.0\r\nContent-Length: 3\r\n\r\n1.0").await;
    assert_eq!(Answer::parse(&old).text(), "true");
    assert_eq!(served.get("/v1/kv/old?raw").await.text(), "1.0");
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_its_request_is_answered() {
    let served = Served::alone().await;
    for number in 0..40 {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        let request = format!("PUT /v1/kv/half/{number} HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        timeout(LONG, stream.read_to_end(&mut all)).await.expect("it is answered, then closed").unwrap();
        assert_eq!(Answer::parse(&all).text(), "true", "request {number}");
    }
    assert_eq!(served.get("/v1/kv/half/?keys").await.json().as_array().unwrap().len(), 40);
    // A request that ends within its head or its body is refused.
    for cut in ["GET /v1/kv/half", "PUT /v1/kv/cut HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhalf"] {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(cut.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        timeout(LONG, stream.read_to_end(&mut all)).await.expect("it is answered, then closed").unwrap();
        let answer = Answer::parse(&all);
        assert!(answer.status == 400 && answer.text().contains("ended"), "{cut}: {answer:?}");
    }
    assert_eq!(served.get("/v1/kv/cut").await.status, 404);
    served.stop().await;
}

/// Opens a connection and sends a blocking query on it that waits for ten minutes.
async fn waiting(served: &Served) -> TcpStream {
    let index = served.get("/v1/kv/k").await.index();
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let request = format!("GET /v1/kv/k?index={index}&wait=10m HTTP/1.1\r\nHost: t\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_query_that_waits_is_answered_soon_after_its_client_has_closed_its_side() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k", b"v").await;
    let mut stream = waiting(&served).await;
    stream.shutdown().await.unwrap();
    let mut all = Vec::new();
    // Writes to other keys do not restart the time after which the query is answered.
    let others = async {
        for number in 0.. {
            served.request("PUT", "/v1/kv/other", format!("{number}").as_bytes()).await;
        }
    };
    tokio::select! {
        read = timeout(LONG, stream.read_to_end(&mut all)) => drop(read.expect("it is answered").unwrap()),
        () = others => {}
    }
    let answer = Answer::parse(&all);
    assert_eq!((answer.status, &answer.json()[0]["Value"]), (200, &serde_json::json!("dg==")));
    // A change of the key answers it earlier.
    let mut stream = waiting(&served).await;
    stream.shutdown().await.unwrap();
    served.request("PUT", "/v1/kv/k", b"w").await;
    let mut all = Vec::new();
    timeout(LONG, stream.read_to_end(&mut all)).await.expect("it is answered").unwrap();
    assert_eq!(Answer::parse(&all).json()[0]["Value"], "dw==");
    served.stop().await;
}

#[tokio::test]
async fn a_query_whose_client_is_gone_leaves_its_place_to_others() {
    let served = Served::alone_with(|state| state.with_connections_max(1)).await;
    served.request("PUT", "/v1/kv/k", b"v").await;
    // The client closes the connection, and resets it.
    for linger in [None, Some(Duration::ZERO)] {
        let stream = waiting(&served).await;
        // The query still waits: it occupies the only connection, so the next client is not served.
        let mut other = TcpStream::connect(served.addr).await.unwrap();
        other.write_all(b"GET /v1/kv/k?raw HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut first = [0];
        tokio::select! {
            biased;
            _ = other.read(&mut first) => panic!("the query does not wait"),
            () = tokio::task::yield_now() => {}
        }
        if let Some(linger) = linger {
            socket2::SockRef::from(&stream).set_linger(Some(linger)).unwrap();
        }
        drop(stream);
        let mut all = Vec::new();
        timeout(LONG, other.read_to_end(&mut all)).await.expect("the place is free again").unwrap();
        assert_eq!(Answer::parse(&all).text(), "v");
    }
    served.stop().await;
}

#[tokio::test]
async fn what_known_clients_send_is_accepted() {
    let served = Served::alone().await;
    // Headers that are sent by the library of Traefik and Vault, by consul-template, by python-consul, and by browsers.
    let headers = [
        "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n",
        "User-Agent: Go-http-client/1.1\r\nX-Consul-Token: \r\nContent-Type: application/octet-stream\r\n",
        "User-Agent: consul-template/0.37\r\nAuthorization: Bearer x\r\nAccept: application/json\r\n",
        "User-Agent: python-requests/2.31.0\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n",
        "Origin: http://a\r\nCookie: a=b; c=\"d\"\r\nAccept-Language: de,en;q=0.5\r\nUpgrade: h2c\r\n",
        "X-Empty:\r\nX-Latin: \u{e4}\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\n",
    ];
    for sent in headers {
        assert_eq!(
            served.send("PUT", "/v1/kv/t/k?dc=&flags=0&cas=0", sent, b"v").await.text(),
            "true",
            "{sent}"
        );
        for target in
            ["/v1/kv/t/k?consistent=&dc=dc1&wait=60000ms&index=0", "/v1/kv/t?recurse=true&stale=&token="]
        {
            let answer = served.send("GET", target, sent, b"").await;
            assert_eq!(answer.json()[0]["Value"], "dg==", "{sent}");
            assert_eq!(answer.header("Content-Encoding"), None, "{sent}");
        }
        assert_eq!(served.send("DELETE", "/v1/kv/t?recurse=", sent, b"").await.text(), "true", "{sent}");
    }
    served.stop().await;
}

#[tokio::test]
async fn an_index_that_lies_ahead_waits_and_one_that_was_seen_never_goes_back() {
    let served = Served::alone().await;
    served.request("PUT", "/v1/kv/k", b"v").await;
    // A client may send an index from another cluster: the query waits, and is then answered with the present value.
    let answer = served.get("/v1/kv/k?index=999999999&wait=100ms").await;
    assert_eq!((answer.status, answer.json()[0]["Value"].as_str()), (200, Some("dg==")));
    // A watch on an absent key does not return again and again.
    let index = served.get("/v1/kv/absent").await.index();
    let began = std::time::Instant::now();
    let answer = served.get(&format!("/v1/kv/absent?index={index}&wait=200ms")).await;
    assert_eq!((answer.status, answer.index()), (404, index));
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    let target = format!("/v1/kv/absent?index={index}&wait=10m");
    let mut blocked = Box::pin(served.get(&target));
    tokio::select! {
        biased;
        answer = &mut blocked => panic!("it did not wait: {answer:?}"),
        () = tokio::task::yield_now() => {}
    }
    served.request("PUT", "/v1/kv/absent", b"here").await;
    let answer = timeout(LONG, blocked).await.expect("its own change wakes it");
    assert!(answer.index() > index);
    let (mut key, mut prefix) = (0, 0);
    for number in 0..200 {
        let method = if number % 3 == 0 { "DELETE" } else { "PUT" };
        served.request(method, &format!("/v1/kv/p/{}", number % 5), &[b'x'; 3]).await;
        for target in ["/v1/kv/p/0?stale", "/v1/kv/p/0"] {
            let index = served.get(target).await.index();
            assert!(index >= key, "{target}: {index} after {key}");
            key = index;
        }
        let index = served.get("/v1/kv/p/?keys").await.index();
        assert!(index >= prefix, "{index} after {prefix}");
        prefix = index;
    }
    served.stop().await;
}
