//! What is done to a cluster, and when: a script, in words that a person can read and change.
//!
//! ```text
//! at 1204 ms crash leader cut down 300 ms
//! at 2100 ms isolate node 2 for 800 ms
//! ```

use std::fmt;

use raftkit_core::NodeId;

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, in milliseconds of virtual time from the start.
    pub at_ms: u64,
    /// What.
    pub action: Action,
}

/// Whom it is done to; found out when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This node.
    Node(NodeId),
    /// Whoever leads in the highest term; nobody while there is none.
    Leader,
    /// The so many-th running node, from 0, that does not lead.
    Follower(u64),
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The power is cut: each unsynced change is kept, lost or torn.
    Cut,
    /// The power is cut, and nothing unsynced is left.
    LoseAll,
    /// The process is killed; the page cache stays.
    Kill,
}

/// A file of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The log's database.
    Log,
    /// The log's journal.
    Journal,
    /// The state machine's files.
    State,
    /// Snapshots, coming in or going out.
    Snapshots,
    /// What names the newest commit of the log's database, which falls back by one.
    LogCommit,
    /// What names the newest commit of the state machine's database.
    StateCommit,
    /// One of the newest records of the log's journal.
    Record,
}

/// A call to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Of a file's content.
    Sync,
    /// Of a folder's names.
    SyncDir,
    /// A write.
    Write,
    /// A read.
    Read,
    /// A file is made.
    Create,
    /// A file is renamed.
    Rename,
    /// A file is removed.
    Remove,
}

/// A step on the way of a snapshot: in between two of them a crash leaves files that do not fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// One of this node's state is made.
    Built,
    /// A chunk of one that comes in is stored.
    Stored,
    /// One that comes in is whole.
    Received,
    /// The state machine has switched to it, and the log has not followed.
    Switched,
}

/// Somebody who has no business here, and calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// A leader of another cluster, that was given a wrong address.
    OtherCluster,
    /// A node of no cluster.
    Unformed,
    /// A process on a copy of the data folder of the very node that it calls.
    Twin,
    /// A process on a copy of another member's data folder, which it has opened as often: it says what that one would.
    Copy,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "to whom, how often and for how long: the line above each says what they are for"
)]
pub enum Action {
    /// Ends a process at once, and starts it again later.
    Crash { who: Target, how: Crash, down_ms: u64 },
    /// Cuts the power in the so many-th call from now that changes the disk.
    CrashAtCall { who: Target, calls: u64, down_ms: u64 },
    /// Ends a process so many microseconds after the next such step of a snapshot there.
    CrashAfter { who: Target, moment: Moment, how: Crash, us: u64, down_ms: u64 },
    /// Ends a process cleanly, and starts it again later.
    Stop { who: Target, down_ms: u64 },
    /// A process stands still (SIGSTOP).
    Pause { who: Target, ms: u64 },
    /// All processes stand still, as on a host that pauses its guests.
    PauseAll { ms: u64 },
    /// The next round of a node's loop takes so long between taking its inputs and reading the clock.
    Hiccup { who: Target, ms: u64 },
    /// Cuts a node off, both ways.
    Isolate { who: Target, ms: u64 },
    /// Cuts one direction of one link.
    OneWay { from: Target, to: Target, ms: u64 },
    /// Cuts the cluster in two: nodes whose bit is set, and the others.
    Split { side: u64, ms: u64 },
    /// Messages of one direction of a link take this much longer.
    Clog { from: Target, to: Target, ms: u64 },
    /// The connections between two nodes break.
    Reset { from: Target, to: Target },
    /// Syncs of a node take so long.
    Stall { who: Target, ms: u64 },
    /// Syncs of a node's snapshots take so long, and no others.
    Hold { who: Target, ms: u64 },
    /// Snapshots of one direction of a link are lost for so long; messages are not.
    Starve { from: Target, to: Target, ms: u64 },
    /// The so many-th call of this kind from now fails.
    Fail { who: Target, call: Call, nth: u64 },
    /// A node's disk has no more space for so long.
    Full { who: Target, ms: u64 },
    /// So many sectors of a file rot, as long as a quorum is whole.
    Rot { who: Target, area: Area, sectors: u64 },
    /// A node loses its data folder, as long as a quorum is whole, and comes back as a new one.
    Wipe { who: Target, down_ms: u64 },
    /// A node is started on a copy of another's data folder.
    Misplace { who: Target, of: Target },
    /// Leadership is handed to the node, or to whom the leader likes where it names the leader.
    Transfer { to: Target },
    /// A spare node becomes a member.
    Add,
    /// A node is taken out of the cluster, if others stay.
    Remove { who: Target },
    /// A member is replaced by a spare in one change.
    Swap { who: Target },
    /// The voters become the hosts whose bit is set, all others leave: one joint change.
    Reshape { voters: u64 },
    /// A voter becomes a learner, or a learner a voter.
    Demote { who: Target },
    /// A stranger calls a node, and says what would be believed of a leader.
    Stray { who: Target, stranger: Stranger },
    /// So many writes at once.
    Burst { writes: u64 },
    /// One write of so many bytes.
    Big { bytes: u64 },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "node {}", id.0),
            Self::Leader => write!(f, "leader"),
            Self::Follower(nth) => write!(f, "follower {nth}"),
        }
    }
}

macro_rules! words {
    ($type:ident, $($variant:ident $word:literal,)*) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)* })
            }
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.to_string() == word)
            }
        }
    };
}

words! { Crash, Cut "cut", LoseAll "lose-all", Kill "kill", }
words! { Moment, Built "built", Stored "stored", Received "received", Switched "switched", }
words! { Stranger, OtherCluster "other-cluster", Unformed "unformed", Twin "twin", Copy "copy", }
words! { Area, Log "log", Journal "journal", State "state", Snapshots "snapshots", LogCommit "log-commit", StateCommit "state-commit", Record "record", }
words! { Call, Sync "sync", SyncDir "sync-dir", Write "write", Read "read", Create "create", Rename "rename", Remove "remove", }

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms {}", self.at_ms, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { who, how, down_ms } => write!(f, "crash {who} {how} down {down_ms} ms"),
            Self::CrashAtCall { who, calls, down_ms } => {
                write!(f, "crash-at-call {who} {calls} down {down_ms} ms")
            }
            Self::CrashAfter { who, moment, how, us, down_ms } => {
                write!(f, "crash-after {who} {moment} {how} {us} us down {down_ms} ms")
            }
            Self::Stop { who, down_ms } => write!(f, "stop {who} down {down_ms} ms"),
            Self::Pause { who, ms } => write!(f, "pause {who} for {ms} ms"),
            Self::PauseAll { ms } => write!(f, "pause-all for {ms} ms"),
            Self::Hiccup { who, ms } => write!(f, "hiccup {who} for {ms} ms"),
            Self::Isolate { who, ms } => write!(f, "isolate {who} for {ms} ms"),
            Self::OneWay { from, to, ms } => write!(f, "one-way {from} {to} for {ms} ms"),
            Self::Split { side, ms } => write!(f, "split {side} for {ms} ms"),
            Self::Clog { from, to, ms } => write!(f, "clog {from} {to} for {ms} ms"),
            Self::Reset { from, to } => write!(f, "reset {from} {to}"),
            Self::Stall { who, ms } => write!(f, "stall {who} for {ms} ms"),
            Self::Hold { who, ms } => write!(f, "hold {who} for {ms} ms"),
            Self::Starve { from, to, ms } => write!(f, "starve {from} {to} for {ms} ms"),
            Self::Fail { who, call, nth } => write!(f, "fail {who} {call} {nth}"),
            Self::Full { who, ms } => write!(f, "full {who} for {ms} ms"),
            Self::Rot { who, area, sectors } => write!(f, "rot {who} {area} {sectors}"),
            Self::Wipe { who, down_ms } => write!(f, "wipe {who} down {down_ms} ms"),
            Self::Misplace { who, of } => write!(f, "misplace {who} {of}"),
            Self::Transfer { to } => write!(f, "transfer {to}"),
            Self::Add => write!(f, "add"),
            Self::Remove { who } => write!(f, "remove {who}"),
            Self::Swap { who } => write!(f, "swap {who}"),
            Self::Reshape { voters } => write!(f, "reshape {voters}"),
            Self::Demote { who } => write!(f, "demote {who}"),
            Self::Stray { who, stranger } => write!(f, "stray {who} {stranger}"),
            Self::Burst { writes } => write!(f, "burst {writes}"),
            Self::Big { bytes } => write!(f, "big {bytes}"),
        }
    }
}

/// Reads words one after the other. Words that only please the eye (`ms`, `for`, `down`) are passed over.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<&'a str> {
        self.0.find(|word| !matches!(*word, "ms" | "us" | "for" | "down" | "at"))
    }

    fn number(&mut self) -> Option<u64> {
        self.word()?.parse().ok()
    }

    fn target(&mut self) -> Option<Target> {
        match self.word()? {
            "node" => Some(Target::Node(NodeId(self.number()?))),
            "leader" => Some(Target::Leader),
            "follower" => Some(Target::Follower(self.number()?)),
            _ => None,
        }
    }

    fn action(&mut self) -> Option<Action> {
        Some(match self.word()? {
            "crash" => Action::Crash {
                who: self.target()?,
                how: Crash::parse(self.word()?)?,
                down_ms: self.number()?,
            },
            "crash-at-call" => {
                Action::CrashAtCall { who: self.target()?, calls: self.number()?, down_ms: self.number()? }
            }
            "crash-after" => Action::CrashAfter {
                who: self.target()?,
                moment: Moment::parse(self.word()?)?,
                how: Crash::parse(self.word()?)?,
                us: self.number()?,
                down_ms: self.number()?,
            },
            "stop" => Action::Stop { who: self.target()?, down_ms: self.number()? },
            "pause" => Action::Pause { who: self.target()?, ms: self.number()? },
            "pause-all" => Action::PauseAll { ms: self.number()? },
            "hiccup" => Action::Hiccup { who: self.target()?, ms: self.number()? },
            "isolate" => Action::Isolate { who: self.target()?, ms: self.number()? },
            "one-way" => Action::OneWay { from: self.target()?, to: self.target()?, ms: self.number()? },
            "split" => Action::Split { side: self.number()?, ms: self.number()? },
            "clog" => Action::Clog { from: self.target()?, to: self.target()?, ms: self.number()? },
            "reset" => Action::Reset { from: self.target()?, to: self.target()? },
            "stall" => Action::Stall { who: self.target()?, ms: self.number()? },
            "hold" => Action::Hold { who: self.target()?, ms: self.number()? },
            "starve" => Action::Starve { from: self.target()?, to: self.target()?, ms: self.number()? },
            "fail" => {
                Action::Fail { who: self.target()?, call: Call::parse(self.word()?)?, nth: self.number()? }
            }
            "full" => Action::Full { who: self.target()?, ms: self.number()? },
            "rot" => {
                Action::Rot { who: self.target()?, area: Area::parse(self.word()?)?, sectors: self.number()? }
            }
            "wipe" => Action::Wipe { who: self.target()?, down_ms: self.number()? },
            "misplace" => Action::Misplace { who: self.target()?, of: self.target()? },
            "transfer" => Action::Transfer { to: self.target()? },
            "add" => Action::Add,
            "remove" => Action::Remove { who: self.target()? },
            "swap" => Action::Swap { who: self.target()? },
            "reshape" => Action::Reshape { voters: self.number()? },
            "demote" => Action::Demote { who: self.target()? },
            "stray" => Action::Stray { who: self.target()?, stranger: Stranger::parse(self.word()?)? },
            "burst" => Action::Burst { writes: self.number()? },
            "big" => Action::Big { bytes: self.number()? },
            _ => return None,
        })
    }
}

impl Step {
    /// Reads a line as [`Display`](fmt::Display) writes it; none when it is not understood.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = Words(line.split_whitespace());
        let step = Self { at_ms: words.number()?, action: words.action()? };
        words.word().is_none().then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let (node, leader, follower) = (Target::Node(NodeId(2)), Target::Leader, Target::Follower(1));
        let mut actions = vec![
            Action::CrashAtCall { who: node, calls: 17, down_ms: 3 },
            Action::Stop { who: leader, down_ms: 3 },
            Action::Pause { who: follower, ms: 3 },
            Action::PauseAll { ms: 3 },
            Action::Hiccup { who: node, ms: 3 },
            Action::Isolate { who: leader, ms: 3 },
            Action::OneWay { from: leader, to: follower, ms: 4 },
            Action::Split { side: 5, ms: 3 },
            Action::Clog { from: node, to: leader, ms: 3 },
            Action::Reset { from: node, to: leader },
            Action::Stall { who: node, ms: 3 },
            Action::Hold { who: node, ms: 3 },
            Action::Starve { from: node, to: leader, ms: 3 },
            Action::Full { who: node, ms: 3 },
            Action::Wipe { who: node, down_ms: 3 },
            Action::Misplace { who: node, of: leader },
            Action::Transfer { to: node },
            Action::Add,
            Action::Remove { who: node },
            Action::Swap { who: node },
            Action::Demote { who: node },
            Action::Reshape { voters: 6 },
            Action::Burst { writes: 5 },
            Action::Big { bytes: 5000 },
        ];
        actions.extend(Crash::ALL.iter().map(|how| Action::Crash { who: leader, how: *how, down_ms: 9 }));
        actions.extend(Area::ALL.iter().map(|area| Action::Rot { who: node, area: *area, sectors: 2 }));
        actions.extend(Call::ALL.iter().map(|call| Action::Fail { who: node, call: *call, nth: 2 }));
        actions.extend(Stranger::ALL.iter().map(|stranger| Action::Stray { who: node, stranger: *stranger }));
        actions.extend(Moment::ALL.iter().map(|moment| {
            let how = Crash::LoseAll;
            Action::CrashAfter { who: node, moment: *moment, how, us: 7, down_ms: 2 }
        }));
        for action in actions {
            let step = Step { at_ms: 1204, action };
            assert_eq!(Step::parse(&step.to_string()), Some(step.clone()), "{step}");
        }
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for line in [
            "",
            "at 5 ms",
            "at x crash leader cut 3",
            "at 5 crash leader cut 3 4",
            "at 5 fly",
            "at 5 rot leader x 1",
        ] {
            assert_eq!(Step::parse(line), None, "{line}");
        }
    }
}
