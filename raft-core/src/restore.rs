//! Starting a node from the state of its log, in O(terms), and refusing a state that contradicts itself.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::common::Common;
use crate::election::{Ballot, CampaignTimer};
use crate::heal::Condition;
use crate::log::Log;
use crate::membership::MembershipHistory;
use crate::promise::Promise;
use crate::raft::{COUNT_MAX, Node};
use crate::read_index::ForwardedReads;
use crate::rng::Rng;
use crate::role::{Follower, Role};
use crate::standstill::Standstill;
use crate::term_runs::TermRuns;
use crate::writes::Writes;
use crate::{
    Config, HardState, Health, LogId, LogIndex, RestoreError, Restored, RoleChange, RoleName, Round, StoreId,
    Term, Time,
};

impl Node {
    /// A follower that continues from the state of its log, at time `now`.
    ///
    /// # Errors
    /// The settings are inconsistent, or the state contradicts itself, which means that something was lost.
    pub fn restore(config: Config, state: Restored, now: Time) -> Result<Self, RestoreError> {
        config.validate()?;
        let (applied, commit) = check_restored(&state)?;
        let Restored { base, term_runs, last, memberships, hard_state, .. } = state;
        let memberships: Vec<_> = memberships.into_iter().map(|(at, it)| (at, Arc::new(it))).collect();
        // A cluster is founded with an entry of term 1 before any hard state exists, so the term comes from
        // the entry.
        let term = if base.id == LogId::GENESIS { hard_state.term.max(Term(1)) } else { hard_state.term };
        // A damaged log may have lost committed entries. The leader tells again how far the log is committed.
        let hard_state = HardState { term, commit: hard_state.commit.min(last), ..hard_state };
        let bound = hard_state.promise.max(config.leader_timeout);
        let log = Log::restore(base.id, TermRuns::new(term_runs), last, config.tail_bytes_max);
        let reported = RoleChange { role: RoleName::Follower, term: hard_state.term, leader: None };
        let common = Common {
            rng: Rng::new(&config),
            now,
            term,
            ballot: Ballot { vote: hard_state.vote, ..Ballot::default() },
            log,
            memberships: MembershipHistory::new((base.id.index, Arc::new(base.membership)), memberships),
            commit,
            handed_out: applied,
            applied,
            writes: Writes::restore(hard_state),
            commit_due: None,
            // A promise given right before the restart, under whatever setting, is honoured.
            promise: Promise {
                until: now.after(bound),
                longest: hard_state.promise,
                lower_at: (hard_state.promise > config.leader_timeout).then(|| now.after(bound)),
            },
            leader_heard: None,
            standstill: Standstill::default(),
            campaign: CampaignTimer {
                at: now,
                delay: (config.leader_timeout, config.leader_timeout),
                delay_of: None,
            },
            health: Condition::new(hard_state.health),
            incarnations: BTreeMap::new(),
            last_number: first_number(config.store),
            last_round: Round(0),
            backlog: crate::backlog::Backlog::new(config.commit_budget),
            transfer: None,
            forwarded: ForwardedReads::default(),
            config,
        };
        let role = Role::Follower(Follower::default());
        let mut node = Self { common, role, reported, reported_for: None, ended: false };
        node.reported = node.role_change();
        node.common.wait_for_leader();
        Ok(node)
    }
}

/// The first request number. A wiped node starts again at incarnation 1, and an answer to a request from
/// before the wipe must not be taken for an answer to a new one.
fn first_number(store: StoreId) -> u64 {
    // Forty random bits, with room for the numbers of one incarnation below them.
    let bits = store.0 & 0xFF_FFFF_FFFF;
    u64::try_from(bits).unwrap_or_default() << 22
}

/// Checks the state of the log. Returns the applied index and the commit index to start with.
fn check_restored(state: &Restored) -> Result<(LogIndex, LogIndex), RestoreError> {
    let (base, last, term) = (state.base.id, state.last, state.hard_state.term);
    if last.0 > COUNT_MAX || term.0 > COUNT_MAX {
        return Err(RestoreError::TooLarge { term, last });
    }
    if last < base.index {
        return Err(RestoreError::LastBelowBase { last, base });
    }
    let mut log_term = base.term;
    let mut next = base.index.next();
    for (at, run) in state.term_runs.iter().enumerate() {
        let in_place = if at == 0 {
            run.first == next && run.term >= log_term
        } else {
            run.first > next && run.term > log_term
        };
        if !in_place || run.first > last {
            return Err(RestoreError::TermRuns { base, last, at: run.first });
        }
        (log_term, next) = (run.term, run.first);
    }
    if state.term_runs.is_empty() && last > base.index {
        return Err(RestoreError::TermRuns { base, last, at: next });
    }
    let mut before = base.index;
    for (at, _) in &state.memberships {
        if *at <= before || *at > last {
            return Err(RestoreError::Memberships { at: *at, last });
        }
        before = *at;
    }
    let founded = base == LogId::GENESIS && last == base.index;
    if term < log_term && !founded {
        return Err(RestoreError::TermBelowLog { term, log: log_term });
    }
    if state.hard_state.commit > last && state.hard_state.health == Health::Sound {
        return Err(RestoreError::CommitBeyondLog { commit: state.hard_state.commit, last });
    }
    if state.applied > last {
        return Err(RestoreError::AppliedBeyondLog { applied: state.applied, last });
    }
    // The founding entry does not change the state machine.
    let applied = if base == LogId::GENESIS { state.applied.max(base.index) } else { state.applied };
    if applied < base.index {
        return Err(RestoreError::AppliedBelowBase { applied, base });
    }
    Ok((applied, state.hard_state.commit.min(last).max(applied)))
}
