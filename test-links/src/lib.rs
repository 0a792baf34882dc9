#![doc = include_str!("../README.md")]

mod conditions;
mod lane;
mod link;
mod proxy;

pub use conditions::{Conditions, Counters, Way};
pub use proxy::Proxy;
