//! Marks: events that must happen sometimes. A run in which one of them never happens proves less than it seems to.

macro_rules! marks {
    ($($name:ident = $text:literal,)*) => {
        /// An event that must happen sometimes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark { $(#[doc = $text] $name,)* }

        impl Mark {
            /// All marks in order, with their description.
            pub const ALL: &[(Mark, &str)] = &[$((Mark::$name, $text),)*];
        }
    };
}

marks! {
    Elected = "a leader was elected",
    TwoLeaders = "two nodes led at once, in different terms",
    Deposed = "a leader stepped down",
    CommitOfOldTerm = "an entry of an earlier term was committed by a later one",
    Truncated = "a tail was truncated",
    Fetched = "entries for a peer were read from the log",
    FetchedNothing = "entries for a peer were compacted away when they were read",
    Compacted = "a log was compacted",
    SnapshotBuilt = "a snapshot was made",
    SnapshotInstalled = "a snapshot was installed",
    InstallFinished = "a start finished an install that a crash had cut short",
    SlowSnapshot = "a snapshot that took long on a slow link was installed",
    SnapshotResumed = "a snapshot was resumed with chunks that were there",
    TimeoutLowered = "a node was started with a shorter leader time-out",
    TimeoutRaised = "a node was started with a longer leader time-out",
    Transferred = "leadership was transferred",
    TransferFailed = "a transfer failed",
    AskedInCalm = "a request was asked of a cluster in which all had been well for long",
    WriteCommitted = "a write was acknowledged",
    WriteForwarded = "a write was forwarded to the leader",
    WriteUnknown = "a write's outcome was unknown",
    UnknownCommitted = "a write of unknown outcome was committed",
    WriteNoLeader = "a write found no leader in time",
    WriteOverloaded = "a write was refused for overload",
    ManyInOneBatch = "several entries were applied in one batch",
    ReadDefault = "a default read was answered",
    ReadConsistent = "a consistent read was answered",
    ReadStale = "a stale read was answered",
    ReadByFollower = "a follower answered a default or consistent read",
    StaleIsOld = "a stale read saw less than was committed",
    ReadNotConfirmed = "a read was not confirmed in time",
    JointCommitted = "a joint membership was committed",
    Changed = "a change of membership was answered",
    ChangeRefused = "a change of membership was refused",
    Promoted = "a learner was promoted",
    Removed = "a node was removed",
    LeaderRemoved = "a leader removed itself",
    WipedIsBack = "a wiped node is a voter again under its new store",
    RestartedJoint = "a node started within a joint membership",
    FlushBesideSettling = "something was flushed while the database of the same log was written",
    FlushWaited = "a flush waited for the database, as the journal was full",
    CrashInBothHalves = "a process ended in the middle of a flush and of a settling at once",
    CrashCut = "the power was cut",
    CrashLoseAll = "the power was cut and nothing unsynced was left",
    Killed = "a process was killed",
    CrashAtCall = "the power was cut in a chosen call",
    CrashInOpen = "the power was cut while a node opened its folder",
    KilledInOpen = "a process was killed while it opened its folder",
    CrashWithLoss = "a crash lost unsynced changes",
    PendingKept = "a crash kept a write that was not flushed",
    CleanStop = "a node was stopped cleanly",
    TailTorn = "an opening dropped a torn end of the journal",
    Replayed = "an opening replayed the journal",
    FlushFailed = "a flush failed and the node ended",
    MachineFailed = "the state machine's storage failed and the node ended",
    LogCopied = "a log's database was copied to give space back",
    StateCopied = "a state's database was copied to give space back",
    CopyPostponed = "a copy of a log's database was put off",
    DiskFull = "a full disk ended a node",
    OpenFailed = "an opening failed by an I/O error and was tried again",
    Stalled = "a sync took long",
    StallGaveWay = "a leader with a stuck disk stepped down",
    Rotted = "a sector rotted",
    CommitRotted = "the newest commit of a database rotted",
    RecordRotted = "a record of a journal rotted that was among the newest",
    Misplaced = "a node was started on another's data folder",
    OpenedDamaged = "a log opened as damaged",
    Healed = "a damaged node recovered",
    StateRotten = "a rotten state machine was refused",
    Wiped = "a node lost its data folder",
    Partitioned = "a link was cut",
    Unreachable = "a transport reported a peer as unreachable",
    DialsCrossed = "two nodes dialled each other at once",
    DialTimedOut = "an attempt to connect timed out",
    ConnectionOutlived = "a dial by a peer's later incarnation ended a connection to the earlier one",
    PeerSilent = "a connection was given up because its other end was silent",
    MessageWaited = "a message waited for a connection",
    StrangerAnswered = "a node was dialled because it asked and the membership did not name it",
    PeerLetGo = "the connection to a removed member ended",
    FrameSplit = "a connection broke in the middle of a frame",
    Late = "a message of an earlier connection arrived",
    Refused = "a connection was refused",
    Paused = "a process stood still",
    HiccupOfLeader = "a leader stood still between its inputs and the clock",
    LinkFull = "a link was given more than it could carry",
    Crippled = "a minority stayed away after the end of faults",
}

/// The number of times that each mark was met.
#[derive(Clone, Debug)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// Counts a mark.
    pub fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// Counts a mark if `happened` is true.
    pub fn hit_if(&mut self, happened: bool, mark: Mark) {
        self.0[mark as usize] += u64::from(happened);
    }

    /// The number of times that a mark was met.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    /// The marks that were never met.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        Mark::ALL.iter().filter(|(mark, _)| self.count(*mark) == 0).map(|(_, text)| *text).collect()
    }
}
