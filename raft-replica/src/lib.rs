//! A replica: the protocol, assembled with a log, snapshots and a state machine of your own. It is synchronous:
//! reports and requests in, actions and answers out.
//!
//! ```text
//!   clients, peers, time           Replica            three workers, each in its own time
//!   ------------------- Event --> core  +-- Action::Log ------> raftkit-log     log.redb    --+
//!                                 waits +-- Action::Machine --> Applier         your state     | Event
//!   <------------ Action::Send -- sends +-- Action::Snapshot -> SnapshotWorker  snapshots/   --+
//! ```
//!
//! [`Service`] stands between clients, peers and a [`Replica`]. It knows which requests wait, for what, and until
//! when.
//!
//! Nothing here reads a clock, starts a thread or opens a socket. A shell gives each worker a thread (raft-node does
//! so on tokio), and a simulator makes each an event at a later virtual time; both run this code.
//!
//! To replicate a state of your own, implement [`StateMachine`], or [`Application`] for a small state in memory:
//! [`InMemory`] makes a state machine of it.

mod addresses;
mod applier;
mod background;
mod compaction;
mod contacts;
mod event;
mod forming;
mod log;
mod memory;
mod open;
mod replica;
mod service;
mod snapshot_worker;
mod state_machine;
mod transfers;

pub use addresses::{Addresses, Source};
pub use applier::Applier;
pub use background::{BackgroundDone, BackgroundEnd, BackgroundWork};
pub use compaction::CompactionOptions;
pub use contacts::{ContactChange, Contacts};
pub use event::{
    Action, Answer, Answers, AppliedBatch, BulkId, Committed, Ended, Event, LogReport, MachineReport,
    MachineWork, NotDone, Output, SnapshotReport, SnapshotWork, TransportReport,
};
pub use forming::{Forming, Founding, Outlook, Place, Seen, Sight};
pub use log::{fetch, in_words};
pub use memory::{Application, InMemory, InMemoryReader, Typed, TypedError};
#[doc(hidden)]
pub use open::{OpenReplicaError, Opened, Repair};
pub use raftkit_log::Progress;
pub use replica::{Replica, ReplicaOptions};
pub use service::{
    CallFailed, CallId, CallerId, ChangeError, ClientRequestId, Consistency, Freshness, ProposeError,
    ReadRefused, Reply, Service, ServiceAction, ServiceEvent, ServiceOptions, TransferError, is_for_service,
};
pub use snapshot_worker::SnapshotWorker;
pub use state_machine::{Applied, Background, Begun, MachineError, SnapshotView, StateMachine, TakeOver};
