#![doc = include_str!("../README.md")]
//!
//! ## Map
//!
//! [`plan_of_seed`] draws a [`Plan`] or [`Plan::parse`] reads one; [`run`] runs it on a [`Subject`] and returns a [`Report`].
//! [`hunt`] does so for many seeds; [`shrink`] makes a plan that fails smaller.
//!
//! | file | duty |
//! | --- | --- |
//! | `plan.rs`, `settings.rs`, `script.rs` | what a run is made of: a file of choices, its numbers, its lines |
//! | `swarm.rs`, `templates/`, `rng.rs` | how a seed draws it |
//! | `subject.rs`, `kv.rs` | the state machine as it is seen here; the key-value store's |
//! | `run.rs`, `hunt.rs`, `shrink.rs` | one run; many for a machine of one's own; smaller ones |
//! | `world.rs` | virtual time: hosts, network, clients, and one happening after the other |
//! | `host.rs`, `start.rs`, `round.rs`, `work.rs` | a machine and its process; how it begins and ends, its loop, its threads |
//! | `connections/`, `network.rs`, `admit.rs` | who is dialled and kept; what carries messages; who may come in |
//! | `clock.rs` | a node's clock |
//! | `folders.rs`, `configured.rs` | where on its disk a node keeps what; how its parts are configured |
//! | `clients/`, `chaos.rs`, `rot.rs` | what clients ask and are told; what the script does, and the operator; what rots |
//! | `checks.rs`, `rules.rs` | what must hold of a node, and what the protocol allows it |
//! | `truth.rs`, `shadow.rs`, `twin.rs` | what it is held against |
//! | `transfers.rs` | what must hold of snapshots on their way, and crashes between their steps |
//! | `liveness.rs` | what must come about once faults end |
//! | [`linearizable`] | could what clients saw have an order? |
//! | `violation.rs`, `marks.rs`, `trace.rs`, `words.rs` | promises, what must happen sometimes, the story |

mod admit;
mod bulk;
mod chaos;
mod checks;
mod clients;
mod clock;
mod configured;
mod connections;
mod ends;
mod explained;
mod files;
mod folders;
mod host;
mod hunt;
mod kv;
pub mod linearizable;
mod liveness;
mod log_threads;
mod marks;
mod narrow;
mod network;
mod operator;
mod plan;
mod rng;
mod rot;
mod round;
mod rules;
mod run;
mod script;
mod settings;
mod shadow;
mod shrink;
mod start;
mod states;
mod steady;
mod subject;
mod swarm;
mod templates;
mod trace;
mod transfers;
mod truth;
mod twin;
mod violation;
mod words;
mod work;
mod world;

pub use hunt::{Found, Kept, examine, hunt};
pub use kv::{Kv, KvAsk, KvFound};
pub use marks::{Mark, Marks};
pub use plan::{ParsePlanError, Plan};
pub use rng::Rng;
pub use run::{Options, Report, run};
pub use script::{Action, Area, Call, Crash, Moment, Step, Stranger, Target};
pub use settings::Settings;
pub use shrink::shrink;
pub use subject::{Ended, Outcome, Reader, Request, Subject, digest};
pub use swarm::plan as plan_of_seed;
pub use trace::Trace;
pub use violation::{Promise, Violation};
pub use world::{Counts, World};
