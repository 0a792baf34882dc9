//! Wrong code that does not fit into the line where its bug lives. Without the bugs built in nothing reaches it.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::raft::Node;
use crate::role::Role;
use crate::{Done, Effects, LogIndex, Membership, NodeId, Outcome, Payload, Stage, Vote, Write};

/// Whom a repeated answer counts for, where answers are counted instead of nodes: any voter not heard yet.
pub(crate) fn count_twice(membership: &Membership, votes: &BTreeMap<NodeId, Vote>, from: NodeId) -> NodeId {
    let mut others = membership.voters().iter().copied().filter(|id| !votes.contains_key(id));
    if votes.contains_key(&from) { others.next().unwrap_or(from) } else { from }
}

/// Whether the forecast of a change leaves out this stage.
pub(crate) fn is_forgotten(stage: Stage) -> bool {
    match stage {
        Stage::Before => mutant!(WhatIfForgetsBefore),
        Stage::Outgoing => false, // It has the voters of the stage before.
        Stage::Incoming => mutant!(WhatIfForgetsIncoming),
        Stage::After => mutant!(WhatIfForgetsAfter),
    }
}

/// Takes the truncation out of the newest write and puts it before, as a write of its own.
pub(crate) fn truncate_apart(writes: &mut Vec<Write>) {
    let Some(mut newest) = writes.pop() else { return };
    if !newest.append.is_empty()
        && let Some(from) = newest.truncate_from.take()
    {
        writes.push(Write { seq: newest.seq, truncate_from: Some(from), ..Write::default() });
    }
    writes.push(newest);
}

impl Node {
    /// Puts the memberships that are committed by this index into force.
    pub(crate) fn act_when_committed(&mut self, commit: LogIndex) {
        let news = self.commit.next()..=commit;
        for entry in self.log.tail().iter().filter(|entry| news.contains(&entry.id.index)) {
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.append(entry.id.index, Arc::clone(membership));
            }
        }
    }

    /// Leaves the joint membership that is committed, whether or not that was proposed before.
    pub(crate) fn leave_joint_again(&mut self) -> bool {
        let committed = self.memberships.as_of(self.commit);
        let joint = committed.is_joint();
        if joint {
            let left = committed.leave();
            self.append_membership(left);
        }
        joint
    }

    /// Answers who waits for a change as if it were complete.
    pub(crate) fn answer_change(&mut self, effects: &mut Effects) {
        let id = self.memberships.current().id();
        if let Role::Leader(leader) = &mut self.role
            && let Some(change) = leader.change.take()
        {
            effects.done.push(Done { ticket: change.ticket, outcome: Outcome::Committed(id) });
        }
    }
}
