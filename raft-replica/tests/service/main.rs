//! What becomes of requests: services around real replicas in memory, with disks and state machines that do what the test
//! lets them.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod harness;
mod moving;
mod proposals;
mod reads;
mod stopping;
