//! What is asserted after every input, in release builds too. A violation is a bug of this crate, and never the
//! fault of an input. A node that went on after it could acknowledge or apply what it must not, so it panics,
//! and the restart reads the state back from disk.

use crate::invariants::{Before, check_since, check_state};
use crate::raft::Node;
use crate::role::{Leader, Role};

impl Node {
    /// Asserts what can be checked in constant time. `Log::append` asserts that entries are consecutive.
    pub(crate) fn assert_sound(&self) {
        let common = &self.common;
        let (applied, handed_out, commit) = (common.applied, common.handed_out, common.commit);
        let (last, durable) = (common.log.last_index(), common.log.durable());
        assert!(applied <= handed_out, "applied index {applied} is above {handed_out}, the last handed out");
        assert!(handed_out <= commit, "entry {handed_out} is handed out above the commit index {commit}");
        assert!(commit <= last, "commit index {commit} is above the last index {last}");
        assert!(durable <= last, "durable index {durable} is above the last index {last}");
        match &self.role {
            Role::Leader(leader) => self.assert_sound_leader(leader),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// A leader's vote for itself is durable, so that it cannot vote for another node in its term after a
    /// crash (thesis, section 3.8). It starts a membership change only when the last one is committed (thesis,
    /// section 4.1).
    fn assert_sound_leader(&self, leader: &Leader) {
        let common = &self.common;
        let (term, own, durable) = (common.term, common.config.node, common.writes.durable());
        assert!(
            (durable.term, durable.vote) == (term, Some(own)),
            "node {own} leads term {term}, and the durable vote is {:?} of term {}",
            durable.vote,
            durable.term
        );
        // Membership entries of earlier terms may be committed although this leader does not know it yet.
        let uncommitted_from = leader.term_start.max(common.commit.next());
        if let Some(before) = common.memberships.second_newest() {
            assert!(
                before < uncommitted_from,
                "a leader with commit index {} has two uncommitted memberships, the first at {before}",
                common.commit
            );
        }
    }

    /// Asserts everything that [`check_state`] and [`check_since`] know. Debug builds do so after every input.
    pub(crate) fn assert_invariants(&self, before: &Before) {
        if let Err(violation) = check_state(self).and_then(|()| check_since(before, self)) {
            panic!("node {} breaks an invariant: {violation}", self.common.config.node);
        }
    }
}
