//! Events that must happen sometimes. A run in which one never does proves less than it seems to.

counts! {
    /// Something that must happen sometimes.
    Mark,
    /// The number of times that each has happened.
    Marks:
    Elected = "a leader was elected",
    PreVoteRefused = "a pre-vote was refused",
    StickyVote = "a voter was not drawn away from its leader",
    CampaignedAgain = "an election ended without a leader",
    VoteForStranger = "a vote for a candidate that the voter's membership does not name",
    StrangerAsked = "a node that was removed asked for votes",
    CampaignByPrevious = "campaigned by the membership before an uncommitted one",
    DeposedByTerm = "a leader gave way to a higher term",
    LostQuorum = "a leader that heard no quorum stepped down",
    StallGaveWay = "a leader with a stuck disk stepped down",
    Transferred = "leadership was transferred",
    TransferFailed = "a transfer failed",
    OfferedByPriority = "leadership was offered to a higher priority",
    Truncated = "a tail was truncated",
    HintByTerms = "a conflict hint moved by terms",
    HeardBeforeDurable = "a heartbeat was answered before the entries were durable",
    Fetched = "entries for a peer were read from the log",
    FetchCompacted = "entries for a peer were compacted away when they were read",
    SnapshotInstalled = "a snapshot replaced a log",
    SnapshotKeptTail = "a snapshot met a log that goes on behind it",
    SnapshotFailed = "a snapshot did not arrive",
    OldTermNotCounted = "an old term's entry on a quorum was not committed by counting",
    UnsyncedLost = "a crash lost writes",
    WriteFailed = "a write failed",
    Overloaded = "a proposal was refused for overload",
    ProposalUnknown = "a proposal's outcome is unknown",
    SingleCommitted = "a change of one voter was committed",
    JointCommitted = "a joint membership was committed",
    LeftJointAfterFailover = "another leader than the one that began it left joint",
    LeaderRemovedItself = "a leader removed itself",
    RemovalTold = "nodes were told that they are removed",
    MembershipTruncated = "a membership in force was truncated",
    ChangeConflict = "a change had not seen the membership in force",
    ChangeInProgress = "a change was refused while another was under way",
    ChangeNotReady = "a change was refused before the term's first commit",
    ChangeStore = "a voter may not swap its data folder",
    ChangeNonsense = "a target that is joint or has no voters was refused",
    ChangeDamaged = "a damaged learner was not made a voter",
    ChangeUnknown = "a change's outcome is unknown",
    ChangeOfNothing = "a change that changes nothing was answered at once",
    Promoted = "a learner was promoted",
    JoinedBySnapshot = "an empty node joined by a snapshot",
    WipedVotesAgain = "a wiped node became a voter again under its new store",
    RestartedJoint = "a node started within a joint membership",
    Wiped = "a node lost its data folder",
    Damaged = "a node started damaged",
    DamagedAgain = "a damaged node was damaged again before it had healed",
    DamagedReset = "a damaged log was reset to what the state machine holds",
    DamagedRefused = "a damaged node refused a vote",
    HealedByEntries = "a damaged node healed by entries",
    HealedBySnapshot = "a damaged node healed by a snapshot",
    RotFound = "a leader could not read its log and ended",
    LeaseRead = "a read was answered by lease",
    FollowerRead = "a follower's read was answered",
    ReadLost = "a read was not answered as leadership was lost",
    WhatIfHeld = "a change that was said to survive a loss did",
    WhatIfLost = "a change was said not to survive a loss",
    PromiseRaised = "a longer promise was made durable",
    PromiseWithheld = "an answer promised less than the node will keep, as its disk did not know yet",
    PromiseOutlived = "a promise of an earlier life under a longer time-out ended",
    RecklessDamage = "more than a quorum allows was damaged",
}

/// Events so rare that a change of the random draws may miss them. Scenarios show them
/// (`damaged_no_voter.txt`, `split_vote.txt`).
const RARE: [Mark; 2] = [Mark::ChangeDamaged, Mark::CampaignedAgain];

impl Marks {
    pub fn hit_if(&mut self, happened: bool, mark: Mark) {
        self.0[mark as usize] += u64::from(happened);
    }

    /// The table, and the events that never happened although they should.
    pub fn report(&self) -> (String, Vec<&'static str>) {
        let line = |(mark, text): &(Mark, &str)| format!("{:>10}  {text}\n", self.count(*mark));
        let table = Mark::ALL.iter().map(line).collect();
        let missed = |(mark, _): &&(Mark, &str)| self.count(*mark) == 0 && !RARE.contains(mark);
        let missing = Mark::ALL.iter().filter(missed).map(|(_, text)| *text);
        (table, missing.collect())
    }
}
