//! Settings that differ between nodes and change at restarts.

use std::time::Duration;

use raftkit_core::invariants::Before;
use raftkit_core::{Body, Config, Effects, NodeId};

use crate::injected::Fault;
use crate::marks::Mark;
use crate::world::{World, draw_config};

/// The leader time-outs used, in milliseconds.
pub const TIMEOUTS: [u64; 5] = [100, 250, 500, 1000, 2000];

impl World {
    /// Chooses the settings for a start: perhaps new ones, or the usual ones once the faults have ended.
    pub fn choose_settings(&mut self, id: NodeId) {
        if self.healed {
            let usual = self.usual.clone();
            return self.set(id, &usual);
        }
        if self.chance.happens(self.faults.settings) {
            let small = self.small;
            let mut config = draw_config(&mut self.chance, small);
            let timeout = self.chance.pick(&TIMEOUTS);
            set_timeout(&mut config, timeout);
            self.inject(
                Fault::Settings,
                format_args!("{id} has a leader time-out of {timeout} ms from now on"),
            );
            self.set(id, &config);
        }
    }

    /// Sets the leader time-out for a node's next start, in milliseconds, and the settings derived from it.
    pub fn give_timeout(&mut self, id: NodeId, timeout: u64) {
        self.inject(Fault::Settings, format_args!("{id} is to have a leader time-out of {timeout} ms"));
        set_timeout(&mut self.host(id).config, timeout);
    }

    /// True when the operator has to restart a node so that all have the same settings again.
    pub fn has_other_settings(&self, id: NodeId) -> bool {
        let config = &self.hosts[&id].config;
        *config != like(config, &self.usual)
    }

    fn set(&mut self, id: NodeId, settings: &Config) {
        let config = &mut self.host(id).config;
        *config = like(config, settings);
    }

    pub fn observe_promise(&mut self, id: NodeId, before: &Before, effects: &Effects) {
        let host = &self.hosts[&id];
        let node = host.node.as_ref().expect("it was given an input");
        let (timeout, written) = (host.config.leader_timeout, host.disk.view.hard.promise);
        for hard in effects.writes.iter().filter_map(|write| write.hard_state) {
            self.marks
                .hit_if(hard.promise > written && before.term() > raftkit_core::Term(1), Mark::PromiseRaised);
            self.marks.hit_if(hard.promise < written, Mark::PromiseOutlived);
        }
        let withheld = effects.messages.iter().any(|message| match &message.body {
            Body::AppendEntriesResponse(answer) => {
                answer.promise < timeout
                    && answer.promise > Duration::ZERO
                    && node.leader() == Some(message.to)
            }
            Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::RequestVote(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntries(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => false,
        });
        self.marks.hit_if(withheld, Mark::PromiseWithheld);
    }
}

/// `settings` with the ids of `names`.
fn like(names: &Config, settings: &Config) -> Config {
    let Config { node, store, incarnation, seed, .. } = *names;
    Config { node, store, incarnation, seed, ..settings.clone() }
}

/// Sets a leader time-out and the settings derived from it. Clocks drift apart by less than a tenth of it.
fn set_timeout(config: &mut Config, timeout: u64) {
    config.leader_timeout = Duration::from_millis(timeout);
    config.election_timeout = Duration::from_millis(timeout.max(1000));
    config.heartbeat_interval = Duration::from_millis((timeout / 2).min(100));
    config.clock_error = config.leader_timeout / 10;
}
