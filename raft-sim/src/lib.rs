//! Deterministic simulation of whole nodes.

pub mod linearizable;
