//! Forming a cluster, simulated: servers on disks that lose power, over a network that loses and delays; some start late, and one
//! may lose its data folder. No second cluster ever has a quorum, and in the end there is one that has.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod servers;

use std::collections::{BTreeMap, BTreeSet};

use raftkit_core::{ClusterId, NodeId};
use raftkit_replica::{Founding, Outlook, Place, Seen, Sight};
use servers::{Rng, Server, address};

const MS: u64 = 1000;
const SECOND: u64 = 1000 * MS;
/// Pause between two greetings at one address, as in the server.
const PAUSE: u64 = 50 * MS;
/// Time after which a question without an answer counts as unanswered.
const NO_ANSWER: u64 = SECOND;
/// Time within which a cluster must have formed once faults have ended.
const FORMS_WITHIN: u64 = 20 * SECOND;

#[derive(Clone, Copy, Debug)]
enum Question {
    Greeting,
    Founding,
}

/// The answer to a question; none if no server has answered.
#[derive(Debug)]
enum Answer {
    Greeting(Option<Seen>),
    Founding(Option<Founding>),
}

/// A question of one process to the server at an address.
#[derive(Clone, Copy, Debug)]
struct Ask {
    from: NodeId,
    life: u64,
    to: NodeId,
    question: Question,
}

#[derive(Debug)]
enum Happening {
    Start(NodeId),
    Ask(Ask),
    Asked(Ask),
    Answered(Ask, Answer),
    Crash(NodeId),
    Wipe(NodeId),
}

struct World {
    rng: Rng,
    now: u64,
    events: BTreeMap<(u64, u64), Happening>,
    planned: u64,
    servers: BTreeMap<NodeId, Server>,
    /// Time at which faults end.
    calm_at: u64,
    delay_max: u64,
    wipes: bool,
    /// The cluster of which a quorum has been there at one time, so that it may have committed something.
    established: Option<ClusterId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ids: Vec<NodeId> = (1..=rng.pick(&[3, 3, 4, 5])).map(NodeId).collect();
        let servers = ids.iter().map(|id| (*id, Server::new(*id, seed, ids.len()))).collect();
        let mut world = Self {
            delay_max: rng.pick(&[2 * MS, 50 * MS, 3 * SECOND]),
            calm_at: (2 + rng.below(6)) * SECOND,
            wipes: rng.one_in(3),
            rng,
            now: 0,
            events: BTreeMap::new(),
            planned: 0,
            servers,
            established: None,
        };
        for id in &ids {
            let latest = if world.rng.one_in(3) { world.calm_at } else { 50 * MS };
            world.at_random(latest, Happening::Start(*id));
            for _ in 0..world.rng.below(4) {
                world.at_random(world.calm_at, Happening::Crash(*id));
            }
        }
        if world.wipes {
            let id = world.rng.pick(&ids);
            world.at_random(world.calm_at, Happening::Wipe(id));
        }
        world
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.planned += 1;
        self.events.insert((at, self.planned), happening);
    }

    fn at_random(&mut self, latest: u64, happening: Happening) {
        let at = self.now + self.rng.below(latest);
        self.at(at, happening);
    }

    fn run(&mut self) {
        let end = self.calm_at + FORMS_WITHIN;
        while let Some(((at, _), happening)) = self.events.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            self.happens(happening);
            self.check();
        }
        let cluster = self.established.expect("a cluster has formed");
        for server in self.servers.values().filter(|_| !self.wipes) {
            let formed = server.formed.as_ref().map(|(cluster, _)| *cluster);
            assert_eq!(formed, Some(cluster), "{} belongs to the cluster", server.id);
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Start(id) => self.start(id),
            Happening::Ask(ask) => self.carry(Happening::Asked(ask), ask),
            Happening::Asked(ask) => {
                let server = &self.servers[&ask.to];
                let answer = match ask.question {
                    Question::Greeting => Answer::Greeting(server.greeted()),
                    Question::Founding => Answer::Founding(server.founding()),
                };
                self.carry(Happening::Answered(ask, answer), ask);
            }
            Happening::Answered(ask, answer) => self.answered(ask, answer),
            Happening::Crash(id) => {
                let kill = self.rng.one_in(3);
                self.server(id).crash(kill);
                self.restart_if_down(id);
            }
            Happening::Wipe(id) => {
                let store = self.rng.bits();
                self.server(id).wipe(store);
                self.restart_if_down(id);
            }
        }
    }

    fn server(&mut self, id: NodeId) -> &mut Server {
        self.servers.get_mut(&id).unwrap()
    }

    fn is_calm(&self) -> bool {
        self.now >= self.calm_at
    }

    fn start(&mut self, id: NodeId) {
        if self.servers[&id].runs() {
            return;
        }
        let power_cut = self.power_cut(90);
        self.server(id).start(power_cut);
        self.restart_if_down(id);
        let life = self.servers[&id].life;
        if self.server(id).looking(life).is_some() {
            let others: Vec<NodeId> = self.servers.keys().copied().filter(|other| *other != id).collect();
            for to in others {
                let ask = Ask { from: id, life, to, question: Question::Greeting };
                self.at(self.now, Happening::Ask(ask));
            }
        }
    }

    /// Draws the call to the disk in which the power is cut, for some starts and formings.
    fn power_cut(&mut self, calls: u64) -> Option<u64> {
        (!self.is_calm() && self.rng.one_in(3)).then(|| self.rng.below(calls))
    }

    fn restart_if_down(&mut self, id: NodeId) {
        if !self.servers[&id].runs() {
            self.at_random(SECOND, Happening::Start(id));
        }
    }

    /// Sends a question or an answer. If it is lost, the question has no answer.
    fn carry(&mut self, happening: Happening, ask: Ask) {
        if !self.is_calm() && self.rng.one_in(6) {
            let none = match ask.question {
                Question::Greeting => Answer::Greeting(None),
                Question::Founding => Answer::Founding(None),
            };
            return self.at(self.now + NO_ANSWER, Happening::Answered(ask, none));
        }
        let latest = if self.is_calm() { 2 * MS } else { self.delay_max };
        self.at_random(latest, happening);
    }

    fn answered(&mut self, ask: Ask, answer: Answer) {
        let Ask { from, life, to, .. } = ask;
        let store = self.servers[&from].store;
        let Some(forming) = self.server(from).looking(life) else { return };
        let next = match answer {
            Answer::Greeting(seen) => forming.saw(&address(to), seen),
            Answer::Founding(founding) => {
                if let Some(Place::Member { cluster, membership }) = founding.map(|it| it.place(from, store))
                {
                    let power_cut = self.power_cut(12);
                    self.server(from).form(cluster, membership, power_cut);
                    return self.restart_if_down(from);
                }
                Sight::Noted
            }
        };
        match forming_outlook(self.server(from), life) {
            Some(Outlook::Found(membership)) if next == Sight::Noted => {
                let (cluster, power_cut) = (ClusterId(self.rng.bits().into()), self.power_cut(12));
                self.server(from).form(cluster, membership, power_cut);
                self.restart_if_down(from);
            }
            Some(_) | None => match next {
                Sight::Ask => self.at(self.now, Happening::Ask(Ask { question: Question::Founding, ..ask })),
                Sight::Noted => {
                    self.at(self.now + PAUSE, Happening::Ask(Ask { question: Question::Greeting, ..ask }));
                }
            },
        }
    }

    /// Checks that servers belong to clusters that name them, and that only one cluster has ever had a quorum.
    fn check(&mut self) {
        let mut sizes: BTreeMap<ClusterId, usize> = BTreeMap::new();
        for server in self.servers.values() {
            if let Some((cluster, membership)) = &server.formed {
                let named = membership.store(server.id) == Some(server.store);
                assert!(named, "{} belongs to a cluster that does not name its folder", server.id);
                *sizes.entry(*cluster).or_default() += 1;
            }
        }
        assert!(self.wipes || sizes.len() <= 1, "two clusters: {sizes:?}");
        let quorum: BTreeSet<ClusterId> =
            sizes.into_iter().filter(|(_, size)| 2 * size > self.servers.len()).map(|(id, _)| id).collect();
        for cluster in quorum {
            let established = *self.established.get_or_insert(cluster);
            assert_eq!(established, cluster, "a second cluster has a quorum");
        }
    }
}

fn forming_outlook(server: &mut Server, life: u64) -> Option<Outlook> {
    server.looking(life).map(|forming| forming.decide())
}

#[test]
fn servers_form_one_cluster_whatever_is_lost_on_the_way() {
    for seed in 0..200 {
        let caught = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(caught.is_ok(), "seed {seed} fails");
    }
}
