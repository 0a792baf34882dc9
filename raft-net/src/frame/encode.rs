//! Encodes frames into a buffer.

use bytes::{BufMut, BytesMut};
use raftkit_core::{Body, Message};
use rkyv::api::serialize_using;
use rkyv::rancor::{Failure, Strategy};
use rkyv::ser::{Positional, Writer};
use rkyv::{Archive, Serialize};

use super::{
    BULK, Frame, FrameError, HELLO, HELLO_ACK, LENGTH_BYTES, MESSAGE, PREFIX_BYTES, REFUSED, REQUEST,
    RESPONSE,
};
use crate::refusal::Hello;
use crate::wire::message::{ArchivedEntryHeader, ArchivedEnvelope, EntryHeader, Envelope};
use crate::wire::session::{
    ArchivedBulkHeader, BulkHeader, HelloHeader, RefusalHeader, RequestHeader, ResponseHeader, StatusHeader,
};
use crate::{FRAME_BYTES_MAX, GROUP};

/// Appends a Raft message as one frame.
///
/// # Errors
/// The frame would be longer than [`FRAME_BYTES_MAX`]; the buffer is unchanged.
pub fn encode_message(message: &Message, buffer: &mut BytesMut) -> Result<(), FrameError> {
    let envelope = Envelope::of(message);
    let Body::AppendEntries(append) = &message.body else {
        return encode(MESSAGE, &envelope, &[], buffer);
    };
    let parts: Vec<_> = append.entries.iter().map(|entry| (entry.id, entry.payload.to_parts())).collect();
    let payload = parts.iter().fold(0usize, |sum, (_, (_, bytes))| sum.saturating_add(bytes.len()));
    let headers = size_of::<ArchivedEnvelope>() + parts.len() * size_of::<ArchivedEntryHeader>();
    let start = begin(MESSAGE, headers, payload, buffer)?;
    put(&envelope, buffer);
    for (id, (kind, bytes)) in &parts {
        let length = length_of(bytes).into();
        put(&EntryHeader { term: id.term.0.into(), index: id.index.0.into(), kind: *kind, length }, buffer);
    }
    for (_, (_, bytes)) in &parts {
        buffer.put_slice(bytes);
    }
    debug_assert_eq!(buffer.len() - start, PREFIX_BYTES + headers + payload);
    Ok(())
}

/// Appends a frame of any kind.
///
/// # Errors
/// The frame would be longer than [`FRAME_BYTES_MAX`]; the buffer is unchanged.
pub fn encode_frame(frame: &Frame, buffer: &mut BytesMut) -> Result<(), FrameError> {
    match frame {
        Frame::Hello(hello) => encode_hello(HELLO, hello, buffer),
        Frame::HelloAck(hello) => encode_hello(HELLO_ACK, hello, buffer),
        Frame::Refused(refusal) => encode(REFUSED, &RefusalHeader::of(refusal), &[], buffer),
        Frame::Message(message) => encode_message(message, buffer),
        Frame::Request { id, body } => {
            let header = RequestHeader { id: (*id).into(), length: length_of(body).into() };
            encode(REQUEST, &header, &[body], buffer)
        }
        Frame::Response { id, body } => {
            let status = if body.is_some() { StatusHeader::Answered } else { StatusHeader::Unanswered };
            let body = body.as_deref().unwrap_or_default();
            let header = ResponseHeader { id: (*id).into(), status, length: length_of(body).into() };
            encode(RESPONSE, &header, &[body], buffer)
        }
        Frame::Bulk { body } => encode(BULK, &BulkHeader { length: length_of(body).into() }, &[body], buffer),
    }
}

/// Appends the bytes that precede the body of a bulk frame, so that a large body need not be copied behind them.
///
/// # Errors
/// The frame would be longer than [`FRAME_BYTES_MAX`].
pub fn encode_bulk_prefix(body_length: usize, buffer: &mut BytesMut) -> Result<(), FrameError> {
    begin(BULK, size_of::<ArchivedBulkHeader>(), body_length, buffer)?;
    // `begin` has checked the length against a limit that fits.
    put(&BulkHeader { length: u32::try_from(body_length).unwrap_or(u32::MAX).into() }, buffer);
    Ok(())
}

fn encode_hello(kind: u8, hello: &Hello, buffer: &mut BytesMut) -> Result<(), FrameError> {
    let address = hello.address.as_bytes();
    let header = HelloHeader::of(hello, length_of(address), length_of(&hello.attributes));
    encode(kind, &header, &[address, &hello.attributes], buffer)
}

fn encode<H>(kind: u8, header: &H, payloads: &[&[u8]], buffer: &mut BytesMut) -> Result<(), FrameError>
where
    H: for<'a> Serialize<Strategy<Sink<'a>, Failure>>,
{
    let payload = payloads.iter().fold(0usize, |sum, bytes| sum.saturating_add(bytes.len()));
    begin(kind, size_of::<H::Archived>(), payload, buffer)?;
    put(header, buffer);
    payloads.iter().for_each(|bytes| buffer.put_slice(bytes));
    Ok(())
}

/// Writes the prefix of a frame whose header and payload have these lengths, and reserves room for the whole frame.
fn begin(kind: u8, header: usize, payload: usize, buffer: &mut BytesMut) -> Result<usize, FrameError> {
    let total = PREFIX_BYTES.saturating_add(header).saturating_add(payload);
    if total > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { got: total, max: FRAME_BYTES_MAX });
    }
    let short = |length: usize| u32::try_from(length).expect("FRAME_BYTES_MAX is below 4 GiB");
    let start = buffer.len();
    buffer.reserve(total);
    buffer.put_u32_le(short(total - LENGTH_BYTES));
    buffer.put_u8(kind);
    buffer.put_u32_le(GROUP);
    buffer.put_u32_le(short(header));
    Ok(start)
}

/// Appends an archived header.
fn put<H>(header: &H, buffer: &mut BytesMut)
where
    H: for<'a> Serialize<Strategy<Sink<'a>, Failure>>,
{
    let start = buffer.len();
    let mut sink = Sink { buffer, start };
    serialize_using::<_, Failure>(header, &mut sink)
        .expect("headers hold numbers only, and the buffer grows");
    debug_assert_eq!(buffer.len() - start, size_of::<<H as Archive>::Archived>());
}

/// Output of rkyv: appends to a buffer, with positions counted from the start of the header.
struct Sink<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
}

impl Positional for Sink<'_> {
    fn pos(&self) -> usize {
        self.buffer.len() - self.start
    }
}

impl Writer<Failure> for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.buffer.put_slice(bytes);
        Ok(())
    }
}

/// Converts a length for the wire. `begin` refuses a length that does not fit, as it sees the true one.
fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

const _: () = assert!(FRAME_BYTES_MAX <= 0xffff_ffff, "a frame's length must fit its field");
