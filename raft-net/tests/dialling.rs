//! When a node dials, how long it waits, and what the peer's own dial changes: only the decisions, in virtual time.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, missing_docs, reason = "test")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use raftkit_core::{Incarnation, StoreId};
use raftkit_net::dialling::{
    ANSWER_TIMEOUT_MAX, Attempt, Called, Dialler, Paths, PeerIncarnation, Progress, Step, Verdict,
};

const DIAL_TIMEOUT: Duration = ms(1000);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn incarnation(store: u128, number: u64) -> PeerIncarnation {
    PeerIncarnation { store: StoreId(store), incarnation: Incarnation(number) }
}

fn dialler() -> Dialler {
    Dialler::new(StoreId(1), DIAL_TIMEOUT)
}

/// Returns a dialler that has begun its first attempt at time zero.
fn dialling() -> Dialler {
    let mut dialler = dialler();
    assert_eq!(dialler.step(ms(0), 0), Step::Dial { answer_timeout: DIAL_TIMEOUT });
    dialler
}

/// Returns a dialler that was connected to this incarnation at time zero.
fn connected(peer: PeerIncarnation) -> Dialler {
    let mut dialler = dialling();
    dialler.greeted(ms(0), peer);
    dialler
}

fn wait(until: u64) -> Step {
    Step::Wait { until: Some(ms(until)) }
}

#[test]
fn an_attempt_that_nobody_answers_is_given_up_and_the_next_one_waits_longer() {
    let mut dialler = dialling();
    assert_eq!(dialler.step(ms(999), 0), wait(1000));
    assert_eq!(dialler.step(ms(1000), 0), Step::GiveUp { waited: ms(1000) });
    assert_eq!(dialler.step(ms(1000), 0), wait(1020), "a pause");
    assert_eq!(dialler.step(ms(1020), 0), Step::Dial { answer_timeout: ms(2000) });
    assert_eq!(dialler.step(ms(3020), 0), Step::GiveUp { waited: ms(2000) });
    assert_eq!(dialler.step(ms(3060), 0), Step::Dial { answer_timeout: ms(4000) });
    let mut now = ms(3060);
    for _ in 0..20 {
        now += ms(10_000);
        assert!(matches!(dialler.step(now, 0), Step::GiveUp { waited } if waited <= ANSWER_TIMEOUT_MAX));
        now += ms(500);
        assert!(
            matches!(dialler.step(now, 0), Step::Dial { answer_timeout } if answer_timeout <= ANSWER_TIMEOUT_MAX)
        );
    }
}

#[test]
fn pauses_double_up_to_half_a_second_and_are_spread_by_a_quarter() {
    let mut dialler = dialling();
    let mut now = ms(0);
    for pause in [20, 40, 80, 160, 320, 500, 500, 500] {
        dialler.failed(now, 0);
        assert_eq!(dialler.step(now, 0), Step::Wait { until: Some(now + ms(pause)) });
        now += ms(pause);
        assert_eq!(
            dialler.step(now, 0),
            Step::Dial { answer_timeout: DIAL_TIMEOUT },
            "a refusal is no silence"
        );
    }
    dialler.failed(now, 255);
    assert_eq!(dialler.step(now, 0), Step::Wait { until: Some(now + ms(375)) });
}

#[test]
fn an_attempt_waits_as_long_as_the_measured_round_trip_makes_necessary() {
    let attempt = |timeouts, round_trip| Attempt::new(ms(0), ms(1000), timeouts, round_trip).answer_timeout();
    assert_eq!(attempt(0, None), ms(1000));
    assert_eq!(attempt(0, Some(ms(100))), ms(1000));
    assert_eq!(attempt(0, Some(ms(600))), ms(1800), "three round trips");
    assert_eq!(attempt(2, Some(ms(600))), ms(7200));
    assert_eq!(attempt(3, Some(ms(600))), ANSWER_TIMEOUT_MAX);
    assert_eq!(attempt(9, Some(ms(4000))), ms(12_000), "a longer path is never waited for too short");
    assert_eq!(Attempt::new(ms(0), ms(60_000), 9, None).answer_timeout(), ms(60_000), "as it was set");
}

#[test]
fn what_comes_on_has_its_time_from_then_on() {
    let mut dialler = dialling();
    dialler.progress(ms(900), Progress::Answered);
    assert_eq!(dialler.step(ms(1000), 0), wait(1900));
    dialler.progress(ms(1500), Progress::Connected { round_trip: ms(700) });
    assert_eq!(dialler.step(ms(1500), 0), wait(1500 + 6 * 700), "one lost packet costs four round trips");
    dialler.greeted(ms(3000), incarnation(1, 1));
    assert_eq!(dialler.step(ms(3000), 0), Step::Wait { until: None });
    dialler.lost(ms(99_000), ms(650), 0);
    assert_eq!(dialler.step(ms(99_000), 0), Step::Dial { answer_timeout: ms(1950) }, "the path is known now");
}

#[test]
fn a_call_ends_a_pause() {
    let mut dialler = dialling();
    dialler.failed(ms(10), 0);
    assert_eq!(dialler.called(ms(12), incarnation(1, 1), ms(1)), Called::Changed);
    assert_eq!(dialler.step(ms(12), 0), Step::Dial { answer_timeout: DIAL_TIMEOUT });
}

#[test]
fn a_call_does_not_end_an_attempt_that_was_answered() {
    // Both dial at the same moment, 150 ms apart: either is answered after 300 and called after 450 ms.
    let mut dialler = dialling();
    dialler.progress(ms(300), Progress::Answered);
    dialler.progress(ms(300), Progress::Connected { round_trip: ms(300) });
    assert_eq!(dialler.called(ms(450), incarnation(1, 1), ms(300)), Called::Changed);
    assert_eq!(dialler.step(ms(450), 0), wait(300 + 6 * 300));
    // But it is not waited for longer than the path needs: an earlier incarnation may have answered it.
    let mut dialler = dialling();
    dialler.progress(ms(1), Progress::Connected { round_trip: ms(1) });
    dialler.called(ms(50), incarnation(1, 1), ms(1));
    assert_eq!(dialler.step(ms(50), 0), wait(50 + 6 + 100));
    assert_eq!(dialler.step(ms(156), 0), Step::Dial { answer_timeout: DIAL_TIMEOUT }, "at once: no failure");
}

#[test]
fn a_call_makes_an_unanswered_attempt_start_again_once_its_answer_is_overdue() {
    let mut dialler = dialling();
    dialler.called(ms(50), incarnation(1, 1), ms(40));
    assert_eq!(dialler.step(ms(50), 0), wait(140), "the answer may be on its way");
    assert_eq!(dialler.step(ms(140), 0), Step::Dial { answer_timeout: DIAL_TIMEOUT });
    let mut dialler = dialling();
    dialler.called(ms(600), incarnation(1, 1), ms(40));
    assert_eq!(dialler.step(ms(600), 0), Step::Dial { answer_timeout: DIAL_TIMEOUT });
    assert_eq!(dialler.step(ms(600), 0), wait(1600), "a call is used up with the attempt that it was for");
}

#[test]
fn a_call_of_the_same_life_leaves_a_connection_alone_and_one_of_a_later_life_ends_it() {
    let mut dialler = connected(incarnation(1, 3));
    assert_eq!(dialler.called(ms(10), incarnation(1, 3), ms(1)), Called::Stays);
    assert_eq!(dialler.step(ms(10), 0), Step::Wait { until: None });
    assert_eq!(dialler.called(ms(10), incarnation(1, 4), ms(1)), Called::Outlived);
    assert_eq!(dialler.step(ms(10), 0), Step::Dial { answer_timeout: DIAL_TIMEOUT });
    dialler.greeted(ms(20), incarnation(1, 4));
    // The end of the connection that was closed is no news.
    dialler.lost(ms(21), ms(1), 0);
}

#[test]
fn the_members_data_folder_displaces_another_one_and_not_the_other_way_round() {
    let mut dialler = connected(incarnation(1, 3));
    assert_eq!(
        dialler.called(ms(10), incarnation(2, 9), ms(1)),
        Called::Stays,
        "a removed node that runs on"
    );
    let mut dialler = connected(incarnation(2, 9));
    assert_eq!(dialler.called(ms(10), incarnation(1, 3), ms(1)), Called::Outlived);
}

#[test]
fn a_connection_that_stood_for_a_while_ends_the_row_of_failures() {
    let mut dialler = dialler();
    for attempt in 0..10 {
        dialler.step(ms(attempt * 1000), 0);
        dialler.failed(ms(attempt * 1000), 0);
    }
    dialler.step(ms(10_000), 0);
    dialler.greeted(ms(10_000), incarnation(1, 1));
    dialler.lost(ms(20_000), ms(1), 0);
    dialler.step(ms(20_000), 0);
    dialler.failed(ms(20_000), 0);
    assert_eq!(dialler.step(ms(20_000), 0), wait(20_020), "the first pause again");
}

#[test]
fn a_connection_that_ends_soon_counts_as_a_failure() {
    let mut dialler = connected(incarnation(1, 1));
    dialler.lost(ms(999), ms(1), 0);
    assert_eq!(dialler.step(ms(999), 0), wait(1019));
    let mut dialler = connected(incarnation(1, 1));
    dialler.lost(ms(1000), ms(1), 0);
    assert_eq!(dialler.step(ms(1000), 0), Step::Dial { answer_timeout: DIAL_TIMEOUT });
    let mut dialler = connected(incarnation(1, 1));
    dialler.lost(ms(2399), ms(600), 0);
    assert_eq!(dialler.step(ms(2399), 0), wait(2419), "on a long path soon is later");
}

#[test]
fn an_address_is_given_more_time_each_time_that_it_did_not_answer_in_time() {
    let (near, far): (SocketAddr, SocketAddr) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
    let mut paths = Paths::default();
    let timeout = |paths: &Paths, address| paths.attempt(ms(0), ms(1000), address).answer_timeout();
    paths.timed_out(far);
    assert_eq!((timeout(&paths, near), timeout(&paths, far)), (ms(1000), ms(2000)));
    paths.timed_out(far);
    paths.measured(far, ms(1100));
    assert_eq!((timeout(&paths, near), timeout(&paths, far)), (ms(1000), ms(3300)));
    for port in 3..2000 {
        paths.timed_out(([127, 0, 0, 1], port).into());
    }
    assert_eq!(timeout(&paths, ([127, 0, 0, 1], 1999).into()), ms(1000), "not all are remembered");
    assert_eq!(timeout(&paths, far), ms(3300), "what is known of an address is kept");
}

#[test]
fn an_attempt_to_an_address_hears_of_calls_from_there_that_came_since_it_began() {
    let (near, far): (SocketAddr, SocketAddr) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
    let mut paths = Paths::default();
    paths.called(ms(40), far, ms(10));
    let verdict = |paths: &Paths, address, begun, now| {
        let mut attempt = paths.attempt(begun, ms(1000), address);
        paths.tell(address, begun, &mut attempt);
        attempt.verdict(now)
    };
    assert_eq!(verdict(&paths, far, ms(0), ms(200)), Verdict::Again);
    assert_eq!(verdict(&paths, near, ms(0), ms(200)), Verdict::GoOn { until: ms(1000) });
    assert_eq!(verdict(&paths, far, ms(41), ms(200)), Verdict::GoOn { until: ms(1041) }, "it was before");
}

#[test]
fn an_attempt_alone_says_when_it_is_over() {
    let attempt = Attempt::new(ms(5), ms(1000), 0, None);
    assert_eq!(attempt.verdict(ms(5)), Verdict::GoOn { until: ms(1005) });
    assert_eq!(attempt.verdict(ms(1005)), Verdict::TimedOut { waited: ms(1000) });
}

/// An event that is due at a side, with the attempt that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The first packet of an attempt arrives at the other side.
    First { of: usize, attempt: u32 },
    /// The answer to the first packet arrives.
    Answer { of: usize, attempt: u32 },
    /// The greeting arrives at the other side.
    Greeting { of: usize, attempt: u32 },
    /// The answer to the greeting arrives.
    Greeted { of: usize, attempt: u32 },
    /// The side asks its dialler for the next step.
    Look { at: usize },
}

/// Two nodes that dial each other over a path of two delays, on which the first packets of attempts may be lost.
struct Two {
    now: Duration,
    sides: [Dialler; 2],
    attempts: [u32; 2],
    connected: [bool; 2],
    delays: [Duration; 2],
    losses: Vec<bool>,
    queue: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    number: u64,
}

impl Two {
    fn new(delays: [Duration; 2], starts: [Duration; 2], losses: Vec<bool>) -> Self {
        let mut two = Self {
            now: ms(0),
            sides: [dialler(), dialler()],
            attempts: [0; 2],
            connected: [false; 2],
            delays,
            losses,
            queue: BinaryHeap::new(),
            number: 0,
        };
        two.plan(starts[0], Event::Look { at: 0 });
        two.plan(starts[1], Event::Look { at: 1 });
        two
    }

    fn plan(&mut self, at: Duration, event: Event) {
        self.number += 1;
        self.queue.push(Reverse((at, self.number, event)));
    }

    /// Sends a packet of `side`, unless it is one of those that get lost.
    fn send(&mut self, side: usize, event: Event) {
        if !self.losses.pop().unwrap_or(false) {
            self.plan(self.now + self.delays[side], event);
        }
    }

    fn look(&mut self, at: usize) {
        let step = self.sides[at].step(self.now, 128);
        match step {
            Step::Wait { until: Some(until) } => self.plan(until, Event::Look { at }),
            Step::Wait { until: None } => {}
            Step::GiveUp { .. } => self.plan(self.now, Event::Look { at }),
            Step::Dial { .. } => {
                self.attempts[at] += 1;
                self.send(at, Event::First { of: at, attempt: self.attempts[at] });
                self.plan(self.now, Event::Look { at });
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look { at } => self.look(at),
            Event::First { of, attempt } => self.send(1 - of, Event::Answer { of, attempt }),
            Event::Answer { of, attempt } if attempt == self.attempts[of] => {
                let round_trip = self.delays[0] + self.delays[1];
                self.sides[of].progress(self.now, Progress::Connected { round_trip });
                self.send(of, Event::Greeting { of, attempt });
            }
            Event::Greeting { of, attempt } => {
                let round_trip = self.delays[0] + self.delays[1];
                if self.sides[1 - of].called(self.now, incarnation(1, 1), round_trip) == Called::Changed {
                    self.plan(self.now, Event::Look { at: 1 - of });
                }
                self.send(1 - of, Event::Greeted { of, attempt });
            }
            Event::Greeted { of, attempt } if attempt == self.attempts[of] => {
                self.connected[of] = true;
                self.sides[of].greeted(self.now, incarnation(1, 1));
            }
            // Of an attempt that was thrown away.
            Event::Answer { .. } | Event::Greeted { .. } => {}
        }
    }

    /// Returns the time until both sides are connected; none if that takes more than two minutes.
    fn run(mut self) -> Option<(Duration, [u32; 2])> {
        while self.connected != [true, true] {
            let Reverse((at, _, event)) = self.queue.pop()?;
            self.now = at;
            if at > ms(120_000) {
                return None;
            }
            self.happen(event);
        }
        Some((self.now, self.attempts))
    }
}

proptest! {
    /// Whenever the two begin and however long the path is, no attempt is dropped that would have succeeded.
    #[test]
    fn two_nodes_that_dial_each_other_both_connect_with_few_attempts(
        there in 0_u64..2500, back in 0_u64..2500, begin in 0_u64..6000
    ) {
        let two = Two::new([ms(there), ms(back)], [ms(0), ms(begin)], Vec::new());
        let (took, attempts) = two.run().expect("both are connected");
        // A round trip of 5 s is found with the fourth attempt, after 1 + 2 + 4 s.
        prop_assert!(took <= ms(begin + 7_500 + 2 * (there + back)), "{took:?} {attempts:?}");
        prop_assert!(attempts.iter().all(|attempts| *attempts <= 5), "{took:?} {attempts:?}");
    }

    #[test]
    fn two_nodes_that_dial_each_other_both_connect_though_packets_are_lost(
        there in 0_u64..1000, back in 0_u64..1000, begin in 0_u64..3000,
        losses in proptest::collection::vec(any::<bool>(), 0..12)
    ) {
        let two = Two::new([ms(there), ms(back)], [ms(0), ms(begin)], losses);
        prop_assert!(two.run().is_some());
    }
}
