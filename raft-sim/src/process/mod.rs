//! A machine and the process that runs on it: how the process starts and ends, its loop and its threads.

pub(crate) mod configured;
pub(crate) mod ends;
pub(crate) mod folders;
pub(crate) mod host;
pub(crate) mod log_threads;
pub(crate) mod round;
pub(crate) mod start;
pub(crate) mod work;
