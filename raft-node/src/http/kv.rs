//! `/v1/kv/..`: keys and values.

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use raftkit_kv::{Command, Condition, KEY_BYTES_MAX, KvEntry, KvReader, Read};
use serde::Serialize;

use super::HttpState;
use super::answer::{Layout, Problem, empty, full, json, options, to_json, truth};
use super::body;
use super::entry::EntryJson;
use super::meta::forbid_active_content;
use super::options::Options;
use super::query::{Query, decode};
use super::reading::{Seen, Weight, read};

const ALLOW: &str = "OPTIONS,GET,PUT,DELETE";
const PREFIX: &str = "/v1/kv/";

/// Answers any method on a key or prefix.
pub(crate) async fn handle(State(state): State<HttpState>, request: Request) -> Response {
    answer(&state, request).await.unwrap_or_else(Problem::into_response)
}

async fn answer(state: &HttpState, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // The body first: a refusal that comes while the client still sends may never be seen.
    let value = if parts.method == Method::PUT {
        body::read(&parts.headers, body, state.value_bytes_max).await?
    } else {
        ignore(body).await;
        Bytes::new()
    };
    let ask = || -> Result<Asked, Problem> {
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let options = Options::parse(&query, &state.datacenter)?;
        Ok(Asked { key: key(parts.uri.path())?, query, options })
    };
    match parts.method {
        // HEAD is answered as GET; the connection leaves the body out.
        Method::GET | Method::HEAD => get(state, ask()?).await,
        Method::PUT => put(state, ask()?, value).await,
        Method::DELETE => delete(state, ask()?).await,
        Method::OPTIONS => Ok(options(ALLOW)),
        method => Err(Problem::method(&method, ALLOW)),
    }
}

/// Reads away a body that means nothing.
async fn ignore(body: Body) {
    if !body.is_end_stream() {
        body::drain(body, 0).await;
    }
}

/// What a request asks for.
struct Asked {
    key: String,
    query: Query,
    options: Options,
}

impl Asked {
    fn need_key(&self) -> Result<(), Problem> {
        if self.key.is_empty() { Err(Problem::bad_request("Missing key name")) } else { Ok(()) }
    }

    /// There are no sessions yet; a lock that is not taken must never look as if it were.
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

/// The key that a path names.
fn key(path: &str) -> Result<String, Problem> {
    let encoded = path.strip_prefix(PREFIX).unwrap_or("");
    let key =
        decode(encoded).ok_or_else(|| Problem::bad_request("Invalid key name: not percent-encoded UTF-8"))?;
    if key.chars().any(char::is_control) {
        return Err(Problem::bad_request(""));
    }
    if key.len() > KEY_BYTES_MAX {
        let text = format!("Key name too long: {} bytes, at most {KEY_BYTES_MAX} are allowed", key.len());
        return Err(Problem::bad_request(text));
    }
    Ok(key)
}

async fn get(state: &HttpState, asked: Asked) -> Result<Response, Problem> {
    if asked.query.has("keys") {
        return keys(state, asked).await;
    }
    if asked.query.has("recurse") {
        return recurse(state, asked).await;
    }
    asked.need_key()?;
    let Asked { key, query, options } = asked;
    let seen = read(state, &options, Weight::Light, move |reader| reader.get(&key)).await?;
    let response = match &seen.value {
        None => empty(StatusCode::NOT_FOUND),
        Some(entry) if query.has("raw") => raw(entry),
        Some(entry) => json(StatusCode::OK, to_json(&[EntryJson::from(entry)], options.layout)?),
    };
    Ok(seen.describe(response))
}

/// The value as it was stored.
fn raw(entry: &KvEntry) -> Response {
    let mut response = full(StatusCode::OK, HeaderValue::from_static("text/plain"), entry.value.clone());
    forbid_active_content(response.headers_mut());
    response
}

async fn recurse(state: &HttpState, asked: Asked) -> Result<Response, Problem> {
    let Asked { key: prefix, options, .. } = asked;
    let layout = options.layout;
    let query = move |reader: &KvReader| {
        let read = reader.list(&prefix)?;
        let entries: Vec<_> = read.value.iter().map(EntryJson::from).collect();
        Ok(Read { value: encoded(&entries, layout), index: read.index, applied: read.applied })
    };
    let seen = read(state, &options, Weight::Heavy, query).await?;
    listed(seen)
}

async fn keys(state: &HttpState, asked: Asked) -> Result<Response, Problem> {
    let Asked { key: prefix, query, options } = asked;
    // Clients still use the spelling that it had first.
    let separator = query.filled("separator").or_else(|| query.filled("seperator")).map(str::to_owned);
    let (layout, all) = (options.layout, prefix.is_empty());
    let query = move |reader: &KvReader| {
        let read = reader.keys(&prefix, separator.as_deref())?;
        // The root is never "not found".
        let value = if all { Some(to_json(&read.value, layout)) } else { encoded(&read.value, layout) };
        Ok(Read { value, index: read.index, applied: read.applied })
    };
    let seen = read(state, &options, Weight::Heavy, query).await?;
    listed(seen)
}

/// A list as JSON; none where it is empty.
type Listed = Option<Result<Bytes, Problem>>;

/// Writes a list as JSON where it was read, i.e. on a thread that may take its time.
fn encoded(list: &[impl Serialize], layout: Layout) -> Listed {
    (!list.is_empty()).then(|| to_json(&list, layout))
}

fn listed(seen: Seen<Listed>) -> Result<Response, Problem> {
    let response = match &seen.value {
        None => empty(StatusCode::NOT_FOUND),
        Some(body) => json(StatusCode::OK, body.clone()?),
    };
    Ok(seen.describe(response))
}

async fn put(state: &HttpState, asked: Asked, value: Bytes) -> Result<Response, Problem> {
    asked.need_key()?;
    asked.query.conflict(&["cas", "acquire", "release"])?;
    let flags = asked.query.number("flags")?.unwrap_or(0);
    let condition = asked.condition()?;
    asked.refuse_sessions()?;
    let done = propose(state, &Command::Put { key: asked.key, value, flags, condition }).await?;
    Ok(truth(done))
}

async fn delete(state: &HttpState, asked: Asked) -> Result<Response, Problem> {
    asked.query.conflict(&["recurse", "cas"])?;
    let condition = asked.condition()?;
    asked.refuse_sessions()?;
    let command = if asked.query.has("recurse") {
        Command::DeleteTree { prefix: asked.key }
    } else {
        asked.need_key()?;
        Command::Delete { key: asked.key, condition }
    };
    Ok(truth(propose(state, &command).await?))
}

/// Has a command committed and applied; returns whether its condition held.
async fn propose(state: &HttpState, command: &Command) -> Result<bool, Problem> {
    let committed = state.handle.propose(command.encode()).await?;
    match raftkit_kv::Response::decode(committed.response) {
        Ok(raftkit_kv::Response::Done(done)) => Ok(done),
        other => {
            tracing::error!(entry = %committed.id, ?other, "the state machine did not take a command");
            let text = "the cluster does not understand this command: do all nodes run the same version?";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn keys_are_decoded_and_checked() {
        assert_eq!(key("/v1/kv/a/b").as_deref(), Ok("a/b"));
        assert_eq!(key("/v1/kv/a%2Fb+c").as_deref(), Ok("a/b+c"));
        assert_eq!(key("/v1/kv/%c3%a4").as_deref(), Ok("ä"));
        assert_eq!(key("/v1/kv/").as_deref(), Ok(""));
        assert_eq!(key("/v1/kv").as_deref(), Ok(""));
        for path in ["/v1/kv/%0a", "/v1/kv/a%00", "/v1/kv/%7f", "/v1/kv/%ff", "/v1/kv/%", "/v1/kv/%c3"] {
            assert_eq!(key(path).map_err(|problem| problem.status()), Err(StatusCode::BAD_REQUEST), "{path}");
        }
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert!(key(&format!("/v1/kv/{longest}")).is_ok());
        assert!(key(&format!("/v1/kv/{longest}k")).is_err());
    }

    #[test]
    fn a_raw_value_cannot_run_in_a_browser() {
        let entry = KvEntry {
            key: "k".into(),
            value: Bytes::from_static(b"<script>"),
            flags: 0,
            create_index: 1,
            modify_index: 1,
            lock_index: 0,
            session: None,
        };
        let response = raw(&entry);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["content-security-policy"], "sandbox");
    }
}
