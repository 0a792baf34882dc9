//! Deterministic simulation of whole nodes.

pub mod catalogue;
