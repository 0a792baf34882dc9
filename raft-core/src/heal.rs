//! A damaged node and its way back: it asks the leader how far it must hold the log again, and takes part once it does.
//!
//! It lost entries that it may have helped to commit, so a vote of it could elect a leader that lacks them. A commit
//! index that a quorum *without it* confirmed after it began to ask covers all of those: whoever led before has either
//! counted them in that index, or can count no acknowledgement of the node's earlier life any more.

use crate::raft::Node;
use crate::role::Role;
use crate::{
    Body, Effects, Health, LogIndex, NodeId, ReadIndex, ReadIndexResponse, ReadMode, RequestId, Time,
};

/// What a node knows of its own health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It holds everything that it ever acknowledged.
    Sound,
    /// It does not, and has asked nobody yet how far it must heal.
    Damaged,
    /// The leader is asked.
    Asked {
        /// The question's name.
        request: RequestId,
        /// When it is asked again.
        again_at: Time,
    },
    /// It is sound again once everything up to here is durable.
    Healing {
        /// A commit index that a quorum confirmed.
        to: LogIndex,
    },
}

impl Condition {
    /// At a start.
    pub(crate) fn new(health: Health) -> Self {
        match health {
            Health::Sound => Self::Sound,
            Health::Damaged => Self::Damaged,
        }
    }

    /// What others are told.
    pub(crate) fn health(self) -> Health {
        match self {
            Self::Sound => Health::Sound,
            Self::Damaged | Self::Asked { .. } | Self::Healing { .. } => Health::Damaged,
        }
    }
}

impl Node {
    /// True while it takes part in quorums.
    pub(crate) fn is_sound(&self) -> bool {
        self.health == Condition::Sound
    }

    /// When the question is asked again.
    pub(crate) fn heal_deadline(&self) -> Option<Time> {
        match self.health {
            Condition::Asked { again_at, .. } => Some(again_at),
            Condition::Sound | Condition::Damaged | Condition::Healing { .. } => None,
        }
    }

    /// Another leader, or none: whoever was asked may not answer any more.
    pub(crate) fn forget_heal_question(&mut self) {
        if matches!(self.health, Condition::Asked { .. }) {
            self.health = Condition::Damaged;
        }
    }

    /// Does what is next on the way back. Called at the end of each input.
    pub(crate) fn heal(&mut self, effects: &mut Effects) {
        match self.health {
            Condition::Sound => {}
            Condition::Damaged => {
                let request = self.next_request();
                self.ask_how_far(request, effects);
            }
            Condition::Asked { request, again_at } if again_at <= self.now => {
                self.ask_how_far(request, effects);
            }
            Condition::Asked { .. } => {}
            Condition::Healing { to } => {
                let committed = self.commit >= to;
                let durable = self.log.durable() >= to;
                if committed && durable {
                    self.health = Condition::Sound;
                    self.acknowledge_healed(effects);
                }
            }
        }
    }

    fn ask_how_far(&mut self, request: RequestId, effects: &mut Effects) {
        let Some(leader) = self.leader() else { return };
        self.health = Condition::Asked { request, again_at: self.now.after(self.config.heartbeat_interval) };
        let ask = ReadIndex { mode: ReadMode::Quorum, asker: Health::Damaged, request };
        effects.messages.push(self.envelope().to(leader, Body::ReadIndex(ask)));
    }

    /// The leader answers how far to heal; none when it cannot say yet, which is asked again later.
    pub(crate) fn on_heal_answer(&mut self, answer: ReadIndexResponse) {
        if let Condition::Asked { request, .. } = self.health
            && request == answer.request
            && let Some(to) = answer.index
        {
            self.health = Condition::Healing { to };
        }
    }

    /// On the leader: what this peer says does not count from here on, or counts again.
    pub(crate) fn note_health(&mut self, peer: NodeId, health: Health) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&peer)
        {
            progress.note_health(health);
        }
    }
}
