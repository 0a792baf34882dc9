//! A round of a driver's loop: what it takes in, when it looks at its clock, and how long it may wait for more.

use std::time::Duration;

use raftkit_core::Time;

use super::{Service, ServiceAction, ServiceEvent};
use crate::{Event, TransportReport};

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

    /// Brings what a driver has taken in for one round into the order in which it is [handled](Self::handle): what peers sent comes
    /// before what this process tells itself. Of each it stays in the order in which it came.
    pub fn order(events: &mut [ServiceEvent]) {
        events.sort_by_key(|event| !is_from_peer(event));
    }

    /// For how long, from `now` on, a driver may wait for an event before the next round. To be asked before each wait: a
    /// round moves the deadline, nearer or further away.
    #[must_use]
    pub fn idle_for(&self, now: Time) -> Duration {
        self.next_deadline().since(now)
    }
}

fn is_from_peer(event: &ServiceEvent) -> bool {
    match event {
        ServiceEvent::Replica(Event::Transport(report)) => match report {
            TransportReport::Message(_) | TransportReport::Bulk { .. } | TransportReport::Unreachable(_) => {
                true
            }
            TransportReport::BulkLeft(_) => false,
        },
        ServiceEvent::Asked { .. } | ServiceEvent::Greeted { .. } => true,
        ServiceEvent::Replica(Event::Log(_) | Event::Machine(_) | Event::Snapshot(_))
        | ServiceEvent::Propose { .. }
        | ServiceEvent::Read { .. }
        | ServiceEvent::Transfer { .. }
        | ServiceEvent::Change { .. }
        | ServiceEvent::Forget(_)
        | ServiceEvent::Seen { .. }
        | ServiceEvent::Answered { .. }
        | ServiceEvent::Stop => false,
    }
}
