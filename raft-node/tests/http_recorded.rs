//! Answers of a real Consul 1.8.7, recorded in order: the same requests get the same answers here.
//!
//! The recorded indexes are those of another cluster. The first time that one is seen, it is bound to the index that
//! this node answers in its place. From then on the two must always appear together.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::collections::BTreeMap;

use http_support::{Answer, Served};
use serde::Deserialize;
use serde_json::Value;

const RECORDED: &str = include_str!("recorded/consul-1.8.7.json");

#[derive(Debug, Deserialize)]
struct Exchange {
    request: String,
    #[serde(default)]
    body: String,
    status: u16,
    headers: BTreeMap<String, String>,
    answer: String,
}

/// Requests that are answered differently on purpose: the request, the status, and the beginning of the body.
const DIFFERENT: &[(&str, u16, &str)] = &[
    // The recorded follower had not applied the newest write. A single node has.
    ("GET /v1/kv/rec/a?stale", 200, "[{\"LockIndex\":0,\"Key\":\"rec/a\",\"Flags\":42,\"Value\":\"dHdv\""),
    ("PUT /v1/kv/rec/a?cas=x", 400, "Invalid cas value \"x\""),
    ("PUT /v1/kv/rec/a?flags=x", 400, "Invalid flags value \"x\""),
    ("PUT /v1/kv/rec/a?acquire=nosuch", 500, "invalid session \"nosuch\": sessions are not supported yet"),
    (
        "PUT /v1/kv/rec/big <524289 bytes>",
        413,
        "Request body(524289 bytes) too large, max size: 524288 bytes. The setting kv-value-max",
    ),
    ("GET /v1/kv/rec/%0a", 400, "Invalid key name: it has a control character"),
    ("HEAD /v1/kv/rec/a", 200, ""),
    // Members and addresses differ. http_api.rs tests the format.
    ("GET /v1/status/leader", 200, "\"127.0.0.1:"),
    ("GET /v1/status/peers", 200, "[\"127.0.0.1:"),
    (
        "GET /v1/operator/raft/configuration",
        200,
        "{\"Servers\":[{\"ID\":\"1\",\"Node\":\"node-1\",\"Address\":\"127.0.0.1:",
    ),
];

/// Whether an exchange is that of `request`, which may name the body, too.
fn is_for(request: &str, exchange: &Exchange) -> bool {
    request == exchange.request || request == format!("{} {}", exchange.request, exchange.body)
}

/// Maps recorded indexes to indexes of this node.
#[derive(Debug, Default)]
struct Indexes(BTreeMap<u64, u64>);

impl Indexes {
    fn bind(&mut self, recorded: u64, here: u64, what: &str) {
        let bound = *self.0.entry(recorded).or_insert(here);
        assert_eq!(bound, here, "{what}: index {recorded} was {bound} before");
        let order: Vec<_> = self.0.values().collect();
        assert!(order.is_sorted(), "{what}: indexes do not rise together: {self:?}");
    }

    /// Replaces the recorded indexes in a request by those of this node.
    fn replace(&self, request: &str) -> String {
        self.0.iter().fold(request.to_owned(), |request, (recorded, here)| {
            request.replace(&format!("={recorded}"), &format!("={here}"))
        })
    }

    /// Compares JSON values, and binds the indexes in them.
    fn compare(&mut self, recorded: &Value, here: &Value, what: &str) {
        match (recorded, here) {
            (Value::Array(recorded), Value::Array(here)) => {
                assert_eq!(recorded.len(), here.len(), "{what}");
                for (recorded, here) in recorded.iter().zip(here) {
                    self.compare(recorded, here, what);
                }
            }
            (Value::Object(recorded), Value::Object(here)) => {
                assert!(recorded.keys().eq(here.keys()), "{what}: {here:?}");
                for (key, value) in recorded {
                    match key.as_str() {
                        "CreateIndex" | "ModifyIndex" => {
                            self.bind(value.as_u64().unwrap(), here[key].as_u64().unwrap(), what);
                        }
                        _ => self.compare(value, &here[key], what),
                    }
                }
            }
            _ => assert_eq!(recorded, here, "{what}"),
        }
    }
}

fn body_of(exchange: &Exchange) -> Vec<u8> {
    let repeated = exchange.body.strip_prefix('<').and_then(|body| body.strip_suffix(" bytes>"));
    repeated.map_or_else(|| exchange.body.clone().into_bytes(), |count| vec![b'x'; count.parse().unwrap()])
}

fn check(exchange: &Exchange, answer: &Answer, indexes: &mut Indexes) {
    let what = exchange.request.as_str();
    assert_eq!(answer.status, exchange.status, "{what}: {answer:?}");
    for (name, value) in &exchange.headers {
        let here = answer.header(name).unwrap_or_else(|| panic!("{what}: {name} is missing: {answer:?}"));
        if name == "X-Consul-Index" {
            indexes.bind(value.parse().unwrap(), here.parse().unwrap(), what);
        } else {
            assert_eq!(here, value, "{what}: {name}");
        }
    }
    match serde_json::from_str::<Value>(&exchange.answer) {
        Ok(recorded) => {
            indexes.compare(&recorded, &answer.json(), what);
            // The layout and the order of fields must be the same. Only the digits of indexes may differ.
            let shape = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
            assert_eq!(shape(answer.text()), shape(&exchange.answer), "{what}");
        }
        Err(_) => assert_eq!(answer.text(), exchange.answer, "{what}"),
    }
}

#[tokio::test]
async fn recorded_requests_get_the_recorded_answers() {
    let exchanges: Vec<Exchange> = serde_json::from_str(RECORDED).unwrap();
    let served = Served::alone().await;
    let mut indexes = Indexes::default();
    let mut different = 0;
    for exchange in &exchanges {
        let request = indexes.replace(&exchange.request);
        let (method, target) = request.split_once(' ').unwrap();
        let answer = served.request(method, target, &body_of(exchange)).await;
        match DIFFERENT.iter().find(|(request, ..)| is_for(request, exchange)) {
            Some((request, status, begin)) => {
                different += 1;
                assert_eq!(answer.status, *status, "{request}: {answer:?}");
                assert!(answer.text().starts_with(begin), "{request}: {}", answer.text());
            }
            None => check(exchange, &answer, &mut indexes),
        }
    }
    assert_eq!(different, DIFFERENT.len(), "every difference is met once");
    served.stop().await;
}
