//! Snapshots: what they consist of, how they go from node to node, and the files that hold them.
//!
//! A snapshot is a [`Manifest`] (log id, membership, a hash for each chunk) and its chunks. [`SnapshotDir`] keeps
//! snapshots as files: [`SnapshotWriter`] writes one of this node's state, [`Partial`] collects the chunks of one that
//! is received, [`SnapshotFile`] reads one; each checks every hash. [`Sender`] and [`Receiver`] are the two ends of a
//! transfer as pure state machines: inputs and the time go in, outputs come out, and a driver does the work.
//!
//! ```text
//!  sender                                  receiver
//!    | ---- Offer(manifest) ----------------> |   open what is there, check it
//!    | <--- Working ------------------------- |
//!    | <--- Want(2), Want(5), Want(6) ------- |   only what it lacks, a few at a time
//!    | ---- Chunk(2), Chunk(5), Chunk(6) ---> |   check each hash, store
//!    |                 ...                    |   sync, rename, sync the folder; install
//!    | <--- Working ------------------------- |   every second meanwhile
//!    | <--- Installed ----------------------- |
//! ```
//!
//! | file | duty |
//! | --- | --- |
//! | `manifest.rs` | the manifest and its bytes |
//! | `message.rs` | the messages and their bytes |
//! | `sender.rs`, `receiver.rs` | the two ends of a transfer |
//! | `dir.rs` | the folder and its names |
//! | `writer.rs`, `partial.rs`, `file.rs` | a snapshot being written, being received, finished |

mod dir;
mod error;
mod file;
mod manifest;
mod message;
mod partial;
mod receiver;
mod sender;
mod writer;

pub use dir::SnapshotDir;
pub use error::SnapshotError;
pub use file::{SnapshotFile, SnapshotReader};
pub use manifest::{CHUNK_BYTES, CHUNK_BYTES_MAX, CHUNKS_MAX, Hash, Manifest, ManifestError};
pub use message::{Audience, MessageError, Refusal, SnapshotMessage};
pub use partial::Partial;
pub use receiver::{Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput};
pub use sender::{Sender, SenderInput, SenderOptions, SenderOutput};
pub use writer::SnapshotWriter;
