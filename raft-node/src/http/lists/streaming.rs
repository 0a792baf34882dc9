//! The bodies of lists: a whole list that several answers share, and a list that is made while its client takes it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use raftkit_kv::{Listing, Step};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::encoding::{Encoder, PIECE_BYTES};
use super::{ListKey, Lists};
use crate::http::Client;
use crate::http::answer::Problem;
use crate::http::budget::{self, Share, UNCOUNTED_MAX};

/// Maximum number of pieces of one answer in memory: one on its way to the client, and one that is being made.
const PIECES_MAX: usize = 2;

/// The body of a finished list.
pub(super) struct Whole {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Whole {
    pub(super) fn new(pieces: &[Bytes]) -> Self {
        let left = pieces.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum();
        Self { pieces: pieces.iter().cloned().collect(), left }
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The body of a list that is being made. It ends without an error only if the list is complete, so that the client can tell.
pub(super) struct Streamed {
    pieces: mpsc::Receiver<Next>,
}

enum Next {
    Piece(Bytes),
    /// The list is complete.
    End,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(context).map(|next| match next {
            Some(Next::Piece(piece)) => Some(Ok(Frame::data(piece))),
            Some(Next::End) => None,
            None => Some(Err(io::Error::other("the list could not be read to its end"))),
        })
    }
}

/// Starts to make the list that `listing` reads, from its beginning.
///
/// # Errors
/// Too many bytes of answers are on their way.
#[expect(
    clippy::disallowed_methods,
    reason = "a panic ends this list alone, without its end, as it does a request"
)]
pub(super) fn stream(
    lists: &Lists,
    client: Client,
    key: &ListKey,
    listing: &Listing,
) -> Result<Streamed, Problem> {
    // Take the share for all its pieces at once: then an answer that has begun waits for no other, except with very large
    // values.
    let share = lists.budget.take(PIECES_MAX * PIECE_BYTES).ok_or_else(budget::exhausted)?;
    let (sender, pieces) = mpsc::channel(1);
    let producer = Producer {
        lists: lists.clone(),
        client,
        listing: listing.again(),
        encoder: Encoder::new(key),
        share: Arc::new(share),
        places: Arc::new(Semaphore::new(PIECES_MAX)),
    };
    tokio::spawn(async move {
        // The client may go away while a piece waits for a thread, for memory, or for the client.
        let closed = sender.clone();
        tokio::select! {
            () = closed.closed() => {}
            () = producer.run(sender) => {}
        }
    });
    Ok(Streamed { pieces })
}

struct Producer {
    lists: Lists,
    client: Client,
    listing: Listing,
    encoder: Encoder,
    share: Arc<Share>,
    places: Arc<Semaphore>,
}

/// A piece on its way to the client. It holds its place and its share of the budget.
struct Piece {
    bytes: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
    _share: Arc<Share>,
    _more: Option<Share>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Producer {
    async fn run(mut self, pieces: mpsc::Sender<Next>) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.ok();
            let Self { lists, client, mut listing, mut encoder, share, places } = self;
            let step = move || {
                let made = encoder.step(&mut listing);
                (listing, encoder, made)
            };
            // An error leaves the list without its end.
            let Ok((listing, encoder, made)) = lists.readers.run(client, step).await else { return };
            let (bytes, step) = match made {
                Ok(made) => made,
                Err(error) => {
                    tracing::error!(error = raftkit_replica::in_words(&error), "a list broke off");
                    return;
                }
            };
            // A value may be much larger than a piece.
            let excess = bytes.len().saturating_sub(PIECE_BYTES);
            let more = if excess > UNCOUNTED_MAX { Some(lists.budget.more(excess).await) } else { None };
            if !bytes.is_empty() {
                let piece = Piece { bytes, _place: place, _share: Arc::clone(&share), _more: more };
                if pieces.send(Next::Piece(Bytes::from_owner(piece))).await.is_err() {
                    return;
                }
            }
            if step != Step::More {
                let _ = pieces.send(Next::End).await;
                return;
            }
            self = Self { lists, client, listing, encoder, share, places };
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_list_that_breaks_off_does_not_end_well() {
        for whole in [true, false] {
            let (sender, pieces) = mpsc::channel(2);
            let piece = Next::Piece(Bytes::from_static(b"[1"));
            assert!(sender.send(piece).await.is_ok());
            if whole {
                assert!(sender.send(Next::End).await.is_ok());
            }
            drop(sender);
            assert_eq!(Streamed { pieces }.collect().await.is_ok(), whole);
        }
    }
}
