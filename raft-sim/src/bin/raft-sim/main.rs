//! `raft-sim`: runs many seeds of the key-value store, one seed, or a file of choices, and shows the results.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs are pure; this program runs many of them at once, for a while"
)]

mod flags;
mod many;
mod one;
mod show;

use std::process::ExitCode;

use clap::Parser;

use crate::flags::Flags;

fn main() -> ExitCode {
    // A panic in a run is reported as a violation, not printed.
    std::panic::set_hook(Box::new(|panic| many::note_panic(&panic.to_string())));
    let flags = Flags::parse();
    if flags.with_parent {
        end_with_parent();
    }
    let done = if flags.list_promises {
        show::promises();
        Ok(true)
    } else if flags.choices.is_some() || flags.seed.is_some() {
        one::run(&flags)
    } else {
        many::run(&flags)
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Asks the system to kill this process together with its parent: a parent that is killed cannot do so itself.
fn end_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            eprintln!("this goes on if its parent is killed: {error}");
        }
    }
}
