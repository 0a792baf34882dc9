//! The assembly: protocol, log, snapshots and a state machine.

mod state_machine;

pub use state_machine::{Applied, MachineError, SnapshotView, StateMachine};
