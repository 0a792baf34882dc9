//! Known bugs of real storage systems, each of which a test-only build can switch on: a test suite that does not notice
//! them would not notice them in earnest either.
//!
//! `RAFTKIT_MUTANTS=1` at compile time puts them in (see raftkit-mutants), and `RAFTKIT_MUTANT=raft-log/<name>` switches one
//! on in the whole process. `cargo xtask mutants --crate raft-log` runs the tests against each.

mod catalogue;
mod wrong;

pub use catalogue::Mutant;
pub(crate) use wrong::{in_order, is_alone, mark_apart, split, witness_ahead};
