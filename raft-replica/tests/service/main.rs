//! The outcome of requests: services around real replicas in memory. The tests decide what disks and state machines
//! do.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod harness;
mod moving;
mod proposals;
mod reads;
mod stopping;
