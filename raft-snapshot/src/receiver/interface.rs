//! The settings of a receiver, its inputs, and the actions that it asks its driver for.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogIndex, NodeId};

use crate::manifest::{ChunkNumber, Manifest};
use crate::message::SnapshotMessage;

/// Settings of a [`Receiver`](crate::Receiver).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// Initial number of chunks that may be requested or being stored at a time; at least 1. Default: 4.
    pub window: usize,
    /// Lower limit of the window. Default: 2, so that the next chunk is on its way while one arrives.
    pub window_min: usize,
    /// Upper limit of the window, in chunks. Default: 16.
    pub window_max: usize,
    /// Upper limit of the window in bytes, which bounds the memory used. A larger chunk is requested alone. Default: 4
    /// MiB.
    pub window_bytes_max: usize,
    /// Target time from the request of a chunk to its arrival. The window shrinks when chunks take more than twice as
    /// long and grows when they take less than half. Default: 1 s, which keeps enough chunks on the way over any
    /// distance, and loses little when the link breaks.
    pub turnaround: Duration,
    /// Minimum time before a chunk is requested again. A slow link extends it to some turnarounds, and each further
    /// request doubles it. Default: 4 s.
    pub ask_again: Duration,
    /// Minimum time without a good chunk before the transfer fails. A slow link extends it to a multiple of the gap
    /// between good chunks, and each attempt in a row without any chunk doubles it. Default: 30 s.
    pub give_up: Duration,
    /// Upper limit of both waiting times. Default: 10 min.
    pub give_up_max: Duration,
    /// A sender that has been silent for this long gives way to any other sender. Default: 10 s, as long as a sender
    /// tolerates silence.
    pub sender_silence: Duration,
    /// Interval at which a receiver with nothing to request reports that it is working. Default: 1 s.
    pub working_interval: Duration,
    /// Number of times that a chunk may arrive with a wrong hash. One more, and the transfer fails. Default: 3.
    pub bad_chunks_max: u32,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            window: 4,
            window_min: 2,
            window_max: 16,
            window_bytes_max: 4 << 20,
            turnaround: Duration::from_secs(1),
            ask_again: Duration::from_secs(4),
            give_up: Duration::from_secs(30),
            give_up_max: Duration::from_secs(600),
            sender_silence: Duration::from_secs(10),
            working_interval: Duration::from_secs(1),
            bad_chunks_max: 3,
        }
    }
}

/// Inputs of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverInput {
    /// A message from a node.
    Message {
        /// The node that sent the message.
        from: NodeId,
        /// Content of the message.
        message: SnapshotMessage,
        /// Last index that this node's state machine has applied.
        applied: LogIndex,
    },
    /// The driver has carried out [`ReceiverOutput::Open`].
    Opened {
        /// The chunks that are stored and good ([`Partial::have`](crate::Partial::have)).
        have: BTreeSet<ChunkNumber>,
    },
    /// The driver has carried out [`ReceiverOutput::Store`].
    Stored {
        /// Number of the chunk.
        chunk: ChunkNumber,
    },
    /// The driver has carried out [`ReceiverOutput::Finish`].
    Finished,
    /// The driver has carried out [`ReceiverOutput::Install`].
    Installed,
    /// The last action failed. The driver must not report earlier actions any more.
    Failed,
    /// Time has passed. Due when [`Receiver::next_deadline`](crate::Receiver::next_deadline) is reached, harmless at
    /// any other time.
    Tick,
}

/// Actions that a driver must carry out for a receiver, in this order. [`Partial`](crate::Partial) does the work and
/// checks each step itself, so a snapshot with a wrong or missing chunk is never finished, whatever the driver reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverOutput {
    /// Send this message; it may get lost.
    Send {
        /// The node to send to.
        to: NodeId,
        /// The message to send.
        message: SnapshotMessage,
    },
    /// Open what is stored of this snapshot, and report [`ReceiverInput::Opened`].
    Open(Manifest),
    /// Store a chunk, and report [`ReceiverInput::Stored`].
    Store {
        /// Number of the chunk.
        chunk: ChunkNumber,
        /// Bytes of the chunk, whose hash is already checked.
        bytes: Bytes,
    },
    /// Make the snapshot durable, now that every chunk is stored, and report [`ReceiverInput::Finished`].
    Finish,
    /// Let the state machine switch to the snapshot durably, and report [`ReceiverInput::Installed`]. If it has
    /// meanwhile applied as much from the log, leave it unchanged and report the same: its state must not go back.
    Install(Manifest),
    /// Close what was opened: the transfer ended without success. Keep the chunks for another attempt.
    Discard,
}
