//! Answers to tickets: at once, or once the entry at a proposal's index is applied.

use raftkit_core::{Done, Input, LogIndex, Outcome, Term, Time};

use super::Replica;
use crate::{Answer, AppliedBatch, ChangeError, Committed, NotDone, Output, TransferError};

impl Replica {
    pub(super) fn done(&mut self, Done { ticket, outcome }: Done, out: &mut Vec<Output>) {
        let is_change = self.changes.remove(&ticket);
        let answer = match outcome {
            // A change is done once it is committed: the state machine has no part in it.
            Outcome::Committed(id) if is_change => Answer::Changed(Ok(id)),
            Outcome::Unknown(_) if is_change => Answer::InDoubt,
            // After the end nothing is applied any more that could tell.
            Outcome::Committed(_) | Outcome::Unknown(_) if self.ended => Answer::InDoubt,
            // Answered when an entry is applied at this index: ours, or the one that took its place.
            Outcome::Committed(id) | Outcome::Unknown(id) => {
                self.awaiting.insert((id.index, id.term), ticket);
                return;
            }
            Outcome::ReadAt(index) => Answer::ReadAt(index),
            Outcome::Transferred(node) => Answer::Transferred(Ok(node)),
            Outcome::TransferFailed => Answer::Transferred(Err(TransferError::Failed)),
            Outcome::Conflict(id) => Answer::Changed(Err(ChangeError::Conflict(id))),
            Outcome::Refused(why) => Answer::Changed(Err(ChangeError::Refused(why))),
            Outcome::NotLeader(hint) => Answer::NotDone(NotDone::NotLeader(hint)),
            Outcome::Overloaded => Answer::NotDone(NotDone::Overloaded),
            Outcome::Stopped => Answer::NotDone(NotDone::Stopped),
        };
        out.push(Output::Answer { ticket, answer });
    }

    pub(super) fn note_applied(&mut self, now: Time, batch: AppliedBatch, out: &mut Vec<Output>) {
        if batch.through > self.durable {
            self.unpersisted_since.get_or_insert(now);
        }
        while let Some((last, bytes)) = self.unapplied.front()
            && *last <= batch.through
        {
            self.unapplied_bytes -= bytes;
            self.unapplied.pop_front();
        }
        let mut responses = batch.responses.into_iter().peekable();
        while let Some(entry) = self.awaiting.first_entry() {
            let (index, term) = *entry.key();
            if index > batch.through {
                break;
            }
            let ticket = entry.remove();
            while responses.next_if(|(id, _)| id.index < index).is_some() {}
            let answer = match responses.peek() {
                Some((id, response)) if id.index == index && id.term == term => {
                    Answer::Committed(Committed { id: *id, response: response.clone() })
                }
                // Another leader's entry is committed at this index, so ours is not in the log and never will be.
                Some((id, _)) if id.index == index => Answer::NotDone(NotDone::NotLeader(self.node.leader())),
                Some(_) | None => Answer::InDoubt,
            };
            out.push(Output::Answer { ticket, answer });
        }
        self.core(now, Input::Applied(batch.through), out);
    }

    /// Answers the proposals that a snapshot covers as in doubt: the snapshot does not say which entries it includes.
    pub(super) fn skip_answers(&mut self, through: LogIndex, out: &mut Vec<Output>) {
        let later = self.awaiting.split_off(&(through.next(), Term(0)));
        for ticket in std::mem::replace(&mut self.awaiting, later).into_values() {
            out.push(Output::Answer { ticket, answer: Answer::InDoubt });
        }
    }
}
