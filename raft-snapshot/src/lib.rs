#![doc = include_str!("../README.md")]
//!
//! ## Map
//!
//! | file | duty |
//! | --- | --- |
//! | `manifest.rs` | the manifest and its encoding |
//! | `message.rs` | the messages and their encoding |
//! | `sender.rs`, `receiver.rs`, `transfer.rs` | the two ends of a transfer |
//! | `dir.rs` | the folder and its file names |
//! | `writer.rs`, `partial.rs`, `file.rs` | a snapshot being written, being received, and finished |

mod dir;
mod error;
mod file;
mod manifest;
mod message;
mod pace;
mod partial;
mod receiver;
mod sender;
mod transfer;
mod writer;

pub use dir::SnapshotDir;
pub use error::SnapshotError;
pub use file::{SnapshotFile, SnapshotReader};
pub use manifest::{CHUNK_BYTES, CHUNK_BYTES_MAX, CHUNKS_MAX, ChunkNumber, Hash, Manifest, ManifestError};
pub use message::{Audience, MessageError, Refusal, SnapshotMessage};
#[doc(hidden)]
pub use partial::Partial;
pub use receiver::{Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput};
pub use sender::{Cargo, Sender, SenderInput, SenderOptions, SenderOutput};
pub use writer::SnapshotWriter;
