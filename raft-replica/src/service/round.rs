//! A round of a driver's loop: what it takes in, when it looks at its clock, and how long it may wait for more.

use std::time::Duration;

use raftkit_core::Time;

use super::{Service, ServiceAction, ServiceEvent};

impl Service {
    /// Takes in events, one after the other, and does what is due. The clock is read after each event was taken from
    /// `events`, never before: a process may stand still between any two instructions, for longer than a lease. What came
    /// in must then count as heard after that time, and not before: otherwise a leader would answer a read by a lease that
    /// is over, and a follower would promise its vote away for a time that has begun long ago.
    pub fn round(
        &mut self,
        events: impl Iterator<Item = ServiceEvent>,
        mut clock: impl FnMut() -> Time,
        out: &mut Vec<ServiceAction>,
    ) {
        for event in events {
            let now = clock();
            self.handle(now, event, out);
        }
        self.end_round(clock(), out);
    }

    /// For how long, from `now` on, a driver may wait for an event before the next round. To be asked before each wait: a
    /// round moves the deadline, nearer or further away.
    #[must_use]
    pub fn idle_for(&self, now: Time) -> Duration {
        self.next_deadline().since(now)
    }
}
