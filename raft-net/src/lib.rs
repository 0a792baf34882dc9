//! Raft messages between nodes: a plain frame codec and, with feature `quic`, a transport.

pub mod frame;
#[cfg(feature = "quic")]
mod quic;
mod refusal;
mod wire;

pub use frame::{Frame, FrameError, decode, decode_message, encode_frame, encode_message, split};
#[cfg(feature = "quic")]
pub use quic::*;
pub use refusal::{Hello, Lane, Refusal};

/// Nodes with different protocol versions refuse each other.
pub const PROTOCOL_VERSION: u32 = 1;

/// The one group that is served; frames name it so that several can share a connection later.
pub const GROUP: u32 = 0;

/// No frame is longer, all of its bytes counted: the largest entry that the core takes (64 MiB by default) and room for
/// headers. A receiver may set a lower limit.
pub const FRAME_BYTES_MAX: usize = (64 << 20) + (1 << 20);
