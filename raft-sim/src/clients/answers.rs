//! Checks of the answers that clients are given: each must be true, given once, and in time.

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId};
use raftkit_replica::{
    ChangeError, ClientRequestId, Committed, Consistency, ProposeError, ReadRefused, Reply, ServiceEvent,
};

use super::{Open, What};
use crate::Mark;
use crate::checks::violation::{Checked, Promise, promise};
use crate::run::trace::kind;
use crate::subject::{Ended, Outcome, Subject};
use crate::world::{Happening, World};

impl<S: Subject> World<S> {
    /// Handles an answer of a node's service to a client.
    pub(crate) fn replied(&mut self, node: NodeId, request: ClientRequestId, reply: Reply) {
        let life = self.hosts[&node].life;
        let Some(process) = self.host(node).process.as_mut() else { return };
        if process.forgotten.contains(&request) {
            return;
        }
        if !process.open.contains_key(&request) {
            let what = format!("{node} answered request {} which is not open: {reply:?}", request.0);
            return self.ensure(Err((Promise::OneAnswer, what)));
        }
        self.note(kind::CLIENT, node, &[request.0, 1 << 40]);
        self.tell(|| format!("{node} answers ({}): {reply:?}", request.0));
        if matches!(reply, Reply::ReadNow { .. }) {
            let at = self.now + 10 + self.clients.rng.below(150);
            return self.at(at, Happening::Look(node, life, request));
        }
        if let Some(process) = self.host(node).process.as_mut() {
            process.open.remove(&request);
        }
        let Some(open) = self.clients.open.remove(&request) else { return };
        let client = open.client;
        let explained = self.check_doubt(node, open.calm, &reply);
        let checked = explained.and_then(|()| self.finished(node, request, open, reply));
        self.ensure(checked);
        self.next_turn(client);
    }

    /// Checks an answer by the kind of its request, and hands its outcome to the subject.
    fn finished(&mut self, node: NodeId, request: ClientRequestId, open: Open<S>, reply: Reply) -> Checked {
        let Open { client, what, called, known: _, shown, calm: _ } = open;
        let client = client.unwrap_or(1000 + request.0);
        match (what, reply) {
            (What::Write { ask, command, .. }, Reply::Proposed(Ok(Committed { id, response }))) => {
                self.check_written(node, &command, id, &response)?;
                self.hit(Mark::WriteCommitted);
                self.counts.writes += 1;
                self.clients.answered += 1;
                self.truth.known = self.truth.known.max(id.index);
                let (outcome, returned) = (Outcome::Written(id, response), Some(self.now));
                self.subject.ended(Ended { client, ask, called, returned, outcome, stale: false });
            }
            (What::Write { ask, command, .. }, Reply::Proposed(Err(ProposeError::Unknown(_)))) => {
                self.hit(Mark::WriteUnknown);
                self.counts.doubts += 1;
                self.clients.unknown.insert(command);
                let outcome = Outcome::Unknown;
                self.subject.ended(Ended { client, ask, called, returned: None, outcome, stale: false });
            }
            (What::Write { command, once, .. }, Reply::Proposed(Err(why))) => {
                self.marks.hit_if(why == ProposeError::NoLeader, Mark::WriteNoLeader);
                self.marks.hit_if(why == ProposeError::Overloaded, Mark::WriteOverloaded);
                if once {
                    self.check_undone(node, command, &why)?;
                }
            }
            (What::Read { ask, found: Some((found, at)), .. }, Reply::Show { .. }) => {
                self.check_shown(node, at, shown)?;
                let (outcome, returned) = (Outcome::Found(found), Some(self.now));
                self.read_done(Ended { client, ask, called, returned, outcome, stale: true });
            }
            (What::Read { .. }, Reply::ReadRefused(why)) => {
                self.marks.hit_if(why == ReadRefused::NotConfirmed, Mark::ReadNotConfirmed);
            }
            (What::Transfer, Reply::Transferred(Ok(_))) => self.hit(Mark::Transferred),
            (What::Transfer, Reply::Transferred(Err(_))) => self.hit(Mark::TransferFailed),
            (What::Change, Reply::Changed(Ok(_))) => {
                self.counts.changes += 1;
                self.hit(Mark::Changed);
            }
            (What::Change, Reply::Changed(Err(why))) => self.change_failed(node, request, called, &why)?,
            (_, reply) => {
                return Err((
                    Promise::OneAnswer,
                    format!("{node} answers request {} with {reply:?}", request.0),
                ));
            }
        }
        Ok(())
    }

    /// Checks that a write whose client was told "not done" is not committed; a later commit of it is found by `Truth`.
    fn check_undone(&mut self, node: NodeId, command: Bytes, why: &ProposeError) -> Checked {
        let committed = self.truth.commands.get(&command).copied();
        self.truth.undone.insert(command);
        promise!(
            TrueAnswer,
            committed.is_none(),
            "{node} says that nothing was done ({why}), and it is committed as {}",
            committed.unwrap_or_default()
        );
        Ok(())
    }

    /// Checks that a stale read shows nothing older than `shown`, what stale reads on this node had shown when the read was
    /// sent. Two reads that wait at the same time may be answered in either order, as each reads the state at a time of its own.
    fn check_shown(&mut self, node: NodeId, at: LogId, shown: LogIndex) -> Checked {
        let host = self.host(node);
        host.shown = host.shown.max(at.index);
        promise!(
            StaleRead,
            at.index >= shown,
            "a stale read on {node} shows {at}, and one that was answered before it was asked for showed {shown}"
        );
        self.marks.hit_if(at.index < self.truth.last(), Mark::StaleIsOld);
        self.hit(Mark::ReadStale);
        Ok(())
    }

    fn change_failed(
        &mut self,
        node: NodeId,
        request: ClientRequestId,
        called: u64,
        why: &ChangeError,
    ) -> Checked {
        if !matches!(why, ChangeError::Unknown(_)) {
            self.truth.forget_asked(request);
        } else if let Some(seen) = self.truth.asked_after(request) {
            self.check_unknown_change(node, called, seen)?;
        }
        self.hit(Mark::ChangeRefused);
        Ok(())
    }

    /// Checks that an acknowledged write is committed as the named entry, and that its answer is right.
    fn check_written(&self, node: NodeId, command: &Bytes, id: LogId, response: &Bytes) -> Checked {
        let known = self.truth.at(id.index).filter(|known| known.entry.id == id);
        let Some(known) = known else {
            return Err((
                Promise::TrueAnswer,
                format!("{node} acknowledged a write as {id}, which is not committed"),
            ));
        };
        let same = matches!(&known.entry.payload, raftkit_core::Payload::Command(bytes) if bytes == command);
        promise!(TrueAnswer, same, "{node} acknowledged a write as {id}, which is another one");
        promise!(
            TrueAnswer,
            known.response == *response,
            "{node} answered the write {id} with {response:?}, and the answer is {:?}",
            known.response
        );
        Ok(())
    }

    /// Lets a client read the state, after the service has said that it may.
    pub(crate) fn client_looks(&mut self, node: NodeId, life: u64, request: ClientRequestId) {
        let Some(process) = self.process(node, life) else { return };
        if !process.open.contains_key(&request) {
            return;
        }
        let Some(Open { what: What::Read { ask, consistency, .. }, .. }) = self.clients.open.get(&request)
        else {
            return;
        };
        let (ask, consistency) = (ask.clone(), *consistency);
        let reader = self.hosts[&node].process.as_ref().map(|process| process.reader.clone());
        let Some(reader) = reader else { return };
        let (Ok((digest, whole)), Ok((found, at))) = (S::look(&reader), S::find(&reader, &ask)) else {
            // The disk fails the read, so that the client is given the state machine's error.
            if let Some(process) = self.process(node, life) {
                process.open.remove(&request);
                process.forgotten.insert(request);
            }
            self.give(node, ServiceEvent::Forget(request));
            return self.lost(request);
        };
        let checked = self.check_look(node, digest, whole);
        self.ensure(checked);
        if consistency == Consistency::Stale {
            if let Some(Open { what: What::Read { found: slot, .. }, .. }) =
                self.clients.open.get_mut(&request)
            {
                *slot = Some((found, at));
            }
            return self.give(node, ServiceEvent::Seen { request, at: at.index });
        }
        if let Some(process) = self.process(node, life) {
            process.open.remove(&request);
        }
        let Some(open) = self.clients.open.remove(&request) else { return };
        let fresh = at.index >= open.known;
        let checked = if fresh {
            Ok(())
        } else {
            let what = format!(
                "a {consistency:?} read on {node} sees {at}, and {} was known to be committed before it was asked",
                open.known
            );
            Err((Promise::FreshRead, what))
        };
        self.ensure(checked);
        self.truth.known = self.truth.known.max(at.index);
        self.hit(if consistency == Consistency::Default { Mark::ReadDefault } else { Mark::ReadConsistent });
        let follows = self.leader() != Some(node);
        self.marks.hit_if(follows, Mark::ReadByFollower);
        let client = open.client;
        let ended = Ended {
            client: client.unwrap_or(1000 + request.0),
            ask,
            called: open.called,
            returned: Some(self.now),
            outcome: Outcome::Found(found),
            stale: false,
        };
        self.read_done(ended);
        self.next_turn(client);
    }

    fn read_done(&mut self, ended: Ended<S>) {
        self.counts.reads += 1;
        self.clients.answered += 1;
        self.subject.ended(ended);
    }
}
