//! The endpoint `/v1/kv/..`: keys and values.

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use raftkit_kv::{Command, Condition, KEY_BYTES_MAX, KvEntry};

use super::answer::{Answer, Layout, Problem, to_json};
use super::body;
use super::entry::EntryJson;
use super::lists::{ListKey, What};
use super::options::Options;
use super::query::{Query, decode};
use super::reading::{self, Seen};
use super::{Client, HttpState};

pub(crate) const ALLOW: &str = "OPTIONS,GET,PUT,DELETE";
/// The query parameters that change the effect of a write.
const CHANGES: &[&str] = &["acquire", "cas", "flags", "recurse", "release"];
pub(crate) const PREFIX: &str = "/v1/kv/";

/// Maximum size of a value, in bytes, that the node's own thread writes as JSON. It takes about 100 us for this size.
const LIGHT_VALUE_MAX: usize = 64 << 10;

/// Answers any method on a key or prefix.
pub(crate) async fn handle(State(state): State<HttpState>, request: Request) -> Response {
    answer(&state, request).await.unwrap_or_else(Problem::into_response)
}

async fn answer(state: &HttpState, request: Request) -> Result<Response, Problem> {
    let client = Client::of(&request);
    let (parts, body) = request.into_parts();
    // Read the body first: a client that is still sending may never see a refusal.
    let value = if parts.method == Method::PUT {
        body::read(&parts.headers, body, state.value_bytes_max).await?
    } else {
        ignore(body).await;
        Bytes::new()
    };
    let ask = || Asked::parse(state, parts.uri.path(), parts.uri.query().unwrap_or(""));
    let answer = match parts.method {
        // HEAD is answered like GET; the HTTP library leaves the body out.
        Method::GET | Method::HEAD => {
            let asked = ask()?;
            if let Some(what) = asked.list() {
                return list(state, client, what, asked).await;
            }
            get(state, client, asked).await?
        }
        Method::PUT => put(state, ask()?, value).await?,
        Method::DELETE => delete(state, ask()?).await?,
        Method::OPTIONS => Answer::options(ALLOW),
        method => return Err(Problem::method(&method, ALLOW)),
    };
    Ok(answer.into_response())
}

/// Reads and discards a body that has no meaning for the request.
async fn ignore(body: Body) {
    if !body.is_end_stream() {
        body::drain(body, 0).await;
    }
}

/// The parsed path and query of a request.
#[derive(Debug)]
pub(crate) struct Asked {
    key: String,
    query: Query,
    options: Options,
}

impl Asked {
    pub(crate) fn parse(state: &HttpState, path: &str, query: &str) -> Result<Self, Problem> {
        let query = Query::parse(query)?;
        let options = Options::parse(&query, &state.datacenter)?;
        Ok(Self { key: key(path)?, query, options })
    }

    /// The list that a `GET` asks for, if it does not ask for one key.
    pub(crate) fn list(&self) -> Option<What> {
        if self.query.has("keys") {
            // Some clients use the misspelt name that the parameter had in early versions of Consul.
            let separator = self.query.filled("separator").or_else(|| self.query.filled("seperator"));
            return Some(What::Keys { separator: separator.map(str::to_owned) });
        }
        self.query.has("recurse").then_some(What::Entries)
    }

    fn need_key(&self) -> Result<(), Problem> {
        if self.key.is_empty() { Err(Problem::bad_request("Missing key name")) } else { Ok(()) }
    }

    /// Refuses requests to acquire or release a lock. There are no sessions yet, and a lock that was not taken must never look
    /// as if it had been taken.
    fn refuse_sessions(&self) -> Result<(), Problem> {
        let session = self.query.value("acquire").or_else(|| self.query.value("release"));
        session.map_or(Ok(()), |session| {
            let text =
                format!("invalid session {session:?}: sessions are not supported yet, nothing was written");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text))
        })
    }

    fn condition(&self) -> Result<Condition, Problem> {
        Ok(self.query.number("cas")?.map_or(Condition::Always, Condition::Cas))
    }
}

/// Parses the key in a path.
fn key(path: &str) -> Result<String, Problem> {
    let encoded = path.strip_prefix(PREFIX).unwrap_or("");
    let key =
        decode(encoded).ok_or_else(|| Problem::bad_request("Invalid key name: not percent-encoded UTF-8"))?;
    if key.chars().any(char::is_control) {
        let text = "Invalid key name: it has a control character in it, such as a line feed";
        return Err(Problem::bad_request(text));
    }
    if key.len() > KEY_BYTES_MAX {
        let text = format!("Key name too long: {} bytes, at most {KEY_BYTES_MAX} are allowed", key.len());
        return Err(Problem::bad_request(text));
    }
    Ok(key)
}

/// Reads one key.
pub(crate) async fn get(state: &HttpState, client: Client, asked: Asked) -> Result<Answer, Problem> {
    asked.need_key()?;
    let Asked { key, query, options } = asked;
    let Seen { value, index, meta } = reading::entry(state, &options, &key).await?;
    let answer = match value {
        None => Answer::empty(StatusCode::NOT_FOUND),
        Some(entry) if query.has("raw") => Answer::value(state.lists.budget.count(entry.value)?),
        Some(entry) => Answer::json(StatusCode::OK, one(state, client, entry, options.layout).await?),
    };
    Ok(answer.fresh(meta, index))
}

/// An entry as JSON. A large value is written on another thread because that takes milliseconds.
async fn one(state: &HttpState, client: Client, entry: KvEntry, layout: Layout) -> Result<Bytes, Problem> {
    let write = move |entry: &KvEntry| to_json(&[EntryJson::from(entry.borrowed())], layout);
    let body = if entry.value.len() <= LIGHT_VALUE_MAX {
        write(&entry)?
    } else {
        state.lists.readers.run(client, move || write(&entry)).await??
    };
    state.lists.budget.count(body)
}

async fn list(state: &HttpState, client: Client, what: What, asked: Asked) -> Result<Response, Problem> {
    let Asked { key: prefix, options, .. } = asked;
    let key = ListKey { what, prefix, layout: options.layout };
    let Seen { value, index, meta } = reading::list(state, client, &options, &key).await?;
    Ok(meta.describe(value.into_response(&state.lists, client)?, index))
}

/// Stores a value.
pub(crate) async fn put(state: &HttpState, asked: Asked, value: Bytes) -> Result<Answer, Problem> {
    asked.need_key()?;
    asked.query.plain(CHANGES)?;
    asked.query.conflict(&["cas", "acquire", "release"])?;
    let flags = asked.query.number("flags")?.unwrap_or(0);
    let condition = asked.condition()?;
    asked.refuse_sessions()?;
    let done = propose(state, &Command::Put { key: asked.key, value, flags, condition }).await?;
    Ok(Answer::truth(done))
}

/// Deletes one key, or all keys with a prefix.
pub(crate) async fn delete(state: &HttpState, asked: Asked) -> Result<Answer, Problem> {
    asked.query.plain(CHANGES)?;
    asked.query.conflict(&["recurse", "cas"])?;
    let condition = asked.condition()?;
    asked.refuse_sessions()?;
    let command = if asked.query.switch("recurse")? {
        Command::DeleteTree { prefix: asked.key, keys_max: Some(state.delete_keys_max) }
    } else {
        asked.need_key()?;
        Command::Delete { key: asked.key, condition }
    };
    Ok(Answer::truth(propose(state, &command).await?))
}

/// Proposes a command, waits until it is applied, and returns whether its condition held.
async fn propose(state: &HttpState, command: &Command) -> Result<bool, Problem> {
    let committed = state.handle.propose(command.encode()).await?;
    match raftkit_kv::Response::decode(committed.response) {
        Ok(raftkit_kv::Response::Done(done)) => Ok(done),
        Ok(raftkit_kv::Response::TooManyKeys) => Err(too_many_keys(state.delete_keys_max)),
        other @ (Ok(raftkit_kv::Response::Malformed) | Err(_)) => {
            tracing::error!(entry = %committed.id, ?other, "the state machine did not take a command");
            let text = "the cluster does not understand this command: do all nodes run the same version?";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

fn too_many_keys(max: u32) -> Problem {
    let text = format!(
        "the tree has more than {max} keys, the limit for one request: nothing was deleted. Delete smaller \
         trees one after the other (?keys&separator=/ lists them), or raise the node's kv-delete-keys-max"
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_and_checked() {
        assert_eq!(key("/v1/kv/a/b").as_deref(), Ok("a/b"));
        assert_eq!(key("/v1/kv/a%2Fb+c").as_deref(), Ok("a/b+c"));
        assert_eq!(key("/v1/kv/%c3%a4").as_deref(), Ok("ä"));
        assert_eq!(key("/v1/kv/a%2541").as_deref(), Ok("a%41"), "decoded once");
        assert_eq!(key("/v1/kv/").as_deref(), Ok(""));
        assert_eq!(key("/v1/kv").as_deref(), Ok(""));
        for path in ["/v1/kv/%0a", "/v1/kv/a%00", "/v1/kv/%7f", "/v1/kv/%ff", "/v1/kv/%", "/v1/kv/%c3"] {
            assert_eq!(key(path).map_err(|problem| problem.status()), Err(StatusCode::BAD_REQUEST), "{path}");
        }
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert!(key(&format!("/v1/kv/{longest}")).is_ok());
        assert!(key(&format!("/v1/kv/{longest}k")).is_err());
    }
}
