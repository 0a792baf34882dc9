//! `raft-sim`: runs many seeds of the key-value store, or one, or a file of choices, and shows what came of it.

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
    // A panic in a run is a violation, and told as one.
    std::panic::set_hook(Box::new(|panic| many::note_panic(&panic.to_string())));
    let flags = Flags::parse();
    let done = if flags.list_promises {
        show::promises();
        Ok(true)
    } else if flags.list_mutants {
        show::mutants();
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
