//! How a node stops: leadership goes to another, nothing more is taken, what was taken is answered.

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
    /// It leads, and is to stop: the lease ends with the transfer. Whatever comes goes to the next leader.
    HandingOver {
        ticket: Ticket,
        until: Time,
    },
    /// Nothing more is taken.
    Draining {
        until: Time,
    },
    /// The replica has ended; nothing is waited for.
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

    /// Whether this is the transfer's.
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

    /// Another node leads; or none could take over, and the others elect by themselves.
    pub(super) fn handed_over(&mut self, now: Time) {
        self.drain(now);
    }

    fn drain(&mut self, now: Time) {
        self.phase = Phase::Draining { until: now.after(DRAIN) };
    }

    /// The end of a round.
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

    /// The replica has ended: it answers nothing more, and its driver stops.
    pub(super) fn end(&mut self, out: &mut Vec<ServiceAction>) {
        self.give_up_all(out);
        self.phase = match self.phase {
            Phase::Running => Phase::Ended,
            // It was told to stop, and that is what it says at the end of the round.
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
