//! What makes a cluster stop: a signal, or the end of whoever started it.

use std::fmt;
use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::workspace::Failure;

/// Why to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Interrupt,
    Terminate,
    TerminalGone,
    InputClosed,
    OutputClosed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Interrupt => "Ctrl-C",
            Reason::Terminate => "SIGTERM",
            Reason::TerminalGone => "the terminal is gone",
            Reason::InputClosed => "standard input was closed",
            Reason::OutputClosed => "nobody reads what is printed",
        })
    }
}

/// Calls `tell` for every reason to stop, from threads that live as long as the process. From now on Ctrl-C does not
/// end the process by itself.
///
/// # Errors
/// The system does not let signals be handled.
pub(super) fn watch(tell: impl Fn(Reason) + Clone + Send + 'static) -> Result<(), Failure> {
    let mut signals = vec![SIGINT, SIGTERM];
    if std::io::stdin().is_terminal() {
        // Only then: nohup takes the terminal away and ignores SIGHUP, which is to stay so.
        signals.push(SIGHUP);
    } else if stdin_has_a_writer() {
        let tell = tell.clone();
        thread::spawn(move || {
            let mut chunk = [0; 1024];
            while std::io::stdin().read(&mut chunk).is_ok_and(|got| got > 0) {}
            tell(Reason::InputClosed);
        });
    }
    let mut signals = Signals::new(signals).map_err(Failure::of("cannot handle signals"))?;
    thread::spawn(move || {
        for signal in signals.forever() {
            tell(match signal {
                SIGINT => Reason::Interrupt,
                SIGHUP => Reason::TerminalGone,
                _ => Reason::Terminate,
            });
        }
    });
    Ok(())
}

/// Whether standard input ends when whoever holds its other side does: a pipe or a socket. A file or
/// /dev/null is at its end from the start, which says nothing.
fn stdin_has_a_writer() -> bool {
    let Ok(stdin) = std::io::stdin().as_fd().try_clone_to_owned() else { return false };
    let Ok(metadata) = std::fs::File::from(stdin).metadata() else { return false };
    metadata.file_type().is_fifo() || metadata.file_type().is_socket()
}
