//! The promise `liveness`: once faults have ended a cluster must settle and serve every request.

use std::collections::BTreeSet;

use raftkit_core::{Health, NodeId, PeerState};
use raftkit_disk::Faults;

use crate::Mark;
use crate::checks::violation::Promise;
use crate::plan::script::Crash;
use crate::subject::Subject;
use crate::world::{MS, SECOND, World};

/// Time after which nothing may be kept for an unreachable peer any more, in microseconds. The log is kept for 30 s for a peer that
/// has installed a snapshot and gets no further. Then the peer needs another snapshot; its transfer is given up after 10 s
/// of silence, and the snapshot is removed 30 s later. Clocks may also be slow.
const GIVEN_UP: u64 = 80 * SECOND;

impl<S: Subject> World<S> {
    /// Ends all faults and starts every node that is down, except for a minority that may stay away.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.tell(|| "all faults end".to_owned());
        let crippled = self.settings.crippled == 1;
        let neutral = crate::Settings::default();
        let settings = &mut self.settings;
        (settings.loss, settings.duplicates, settings.reorder) =
            (neutral.loss, neutral.duplicates, neutral.reorder);
        (settings.slow, settings.split, settings.late) = (neutral.slow, neutral.split, neutral.late);
        (settings.stalls, settings.hiccups) = (neutral.stalls, neutral.hiccups);
        (settings.delay_us, settings.flush_us) = (neutral.delay_us, neutral.flush_us);
        (settings.link_kbps, settings.disk_kbps) = (neutral.link_kbps, neutral.disk_kbps);
        self.widen_all();
        if crippled {
            self.choose_away();
        }
        let away = self.away.clone();
        // Either nobody hears the nodes that stay away, or they hear nobody. In the second case they ask for pre-votes, which
        // must not disturb the others.
        let deaf = self.rng.permille(500);
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        self.network.heal(|_, _| false);
        for from in &away {
            for to in ids.iter().filter(|to| *to != from) {
                let (from, to) = if deaf { (to, from) } else { (from, to) };
                self.network.block(*from, *to, u64::MAX);
            }
        }
        self.lags.clear();
        let (now, usual_timeout) = (self.now, self.settings.leader_timeout_ms);
        for id in ids {
            let host = self.host(id);
            host.disk.clear_faults();
            host.disk.set_faults(Faults::default());
            host.disk.set_capacity(None);
            host.paused_until = host.paused_until.min(now);
            (host.stalled_until, host.held_until, host.trap) = (0, 0, None);
            host.hiccup_us = 0;
            let other_timeout = host.leader_timeout_ms != usual_timeout;
            if other_timeout {
                self.crash(id, Crash::Kill); // The operator gives it the usual one again.
            }
            if self.hosts[&id].process.is_none() {
                self.plan_start(id, 10 * MS);
            }
        }
    }

    /// Draws the minority that stays away, so that the others are a sound quorum.
    fn choose_away(&mut self) {
        let membership = self.truth.membership_as_of(self.truth.last()).clone();
        // It is not certain yet which membership will be in force.
        if membership.is_joint() || self.truth.to_come().len() > 1 {
            return;
        }
        let voters: Vec<NodeId> = membership.voters().iter().copied().collect();
        let most = voters.len().saturating_sub(1) / 2;
        for _ in 0..most {
            let id = self.rng.pick(&voters);
            let mut away = self.away.clone();
            away.insert(id);
            let bears = crate::checks::truth::is_quorum(&membership, |voter| {
                !away.contains(&voter)
                    && membership.store(voter).is_some_and(|store| self.hosts[&voter].is_sound(store))
            });
            if bears {
                self.away = away;
            }
        }
        if !self.away.is_empty() {
            let away = self.away.clone();
            self.hit(Mark::Crippled);
            self.tell(|| format!("these stay away: {away:?}"));
        }
    }

    /// Waits until the cluster has settled, and sends it every kind of request.
    pub(crate) fn check_liveness(&mut self) {
        self.heal();
        // Clients send requests for a while longer.
        self.run_until(self.now + 2 * SECOND);
        self.clients.resting = true;
        let end = self.now + self.settings.patience_ms * MS;
        while self.violation().is_none() && self.unsettled().is_some() && self.now < end {
            self.run_until(self.now + 100 * MS);
        }
        if self.violation().is_some() {
            return;
        }
        if let Some(why) = self.unsettled() {
            let what = format!("a healed cluster does not settle: {why}\n{}", self.describe());
            return self.ensure(Err((Promise::Liveness, what)));
        }
        self.probe();
        self.check_let_go();
    }

    /// Checks that a leader does not keep a snapshot and the log for an unreachable peer for ever.
    fn check_let_go(&mut self) {
        let waits = |world: &Self| {
            let leader = world.leader()?;
            let status = world.hosts[&leader].process.as_ref()?.service.replica().status();
            let waits = |(_, peer): (_, raftkit_core::PeerStatus)| peer.state == PeerState::Snapshot;
            status.peers.into_iter().any(waits).then_some((leader, status.term, status.base))
        };
        if self.violation().is_some() {
            return;
        }
        let Some((leader, term, _)) = waits(self) else { return };
        self.run_until(self.now + GIVEN_UP);
        let Some((_, _, base)) = waits(self).filter(|now| (now.0, now.1) == (leader, term)) else { return };
        let Some(process) = self.hosts[&leader].process.as_ref() else { return };
        let trailing = self.settings.trailing_logs;
        let kept = process.service.replica().durable().0.saturating_sub(base.index.0);
        if kept > trailing + (trailing / 8).clamp(1, 1024) {
            let what = format!(
                "{leader} keeps {kept} entries for a peer that is gone, {trailing} are asked for\n{}",
                self.describe()
            );
            self.ensure(Err((Promise::Bounded, what)));
        }
    }

    /// Checks that every node of a settled cluster serves writes and reads.
    fn probe(&mut self) {
        let led = self.leader().map(|id| (id, self.term_of(id)));
        let answered = self.clients.answered;
        let mut wanted = 0;
        // To the leader and back, and from there to a quorum and back.
        let patience = SECOND + 4 * (self.settings.ahead_us + self.settings.back_us);
        let members: Vec<NodeId> = self.present();
        for id in members {
            let number = self.rng.bits();
            let mut settings = self.settings.clone();
            (settings.reads, settings.conditional, settings.value_bytes) = (0, 0, 8);
            let (ask, request) = self.subject.ask(&mut self.clients.rng, &settings, number);
            let refused = self.marks.count(Mark::WriteOverloaded);
            self.probe_reads(id, &ask);
            self.ask_subject(id, None, ask, request);
            wanted += 4;
            // The nodes are asked one after the other, as the size of uncommitted entries has a limit.
            self.run_until(self.now + patience);
            if self.marks.count(Mark::WriteOverloaded) > refused {
                // A node counts forwarded writes that were given up before the faults ended as on their way for a moment longer.
                let number = self.rng.bits();
                let (ask, request) = self.subject.ask(&mut self.clients.rng, &settings, number);
                self.ask_subject(id, None, ask, request);
                self.run_until(self.now + patience);
            }
        }
        self.run_until(self.now + patience);
        let got = self.clients.answered - answered;
        if self.violation().is_none() && got != wanted {
            let open: Vec<_> = self.clients.open.keys().collect();
            let what = format!(
                "a settled cluster answered {got} of {wanted} requests well; open are {open:?}\n{}",
                self.describe()
            );
            return self.ensure(Err((Promise::Liveness, what)));
        }
        let leads = self.leader().map(|id| (id, self.term_of(id)));
        // With priorities leadership may still move to a node of a higher one.
        if leads != led && self.settings.priorities == 0 {
            let what =
                format!("a settled cluster was led by {led:?} and now is by {leads:?}: somebody disturbs it");
            return self.ensure(Err((Promise::Liveness, what)));
        }
        if let Some(why) = self.unsettled() {
            let what = format!("a settled cluster is so no more: {why}\n{}", self.describe());
            self.ensure(Err((Promise::Liveness, what)));
        }
        self.check_twin();
    }

    fn term_of(&self, id: NodeId) -> Option<raftkit_core::Term> {
        Some(self.hosts.get(&id)?.process.as_ref()?.service.replica().node().term())
    }

    /// Members that do not stay away.
    fn present(&self) -> Vec<NodeId> {
        let Some(membership) = self.leader().and_then(|id| self.membership_of(id)) else { return Vec::new() };
        membership.members().keys().copied().filter(|id| !self.away.contains(id)).collect()
    }

    /// Returns the reason why the cluster is not settled yet; none if it is settled.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let down = |id: &&NodeId| self.hosts[id].process.is_none() && !self.away.contains(id);
        if let Some(id) = self.hosts.keys().find(down) {
            return Some(format!("{id} is down"));
        }
        // A disk may still hang in a call that began before faults ended. The next write waits for it, which can make a leader
        // step down.
        let hangs = |id: &NodeId| self.hosts[id].process.as_ref().is_some_and(|process| process.hangs());
        if let Some(id) = self.present().into_iter().find(hangs) {
            return Some(format!("the disk of {id} still hangs"));
        }
        let leader = self.leader().filter(|id| !self.away.contains(id));
        let Some(leader) = leader else { return Some("nobody leads".to_owned()) };
        if let Some(why) = self.unconnected(&self.present()) {
            return Some(why);
        }
        let node = self.hosts[&leader].process.as_ref()?.service.replica().node();
        let membership = node.membership();
        let strangers: Vec<NodeId> =
            self.strangers(membership).into_iter().filter(|id| !self.away.contains(id)).collect();
        let returning = self
            .hosts
            .values()
            .find(|host| host.returning && !self.away.contains(&host.id))
            .map(|host| host.id);
        let staging: BTreeSet<_> =
            membership.staging().iter().filter(|id| !self.away.contains(id)).copied().collect();
        let rules = [
            (membership.is_joint(), "the membership is joint".to_owned()),
            (node.membership_index() > node.commit(), "the membership is not committed".to_owned()),
            // A disk that hung when faults ended may delay its commit, and it counts towards the limit on uncommitted entries.
            (
                self.hosts[&leader].view.last().index > node.commit(),
                "the leader's log is not all committed".to_owned(),
            ),
            (
                !strangers.is_empty(),
                format!("{strangers:?} have other data folders than the membership names"),
            ),
            (returning.is_some(), format!("{returning:?} is not back")),
            (!staging.is_empty(), format!("{staging:?} are not promoted")),
            (!self.clients.open.is_empty(), format!("{} requests are not answered", self.clients.open.len())),
        ];
        let broken = rules.into_iter().find(|(broken, _)| *broken).map(|(_, why)| why);
        broken.or_else(|| self.present().into_iter().find_map(|id| self.lagging(id, leader)))
    }

    fn lagging(&self, id: NodeId, leader: NodeId) -> Option<String> {
        let host = self.hosts.get(&id)?;
        let Some(process) = host.process.as_ref() else { return Some(format!("{id} is down")) };
        let replica = process.service.replica();
        let node = replica.node();
        let rules = [
            (node.leader() != Some(leader), "follows another leader or none"),
            (node.health() == Health::Damaged, "has not healed"),
            (node.commit() != self.truth.last(), "is behind"),
            (replica.applied() != node.commit(), "has not applied all"),
        ];
        rules.into_iter().find(|(broken, _)| *broken).map(|(_, why)| format!("{id} {why}"))
    }

    /// Describes every node in one line each, for the report of a violation.
    pub(crate) fn describe(&self) -> String {
        let line = |id: &NodeId| {
            let host = &self.hosts[id];
            let Some(process) = &host.process else { return format!("  {id}: down") };
            let status = process.service.replica().status();
            format!(
                "  {id}: {:?} in term {}, leader {:?}, log {} to {}, commit {}, applied {}, durable {}, {:?}, members {:?}",
                status.role,
                status.term,
                status.leader,
                status.base,
                status.last,
                status.commit,
                status.applied,
                host.durable.last(),
                status.health,
                status.membership.members().keys().map(|id| id.0).collect::<Vec<_>>()
            )
        };
        self.hosts.keys().map(line).collect::<Vec<_>>().join("\n")
    }
}
