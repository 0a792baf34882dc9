//! The list of mutants: what each does wrong, and where that is known from.

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
    // Membership: what a change may do.
    80 ChangeBeforeTermCommit "change-before-term-commit" "Ongaro 2015"
        "A change is begun before the leader has committed an entry of its term.",
    81 SecondChangeTaken "second-change-taken" "thesis 4.1"
        "A change is begun while the last one is not committed.",
    82 SecondChangeIgnored "second-change-ignored" "etcd confchange"
        "A second change is refused, and nobody is told.",
    83 ChangeIgnoresSeen "change-ignores-seen" "compare and swap"
        "A change is begun from another membership than its caller saw.",
    84 ChangeInTransfer "change-in-transfer" "thesis 3.10"
        "A change is begun while leadership is handed over.",
    85 TwoAtOnce "two-at-once" "thesis 4.1"
        "Two voters are changed at once without a joint membership.",
    86 StoreSwapTaken "store-swap-taken" "etcd data loss"
        "A voter's data folder is changed in place.",
    87 DamagedMadeVoter "damaged-made-voter" "protocol-aware recovery"
        "A damaged learner is made a voter.",
    88 JointWithoutOutgoing "joint-without-outgoing" "thesis 4.3"
        "The joint membership forgets its outgoing half.",
    89 RemovedStayLearners "removed-stay-learners" "thesis 4.3"
        "Those that a joint change removes stay as learners.",
    // Membership: when it acts, and what is remembered of it.
    90 ActsWhenCommitted "acts-when-committed" "thesis 4.1"
        "A membership acts from its commit on, not from its append.",
    91 TruncatedMembershipStays "truncated-membership-stays" "thesis 4.1"
        "A membership that is truncated stays in force.",
    92 RestartForgetsMembership "restart-forgets-membership" "restart"
        "After a restart a membership in the log does not act.",
    93 CompactedMembershipLost "compacted-membership-lost" "paper 7"
        "Compaction takes the membership with it.",
    94 NewestAsOfAnyIndex "newest-as-of-any-index" "paper 7"
        "A snapshot of an earlier index names the membership in force now.",
    95 NewLeaderStaysJoint "new-leader-stays-joint" "openraft 1871"
        "A leader that did not begin the change leaves it joint for ever.",
    96 LeavesJointAgain "leaves-joint-again" "etcd joint"
        "Leaving joint is proposed again with each commit until it is committed itself.",
    97 AnsweredWhenJoint "answered-when-joint" "thesis 4.3"
        "Who asked for a change is answered when its joint membership is committed.",
    98 ChangeNeverAnswered "change-never-answered" "step-down"
        "Who waits for a change is told nothing when leadership is lost.",
    // Membership: who counts.
    99 JointCommitIncoming "joint-commit-incoming" "thesis 4.3"
        "While joint the incoming half alone commits.",
    100 JointCommitOutgoing "joint-commit-outgoing" "thesis 4.3"
        "While joint the outgoing half alone commits.",
    101 JointElectionIncoming "joint-election-incoming" "thesis 4.3"
        "While joint the incoming half alone elects.",
    102 JointElectionOutgoing "joint-election-outgoing" "thesis 4.3"
        "While joint the outgoing half alone elects.",
    103 JointLeaseIncoming "joint-lease-incoming" "thesis 6.4.1"
        "While joint the incoming half alone makes a lease.",
    104 JointLeaseOutgoing "joint-lease-outgoing" "thesis 6.4.1"
        "While joint the outgoing half alone makes a lease.",
    105 JointReadIncoming "joint-read-incoming" "thesis 6.4"
        "While joint the incoming half alone confirms reads.",
    106 JointReadOutgoing "joint-read-outgoing" "thesis 6.4"
        "While joint the outgoing half alone confirms reads.",
    107 JointCheckIncoming "joint-check-incoming" "thesis 6.2"
        "While joint a leader stays that only the incoming half hears.",
    108 JointCheckOutgoing "joint-check-outgoing" "thesis 6.2"
        "While joint a leader stays that only the outgoing half hears.",
    109 LearnerAckCounted "learner-ack-counted" "thesis 4.2.1"
        "What a learner holds counts for commits.",
    110 LearnerVoteCounted "learner-vote-counted" "thesis 4.2.1"
        "Learners are asked for votes, and theirs count.",
    111 LearnerPromiseCounted "learner-promise-counted" "thesis 4.2.1"
        "What a learner promises counts for leases.",
    112 LearnerConfirmsRead "learner-confirms-read" "thesis 4.2.1"
        "A learner confirms rounds of reads.",
    113 StrangerVoteCounted "stranger-vote-counted" "thesis 4.2.2"
        "The vote of a node that is no member counts.",
    114 UnknownCandidateIgnored "unknown-candidate-ignored" "thesis 4.2.2"
        "A candidate that the voter's membership does not name gets no answer.",
    115 UnknownLeaderIgnored "unknown-leader-ignored" "thesis 4.2.2"
        "A leader that a node's membership does not name is not heard.",
    // Membership: those that come and go.
    116 PromotedAtOnce "promoted-at-once" "thesis 4.2.1"
        "A staging learner becomes a voter before it has caught up.",
    117 PromotedAfterSlowRound "promoted-after-slow-round" "thesis 4.2.1"
        "A staging learner becomes a voter after any round, however long it took.",
    118 NeverPromoted "never-promoted" "thesis 4.2.1"
        "A staging learner that has caught up stays one.",
    119 DamagedPromoted "damaged-promoted" "protocol-aware recovery"
        "A damaged staging learner becomes a voter.",
    120 PromotedBeforeTermCommit "promoted-before-term-commit" "Ongaro 2015"
        "A staging learner becomes a voter before the term's first commit.",
    121 RemovedLeaderCounts "removed-leader-counts" "thesis 4.2.2"
        "A leader that removed itself counts itself.",
    122 RemovedLeaderStays "removed-leader-stays" "thesis 4.2.2"
        "A leader that removed itself never steps down.",
    123 RemovedLeaderLeavesEarly "removed-leader-leaves-early" "thesis 4.2.2"
        "A leader that removed itself steps down before that is committed.",
    124 RemovedKeepsSilent "removed-keeps-silent" "thesis 4.2.2"
        "A voter whose removal is not committed does not campaign.",
    125 WipedCampaigns "wiped-campaigns" "etcd data loss"
        "A voter campaigns from another data folder than the membership names.",
    126 WipedNamesRepeat "wiped-names-repeat" "delayed packets"
        "A wiped node asks again under names that it used before.",
    127 PartingPeersDropped "parting-peers-dropped" "thesis 4.2.3"
        "A removed peer is not served until its removal is committed.",
    128 PartingWordDropped "parting-word-dropped" "thesis 4.2.3"
        "A removed peer is not told that its removal is committed.",
    129 SwappedStoreKeepsMatch "swapped-store-keeps-match" "etcd data loss"
        "A learner that gets another data folder keeps what the earlier one held.",
    130 WhatIfForgetsBefore "what-if-forgets-before" "consul 8964"
        "The forecast of a change forgets the voters before it.",
    131 WhatIfForgetsIncoming "what-if-forgets-incoming" "consul 8964"
        "The forecast of a change forgets its incoming half.",
    132 WhatIfForgetsAfter "what-if-forgets-after" "consul 8964"
        "The forecast of a change forgets the voters after it.",
    133 WhatIfForgetsLaggards "what-if-forgets-laggards" "consul 8964"
        "The forecast of a change takes all for caught up.",
    // Transfers.
    134 TransferToLearner "transfer-to-learner" "thesis 3.10"
        "Leadership is handed to a node that does not vote.",
    135 TransferToDamaged "transfer-to-damaged" "protocol-aware recovery"
        "Leadership is handed to a damaged node.",
    136 TransferToPriorityZero "transfer-to-priority-zero" "priorities"
        "Leadership is handed to a voter of priority 0.",
    137 SuccessorZeroFirst "successor-zero-first" "priorities"
        "A voter of priority 0 is named successor before others that can win.",
    138 SecondSuccessorNamed "second-successor-named" "thesis 3.10"
        "A leader that resigns during a transfer calls a second node to campaign.",
    139 LearnerTakesOver "learner-takes-over" "thesis 4.2.1"
        "A node that does not vote campaigns when it is told to.",
    140 CalledByAnyone "called-by-anyone" "thesis 3.10"
        "Any node can tell another one to campaign.",
    // A damaged log.
    141 DamagedCampaigns "damaged-campaigns" "protocol-aware recovery"
        "A damaged node campaigns.",
    142 DamagedPreVotes "damaged-pre-votes" "protocol-aware recovery"
        "A damaged node grants pre-votes.",
    143 DamagedAckCounted "damaged-ack-counted" "protocol-aware recovery"
        "What a damaged peer acknowledges counts for commits.",
    144 DamagedConfirmsRead "damaged-confirms-read" "protocol-aware recovery"
        "A damaged peer confirms rounds of reads.",
    145 DamagedPromiseCounted "damaged-promise-counted" "protocol-aware recovery"
        "A damaged peer promises, and that counts for leases.",
    146 DamagedKeepsLeader "damaged-keeps-leader" "protocol-aware recovery"
        "A leader stays that hears damaged peers alone.",
    147 DamageForgotten "damage-forgotten" "protocol-aware recovery"
        "What a peer acknowledged before its damage counts when it has healed.",
    148 DamagedAskerCounted "damaged-asker-counted" "protocol-aware recovery"
        "A peer that asks how far to heal counts for the answer.",
    149 HealsAtOnce "heals-at-once" "protocol-aware recovery"
        "A damaged node heals by what it knows to be committed itself.",
    150 HealsByLease "heals-by-lease" "protocol-aware recovery"
        "A damaged node heals by a commit index that only a lease confirmed.",
    151 HealsUncommitted "heals-uncommitted" "protocol-aware recovery"
        "A damaged node heals before it knows to be committed what it holds.",
    152 HealsBeforeDurable "heals-before-durable" "protocol-aware recovery"
        "A damaged node heals before its disk has what it lost.",
    153 OldHealAnswerTaken "old-heal-answer-taken" "delayed packets"
        "The answer to another question says how far to heal.",
    154 HealthNotWritten "health-not-written" "restart"
        "A node that has healed does not write that down.",
    155 HealedNotCounted "healed-not-counted" "protocol-aware recovery"
        "What a peer holds is not counted anew when it has healed.",
    // Priorities.
    156 PriorityIgnored "priority-ignored" "priorities"
        "A voter of a lower priority campaigns as early as any.",
    157 PriorityZeroInTurn "priority-zero-in-turn" "priorities"
        "A voter of priority 0 campaigns in its turn, not last.",
    158 NeverYields "never-yields" "priorities"
        "A leader never yields to a higher priority.",
    159 YieldsToLaggard "yields-to-laggard" "priorities"
        "A leader yields to a voter that lags behind.",
    160 YieldsToSilent "yields-to-silent" "priorities"
        "A leader yields to a voter that it does not hear.",
    161 YieldsToEqual "yields-to-equal" "priorities"
        "A leader yields to a voter of its own priority.",
    162 YieldsInChange "yields-in-change" "priorities"
        "A leader yields while a change is under way.",
    163 YieldsAgainAtOnce "yields-again-at-once" "priorities"
        "A leader that could not yield tries again with every heartbeat.",
    // Reads of followers, and leases.
    164 ExpiredLeaseUsed "expired-lease-used" "thesis 6.4.1"
        "A read is answered by a lease that has ended.",
    165 FollowerReadsOwnCommit "follower-reads-own-commit" "thesis 6.4"
        "A follower's read is answered from its own commit index.",
    166 FollowerAnswersIndex "follower-answers-index" "thesis 6.4"
        "A follower that is asked for an index answers with its own.",
    167 FormerLeaderAnswers "former-leader-answers" "thesis 6.4"
        "The index of a leader that is no more is taken.",
    168 OldReadAnswerTaken "old-read-answer-taken" "delayed packets"
        "The answer to an earlier question is taken for this one.",
    169 ReadNeverGivenUp "read-never-given-up" "lost packets"
        "A follower's read that no leader answers waits for ever.",
    170 ReadsUnbounded "reads-unbounded" "memory"
        "Reads wait without a bound.",
    // Entries in memory.
    171 SliceSkipsAtBoundary "slice-skips-at-boundary" "shared entries"
        "A slice over several blocks skips an entry at a boundary.",
    172 SliceFromBlockStart "slice-from-block-start" "shared entries"
        "A slice begins where its block begins.",
    173 TailKeepsTruncated "tail-keeps-truncated" "shared entries"
        "A truncation inside a block is forgotten.",
    174 TailKeepsCompacted "tail-keeps-compacted" "shared entries"
        "A compaction inside a block is forgotten.",
    175 CutTakesOneMore "cut-takes-one-more" "shared entries"
        "A cut at the head of a block takes one entry more.",
    176 UndurableEvicted "undurable-evicted" "memory"
        "Entries leave memory before they are on disk.",
    177 TermsOfRunMissed "terms-of-run-missed" "term runs"
        "Of entries of several terms that come together one term is noted.",
    178 ConflictTakenForHeld "conflict-taken-for-held" "paper 5.3"
        "An entry of another term at the same index is taken for held.",
    179 CommitTakenForTold "commit-taken-for-told" "paper 5.3"
        "A peer counts as told of a commit beyond what it holds.",
}
