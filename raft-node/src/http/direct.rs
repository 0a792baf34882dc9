//! Plain requests for one key, which the server answers without the HTTP library: the library and its router take a fifth of the
//! leader's processor time for a put, and two fifths of that for a get.

use bytes::Bytes;

use super::answer::{Answer, Problem};
use super::head::{BodyLength, Head, Wishes};
use super::kv::{self, Asked};
use super::wire::Then;
use super::{Client, HttpState};

/// A plain request for one key.
#[derive(Debug)]
pub(super) struct Direct {
    method: Method,
    /// The key and the parameters, or why they are refused. The refusal is sent after the body is read: a client that is still
    /// sending may never see it.
    asked: Result<Asked, Problem>,
    /// Length of the body.
    pub(super) body_bytes: usize,
    /// Whether the client wants to keep the connection.
    pub(super) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    Put,
    Delete,
}

impl Direct {
    /// The request with this head, if it is a plain one.
    pub(super) fn of(state: &HttpState, head: &Head<'_>) -> Option<Self> {
        let then = match head.wishes {
            Wishes::KeepAlive => Then::KeepAlive,
            Wishes::Close => Then::Close,
            Wishes::Unusual => return None,
        };
        let method = match head.method {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            _ => return None,
        };
        let body_bytes = match head.body {
            BodyLength::Bytes(length) => usize::try_from(length).ok()?,
            BodyLength::Chunked => return None,
        };
        // A longer body is refused, which the library's handler does.
        if body_bytes > if method == Method::Put { state.value_bytes_max } else { 0 } {
            return None;
        }
        let target = std::str::from_utf8(head.target).ok().filter(|target| target.starts_with(kv::PREFIX))?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let asked = Asked::parse(state, path, query);
        let is_list = || asked.as_ref().is_ok_and(|asked| asked.list().is_some());
        if matches!(method, Method::Get | Method::Head) && is_list() {
            return None;
        }
        Some(Self { method, asked, body_bytes, then })
    }

    /// Whether the answer has no body.
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::Head
    }

    /// Carries the request out.
    pub(super) async fn answer(self, state: &HttpState, client: Client, body: Bytes) -> Answer {
        let answer = async {
            let asked = self.asked?;
            match self.method {
                Method::Get | Method::Head => kv::get(state, client, asked).await,
                Method::Put => kv::put(state, asked, body).await,
                Method::Delete => kv::delete(state, asked).await,
            }
        };
        answer.await.unwrap_or_else(Problem::into_answer)
    }
}
