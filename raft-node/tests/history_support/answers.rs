//! Sends one request over HTTP and reduces its answer to what it promises.

use std::io::ErrorKind;
use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;

use super::{Ask, KEYS, Mode, Shown, TREES, Told};
use crate::support::{Answer, request};

/// Whether a node answered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    Answer,
    Nothing,
}

/// Sends one request and reduces its answer to what it promises.
pub fn ask(address: &str, ask: &Ask, timeout: Duration) -> (Told, Came) {
    let (method, path, body) = written(ask);
    match request(address, method, &path, body.as_bytes(), timeout) {
        Ok(answer) => {
            let unknown = || {
                let text: String = answer.text().chars().take(60).collect();
                Told::Unknown(format!("{}: {text}", answer.status))
            };
            (told(ask, &answer).unwrap_or_else(unknown), Came::Answer)
        }
        // No process listened at the address.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            (Told::NotDone("no connection".into()), Came::Nothing)
        }
        Err(error) => (Told::Unknown(error.to_string()), Came::Nothing),
    }
}

fn written(ask: &Ask) -> (&'static str, String, String) {
    let cas = |cas: &Option<u64>| cas.map_or_else(String::new, |index| format!("cas={index}"));
    let reading = |path: &str, what: &str, mode: &Mode, index: &Option<u64>| {
        let mode = match mode {
            Mode::Default => "",
            Mode::Consistent => "consistent",
            Mode::Stale => "stale",
        };
        let index = index.map_or_else(String::new, |index| format!("index={index}&wait=150ms"));
        let query: Vec<&str> = [what, mode, &index].into_iter().filter(|part| !part.is_empty()).collect();
        ("GET", format!("/v1/kv/{path}?{}", query.join("&")).trim_end_matches('?').to_owned(), String::new())
    };
    match ask {
        Ask::Put { key, value, cas: condition } => {
            let path = format!("/v1/kv/{}?flags={value}&{}", KEYS[*key], cas(condition));
            ("PUT", path.trim_end_matches('&').to_owned(), value.to_string())
        }
        Ask::Delete { key, cas: condition } => {
            let path = format!("/v1/kv/{}?{}", KEYS[*key], cas(condition));
            ("DELETE", path.trim_end_matches('?').to_owned(), String::new())
        }
        Ask::DeleteTree { tree } => ("DELETE", format!("/v1/kv/{}?recurse", TREES[*tree]), String::new()),
        Ask::Get { key, mode, index } => reading(KEYS[*key], "", mode, index),
        Ask::List { tree, mode, index } => reading(TREES[*tree], "recurse", mode, index),
        Ask::Names { tree, mode, index } => reading(TREES[*tree], "keys", mode, index),
    }
}

/// What an answer promises; `None` if it promises nothing or is cut off: the outcome is then unknown.
fn told(ask: &Ask, answer: &Answer) -> Option<Told> {
    let text = answer.text();
    match (ask, answer.status) {
        (_, 400) => panic!("a request that makes sense is refused: {ask:?}: {text}"),
        (_, 503 | 413) => return Some(Told::NotDone(text)),
        (_, 500) if text == "No cluster leader" => return Some(Told::NotDone(text)),
        (Ask::Put { .. } | Ask::Delete { .. } | Ask::DeleteTree { .. }, 200) => {
            return match text.as_str() {
                "true" => Some(Told::Done(true)),
                "false" => Some(Told::Done(false)),
                _ => None,
            };
        }
        (Ask::Put { .. } | Ask::Delete { .. } | Ask::DeleteTree { .. }, _) => return None,
        (Ask::Get { mode, .. } | Ask::List { mode, .. } | Ask::Names { mode, .. }, 200 | 404) => {
            let effective = answer.header("X-Consul-Effective-Consistency")?;
            let asked = match mode {
                Mode::Default => "leader",
                Mode::Consistent => "consistent",
                Mode::Stale => "stale",
            };
            assert_eq!(effective, asked, "{ask:?}");
        }
        (Ask::Get { .. } | Ask::List { .. } | Ask::Names { .. }, _) => return None,
    }
    let index = answer.header("X-Consul-Index")?.parse().ok()?;
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match (ask, answer.status) {
        (Ask::Get { .. } | Ask::List { .. }, 404) => Some(Told::Found { index, shown: Vec::new() }),
        (Ask::Names { .. }, 404) => Some(Told::Names { index, keys: Vec::new() }),
        (Ask::Names { .. }, _) => {
            let body = body?;
            let names = body.as_array()?.iter().map(|name| key(name.as_str().unwrap()));
            Some(Told::Names { index, keys: names.collect() })
        }
        _ => {
            let body = body?;
            Some(Told::Found { index, shown: body.as_array()?.iter().map(shown).collect() })
        }
    }
}

fn key(name: &str) -> usize {
    KEYS.iter().position(|key| *key == name).unwrap_or_else(|| panic!("nobody wrote {name:?}"))
}

fn shown(entry: &Value) -> Shown {
    let value = base64::engine::general_purpose::STANDARD.decode(entry["Value"].as_str().unwrap()).unwrap();
    let value: u64 = std::str::from_utf8(&value).unwrap().parse().unwrap();
    assert_eq!(entry["Flags"].as_u64(), Some(value), "the flags of another write: {entry}");
    Shown {
        key: key(entry["Key"].as_str().unwrap()),
        value,
        modified: entry["ModifyIndex"].as_u64().unwrap(),
        created: entry["CreateIndex"].as_u64().unwrap(),
    }
}
