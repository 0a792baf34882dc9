//! Requests to one peer, many at once on one pair of streams, and the callers that wait for their answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, RecvStream, SendStream, WriteError};
use raftkit_core::NodeId;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::error::{NotSent, RequestError};
use super::lock;
use super::stream::{FrameReader, StreamError};
use crate::frame::{Frame, FrameError, decode, encode_frame};

/// Bytes that a request counts for, beside its body.
pub(crate) const REQUEST_BYTES: usize = 256;

/// The requests of one connection.
pub(crate) struct Requests {
    node: NodeId,
    bytes_max: usize,
    /// Budget for requests on their way, in bytes; closed with the connection.
    budget: Semaphore,
    state: Mutex<State>,
    queued: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    queued: VecDeque<(u64, Bytes)>,
    waiting: BTreeMap<u64, Waiting>,
    ended: Option<String>,
}

struct Waiting {
    answer: oneshot::Sender<Result<Bytes, RequestError>>,
    sent: bool,
}

impl Requests {
    pub(crate) fn new(node: NodeId, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(permits(usize::MAX));
        Self {
            node,
            bytes_max,
            budget: Semaphore::new(bytes_max),
            state: Mutex::default(),
            queued: Notify::new(),
        }
    }

    /// Sends `body` and waits for the answer.
    pub(crate) async fn request(&self, body: Bytes) -> Result<Bytes, RequestError> {
        let weight = REQUEST_BYTES.saturating_add(body.len());
        if weight > self.bytes_max {
            let (got, max) = (body.len(), self.bytes_max.saturating_sub(REQUEST_BYTES));
            return Err(RequestError::NotSent(NotSent::TooLong { got, max }));
        }
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let _permit = self.budget.acquire_many(permits).await.map_err(|_| self.disconnected())?;
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut state = lock(&self.state);
            if state.ended.is_some() {
                return Err(self.disconnected());
            }
            state.next += 1;
            let id = state.next;
            state.queued.push_back((id, body));
            state.waiting.insert(id, Waiting { answer, sent: false });
            id
        };
        self.queued.notify_one();
        // The caller may drop this future: then the request is forgotten.
        let _forget = Forget { requests: self, id };
        answered.await.unwrap_or_else(|_| Err(self.disconnected()))
    }

    /// Writes requests as they are queued. Ends only with an error.
    pub(crate) async fn write(&self, mut stream: SendStream, batch_bytes_max: usize) -> WriteError {
        let mut buffer = BytesMut::new();
        loop {
            self.encode_queued(&mut buffer, batch_bytes_max);
            if buffer.is_empty() {
                self.queued.notified().await;
            } else if let Err(error) = stream.write_chunk(buffer.split().freeze()).await {
                return error;
            }
        }
    }

    /// Reads answers as they come. Ends only with an error.
    pub(crate) async fn read(&self, stream: RecvStream, frame_bytes_max: usize) -> StreamError {
        let mut reader = FrameReader::new(stream, frame_bytes_max);
        loop {
            let answer = match reader.next().await {
                Ok(Some(frame)) => decode(frame),
                Ok(None) => return StreamError::Truncated,
                Err(error) => return error,
            };
            match answer {
                Ok(Frame::Response { id, body }) => self.answer(id, body),
                Ok(other) => return FrameError::UnexpectedKind { kind: other.kind() }.into(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Records that the connection has ended, and fails all requests that wait for an answer.
    pub(crate) fn end(&self, reason: &str) {
        self.budget.close();
        let mut state = lock(&self.state);
        state.ended = Some(reason.to_owned());
        state.queued.clear();
        for (_, waiting) in core::mem::take(&mut state.waiting) {
            let error = if waiting.sent {
                RequestError::Lost { reason: reason.to_owned() }
            } else {
                self.disconnected()
            };
            // Whoever stopped waiting needs no answer.
            let _ = waiting.answer.send(Err(error));
        }
    }

    fn answer(&self, id: u64, body: Option<Bytes>) {
        let Some(waiting) = lock(&self.state).waiting.remove(&id) else { return };
        let reason = || format!("node {} let go of it without an answer", self.node);
        // Whoever stopped waiting needs no answer.
        let _ = waiting.answer.send(body.ok_or_else(|| RequestError::Lost { reason: reason() }));
    }

    fn encode_queued(&self, buffer: &mut BytesMut, batch_bytes_max: usize) {
        let mut state = lock(&self.state);
        while buffer.len() < batch_bytes_max
            && let Some((id, body)) = state.queued.pop_front()
        {
            match encode_frame(&Frame::Request { id, body: body.clone() }, buffer) {
                Ok(()) => {
                    if let Some(waiting) = state.waiting.get_mut(&id) {
                        waiting.sent = true;
                    }
                }
                Err(_) => {
                    let error = NotSent::TooLong { got: body.len(), max: crate::FRAME_BYTES_MAX };
                    if let Some(waiting) = state.waiting.remove(&id) {
                        let _ = waiting.answer.send(Err(RequestError::NotSent(error)));
                    }
                }
            }
        }
    }

    fn disconnected(&self) -> RequestError {
        RequestError::NotSent(NotSent::Disconnected { node: self.node })
    }
}

/// Removes a request when its caller no longer waits.
struct Forget<'a> {
    requests: &'a Requests,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.requests.state);
        let abandoned = state.waiting.remove(&self.id);
        if abandoned.is_some_and(|waiting| !waiting.sent) {
            state.queued.retain(|(id, _)| *id != self.id);
        }
    }
}

/// Converts a number of bytes to permits of a semaphore, which counts in 32 bits.
pub(crate) fn permits(bytes: usize) -> usize {
    bytes.min(0xffff_ffff).min(Semaphore::MAX_PERMITS)
}

/// Sends one request on a stream pair of its own, on a connection that serves nothing else.
pub(crate) async fn request_once(
    connection: &quinn::Connection,
    body: Bytes,
    frame_bytes_max: usize,
) -> Result<Bytes, RequestError> {
    let got = body.len();
    let lost = |reason: String| RequestError::Lost { reason };
    let mut frame = BytesMut::new();
    encode_frame(&Frame::Request { id: 0, body }, &mut frame)
        .map_err(|_| RequestError::NotSent(NotSent::TooLong { got, max: crate::FRAME_BYTES_MAX }))?;
    let opened: Result<_, ConnectionError> = connection.open_bi().await;
    let (mut send, recv) = opened.map_err(|error| lost(error.to_string()))?;
    send.write_chunk(frame.freeze()).await.map_err(|error| lost(error.to_string()))?;
    match FrameReader::new(recv, frame_bytes_max).next().await {
        Ok(Some(frame)) => match decode(frame) {
            Ok(Frame::Response { body: Some(body), .. }) => Ok(body),
            Ok(_) => Err(lost("the other node let go of it without an answer".to_owned())),
            Err(error) => Err(lost(error.to_string())),
        },
        Ok(None) => Err(lost("the stream ended without an answer".to_owned())),
        Err(error) => Err(lost(error.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "test")]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use tokio::task::JoinHandle;

    use super::*;

    type Answer = JoinHandle<Result<Bytes, RequestError>>;

    /// Requests that wait to be written, in this order.
    async fn asked<const N: usize>(requests: &Arc<Requests>) -> [Answer; N] {
        let ask = |_| {
            let requests = Arc::clone(requests);
            tokio::spawn(async move { requests.request(Bytes::from_static(b"body")).await })
        };
        let answers = core::array::from_fn(ask);
        while lock(&requests.state).queued.len() < N {
            tokio::task::yield_now().await;
        }
        answers
    }

    fn requests() -> Arc<Requests> {
        Arc::new(Requests::new(NodeId(2), 1 << 20))
    }

    #[tokio::test]
    async fn what_was_being_written_when_the_connection_ended_is_lost_and_what_waited_was_not_sent() {
        let requests = requests();
        let [first, second] = asked(&requests).await;
        // The stream takes a part of it, or none: the other side may have all that it needs.
        requests.encode_queued(&mut BytesMut::new(), 1);
        requests.end("cut");
        assert!(matches!(first.await.unwrap(), Err(RequestError::Lost { reason }) if reason == "cut"));
        assert!(matches!(second.await.unwrap(), Err(RequestError::NotSent(NotSent::Disconnected { .. }))));
        let late = requests.request(Bytes::new()).await;
        assert!(matches!(late, Err(RequestError::NotSent(NotSent::Disconnected { .. }))));
    }

    #[tokio::test]
    async fn a_request_that_the_other_side_let_go_of_is_lost() {
        let requests = requests();
        let [dropped, answered] = asked(&requests).await;
        requests.encode_queued(&mut BytesMut::new(), usize::MAX);
        requests.answer(1, None);
        requests.answer(2, Some(Bytes::from_static(b"answer")));
        assert!(matches!(dropped.await.unwrap(), Err(RequestError::Lost { .. })));
        assert_eq!(answered.await.unwrap().unwrap(), "answer");
        requests.answer(2, None);
        requests.end("cut");
    }

    #[tokio::test]
    async fn whoever_stops_waiting_before_it_is_written_takes_it_back() {
        let requests = requests();
        let [first, second] = asked(&requests).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let mut buffer = BytesMut::new();
        requests.encode_queued(&mut buffer, usize::MAX);
        let frame = crate::frame::split(&mut buffer, usize::MAX).unwrap().unwrap();
        assert!(matches!(decode(frame), Ok(Frame::Request { id: 2, .. })));
        assert!(buffer.is_empty());
        requests.end("cut");
        assert!(matches!(second.await.unwrap(), Err(RequestError::Lost { .. })));
    }

    #[tokio::test]
    async fn the_budget_is_given_back_with_each_answer_and_closed_with_the_connection() {
        let large = || Bytes::from(vec![0; 1000]);
        // There is room for one of them at a time.
        let requests = Arc::new(Requests::new(NodeId(2), 1000 + REQUEST_BYTES));
        for id in 1..=3 {
            let asked = {
                let requests = Arc::clone(&requests);
                tokio::spawn(async move { requests.request(large()).await })
            };
            while lock(&requests.state).queued.is_empty() {
                tokio::task::yield_now().await;
            }
            requests.encode_queued(&mut BytesMut::new(), usize::MAX);
            requests.answer(id, Some(Bytes::new()));
            assert!(asked.await.unwrap().is_ok());
        }
        // A request whose caller does not look at it holds its share of the budget to the end, and keeps nobody waiting.
        let mut held = pin!(requests.request(Bytes::from_static(b"body")));
        tokio::select! {
            biased;
            _ = &mut held => unreachable!("nobody answers"),
            () = core::future::ready(()) => {}
        }
        let waits = {
            let requests = Arc::clone(&requests);
            tokio::spawn(async move { requests.request(large()).await })
        };
        tokio::task::yield_now().await;
        requests.end("cut");
        assert!(matches!(waits.await.unwrap(), Err(RequestError::NotSent(NotSent::Disconnected { .. }))));
    }
}
