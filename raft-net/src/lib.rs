//! Transport of Raft messages between nodes.
//!
//! Two layers:
//! - the frame codec ([`frame`]), whose handshakes begin ([`door`]), who may come in ([`admission`]), when to dial
//!   ([`dialling`]) and what waits for a peer ([`queue`]): plain, synchronous, without a feature; what a simulator or
//!   another transport uses;
//! - the transport, `Transport`, behind the default feature `quic`: QUIC with mutual TLS, on tokio.
//!
//! # The bytes of a frame
//!
//! All numbers are little-endian. A frame is never longer than [`FRAME_BYTES_MAX`]; a receiver may set a lower limit,
//! and reserves nothing for bytes that have not arrived.
//!
//! ```text
//! offset  size  field
//! 0       4     length: of everything behind this field
//! 4       1     kind
//! 5       4     group: 0
//! 9       4     length of the header
//! 13      h     header
//! 13 + h  ...   payload: the bytes whose lengths the header names, one after the other, nothing else
//! ```
//!
//! | kind | frame | header | payload |
//! | --- | --- | --- | --- |
//! | 1, 2 | Hello, HelloAck | version u32, lane u8, cluster (tag u8, u128), node u64, store u128, incarnation u64, process u64, two lengths u32 | address, attributes |
//! | 3 | Refused | tag u8, then the numbers of that [`Refusal`]; 49 bytes in all | |
//! | 4 | Raft message | envelope, then 21 bytes an entry: term u64, index u64, kind u8, length u32 | the entries' payloads |
//! | 5 | Request | id u64, length u32 | body |
//! | 6 | Response | id u64, status u8 (0 answered, 1 not), length u32 | body |
//! | 7 | Bulk | length u32 | body |
//!
//! The envelope of a Raft message is from u64, store u128, incarnation u64, to u64, term u64, and 50 bytes of body: a
//! tag u8 and the fields of that message in the order in which [`raftkit_core::Body`] has them (durations in
//! nanoseconds). In the body, an enum is a tag byte and the bytes of its largest variant; a smaller variant is padded
//! with zeros.
//!
//! Headers are archived by rkyv and checked by bytecheck before use. Each number is declared as unaligned and
//! little-endian, so that no feature of rkyv can change the bytes. `tests/golden.rs` has the bytes of each kind.
//! Payloads are slices of the bytes that came in.
//!
//! # What goes where
//!
//! Each node dials each peer and sends only on connections that it dialled.
//!
//! ```text
//! connection     stream                      frames
//! any            first, both ways            Hello ->, <- HelloAck; or it is closed with a Refused frame as the reason
//! control        two one way, long-lived     Raft messages, urgent ones on the first, entries on the second; on both
//!                                            Hello again when the node has joined a cluster
//!                both ways, long-lived       Request ->, <- Response, many at once
//! bulk           one way, long-lived         Bulk
//! discovery      both ways                   Request ->, <- Response
//! ```

pub mod admission;
pub mod dialling;
pub mod door;
pub mod frame;
pub mod queue;
#[cfg(feature = "quic")]
mod quic;
mod refusal;
mod wire;

pub use frame::{Frame, FrameError, decode, decode_message, encode_frame, encode_message, split};
#[doc(hidden)]
#[cfg(feature = "quic")]
pub use quic::*;
pub use refusal::{Hello, Lane, Refusal};

/// Version of the protocol; nodes with different versions refuse each other.
pub const PROTOCOL_VERSION: u32 = 2;

/// The only group that is served. Frames name it so that several groups can share a connection later.
pub const GROUP: u32 = 0;

/// Upper bound on an encoded frame in bytes, its length field included: the largest entry that the core takes (64 MiB
/// by default) and room for headers. A receiver may set a lower limit.
pub const FRAME_BYTES_MAX: usize = (64 << 20) + (1 << 20);
