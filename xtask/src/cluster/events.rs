//! What happened between two looks at the cluster, and the line that tells it. Pure: looks in, lines out.

use std::fmt;

use super::status::Status;

/// Looks that a running node may leave unanswered before it is called silent: 2 s.
const SILENT_LOOKS: u32 = 8;
/// Looks without any leader before that is told: 2 s, longer than an ordinary election.
const LEADERLESS_LOOKS: u32 = 8;

/// One node at one look.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) id: u64,
    /// How the process that this xtask started ended, if it has ended.
    pub(crate) exit: Option<String>,
    /// The node's latest answer. It may come from a process that somebody else started in its place.
    pub(crate) answer: Option<Status>,
}

/// An event that is reported in a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Leader { id: u64, term: u64 },
    NoLeader { answering: usize, nodes: usize },
    Died { id: u64, exit: String },
    Silent { id: u64, ours: bool },
    Back { id: u64, role: String, ours: bool },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Leader { id, term } => write!(f, "node {id} leads (term {term})"),
            Event::NoLeader { answering, nodes } => {
                write!(f, "no leader: {answering} of {nodes} nodes answer")?;
                let quorum = nodes / 2 + 1;
                if *answering < quorum { write!(f, ", {quorum} are needed") } else { Ok(()) }
            }
            Event::Died { id, exit } => write!(f, "node {id} died ({exit})"),
            Event::Silent { id, ours: true } => write!(f, "node {id} does not answer, its process is there"),
            Event::Silent { id, ours: false } => write!(f, "node {id}, restarted by hand, is gone again"),
            Event::Back { id, role, ours: true } => write!(f, "node {id} answers again ({role})"),
            Event::Back { id, role, ours: false } => {
                write!(f, "node {id} is back ({role}), restarted by hand: only you stop it")
            }
        }
    }
}

/// What has been reported so far, so that each event is reported once.
#[derive(Debug)]
pub(crate) struct History {
    nodes: Vec<NodeHistory>,
    /// The newest leader that was reported, with its term.
    leader: Option<(u64, u64)>,
    leaderless_looks: u32,
}

#[derive(Debug, Default)]
struct NodeHistory {
    exited: bool,
    /// The process has ended; `answer` may still hold its last one.
    stale: bool,
    silent: bool,
    silent_looks: u32,
}

impl History {
    /// Starts from the look that the table of nodes shows: nothing before it needs a report.
    pub(crate) fn since(looks: &[Look]) -> Self {
        Self {
            nodes: looks.iter().map(|_| NodeHistory::default()).collect(),
            leader: leader_of(looks.iter()),
            leaderless_looks: 0,
        }
    }

    /// Returns the events since the last call. `looks` has the same nodes in the same order every time.
    pub(crate) fn observe(&mut self, looks: &[Look]) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.nodes.iter_mut().zip(looks).filter_map(|(node, look)| node.observe(look)).collect();
        let believed: Vec<&Look> =
            self.nodes.iter().zip(looks).filter(|(node, _)| !node.stale).map(|(_, look)| look).collect();
        let answering = believed.iter().filter(|look| look.answer.is_some()).count();
        match leader_of(believed.into_iter()) {
            Some(now) => {
                let newer = self.leader.is_none_or(|told| now.1 > told.1);
                let after_none = self.leaderless_looks >= LEADERLESS_LOOKS;
                self.leaderless_looks = 0;
                if newer || after_none {
                    self.leader = Some(now);
                    events.push(Event::Leader { id: now.0, term: now.1 });
                }
            }
            None => {
                self.leaderless_looks = self.leaderless_looks.saturating_add(1);
                if self.leaderless_looks == LEADERLESS_LOOKS {
                    events.push(Event::NoLeader { answering, nodes: looks.len() });
                }
            }
        }
        events
    }
}

impl NodeHistory {
    fn observe(&mut self, look: &Look) -> Option<Event> {
        if let (Some(exit), false) = (&look.exit, self.exited) {
            *self = Self { exited: true, stale: look.answer.is_some(), silent: true, silent_looks: 0 };
            return Some(Event::Died { id: look.id, exit: exit.clone() });
        }
        let ours = !self.exited;
        match &look.answer {
            None => {
                self.stale = false;
                self.silent_looks = self.silent_looks.saturating_add(1);
                let told = self.silent;
                self.silent |= self.silent_looks >= SILENT_LOOKS;
                (self.silent && !told).then_some(Event::Silent { id: look.id, ours })
            }
            Some(_) if self.stale => None,
            Some(status) => {
                self.silent_looks = 0;
                let told = std::mem::take(&mut self.silent);
                told.then(|| Event::Back { id: look.id, role: status.role.clone(), ours })
            }
        }
    }
}

/// Returns the leader and its term. If several nodes say that they lead, the one of the newest term: a leader that was cut off
/// goes on for a while.
fn leader_of<'a>(looks: impl Iterator<Item = &'a Look>) -> Option<(u64, u64)> {
    looks
        .filter_map(|look| look.answer.as_ref())
        .filter(|status| status.is_leader())
        .map(|status| (status.node, status.term))
        .max_by_key(|&(_, term)| term)
}

#[cfg(test)]
mod tests {
    use super::{Event, History, LEADERLESS_LOOKS, Look, SILENT_LOOKS, Status};

    fn look(id: u64, role: &str, term: u64) -> Look {
        let raft_addr = format!("127.0.0.1:{}", 9500 + id);
        let answer = Some(Status { node: id, role: role.to_owned(), term, leader: None, raft_addr });
        Look { id, exit: None, answer }
    }

    fn three(leader: u64, term: u64) -> Vec<Look> {
        (1..=3).map(|id| look(id, if id == leader { "leader" } else { "follower" }, term)).collect()
    }

    #[test]
    fn nothing_new_makes_no_lines() {
        let mut history = History::since(&three(1, 4));
        for _ in 0..3 * SILENT_LOOKS {
            assert_eq!(history.observe(&three(1, 4)), []);
        }
    }

    #[test]
    fn a_new_leader_is_told_once() {
        let mut history = History::since(&three(1, 4));
        assert_eq!(history.observe(&three(2, 5)), [Event::Leader { id: 2, term: 5 }]);
        assert_eq!(history.observe(&three(2, 5)), []);
    }

    #[test]
    fn an_old_leader_that_still_thinks_it_leads_is_not_told() {
        let mut history = History::since(&three(1, 4));
        let mut looks = three(2, 5);
        looks[0] = look(1, "leader", 4);
        assert_eq!(history.observe(&looks), [Event::Leader { id: 2, term: 5 }]);
        looks[1].answer = None;
        assert_eq!(history.observe(&looks), []);
    }

    #[test]
    fn a_death_is_told_once_and_the_dead_nodes_last_words_do_not_bring_it_back() {
        let mut history = History::since(&three(1, 4));
        let mut looks = three(1, 4);
        looks[0].exit = Some("SIGKILL".to_owned());
        let died = Event::Died { id: 1, exit: "SIGKILL".to_owned() };
        assert_eq!(history.observe(&looks), [died]);
        assert_eq!(history.observe(&looks), []);
        looks[0].answer = None;
        assert_eq!(history.observe(&looks), []);
        looks[1] = look(2, "leader", 5);
        assert_eq!(history.observe(&looks), [Event::Leader { id: 2, term: 5 }]);
    }

    #[test]
    fn a_node_restarted_by_hand_is_back_and_may_go_again() {
        let mut history = History::since(&three(1, 4));
        let mut looks = three(1, 4);
        looks[2].exit = Some("SIGKILL".to_owned());
        looks[2].answer = None;
        assert_eq!(history.observe(&looks).len(), 1);
        looks[2].answer = look(3, "follower", 4).answer;
        let back = Event::Back { id: 3, role: "follower".to_owned(), ours: false };
        assert_eq!(history.observe(&looks), [back]);
        looks[2].answer = None;
        let told: Vec<Event> = (0..2 * SILENT_LOOKS).flat_map(|_| history.observe(&looks)).collect();
        assert_eq!(told, [Event::Silent { id: 3, ours: false }]);
    }

    #[test]
    fn a_stopped_process_is_silent_and_answers_again() {
        let mut history = History::since(&three(1, 4));
        let mut looks = three(1, 4);
        looks[1].answer = None;
        let told: Vec<Event> = (0..2 * SILENT_LOOKS).flat_map(|_| history.observe(&looks)).collect();
        assert_eq!(told, [Event::Silent { id: 2, ours: true }]);
        let back = Event::Back { id: 2, role: "follower".to_owned(), ours: true };
        assert_eq!(history.observe(&three(1, 4)), [back]);
    }

    #[test]
    fn a_short_silence_is_not_told() {
        let mut history = History::since(&three(1, 4));
        let mut looks = three(1, 4);
        looks[1].answer = None;
        for _ in 1..SILENT_LOOKS {
            assert_eq!(history.observe(&looks), []);
        }
        assert_eq!(history.observe(&three(1, 4)), []);
    }

    #[test]
    fn a_lost_quorum_is_told_and_so_is_its_end() {
        let mut history = History::since(&three(1, 4));
        let without = three(0, 4);
        let told: Vec<Event> = (0..2 * LEADERLESS_LOOKS).flat_map(|_| history.observe(&without)).collect();
        assert_eq!(told, [Event::NoLeader { answering: 3, nodes: 3 }]);
        assert_eq!(history.observe(&three(1, 4)), [Event::Leader { id: 1, term: 4 }]);
    }

    #[test]
    fn lines_read_well() {
        let lines = [
            Event::Leader { id: 1, term: 2 }.to_string(),
            Event::NoLeader { answering: 1, nodes: 3 }.to_string(),
            Event::NoLeader { answering: 2, nodes: 3 }.to_string(),
            Event::Died { id: 3, exit: "exit code 1".to_owned() }.to_string(),
        ];
        assert_eq!(
            lines,
            [
                "node 1 leads (term 2)",
                "no leader: 1 of 3 nodes answer, 2 are needed",
                "no leader: 2 of 3 nodes answer",
                "node 3 died (exit code 1)"
            ]
        );
    }
}
