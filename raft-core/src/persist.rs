//! Changing the log, and what is released once a write is durable: every change goes to the in-memory view of
//! the log and to the staged write together.

use alloc::sync::Arc;

use crate::common::Common;
use crate::raft::Node;
use crate::role::{Following, Leading, Role};
use crate::{Effects, Entries, Entry, LogId, LogIndex, Payload, Ticket, WriteSeq};

impl Leading<'_> {
    /// Appends an entry of this leader's own term.
    pub(crate) fn append_own(&mut self, payload: Payload, ticket: Option<Ticket>) {
        let Self { common, leader } = self;
        let entry = Entry { id: LogId { term: common.term, index: common.log.last_index().next() }, payload };
        leader.note_uncommitted(entry.id.index, entry.weight(), ticket);
        common.append_entries(entry.into());
    }
}

impl Common {
    /// Appends consecutive entries, `bytes` in weight, to the log and to the staged write.
    pub(crate) fn append_run(&mut self, entries: Entries, bytes: usize) {
        self.writes.append(entries.clone());
        self.log.append(entries, bytes);
    }

    /// Appends entries that may include memberships. A membership is in force from its append on (thesis,
    /// section 4.1).
    pub(crate) fn append_entries(&mut self, entries: Entries) {
        let mut bytes = 0_usize;
        for entry in &entries {
            bytes = bytes.saturating_add(entry.weight());
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.append(entry.id.index, Arc::clone(membership));
            }
        }
        self.append_run(entries, bytes);
    }

    /// Truncates the log from `index` on: a tail left by another leader.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        self.log.truncate_from(index);
        self.writes.truncate_from(index);
        self.memberships.truncate_from(index);
    }
}

impl Node {
    /// A write is durable: releases the votes, acknowledgements and commits that waited for it.
    pub(crate) fn on_persisted(&mut self, seq: WriteSeq, effects: &mut Effects) {
        let common = &mut self.common;
        let Some(last) = common.writes.persisted(common.now, seq) else { return };
        common.log.persisted_to(last);
        if common.writes.is_idle() && common.commit_due.is_some() {
            common.commit_due = None; // The idle time starts again now.
        }
        common.release_grant(effects);
        match &mut self.role {
            Role::Follower(follower) => Following { common, follower }.acknowledge_durable(effects),
            Role::PreCandidate(_) => {}
            Role::Candidate(_) => self.count_own_vote(effects),
            Role::Leader(leader) => Leading { common, leader }.advance_leader_commit(effects),
        }
    }
}
