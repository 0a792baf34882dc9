//! Scripts: faults and operations with their times, as text that a person can read and change.
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
    /// Virtual time since the start, in milliseconds.
    pub at_ms: u64,
    /// The fault or operation.
    pub action: Action,
}

/// The node that an action applies to, chosen at the time of the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The node with this id.
    Node(NodeId),
    /// The leader of the highest term; no node while there is no leader.
    Leader,
    /// The running node with this number, from 0, among those that do not lead.
    Follower(u64),
}

/// The way in which a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The power is cut: each unsynced change is kept, lost or torn.
    Cut,
    /// The power is cut, and every unsynced change is lost.
    LoseAll,
    /// The process is killed, and the page cache survives.
    Kill,
}

/// A part of a node's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The log's database.
    Log,
    /// The log's journal.
    Journal,
    /// The state machine's files.
    State,
    /// Snapshots, received or built.
    Snapshots,
    /// The slot that names the newest commit of the log's database. With it rotten, redb opens the commit before.
    LogCommit,
    /// The slot that names the newest commit of the state machine's database.
    StateCommit,
    /// One of the newest records of the log's journal.
    Record,
}

/// A kind of call to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A sync of a file's contents.
    Sync,
    /// A sync of the names in a folder.
    SyncDir,
    /// A write.
    Write,
    /// A read.
    Read,
    /// The creation of a file.
    Create,
    /// The renaming of a file.
    Rename,
    /// The removal of a file.
    Remove,
}

/// A step of building or installing a snapshot. A crash between two steps leaves files of different states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A snapshot of the node's own state has been built.
    Built,
    /// A chunk of a snapshot from the leader has been stored.
    Stored,
    /// A snapshot from the leader is complete.
    Received,
    /// The state machine has switched to the snapshot, and the log has not been reset yet.
    Switched,
}

/// A process that does not belong to the cluster and dials one of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// A leader of another cluster that was given a wrong address.
    OtherCluster,
    /// A node that belongs to no cluster.
    Unformed,
    /// A process on a copy of the data folder of the node that it dials.
    Twin,
    /// A process on a copy of another member's data folder, with the same incarnation as that member.
    Copy,
}

/// A fault, or an operation of the operator or of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are nodes, counts and times, and the comment above each variant says what they are for"
)]
pub enum Action {
    /// Ends a process at once, and starts it again later.
    Crash { who: Target, how: Crash, down_ms: u64 },
    /// Cuts the power in the call number `calls` from now, of those that change the disk.
    CrashAtCall { who: Target, calls: u64, down_ms: u64 },
    /// Ends a process `us` microseconds after the next step of this kind of a snapshot on that node.
    CrashAfter { who: Target, moment: Moment, how: Crash, us: u64, down_ms: u64 },
    /// Ends a process cleanly, and starts it again later.
    Stop { who: Target, down_ms: u64 },
    /// Makes a process stand still (SIGSTOP).
    Pause { who: Target, ms: u64 },
    /// Makes all processes stand still, as on a host that pauses its guests.
    PauseAll { ms: u64 },
    /// Makes a process stand still between the inputs of its next round and its look at the clock.
    Hiccup { who: Target, ms: u64 },
    /// Cuts all links of a node, in both directions.
    Isolate { who: Target, ms: u64 },
    /// Cuts one direction of one link.
    OneWay { from: Target, to: Target, ms: u64 },
    /// Cuts the cluster in two: the nodes whose bit is set in `side`, and the others.
    Split { side: u64, ms: u64 },
    /// Delays every message in one direction of a link by `ms`.
    Clog { from: Target, to: Target, ms: u64 },
    /// Breaks the connections between two nodes.
    Reset { from: Target, to: Target },
    /// Lets all syncs of a node hang for `ms`.
    Stall { who: Target, ms: u64 },
    /// Lets the syncs of a node's snapshots, and no others, hang for `ms`.
    Hold { who: Target, ms: u64 },
    /// Makes each step that settles a node's log, or that copies its database, take `each_ms` longer for `ms`.
    Lag { who: Target, each_ms: u64, ms: u64 },
    /// Loses snapshots, and no messages, in one direction of a link for `ms`.
    Starve { from: Target, to: Target, ms: u64 },
    /// Lets one call fail: number `nth` from now, from 0, of this kind.
    Fail { who: Target, call: Call, nth: u64 },
    /// Lets a node's disk be full for `ms`.
    Full { who: Target, ms: u64 },
    /// Lets sectors of a file rot, if a sound quorum is left.
    Rot { who: Target, area: Area, sectors: u64 },
    /// Loses the data folder of a node, if a sound quorum is left. The node comes back with a new one.
    Wipe { who: Target, down_ms: u64 },
    /// Opens a copy of the data folder of node `of` as node `who`.
    Misplace { who: Target, of: Target },
    /// Transfers leadership to a node, or to one of the leader's choice if `to` is the leader.
    Transfer { to: Target },
    /// Makes a spare host a member.
    Add,
    /// Removes a member, if others stay.
    Remove { who: Target },
    /// Replaces a member by a spare host in one change.
    Swap { who: Target },
    /// Makes the hosts whose bit is set in `voters` the voters, and removes all others, in one joint change.
    Reshape { voters: u64 },
    /// Makes a voter a learner, or a learner a voter.
    Demote { who: Target },
    /// Lets a stranger dial a node and send what the node would believe of a leader.
    Stray { who: Target, stranger: Stranger },
    /// Sends `writes` writes at once.
    Burst { writes: u64 },
    /// Sends one write of `bytes` bytes.
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
            /// All variants.
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
            Self::Lag { who, each_ms, ms } => write!(f, "lag {who} {each_ms} ms for {ms} ms"),
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

/// Reads a line word by word. Words that are there only for the reader (`ms`, `for`, `down`) are skipped.
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
            "lag" => Action::Lag { who: self.target()?, each_ms: self.number()?, ms: self.number()? },
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
    /// Reads a line as [`Display`](fmt::Display) writes it; none if the line is wrong.
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
            Action::Lag { who: node, each_ms: 5, ms: 3 },
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
