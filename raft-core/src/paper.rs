//! Where each rule of the Raft paper (extended version, 2014) is implemented, for a reader who has it open.
//!
//! `tests/paper` has a test for each row of Figures 2 and 3, under the same number.
//!
//! # Figure 2, State
//!
//! | the paper's name | here |
//! | --- | --- |
//! | `currentTerm`, `votedFor` | [`HardState::term`](crate::HardState), [`HardState::vote`](crate::HardState); durable before an answer is sent: `writes.rs` |
//! | `log[]` | on the driver's disk, through [`Write`](crate::Write); its newest part in memory: `tail.rs`; its terms: `term_runs.rs` |
//! | `commitIndex` | [`Node::commit`](crate::Node::commit); also in the hard state, so that a restart applies at once |
//! | `lastApplied` | [`Node::applied`](crate::Node::applied), reported by [`Input::Applied`](crate::Input) |
//! | `nextIndex[]`, `matchIndex[]` | [`PeerStatus`](crate::PeerStatus), `progress.rs`; reset by `become_leader` in `role.rs` |
//!
//! # Figure 2, AppendEntries RPC
//!
//! | receiver's rule | section | here |
//! | --- | --- | --- |
//! | 1 reply false if term < currentTerm | 5.1 | `refuse_old_leader` in `follow.rs` |
//! | 2 reply false if the log has no `prevLogTerm` at `prevLogIndex` | 5.3 | `accept` in `follow.rs`; the hint of [`AppendOutcome::Conflict`](crate::AppendOutcome) skips whole terms |
//! | 3 delete what conflicts, and all that follows it | 5.3 | `accept` in `follow.rs`, `truncate_from` in `persist.rs`; an old append that matches deletes nothing |
//! | 4 append what is not in the log | 5.3 | `fresh` in `follow.rs`, `append_entries` in `persist.rs` |
//! | 5 `commitIndex = min(leaderCommit, index of last new entry)` | 5.3 | `on_append_entries`: only as far as this message proves |
//!
//! # Figure 2, RequestVote RPC
//!
//! | receiver's rule | section | here |
//! | --- | --- | --- |
//! | 1 reply false if term < currentTerm | 5.1 | `on_request_vote` in `election.rs` |
//! | 2 grant if not voted for another, and the candidate's log is up to date | 5.2, 5.4 | `on_request_vote`; sent by `release_grant` once it is durable |
//!
//! # Figure 2, Rules for Servers
//!
//! | rule | section | here |
//! | --- | --- | --- |
//! | all 1: apply what is committed | 5.3 | `hand_out_committed` in `commit.rs`, once it is durable here as well |
//! | all 2: a higher term makes a follower | 5.1 | `settle_term` in `hearing.rs`; not for a pre-vote, nor for a candidate while the leader incarnations (thesis 4.2.3) |
//! | followers 1: answer candidates and leaders | 5.2 | `election.rs`, `follow.rs` |
//! | followers 2: no leader heard, become a candidate | 5.2 | `on_campaign_time`, by way of a pre-vote (thesis 9.6) |
//! | candidates 1: next term, own vote, timer, ask all | 5.2 | `become_candidate`; its own vote counts once it is durable |
//! | candidates 2: a majority makes a leader | 5.2 | `count_votes`, `quorum.rs` |
//! | candidates 3: a leader of the term makes a follower | 5.2 | `hears_leader` in `follow.rs` |
//! | candidates 4: time-out, start again | 5.2 | `on_campaign_time` |
//! | leaders 1: heartbeats at once and when idle | 5.2 | `become_leader` appends a no-op, which is the first; `send_heartbeats` in `replication.rs` |
//! | leaders 2: append commands, answer when applied | 5.3 | `on_propose`, `answer_committed` in `commit.rs`: answered when committed, the driver waits for the apply |
//! | leaders 3: send from `nextIndex` on; on success raise, on refusal lower and retry | 5.3 | `pipeline` in `sender.rs`; `on_match`, `on_conflict` in `replication.rs` |
//! | leaders 4: commit what a majority holds, if of this term | 5.3, 5.4 | `advance_leader_commit` in `commit.rs` |
//!
//! # Other figures
//!
//! | figure | what it shows | here |
//! | --- | --- | --- |
//! | 3 | the five properties that always hold | [`invariants`](crate::invariants), and over all nodes `tests/simulation/truth.rs` |
//! | 4 | roles | [`RoleName`](crate::RoleName) |
//! | 7 | logs at the start of a term | `tests/scenarios/figure_7.txt` |
//! | 8 | why an old entry is not committed by counting | `tests/scenarios/figure_8.txt`, `figure_8_e.txt` |
//! | 9 | why a leader has all that is committed | `tests/scenarios/figure_9.txt` |
//! | 10 | why a change of several voters is joint | `tests/scenarios/figure_10.txt` |
//! | 11 | the timeline of a change | `tests/scenarios/figure_11.txt`; `membership_change.rs` |
//! | 12, 13 | snapshots | [`SnapshotEffect`](crate::SnapshotEffect), `snapshot.rs`; chunks are the driver's |
//!
//! # What the paper leaves open, or the thesis and others added
//!
//! | what | source | here |
//! | --- | --- | --- |
//! | pre-vote; no vote while the leader incarnations | thesis 9.6, 4.2.3 | `election.rs` |
//! | a leader that does not hear from a quorum steps down (check-quorum) | thesis 6.2 | `quorum_deadline` in `replication.rs` |
//! | the leader writes in parallel with its followers | thesis 10.2.1 | messages leave with the write; `on_persisted` in `persist.rs` |
//! | pipelining, and windows in messages and bytes | thesis 10.2.1 | `inflights.rs`, [`Config`](crate::Config) |
//! | read index, leases | thesis 6.4 | `read_index.rs`, `lease.rs` |
//! | leadership transfer | thesis 3.10 | `transfer.rs` |
//! | learners, and when they have caught up | thesis 4.2.1 | [`Suffrage`](crate::Suffrage), `promotion.rs` |
//! | a leader that is not in the new membership | thesis 4.2.2 | `membership_change.rs` |
//! | the first change of a term waits for the first commit of it | Ongaro 2015 | [`ChangeRefused::NotReady`](crate::ChangeRefused) |
//! | a wiped server is a new one | practice | [`StoreId`](crate::StoreId), `hearing.rs` |
//! | a server that lost part of its log | Alagappan et al., FAST'18 | [`Health`](crate::Health), `heal.rs` |
//! | a leader with a stuck disk | hashicorp/raft#503 | [`Config::write_stall`](crate::Config) |
