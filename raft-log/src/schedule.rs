//! Schedules of the two halves: what each does next, and when. Pure functions of the time and of what happened, so that
//! [`Flushing`](crate::Flushing) and [`Settling`](crate::Settling) behave alike under threads and in a simulator.

mod flush;
mod give_back;
mod settle;

use std::time::Duration;

pub use flush::FlushSchedule;
pub use give_back::GiveBackPace;
pub use settle::SettleSchedule;

/// Settle at once when this many bytes of the journal are unsettled.
const SETTLE_BYTES: u64 = 1 << 20;

/// One bounded step of the flushing half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushChore {
    /// Makes the queued writes durable.
    Flush,
    /// Brings the witness up to date.
    Witness,
}

/// One bounded step of the settling half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Moves the oldest flushed writes into redb, and frees some compacted entries in the same transaction.
    Settle,
    /// Frees some compacted entries.
    Compact,
    /// Checks whether the database file is much larger than its content, and if so copies some of the content into a
    /// new file.
    GiveBack,
}

/// Result of a chore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The chore is finished.
    Done,
    /// The chore has more steps to do.
    More,
    /// There was nothing to do.
    Nothing,
    /// The chore was given up and will be tried again later: the disk has no space for it, or too much changed
    /// meanwhile.
    Postponed,
}

/// Next action of a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<C> {
    /// Do this chore now.
    Do(C),
    /// Wait until this time, or until woken by a write or by a [nudge](Nudge).
    At(Duration),
    /// Wait without a deadline until woken.
    WhenWoken,
}

/// Whether a flush must wake the settling half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// Wake the settling half: it may be asleep, unaware that there is something to settle.
    Wake,
    /// Leave the settling half alone: it knows when to look next.
    Leave,
}
