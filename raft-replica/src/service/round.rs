//! A round of a driver's loop: the events it takes in, the moments at which it reads its clock, and the time it may
//! wait for more.

use std::time::Duration;

use raftkit_core::Time;

use super::{Service, ServiceAction, ServiceEvent};
use crate::{Event, TransportReport};

impl Service {
    /// Takes in events, one after the other, and does what is due. The clock is read after each event was taken from
    /// `events`, never before, because a process may stand still between any two instructions for longer than a
    /// lease. An event must count as heard no earlier than it was taken in. Otherwise a leader would answer a read by
    /// a lease that has ended, and a follower would count the time in which it grants no vote from a moment long
    /// past.
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

    /// Sorts the events that a driver has taken in for one round into the order in which they are
    /// [handled](Self::handle): events from peers come before events of this process. Within each group the order
    /// stays.
    pub fn order(events: &mut [ServiceEvent]) {
        events.sort_by_key(|event| !is_from_peer(event));
    }

    /// The time, from `now` on, that a driver may wait for an event before the next round. Ask before each wait: a
    /// round moves the deadline in either direction.
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
