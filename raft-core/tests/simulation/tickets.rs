//! The requests and their outcomes: exactly one for each ticket, of a matching kind, and true.

use std::collections::{BTreeMap, BTreeSet};

use raftkit_core::invariants::Before;
use raftkit_core::{
    ChangeRefused, LogId, LogIndex, Membership, NodeId, Outcome, Payload, ReadMode, Suffrage, Ticket,
};

use crate::changes::settled;
use crate::marks::{Mark, Marks};
use crate::truth::Truth;

/// The request behind a ticket.
#[derive(Clone, Debug)]
pub enum Asked {
    Proposal,
    /// A read that must see at least this index.
    Read {
        at_least: LogIndex,
        mode: ReadMode,
    },
    Transfer,
    Change {
        seen: LogId,
        target: Box<Membership>,
    },
}

#[derive(Default)]
pub struct Tickets {
    pub open: BTreeMap<NodeId, BTreeMap<Ticket, Asked>>,
    answered: BTreeSet<Ticket>,
    /// The tickets of committed changes.
    pub changed: BTreeSet<Ticket>,
    pub acknowledged: u64,
    pub reads: u64,
}

/// The circumstances of an outcome.
pub struct Moment<'a> {
    pub id: NodeId,
    /// The node before the input.
    pub before: &'a Before,
    /// The membership in force after it.
    pub after: &'a Membership,
}

impl Tickets {
    pub fn ask(&mut self, node: NodeId, ticket: Ticket, asked: Asked) {
        self.open.entry(node).or_default().insert(ticket, asked);
    }

    /// Forgets the open tickets of a process that has ended.
    pub fn forget(&mut self, node: NodeId) {
        self.open.remove(&node);
    }

    /// True when a transfer was requested from `node`.
    pub fn transfers(&self, node: NodeId) -> bool {
        self.open.get(&node).is_some_and(|open| open.values().any(|asked| matches!(asked, Asked::Transfer)))
    }

    pub fn check(
        &mut self,
        moment: &Moment<'_>,
        ticket: Ticket,
        outcome: Outcome,
        truth: &mut Truth,
        marks: &mut Marks,
    ) {
        assert!(self.answered.insert(ticket), "{ticket} was answered twice");
        let open = self.open.entry(moment.id).or_default();
        match open.remove(&ticket).expect("an answer to an open ticket") {
            Asked::Proposal => self.check_proposal(ticket, outcome, truth, marks),
            Asked::Read { at_least, mode } => self.check_read(moment, at_least, mode, outcome, truth, marks),
            Asked::Transfer => match outcome {
                Outcome::Transferred(_) => marks.hit(Mark::Transferred),
                Outcome::TransferFailed => marks.hit(Mark::TransferFailed),
                Outcome::NotLeader(_) | Outcome::Overloaded | Outcome::Stopped => {}
                Outcome::Committed(_)
                | Outcome::ReadAt(_)
                | Outcome::Unknown(_)
                | Outcome::Conflict(_)
                | Outcome::Refused(_) => panic!("{outcome:?} is no answer to a transfer"),
            },
            Asked::Change { seen, target } => {
                self.check_change(moment, ticket, (seen, &target), outcome, truth, marks);
            }
        }
    }

    fn check_proposal(&mut self, ticket: Ticket, outcome: Outcome, truth: &mut Truth, marks: &mut Marks) {
        match outcome {
            Outcome::Committed(id) => {
                let entry = truth.entry(id.index).expect("acknowledged, so committed");
                let command = Payload::Command(ticket.0.to_le_bytes().to_vec().into());
                assert_eq!(
                    (entry.id, &entry.payload),
                    (id, &command),
                    "acknowledged {ticket} as another entry"
                );
                truth.known = truth.known.max(id.index);
                self.acknowledged += 1;
            }
            Outcome::Unknown(_) => marks.hit(Mark::ProposalUnknown),
            Outcome::NotLeader(_) | Outcome::Overloaded | Outcome::Stopped => {
                marks.hit_if(outcome == Outcome::Overloaded, Mark::Overloaded);
                truth.undone.insert(ticket);
            }
            Outcome::ReadAt(_)
            | Outcome::Transferred(_)
            | Outcome::TransferFailed
            | Outcome::Conflict(_)
            | Outcome::Refused(_) => panic!("{outcome:?} is no answer to a proposal"),
        }
    }

    fn check_read(
        &mut self,
        moment: &Moment<'_>,
        at_least: LogIndex,
        mode: ReadMode,
        outcome: Outcome,
        truth: &mut Truth,
        marks: &mut Marks,
    ) {
        match outcome {
            Outcome::ReadAt(index) => {
                assert!(
                    index >= at_least,
                    "a read saw {index}, but {at_least} was known to be committed before"
                );
                assert!(truth.id(index).is_some(), "a read saw {index}, which is not committed");
                truth.known = truth.known.max(index);
                self.reads += 1;
                marks.hit_if(!moment.before.is_leader(), Mark::FollowerRead);
                marks.hit_if(mode == ReadMode::Lease && moment.before.is_leader(), Mark::LeaseRead);
            }
            Outcome::NotLeader(_) => marks.hit_if(moment.before.is_leader(), Mark::ReadLost),
            Outcome::Overloaded | Outcome::Stopped => {}
            Outcome::Committed(_)
            | Outcome::Unknown(_)
            | Outcome::Transferred(_)
            | Outcome::TransferFailed
            | Outcome::Conflict(_)
            | Outcome::Refused(_) => panic!("{outcome:?} is no answer to a read"),
        }
    }

    fn check_change(
        &mut self,
        moment: &Moment<'_>,
        ticket: Ticket,
        (seen, target): (LogId, &Membership),
        outcome: Outcome,
        truth: &Truth,
        marks: &mut Marks,
    ) {
        let current = moment.before.membership();
        let did_nothing =
            || assert!(is_promotion(current, moment.after), "{outcome:?}, and yet something was done");
        match outcome {
            Outcome::Committed(id) => {
                let committed =
                    truth.membership(id).unwrap_or_else(|| panic!("{id} is no committed membership"));
                assert!(
                    same(committed, target),
                    "{ticket} was answered with another membership: {committed:?}"
                );
                marks.hit_if(id == seen, Mark::ChangeOfNothing);
                self.changed.insert(ticket);
            }
            Outcome::Unknown(first) => {
                assert!(
                    truth.appended.contains_key(&first),
                    "{first} is no membership that was ever appended"
                );
                marks.hit(Mark::ChangeUnknown);
            }
            Outcome::Conflict(id) => {
                assert!(
                    id != seen && id == current.id(),
                    "no conflict: {id} is in force and {seen} was seen"
                );
                did_nothing();
                marks.hit(Mark::ChangeConflict);
            }
            Outcome::Refused(why) => {
                check_refused(why, moment.before, target);
                did_nothing();
                mark_refused(why, marks);
            }
            Outcome::NotLeader(_) | Outcome::Stopped => {
                assert!(
                    !moment.before.is_leader() || is_promotion(current, moment.after),
                    "nothing was to be done"
                );
            }
            Outcome::Overloaded | Outcome::ReadAt(_) | Outcome::Transferred(_) | Outcome::TransferFailed => {
                panic!("{outcome:?} is no answer to a change")
            }
        }
    }
}

/// True when the two differ by nothing but the promotion of learners.
fn is_promotion(before: &Membership, after: &Membership) -> bool {
    before.id() == after.id()
        || before.staging().iter().any(|id| {
            let promoted = before.clone().with(*id, before.members()[id].clone(), Suffrage::Voter);
            same(&promoted, after)
        })
}

/// True when both are equal but for their ids.
pub fn same(one: &Membership, two: &Membership) -> bool {
    one.members() == two.members()
        && one.voters() == two.voters()
        && one.outgoing() == two.outgoing()
        && one.staging() == two.staging()
}

/// Checks that a refusal gives the true reason.
fn check_refused(why: ChangeRefused, before: &Before, target: &Membership) {
    let current = before.membership();
    let holds = match why {
        ChangeRefused::InProgress => current.is_joint() || before.membership_index() > before.commit(),
        ChangeRefused::NotReady => true, // Only the leader knows.
        ChangeRefused::Joint => target.is_joint(),
        ChangeRefused::NoVoters => target.voters().is_empty(),
        ChangeRefused::Damaged { node } => {
            target.voters().contains(&node) && !current.voters().contains(&node)
        }
        ChangeRefused::StoreChanged { node } => {
            settled(current).voters().contains(&node)
                && target.contains(node)
                && target.store(node) != current.store(node)
        }
    };
    assert!(holds, "refused for {why:?}, which does not hold");
}

fn mark_refused(why: ChangeRefused, marks: &mut Marks) {
    marks.hit(match why {
        ChangeRefused::InProgress => Mark::ChangeInProgress,
        ChangeRefused::NotReady => Mark::ChangeNotReady,
        ChangeRefused::Joint | ChangeRefused::NoVoters => Mark::ChangeNonsense,
        ChangeRefused::StoreChanged { .. } => Mark::ChangeStore,
        ChangeRefused::Damaged { .. } => Mark::ChangeDamaged,
    });
}
