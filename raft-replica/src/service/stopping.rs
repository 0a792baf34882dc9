//! A clean stop: leadership is handed over, no more requests are taken, and those that were taken are answered.

use raftkit_core::{Ticket, Time};

use super::options::DRAIN;
use super::{Service, ServiceAction};

/// ```text
///   Running -> HandingOver -> Draining -> Stopped
///      |    \______________________^         ^
///      +--> Ended ---------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// The node leads and shall stop. Its lease ends with the transfer, and new requests go to the next leader.
    HandingOver {
        ticket: Ticket,
        until: Time,
    },
    /// No more requests are taken.
    Draining {
        until: Time,
    },
    /// The replica has ended, and no request waits.
    Ended,
    Stopped,
}

impl Phase {
    pub(super) fn takes_requests(self) -> bool {
        match self {
            Self::Running | Self::HandingOver { .. } => true,
            Self::Draining { .. } | Self::Ended | Self::Stopped => false,
        }
    }

    pub(super) fn deadline(self) -> Option<Time> {
        match self {
            Self::HandingOver { until, .. } | Self::Draining { until } => Some(until),
            Self::Running | Self::Ended | Self::Stopped => None,
        }
    }

    /// Whether this is the ticket of the transfer that the stop began.
    pub(super) fn waits_for(self, ticket: Ticket) -> bool {
        matches!(self, Self::HandingOver { ticket: own, .. } if own == ticket)
    }
}

impl Service {
    pub(super) fn stop(&mut self, now: Time, out: &mut Vec<ServiceAction>) {
        match self.phase {
            Phase::Running if self.replica.node().is_leader() => {
                let ticket = self.ticket();
                let until = now.after(self.options.election_timeout * 2);
                self.phase = Phase::HandingOver { ticket, until };
                self.with_replica(now, out, |replica, out| replica.transfer(now, ticket, None, out));
            }
            Phase::Running => self.drain(now),
            Phase::Ended => self.phase = Phase::Draining { until: now },
            Phase::HandingOver { .. } | Phase::Draining { .. } | Phase::Stopped => {}
        }
    }

    /// The transfer has ended: another node leads, or none could take over and the others will elect a leader by
    /// themselves.
    pub(super) fn handed_over(&mut self, now: Time) {
        self.drain(now);
    }

    fn drain(&mut self, now: Time) {
        self.phase = Phase::Draining { until: now.after(DRAIN) };
    }

    /// Goes on with a stop, at the end of a round.
    pub(super) fn wind_up(&mut self, now: Time, out: &mut Vec<ServiceAction>) {
        if let Phase::HandingOver { until, .. } = self.phase
            && until <= now
        {
            self.drain(now);
        }
        if let Phase::Draining { until } = self.phase
            && (self.waiters.is_empty() || until <= now)
        {
            self.give_up_all(out);
            self.phase = Phase::Stopped;
            out.push(ServiceAction::Stopped);
        }
    }

    /// The replica has ended. It answers no more requests, and its driver stops.
    pub(super) fn end(&mut self, out: &mut Vec<ServiceAction>) {
        self.give_up_all(out);
        self.phase = match self.phase {
            Phase::Running => Phase::Ended,
            // The stop was requested before, and is reported at the end of the round.
            Phase::HandingOver { until, .. } => Phase::Draining { until },
            Phase::Draining { .. } | Phase::Ended | Phase::Stopped => self.phase,
        };
    }

    fn give_up_all(&mut self, out: &mut Vec<ServiceAction>) {
        for asker in self.waiters.everybody() {
            self.give_up(asker, out);
        }
    }
}
