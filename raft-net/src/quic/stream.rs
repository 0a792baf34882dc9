//! Reads frames from a QUIC stream.

use core::mem::take;

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use crate::frame::{FrameError, split};

/// Number of chunks that are taken from QUIC at once.
const CHUNKS: usize = 64;

/// Error of reading frames from a stream.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the stream ends within a frame")]
    Truncated,
}

/// Reader of a stream's frames. Bytes are copied once, from QUIC's packets into a buffer; frames are slices of it.
pub(crate) struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
    chunks: [Bytes; CHUNKS],
    frame_bytes_max: usize,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, frame_bytes_max: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), chunks: [const { Bytes::new() }; CHUNKS], frame_bytes_max }
    }

    /// Returns the next whole frame; none when the stream has ended after a frame.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        loop {
            if let Some(frame) = split(&mut self.buffer, self.frame_bytes_max)? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(StreamError::Truncated) };
            }
        }
    }

    /// Takes the bytes that have arrived. Returns false at the end of the stream.
    async fn fill(&mut self) -> Result<bool, StreamError> {
        let Some(count) = self.stream.read_chunks(&mut self.chunks).await? else { return Ok(false) };
        let arrived: usize = self.chunks.iter().take(count).map(Bytes::len).sum();
        // Only what is there is reserved, never what a length field announces.
        self.buffer.reserve(arrived);
        for chunk in self.chunks.iter_mut().take(count) {
            self.buffer.extend_from_slice(&take(chunk));
        }
        Ok(true)
    }
}
