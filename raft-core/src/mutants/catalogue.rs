//! The list of mutants: what each does wrong, and where that is known from.

/// Makes the enum and its facts from one list.
macro_rules! catalogue {
    ($($number:literal $variant:ident $name:literal $source:literal $what:literal,)*) => {
        /// A bug that a test-only build can switch on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $what] $variant,)*
        }

        impl Mutant {
            /// All, in the order of their numbers.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$variant),*];

            /// Its number, from 1.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }

            /// Its name in words, with hyphens between them.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it does wrong, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$variant => $what,)*
                }
            }

            /// The section that it breaks, or the system that had it.
            #[must_use]
            pub const fn source(self) -> &'static str {
                match self {
                    $(Self::$variant => $source,)*
                }
            }
        }
    };
}

catalogue! {
    // Elections.
    1 VoteBeforeDurable "vote-before-durable" "thesis 3.8"
        "A vote is answered before it is on disk.",
    2 OwnVoteBeforeDurable "own-vote-before-durable" "thesis 3.8"
        "A candidate counts its own vote before it is on disk.",
    3 VotesTwice "votes-twice" "paper 5.2"
        "A node that has voted in a term votes again in it.",
    4 VoteStoreIgnored "vote-store-ignored" "thesis 3.8"
        "A repeated request gets the vote again, also from another data folder.",
    5 DamagedVotes "damaged-votes" "protocol-aware recovery"
        "A node that lost part of its log votes.",
    6 PreVoteChangesVote "pre-vote-changes-vote" "thesis 9.6"
        "A pre-vote that is granted is remembered as the vote.",
    7 PreVoteRaisesTerm "pre-vote-raises-term" "thesis 9.6"
        "Being asked for a pre-vote raises the term.",
    8 PreVoteNotSticky "pre-vote-not-sticky" "thesis 9.6"
        "A pre-vote is granted while the leader is heard.",
    9 OldVoteCounted "old-vote-counted" "paper 5.1"
        "A vote given in an earlier term counts in this one.",
    10 OldPreVoteCounted "old-pre-vote-counted" "thesis 9.6"
        "The answer to an earlier pre-vote counts for this one.",
    11 DuplicateVoteCounted "duplicate-vote-counted" "paper 5.2"
        "The answers are counted, not who gave them: a repeated one counts twice.",
    12 LogsComparedIndexFirst "logs-compared-index-first" "paper 5.4.1"
        "The longer log wins, and its last term only decides between equal ones.",
    13 LowerTermPreVoteDropped "lower-term-pre-vote-dropped" "etcd pre-vote"
        "A pre-vote asked by a node of a lower term is not answered: terms deadlock.",
    14 LowerTermPreVoteAnswerDropped "lower-term-pre-vote-answer-dropped" "etcd pre-vote"
        "A pre-vote granted by a node of a lower term does not count: terms deadlock.",
    15 GrantKeepsTimer "grant-keeps-timer" "paper, Figure 2"
        "Granting a vote does not reset the time to campaign.",
    16 LearnerRefusesVote "learner-refuses-vote" "etcd learners"
        "A promoted learner that does not know it yet refuses to vote.",
    17 LearnerCampaigns "learner-campaigns" "thesis 4.2.1"
        "A node that does not vote campaigns.",
    18 NotSticky "not-sticky" "thesis 4.2.3"
        "A vote is granted while the leader is heard.",
    19 LeaderGrantsVote "leader-grants-vote" "thesis 4.2.3"
        "A leader gives up for whoever asks for its vote.",
    20 RestartForgetsPromise "restart-forgets-promise" "thesis 6.4.1"
        "After a restart a node votes at once, whatever it promised its leader before.",
    21 RestartForgetsVote "restart-forgets-vote" "thesis 3.8"
        "The vote is lost in a restart while the log is kept.",
    22 WipedStoreCounted "wiped-store-counted" "etcd data loss"
        "Messages from another data folder under a known id count.",
    23 EarlierLifeCounted "earlier-life-counted" "delayed packets"
        "Messages from an earlier life of their sender count.",
    24 AnswerToEarlierLifeCounted "answer-to-earlier-life-counted" "delayed packets"
        "Answers to an earlier life of this node count: their rounds are not its own.",
    // Replication.
    25 OldTermCommitted "old-term-committed" "paper 5.4.2, Figure 8"
        "An entry of an earlier term is committed by counting.",
    26 QuorumOffByOne "quorum-off-by-one" "paper 5.3"
        "Half of the voters is enough to commit.",
    27 QuorumUnsorted "quorum-unsorted" "etcd quorum"
        "The match in the middle of the voters as they come is committed.",
    28 LeaderCountsBeforeDisk "leader-counts-before-disk" "thesis 10.2.1"
        "A leader counts itself before its disk has the entry.",
    29 RegressedPeerCounted "regressed-peer-counted" "lost fsync"
        "A peer that lost what it acknowledged still counts.",
    30 MatchGoesBack "match-goes-back" "paper, Figure 2"
        "A late answer takes a match index back.",
    31 OldAnswerCounted "old-answer-counted" "paper 5.1"
        "An acknowledgement of an earlier term counts in this one.",
    32 HeartbeatAnswerIsMatch "heartbeat-answer-is-match" "thesis 10.2.1"
        "The answer to a heartbeat counts as an acknowledgement of all that was sent.",
    33 CommitToLast "commit-to-last" "paper, Figure 2"
        "A follower commits up to its last entry, though its tail conflicts.",
    34 CommitBeyondLog "commit-beyond-log" "etcd heartbeats"
        "A follower takes over a commit index beyond what it holds.",
    35 OldAppendTruncates "old-append-truncates" "paper 5.3"
        "An append that comes late cuts off what followed it.",
    36 TruncatesInItsOwnWrite "truncates-in-its-own-write" "not atomic"
        "Truncation and append go to the disk in two writes.",
    37 OldWriteCompletesNew "old-write-completes-new" "ABA"
        "The completion of a write is taken for that of the later ones, too.",
    38 CompactedPrevConflicts "compacted-prev-conflicts" "etcd compaction"
        "An entry that is compacted away is taken for a conflict.",
    39 HintDoesNotMove "hint-does-not-move" "paper 5.3"
        "After a conflict the leader probes at the same place again.",
    40 StaleConflictObeyed "stale-conflict-obeyed" "etcd probes"
        "A conflict that answers an earlier append moves the probe.",
    41 CommitGoesBack "commit-goes-back" "paper, Figure 2"
        "A commit index that comes late takes it back.",
    42 CommittedTailTruncated "committed-tail-truncated" "paper 5.3"
        "A follower cuts off what it knows to be committed.",
    43 NewLeaderDropsTail "new-leader-drops-tail" "paper 5.3"
        "A new leader cuts off what it does not know to be committed.",
    44 WriteFailureRetried "write-failure-retried" "failed fsync"
        "A leader whose write failed cuts it off and uses its indexes again.",
    45 AckBeforeDurable "ack-before-durable" "thesis 3.8"
        "A follower acknowledges before its disk has the entries.",
    46 AckBeforeTermDurable "ack-before-term-durable" "thesis 3.8"
        "A follower acknowledges in a term that its disk does not have.",
    47 AckOfWholeLog "ack-of-whole-log" "paper 5.3"
        "A follower acknowledges its last entry, not the last that was compared.",
    48 AppliedBeforeDurable "applied-before-durable" "restart"
        "Committed entries are applied before this disk has them.",
    49 RestartForgetsApplied "restart-forgets-applied" "restart"
        "After a restart the commit index is below what is applied.",
    50 NoEntryAtTermStart "no-entry-at-term-start" "paper 8"
        "A new leader appends nothing, so nothing of before is ever committed.",
    51 InflightIgnored "inflight-ignored" "thesis 10.2.1"
        "Appends to a peer are sent without a bound.",
    52 UncommittedIgnored "uncommitted-ignored" "memory"
        "Proposals are taken without a bound.",
    53 LostAppendNotResent "lost-append-not-resent" "thesis 10.2.1"
        "Pipelined appends that were lost are not sent again.",
    54 OldFetchSent "old-fetch-sent" "openraft 1795"
        "Entries that were fetched for another append are sent on.",
    55 DamageFetchedAgain "damage-fetched-again" "openraft 1795"
        "Entries that cannot be read are fetched again and again.",
    56 StalledLeaderStays "stalled-leader-stays" "stuck disk"
        "A leader whose disk is stuck keeps its followers quiet.",
    57 AnsweredTwice "answered-twice" "step-down"
        "Whoever waits is answered twice when leadership is lost.",
    58 NeverAnswered "never-answered" "step-down"
        "Nobody is answered when leadership is lost.",
    59 TransferToLaggard "transfer-to-laggard" "thesis 3.10"
        "Leadership is handed to a node that lacks entries.",
    60 ProposalsInTransfer "proposals-in-transfer" "thesis 3.10"
        "Proposals are taken while leadership is handed over.",
    // Reads.
    61 ReadBeforeTermCommit "read-before-term-commit" "thesis 6.4"
        "A confirmed read is answered before the term's first commit.",
    62 LeaseBeforeTermCommit "lease-before-term-commit" "thesis 6.4"
        "A lease is used before the term's first commit.",
    63 DeposedAnswersRead "deposed-answers-read" "thesis 6.4"
        "A deposed leader answers the reads that wait.",
    64 ReadJoinsRound "read-joins-round" "thesis 6.4"
        "A read joins the round that was sent before it came in.",
    65 OldRoundConfirms "old-round-confirms" "thesis 6.4"
        "Any answer confirms a read, also one to an earlier round.",
    66 LeaseFromReceipt "lease-from-receipt" "thesis 6.4.1"
        "A lease is counted from the receipt of an answer, not from the sending.",
    67 LeaseWithoutQuorum "lease-without-quorum" "thesis 6.4.1"
        "A leader holds its lease without hearing anyone.",
    68 NoCheckQuorum "no-check-quorum" "thesis 6.2"
        "A leader that no quorum hears does not step down.",
    69 LeaseIgnoresClockError "lease-ignores-clock-error" "thesis 6.4.1"
        "A lease ends no earlier for clocks that drift apart.",
    70 LeaseInTransfer "lease-in-transfer" "thesis 6.4.1"
        "A lease goes on while another node is told to campaign.",
    71 LeaseBackAfterTransfer "lease-back-after-transfer" "thesis 6.4.1"
        "A transfer that timed out brings the lease back, though its target may still campaign.",
    // Snapshots.
    72 StuckInSnapshot "stuck-in-snapshot" "etcd progress"
        "A peer whose snapshot failed to be sent is never sent another.",
    73 CompactedNeverSends "compacted-never-sends" "paper 7"
        "A leader whose log is wholly compacted sends no snapshot.",
    74 SnapshotAskedAgain "snapshot-asked-again" "etcd progress"
        "A snapshot is asked for again with every input.",
    75 OlderSnapshotInstalled "older-snapshot-installed" "paper 7"
        "A snapshot older than what is committed resets the log.",
    76 SnapshotDropsTail "snapshot-drops-tail" "paper 7"
        "A snapshot drops the entries behind it, which may be acknowledged.",
    77 SnapshotTakesTermBack "snapshot-takes-term-back" "term"
        "The term of a snapshot takes the node's own back.",
    78 SnapshotAckBeforeDurable "snapshot-ack-before-durable" "paper 7"
        "A snapshot is acknowledged before the log's reset is on disk.",
    79 CompactsUnapplied "compacts-unapplied" "paper 7"
        "The log is cut above what the state machine has.",
}
