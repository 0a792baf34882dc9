//! Cuts frames out of a stream of bytes and decodes them. The layout is in the crate's documentation.

mod encode;

use bytes::{Bytes, BytesMut};
use raftkit_core::{Body, DecodeError, Entry, LogId, Message, Payload};
use rkyv::Portable;
use rkyv::api::low::LowValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;

pub use self::encode::{encode_bulk_prefix, encode_frame, encode_message};
use crate::refusal::{Hello, Refusal};
use crate::wire::message::{ArchivedEntryHeader, ArchivedEnvelope};
use crate::wire::session::{
    ArchivedBulkHeader, ArchivedHelloHeader, ArchivedRefusalHeader, ArchivedRequestHeader,
    ArchivedResponseHeader, ArchivedStatusHeader,
};
use crate::{GROUP, PROTOCOL_VERSION};

/// Bytes of a frame before its header: length, kind, group, header length.
pub const PREFIX_BYTES: usize = 13;

/// Bytes of the length itself, which it does not count.
const LENGTH_BYTES: usize = 4;

const HELLO: u8 = 1;
const HELLO_ACK: u8 = 2;
const REFUSED: u8 = 3;
const MESSAGE: u8 = 4;
const REQUEST: u8 = 5;
const RESPONSE: u8 = 6;
const BULK: u8 = 7;

/// Error for bytes that are no frame, or for content that is too long for one. Except for [`TooLong`](Self::TooLong) on
/// encoding, the sender is at fault and its connection should end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than this node accepts. Nothing was allocated for it.
    #[error("a frame of {got} bytes, the limit is {max}; raise the limit on all nodes or send less at once")]
    TooLong {
        /// The length of the frame, in bytes.
        got: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The frame is too short for what it must hold.
    #[error("a frame of {got} bytes, {wanted} were expected")]
    TooShort {
        /// The length of the frame, in bytes.
        got: usize,
        /// The length that its prefix or header asks for, in bytes.
        wanted: usize,
    },
    /// The kind is unknown to this version, or does not belong on this stream.
    #[error("a frame of kind {kind}, which is not expected here")]
    UnexpectedKind {
        /// The frame's kind byte.
        kind: u8,
    },
    /// The frame names another group than the one that this version serves.
    #[error("a frame for group {group}; only group {GROUP} is served")]
    UnknownGroup {
        /// The group that the frame names.
        group: u32,
    },
    /// The header has the wrong size or an unknown tag.
    #[error("a frame of kind {kind} with a malformed header of {got} bytes")]
    BadHeader {
        /// The frame's kind byte.
        kind: u8,
        /// The header's length, in bytes.
        got: usize,
    },
    /// The lengths in the header do not add up to the bytes that follow it.
    #[error("a frame whose header announces {announced} bytes, and {got} follow")]
    PayloadMismatch {
        /// The sum of the announced lengths, in bytes.
        announced: u64,
        /// The number of bytes that follow the header.
        got: usize,
    },
    /// An entry's payload cannot be decoded as its kind.
    #[error("entry {id} is malformed: {source}")]
    BadEntry {
        /// Id of the entry.
        id: LogId,
        /// The error that decoding the payload returned.
        source: DecodeError,
    },
    /// The greeting has another protocol version.
    #[error("a greeting of protocol version {got}; this is version {PROTOCOL_VERSION}")]
    OtherVersion {
        /// The version in the greeting.
        got: u32,
    },
    /// An address is not UTF-8.
    #[error("a greeting whose address is not UTF-8")]
    BadAddress,
}

/// A decoded frame, of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame of a connection, from the side that dialled; on the control lane also later, when the node has
    /// joined a cluster.
    Hello(Hello),
    /// The answer to a [`Hello`](Self::Hello).
    HelloAck(Hello),
    /// The reason for which a connection is refused; sent as it closes.
    Refused(Refusal),
    /// A Raft message.
    Message(Message),
    /// A request, answered by the [`Response`](Self::Response) with the same id.
    Request {
        /// An id that is unique on its stream.
        id: u64,
        /// Content of the request.
        body: Bytes,
    },
    /// The answer to a [`Request`](Self::Request).
    Response {
        /// Id of the request that this answers.
        id: u64,
        /// The answer's body; none when the request was dropped without an answer.
        body: Option<Bytes>,
    },
    /// A large body, such as a chunk of a snapshot.
    Bulk {
        /// Content of the body.
        body: Bytes,
    },
}

impl Frame {
    /// The frame's kind byte.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::HelloAck(_) => HELLO_ACK,
            Self::Refused(_) => REFUSED,
            Self::Message(_) => MESSAGE,
            Self::Request { .. } => REQUEST,
            Self::Response { .. } => RESPONSE,
            Self::Bulk { .. } => BULK,
        }
    }
}

/// Cuts the first frame off `buffer`, its length included. Returns none when the frame is not complete yet. Memory is
/// reserved only for bytes that have arrived.
///
/// # Errors
/// The frame that starts there announces more than `frame_bytes_max` bytes (which count all of the frame), or too few.
pub fn split(buffer: &mut BytesMut, frame_bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let total = frame_length(*length, frame_bytes_max)?;
    Ok((buffer.len() >= total).then(|| buffer.split_to(total).freeze()))
}

/// Reads a whole frame, as [`split`] returns it. Bodies and payloads are slices of it: nothing is copied.
///
/// # Errors
/// The bytes are not exactly one well-formed frame.
pub fn decode(frame: Bytes) -> Result<Frame, FrameError> {
    let (prefix, _) = frame
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or(FrameError::TooShort { got: frame.len(), wanted: PREFIX_BYTES })?;
    let [l0, l1, l2, l3, kind, g0, g1, g2, g3, h0, h1, h2, h3] = *prefix;
    let total = frame_length([l0, l1, l2, l3], usize::MAX)?;
    if total != frame.len() {
        return Err(FrameError::TooShort { got: frame.len(), wanted: total });
    }
    let group = u32::from_le_bytes([g0, g1, g2, g3]);
    if group != GROUP {
        return Err(FrameError::UnknownGroup { group });
    }
    let wanted = PREFIX_BYTES.saturating_add(size(u32::from_le_bytes([h0, h1, h2, h3])));
    if wanted > frame.len() {
        return Err(FrameError::TooShort { got: frame.len(), wanted });
    }
    let header = frame.slice(PREFIX_BYTES..wanted);
    let payload = frame.slice(wanted..);
    match kind {
        HELLO => Ok(Frame::Hello(decode_hello(kind, &header, &payload)?)),
        HELLO_ACK => Ok(Frame::HelloAck(decode_hello(kind, &header, &payload)?)),
        REFUSED => {
            let refusal = access::<ArchivedRefusalHeader>(kind, &header)?.to_refusal();
            whole(0, &payload)?;
            Ok(Frame::Refused(refusal))
        }
        MESSAGE => Ok(Frame::Message(decode_body(&header, payload)?)),
        REQUEST => {
            let request = access::<ArchivedRequestHeader>(kind, &header)?;
            whole(request.length.to_native(), &payload)?;
            Ok(Frame::Request { id: request.id.to_native(), body: payload })
        }
        RESPONSE => {
            let response = access::<ArchivedResponseHeader>(kind, &header)?;
            whole(response.length.to_native(), &payload)?;
            let body = match response.status {
                ArchivedStatusHeader::Answered => Some(payload),
                ArchivedStatusHeader::Unanswered => None,
            };
            Ok(Frame::Response { id: response.id.to_native(), body })
        }
        BULK => {
            whole(access::<ArchivedBulkHeader>(kind, &header)?.length.to_native(), &payload)?;
            Ok(Frame::Bulk { body: payload })
        }
        kind => Err(FrameError::UnexpectedKind { kind }),
    }
}

/// Reads a whole frame that must hold a Raft message. Entries' payloads are slices of it: nothing is copied.
///
/// # Errors
/// The errors of [`decode`]; or the frame holds something else.
pub fn decode_message(frame: Bytes) -> Result<Message, FrameError> {
    let frame = decode(frame)?;
    let kind = frame.kind();
    if let Frame::Message(message) = frame { Ok(message) } else { Err(FrameError::UnexpectedKind { kind }) }
}

fn decode_hello(kind: u8, header: &[u8], payload: &Bytes) -> Result<Hello, FrameError> {
    // The version comes first and is read alone: what follows it may be laid out differently in another version.
    let version = header.first_chunk().ok_or(FrameError::BadHeader { kind, got: header.len() })?;
    let got = u32::from_le_bytes(*version);
    if got != PROTOCOL_VERSION {
        return Err(FrameError::OtherVersion { got });
    }
    let header = access::<ArchivedHelloHeader>(kind, header)?;
    let (address, attributes) = (header.address_length.to_native(), header.attributes_length.to_native());
    let announced = u64::from(address) + u64::from(attributes);
    if announced != payload.len() as u64 {
        return Err(FrameError::PayloadMismatch { announced, got: payload.len() });
    }
    let mut hello = header.to_hello();
    hello.address =
        core::str::from_utf8(&payload[..size(address)]).map_err(|_| FrameError::BadAddress)?.to_owned();
    hello.attributes = payload.slice(size(address)..);
    Ok(hello)
}

fn decode_body(header: &[u8], mut payload: Bytes) -> Result<Message, FrameError> {
    let malformed = FrameError::BadHeader { kind: MESSAGE, got: header.len() };
    let (envelope, rest) = header.split_at_checked(size_of::<ArchivedEnvelope>()).ok_or(malformed.clone())?;
    let mut message = access::<ArchivedEnvelope>(MESSAGE, envelope)?.to_message();
    let Body::AppendEntries(append) = &mut message.body else {
        whole(0, &payload)?;
        return if rest.is_empty() { Ok(message) } else { Err(malformed) };
    };
    let headers = rest.chunks_exact(size_of::<ArchivedEntryHeader>());
    if !headers.remainder().is_empty() {
        return Err(malformed);
    }
    let headers =
        headers.map(|chunk| access::<ArchivedEntryHeader>(MESSAGE, chunk)).collect::<Result<Vec<_>, _>>()?;
    // At most 2^32 / 21 lengths below 2^32: the sum fits.
    let announced: u64 = headers.iter().map(|header| u64::from(header.length.to_native())).sum();
    if announced != payload.len() as u64 {
        return Err(FrameError::PayloadMismatch { announced, got: payload.len() });
    }
    let entry = |header: &ArchivedEntryHeader| {
        let id = LogId::new(header.term.to_native(), header.index.to_native());
        let bytes = payload.split_to(size(header.length.to_native()));
        let payload =
            Payload::from_parts(header.kind, bytes).map_err(|source| FrameError::BadEntry { id, source })?;
        Ok(Entry { id, payload })
    };
    append.entries = headers.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?.into();
    Ok(message)
}

/// Length of the whole frame in bytes, read from its first four bytes.
fn frame_length(length: [u8; LENGTH_BYTES], max: usize) -> Result<usize, FrameError> {
    let total = size(u32::from_le_bytes(length)).saturating_add(LENGTH_BYTES);
    if total > max {
        return Err(FrameError::TooLong { got: total, max });
    }
    if total < PREFIX_BYTES {
        return Err(FrameError::TooShort { got: total, wanted: PREFIX_BYTES });
    }
    Ok(total)
}

/// Checks that a payload is as long as its header says.
fn whole(announced: u32, payload: &Bytes) -> Result<(), FrameError> {
    if u64::from(announced) == payload.len() as u64 {
        Ok(())
    } else {
        Err(FrameError::PayloadMismatch { announced: announced.into(), got: payload.len() })
    }
}

/// Checks a header and returns a view of it in place.
fn access<T>(kind: u8, header: &[u8]) -> Result<&T, FrameError>
where
    T: Portable + for<'a> CheckBytes<LowValidator<'a, Failure>>,
{
    let malformed = FrameError::BadHeader { kind, got: header.len() };
    if header.len() != size_of::<T>() {
        return Err(malformed);
    }
    rkyv::api::low::access::<T, Failure>(header).map_err(|Failure| malformed)
}

/// Converts a length from the wire. On a 16-bit machine it saturates, and the next length check fails.
fn size(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
