//! Lists: made on threads of their own, once for all requests for the same list, and sent in pieces.
//!
//! | file | duty |
//! | --- | --- |
//! | `turns.rs` | decides which client's work is done next (pure) |
//! | `readers.rs` | the threads that read |
//! | `encoding.rs` | encodes a list as JSON, piece by piece |
//! | `shelf.rs` | keeps finished lists while they may be asked for again |
//! | `streaming.rs` | the bodies of answers |

mod encoding;
mod readers;
mod shelf;
mod streaming;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use raftkit_core::{LogId, LogIndex};
use raftkit_kv::{KvReader, Listing, Step};

use super::Client;
use super::answer::{Answer, Layout, Problem};
use super::budget::Budget;
use encoding::{Encoder, ListError};
use shelf::{Kept, KeptBody, Place, Shelf};
use tokio::time::Instant;

pub(crate) use readers::Readers;

/// Maximum size of a list, in bytes, that is held in memory and shared by all requests for it. A longer list is read again for
/// each request, at the pace at which its client takes it. Most lists that clients watch are far smaller.
const WHOLE_BYTES_MAX: usize = 4 << 20;

/// A client's turn ends with the step that reaches this duration. Most lists then take one or two turns, each of which costs a
/// hand-over between threads, and other clients wait no longer than this for a turn.
const TURN: Duration = Duration::from_millis(4);

/// The identity of a list: requests with equal keys get the same list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListKey {
    pub(crate) what: What,
    pub(crate) prefix: String,
    pub(crate) layout: Layout,
}

/// The content of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// `?recurse`: entries with their values.
    Entries,
    /// `?keys`: names, each cut after the first separator if there is a separator.
    Keys {
        /// The separator, which is not empty.
        separator: Option<String>,
    },
}

/// A list read from one state.
#[derive(Debug)]
pub(crate) struct List {
    /// The index to block on.
    pub(crate) index: u64,
    /// The last log entry that was applied to the state.
    pub(crate) applied: LogId,
    key: ListKey,
    body: ListBody,
}

#[derive(Debug)]
enum ListBody {
    /// No key has the prefix: the answer is 404.
    Empty,
    /// The whole list as JSON.
    Whole(Arc<[Bytes]>),
    /// A long list, which is still to be read.
    Long(Listing),
}

/// Makes lists; it is cheap to clone.
#[derive(Clone)]
pub(crate) struct Lists {
    pub(crate) reader: KvReader,
    pub(crate) readers: Readers,
    pub(crate) budget: Budget,
    shelf: Shelf,
}

impl Lists {
    pub(crate) fn new(reader: KvReader, readers: Readers, budget: Budget) -> Self {
        Self { reader, readers, budget, shelf: Shelf::default() }
    }

    /// The list in a state to which the entry `since`, or a later one, is applied.
    pub(crate) async fn list(&self, client: Client, key: &ListKey, since: LogIndex) -> Result<List, Problem> {
        let place = self.shelf.place(key);
        let _waiting = place.wait(client);
        // Further requests for the same list wait here and then find it finished.
        let mut kept = place.kept().await;
        if let Some(kept) = kept.as_mut()
            && let Some(list) = kept.list(&self.reader, key, since).map_err(failed)?
        {
            return Ok(list);
        }
        // Free the old list before making the new one.
        *kept = None;
        let (made, list) = self.make(&place, key).await?;
        *kept = Some(made);
        Ok(list)
    }

    /// Frees kept lists that nobody needs any more.
    pub(crate) fn sweep(&self, now: Instant) {
        self.shelf.sweep(now);
    }

    async fn make(&self, place: &Place, key: &ListKey) -> Result<(Kept, List), Problem> {
        let mut watch = self.reader.watch(raftkit_kv::Watched::Prefix(key.prefix.clone()));
        let listing =
            watch.look(|| self.reader.listing(&key.prefix)).map_err(|error| failed(error.into()))?;
        let applied = listing.applied();
        let mut making = Making::new(key, listing);
        let index = loop {
            let lists = self.clone();
            let turn = move || {
                let end = Instant::now() + TURN;
                loop {
                    let step = making.step(&lists);
                    if !matches!(step, Ok(Step::More)) || Instant::now() >= end {
                        return (making, step);
                    }
                }
            };
            // The work may use the turn of any client that waits for this list: a client with much other work must not keep
            // the others waiting.
            let (back, step) = self.readers.run_for(&place.clients(), turn).await?;
            making = back;
            if let Step::End { index } = step.map_err(failed)? {
                break index;
            }
        };
        let (kept, body) = making.bodies();
        let list = List { index, applied, key: key.clone(), body };
        Ok((Kept::new(watch, index, applied, kept), list))
    }
}

/// A list that is being made.
struct Making {
    listing: Listing,
    encoder: Encoder,
    /// The pieces so far; none once the list is too long to be held: then the rest is read for the index only.
    pieces: Option<Vec<Bytes>>,
    bytes: usize,
}

impl Making {
    fn new(key: &ListKey, listing: Listing) -> Self {
        Self { listing, encoder: Encoder::new(key), pieces: Some(Vec::new()), bytes: 0 }
    }

    fn step(&mut self, lists: &Lists) -> Result<Step, ListError> {
        let Some(pieces) = &mut self.pieces else {
            return Ok(encoding::skip(&mut self.listing)?);
        };
        let (piece, step) = self.encoder.step(&mut self.listing)?;
        self.bytes += piece.len();
        let share = lists.budget.take(piece.len()).or_else(|| {
            // Free lists that are kept for later requests.
            lists.shelf.free();
            lists.budget.take(piece.len())
        });
        match share {
            Some(share) if self.bytes <= WHOLE_BYTES_MAX => pieces.push(share.hold(piece)),
            Some(_) | None => self.pieces = None,
        }
        Ok(step)
    }

    /// The list to keep, and the list to answer with.
    fn bodies(self) -> (KeptBody, ListBody) {
        match self.pieces {
            Some(_) if self.encoder.is_empty() => (KeptBody::Empty, ListBody::Empty),
            Some(pieces) => {
                let pieces: Arc<[Bytes]> = pieces.into();
                (KeptBody::Whole(Arc::clone(&pieces)), ListBody::Whole(pieces))
            }
            None => {
                let again = self.listing.again();
                (KeptBody::Long(Some(self.listing)), ListBody::Long(again))
            }
        }
    }
}

impl List {
    /// The answer to a `GET` of the list.
    ///
    /// # Errors
    /// Too many bytes of answers are on their way.
    pub(crate) fn into_response(self, lists: &Lists, client: Client) -> Result<Response, Problem> {
        let body = match self.body {
            ListBody::Empty => return Ok(Answer::empty(axum::http::StatusCode::NOT_FOUND).into_response()),
            ListBody::Whole(pieces) => Body::new(streaming::Whole::new(&pieces)),
            ListBody::Long(listing) => Body::new(streaming::stream(lists, client, &self.key, &listing)?),
        };
        Ok(super::answer::json_body(body))
    }
}

fn failed(error: ListError) -> Problem {
    match error {
        ListError::Machine(error) => crate::ReadError::from(error).into(),
        ListError::Json(error) => {
            tracing::error!(%error, "a list could not be written as JSON");
            Problem::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "the list could not be written as JSON",
            )
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test")]
mod tests;
