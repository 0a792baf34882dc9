#![doc = include_str!("../README.md")]

mod checks;
mod clients;
pub mod linearizable;
mod network;
mod plan;
mod process;
mod rng;
mod run;
mod subject;
mod world;

pub use checks::marks::{Mark, Marks};
pub use checks::violation::{Promise, Violation};
pub use plan::script::{Action, Area, Call, Crash, Moment, Step, Stranger, Target};
pub use plan::settings::Settings;
pub use plan::swarm::plan as plan_of_seed;
pub use plan::{ParsePlanError, Plan};
pub use rng::Rng;
pub use run::hunt::{Found, Kept, examine, hunt};
pub use run::shrink::shrink;
pub use run::trace::Trace;
pub use run::{Options, Report, run};
pub use subject::kv::{Kv, KvAsk, KvFound};
pub use subject::{Ended, Outcome, Reader, Request, Subject, digest};
pub use world::{Counts, World};
