//! `cargo xtask cluster`: a local cluster of real processes, until Ctrl-C.
//!
//! No node outlives this process: each holds a pipe from it and stops at the pipe's end.

mod data_dir;
mod events;
mod node;
mod setup;
mod status;
mod stop;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use self::data_dir::DataDir;
use self::events::{Event, History, Look};
use self::node::{Node, exit_words};
use self::setup::Plan;
use self::status::Status;
use self::stop::Reason;
use crate::console::{self, Progress, say};
use crate::flags::ClusterFlags;
use crate::workspace::{self, Failure};

/// Time between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time between two requests to one node.
const ASK_EVERY: Duration = Duration::from_millis(100);
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time after which a node that was asked to stop counts as stuck. A clean stop takes a fraction of a second.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a cluster until something stops it.
///
/// # Errors
/// The cluster cannot be started as the flags say, or a node had to be killed.
pub(crate) fn run(flags: &ClusterFlags) -> Result<(), Failure> {
    let mut dir = DataDir::open(flags.data_dir.as_deref())?;
    let layout = dir.layout(flags)?;
    let plans = setup::plans(dir.path(), layout);
    setup::check_ports(&plans)?;
    let binary = match &flags.binary {
        Some(path) => path.canonicalize().map_err(Failure::of(format!("cannot find {}", path.display())))?,
        None => setup::build()?,
    };
    // After everything else that can fail: a build that fails must not cost anybody their data.
    let data = match (flags.fresh, dir.is_used()) {
        (true, _) => "emptied first",
        (false, true) => "kept from the last start",
        (false, false) => "new",
    };
    if flags.fresh {
        dir.clear()?;
    }
    dir.remember(layout)?;
    setup::make_certificates(&binary, dir.path(), &plans)?;
    setup::write_configs(dir.path(), &plans)?;

    let mut cluster = Cluster::start(&binary, plans)?;
    console::complain(&format!("{} nodes, data in {} ({data})", layout.nodes, shown(dir.path())));
    let done = cluster.wait_and_watch();
    // Whatever happens from here on, the nodes are stopped and waited for, so that their ports and files are free.
    let stopped = cluster.stop();
    let reason = done?;
    console::complain(&format!("stopped: {reason}. The data is in {}", shown(dir.path())));
    stopped
}

/// Messages of the other threads to the thread that decides.
enum Notice {
    Answer { index: usize, answer: Option<Status> },
    Stop(Reason),
}

struct Cluster {
    nodes: Vec<Node>,
    /// The latest answer of each node.
    answers: Vec<Option<Status>>,
    notices: Receiver<Notice>,
    /// Keeps `notices` open.
    _sender: Sender<Notice>,
}

impl Cluster {
    fn start(binary: &Path, plans: Vec<Plan>) -> Result<Self, Failure> {
        let (sender, notices) = mpsc::channel();
        let tell = sender.clone();
        // The receiver is gone only at the end of the whole program.
        stop::watch(move |reason| drop(tell.send(Notice::Stop(reason))))?;
        let mut cluster =
            Self { nodes: Vec::new(), answers: vec![None; plans.len()], notices, _sender: sender.clone() };
        for (index, plan) in plans.into_iter().enumerate() {
            let (id, addr) = (plan.id, plan.http);
            match Node::start(binary, plan) {
                Ok(node) => cluster.nodes.push(node),
                Err(failure) => {
                    cluster.stop()?;
                    return Err(failure);
                }
            }
            let tell = sender.clone();
            thread::spawn(move || {
                while tell.send(Notice::Answer { index, answer: status::ask(id, addr) }).is_ok() {
                    thread::sleep(ASK_EVERY);
                }
            });
        }
        Ok(cluster)
    }

    /// Runs the cluster until there is a reason to stop.
    fn wait_and_watch(&mut self) -> Result<Reason, Failure> {
        match self.wait_until_ready()? {
            Ready::Stop(reason) => Ok(reason),
            Ready::After(elapsed) => {
                let looks = self.look();
                if say(&self.introduction(elapsed)).is_err() {
                    return Ok(Reason::OutputClosed);
                }
                Ok(self.watch(History::since(&looks)))
            }
        }
    }

    /// Waits until every node answers and all name the same leader.
    fn wait_until_ready(&mut self) -> Result<Ready, Failure> {
        let mut progress = Progress::start("waiting for a leader:");
        loop {
            if let Some(reason) = self.collect(Duration::from_millis(50)) {
                progress.clear();
                return Ok(Ready::Stop(reason));
            }
            let answering = self.answers.iter().flatten().count();
            for node in &mut self.nodes {
                if let Some(exit) = node.exit() {
                    progress.clear();
                    return Err(failed_at_start(node, &exit_words(exit)));
                }
            }
            if self.agree_on_a_leader() {
                progress.clear();
                return Ok(Ready::After(progress.elapsed()));
            }
            progress.tick(&format!("({answering} of {} nodes answer)", self.nodes.len()));
            if progress.elapsed() > READY_TIMEOUT {
                progress.clear();
                return Err(self.not_ready());
            }
        }
    }

    fn agree_on_a_leader(&self) -> bool {
        let leaders: Vec<Option<u64>> =
            self.answers.iter().map(|answer| answer.as_ref().and_then(|it| it.leader)).collect();
        let Some(&Some(leader)) = leaders.first() else { return false };
        leaders.iter().all(|&it| it == Some(leader))
            && self.answers.iter().flatten().any(|it| it.is_leader() && it.node == leader)
    }

    fn not_ready(&self) -> Failure {
        let waited = console::seconds(READY_TIMEOUT);
        let mut words = format!("the nodes agreed on no leader in {waited}; the ends of their logs:");
        for node in &self.nodes {
            words.push_str(&format!("\n--- {}\n{}", shown(&node.plan.log), node.log_tail()));
        }
        Failure::new(words)
    }

    /// Prints the table of nodes and commands to try.
    fn introduction(&self, elapsed: Duration) -> String {
        let rows: Vec<Vec<String>> = self
            .nodes
            .iter()
            .zip(&self.answers)
            .map(|(node, answer)| {
                let plan = &node.plan;
                let (role, raft_addr) =
                    answer.as_ref().map_or(("?", ""), |it| (it.role.as_str(), &it.raft_addr));
                let raft_addr =
                    if raft_addr.is_empty() { plan.raft.to_string() } else { raft_addr.to_owned() };
                let http = format!("http://{}", plan.http);
                vec![
                    plan.id.to_string(),
                    role.to_owned(),
                    http,
                    raft_addr,
                    node.pid().to_string(),
                    shown(&plan.data),
                ]
            })
            .collect();
        let table = console::table(&["id", "role", "HTTP", "QUIC address", "pid", "data folder"], &rows);
        // Neither command needs the leader. With a single node both go to it.
        let (put, get) = (&self.nodes[1 % self.nodes.len()].plan, &self.nodes[2 % self.nodes.len()].plan);
        let log = self.nodes.first().map(|node| shown(&node.plan.log)).unwrap_or_default();
        format!(
            "{table}\n\nready in {}. Try:\n\n  curl -X PUT -d 'hello world' http://{}/v1/kv/greeting\n  \
             curl 'http://{}/v1/kv/greeting?raw'\n\nLogs are in {log} and so on. Ctrl-C stops all and keeps the data.\n",
            console::seconds(elapsed),
            put.http,
            get.http
        )
    }

    /// Reports events until there is a reason to stop.
    fn watch(&mut self, mut history: History) -> Reason {
        loop {
            if let Some(reason) = self.collect(LOOK_EVERY) {
                return reason;
            }
            for event in history.observe(&self.look()) {
                let mut line = format!("{}  {event}", console::clock());
                if let Event::Died { id, .. } = event {
                    for node in self.nodes.iter().filter(|node| node.plan.id == id) {
                        line.push_str(&format!("; to restart it: {}", node.restart_command()));
                    }
                }
                if say(&line).is_err() {
                    return Reason::OutputClosed;
                }
            }
        }
    }

    /// Takes in the nodes' answers for `time`, or until there is a reason to stop.
    fn collect(&mut self, time: Duration) -> Option<Reason> {
        let end = Instant::now() + time;
        loop {
            match self.notices.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Notice::Answer { index, answer }) => self.answers[index] = answer,
                Ok(Notice::Stop(reason)) => return Some(reason),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => unreachable!("a sender is held here"),
            }
        }
    }

    fn look(&mut self) -> Vec<Look> {
        self.nodes
            .iter_mut()
            .zip(&self.answers)
            .map(|(node, answer)| Look {
                id: node.plan.id,
                exit: node.exit().map(exit_words),
                answer: answer.clone(),
            })
            .collect()
    }

    /// Stops all nodes at once and says how each ended. A second Ctrl-C kills those that are left.
    fn stop(&mut self) -> Result<(), Failure> {
        let dead: Vec<bool> = self.nodes.iter_mut().map(|node| node.exit().is_some()).collect();
        for node in &mut self.nodes {
            node.ask_to_stop();
        }
        let mut progress = Progress::start("stopping:");
        let mut impatient = false;
        while self.nodes.iter_mut().any(|node| node.exit().is_none()) {
            impatient |= self.collect(Duration::from_millis(20)) == Some(Reason::Interrupt);
            if impatient || progress.elapsed() > STOP_TIMEOUT {
                break;
            }
            progress.tick("(Ctrl-C again kills)");
        }
        progress.clear();
        let mut killed = Vec::new();
        for (node, dead) in self.nodes.iter_mut().zip(dead) {
            let id = node.plan.id;
            let how = match (node.exit(), dead) {
                (Some(exit), true) => format!("was dead ({})", exit_words(exit)),
                (Some(exit), false) => format!("stopped ({})", exit_words(exit)),
                (None, _) => {
                    node.kill().map_err(Failure::of(format!("cannot kill node {id}")))?;
                    killed.push(id.to_string());
                    "did not stop, killed".to_owned()
                }
            };
            console::complain(&format!("node {id} {how}"));
        }
        if killed.is_empty() || impatient {
            return Ok(());
        }
        let (nodes, waited) = (killed.join(", "), console::seconds(STOP_TIMEOUT));
        Err(Failure::new(format!("killed what did not stop in {waited}: node {nodes}")))
    }
}

enum Ready {
    After(Duration),
    Stop(Reason),
}

fn failed_at_start(node: &Node, exit: &str) -> Failure {
    let (id, log) = (node.plan.id, shown(&node.plan.log));
    Failure::new(format!("node {id} failed at start ({exit}); the end of {log}:\n{}", node.log_tail()))
}

/// Shows a path relative to the current folder, if it lies below it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from(workspace::root()));
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
