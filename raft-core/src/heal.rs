//! Recovery of a damaged node: it asks the leader up to which index it must hold the log again, and takes
//! part in quorums again once it does (after Alagappan et al., FAST'18, "protocol-aware recovery").
//!
//! A damaged node has lost entries that it acknowledged. If it voted: of three nodes, S1 and S2 commit entry
//! 7, and rot takes it from S2's log. S1 crashes. S3, which never had entry 7, gets the vote of S2, leads,
//! and overwrites a committed entry.
//!
//! A damaged node does not know how much it lost, so its own hard state cannot tell when it has recovered.
//! The commit index of a leader can, if a quorum *without the damaged node* confirms the leadership after the
//! node has asked. The leader stops counting the node before it determines that index. So everything
//! committed with the node's help so far is covered by the index, and nothing that is committed later relies
//! on an acknowledgement given before the damage.

use crate::common::Common;
use crate::role::{Following, Leading};
use crate::{
    Body, Effects, Health, LogIndex, NodeId, ReadIndex, ReadIndexResponse, ReadMode, RequestId, Time,
};

/// A node's own health, and how far its recovery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The node holds everything that it acknowledged.
    Sound,
    /// The node has lost entries, and has not asked a leader yet.
    Damaged,
    /// The node has asked the leader up to which index it must recover.
    Asked {
        /// The id of the request.
        request: RequestId,
        /// When the request is repeated.
        again_at: Time,
    },
    /// The node is sound again once everything up to `to` is committed and durable.
    Healing {
        /// The commit index that the leader answered.
        to: LogIndex,
    },
}

impl Condition {
    /// The condition at a start.
    pub(crate) fn new(health: Health) -> Self {
        match health {
            Health::Sound => Self::Sound,
            Health::Damaged => Self::Damaged,
        }
    }

    /// The health reported to others.
    pub(crate) fn health(self) -> Health {
        match self {
            Self::Sound => Health::Sound,
            Self::Damaged | Self::Asked { .. } | Self::Healing { .. } => Health::Damaged,
        }
    }
}

impl Common {
    /// True while this node may vote, campaign and count in quorums.
    pub(crate) fn is_sound(&self) -> bool {
        self.health == Condition::Sound
    }

    /// When the request to the leader is repeated.
    pub(crate) fn heal_deadline(&self) -> Option<Time> {
        match self.health {
            Condition::Asked { again_at, .. } => Some(again_at),
            Condition::Sound | Condition::Damaged | Condition::Healing { .. } => None,
        }
    }

    /// Drops the request, as the leader has changed and the earlier one may not answer any more.
    pub(crate) fn forget_heal_question(&mut self) {
        if matches!(self.health, Condition::Asked { .. }) {
            self.health = Condition::Damaged;
        }
    }

    /// Takes the leader's answer. Without an index the leader could not confirm one yet, and the request is
    /// repeated later.
    pub(crate) fn on_heal_answer(&mut self, answer: ReadIndexResponse) {
        if let Condition::Asked { request, .. } = self.health
            && request == answer.request
            && let Some(to) = answer.index
        {
            self.health = Condition::Healing { to };
        }
    }
}

impl Following<'_> {
    /// Takes the next step of the recovery. Called at the end of each input.
    pub(crate) fn heal(&mut self, effects: &mut Effects) {
        match self.common.health {
            Condition::Sound => {}
            Condition::Damaged => {
                let request = self.common.next_request();
                self.ask_how_far(request, effects);
            }
            Condition::Asked { request, again_at } if again_at <= self.common.now => {
                self.ask_how_far(request, effects);
            }
            Condition::Asked { .. } => {}
            Condition::Healing { to } => {
                let committed = self.common.commit >= to;
                let durable = self.common.log.durable() >= to;
                if committed && durable {
                    self.common.health = Condition::Sound;
                    self.acknowledge_healed(effects);
                }
            }
        }
    }

    fn ask_how_far(&mut self, request: RequestId, effects: &mut Effects) {
        let Some(leader) = self.follower.leader else { return };
        let common = &mut self.common;
        let again_at = common.now.after(common.config.heartbeat_interval);
        common.health = Condition::Asked { request, again_at };
        let ask = ReadIndex { mode: ReadMode::Quorum, asker: Health::Damaged, request };
        effects.messages.push(common.envelope().to(leader, Body::ReadIndex(ask)));
    }
}

impl Leading<'_> {
    /// Records the health that a peer reports.
    pub(crate) fn note_health(&mut self, peer: NodeId, health: Health) {
        if let Some(progress) = self.leader.progress.get_mut(&peer) {
            progress.note_health(health);
        }
    }
}
