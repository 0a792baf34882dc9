//! Admission of first packets: no sender takes places that are kept for another kind of sender.
#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use core::net::SocketAddr;
use core::time::Duration;

use proptest::prelude::*;
use raftkit_core::Time;
use raftkit_net::door::{
    Address, CLAIMED_MAX, Door, Ending, FAILED_HOLD, FLOOD_MIN, FLOOD_WINDOW, MEMBER_MAX, MET_MAX, Place,
    RETRIES_MAX, RETRY_WINDOW, SOURCE_MAX, STRANGERS_MAX, Standing, Verdict,
};

const START: Time = Time(1_000_000);

/// Returns the address of a stranger with this port.
fn stranger(source: u8, port: u16) -> SocketAddr {
    ([192, 0, 2, source], port).into()
}

fn member(node: u8) -> SocketAddr {
    ([10, 0, 0, node], 8300).into()
}

fn accepted(verdict: Verdict) -> Place {
    match verdict {
        Verdict::Accept(place) => place,
        Verdict::Retry | Verdict::Ignore => panic!("not accepted: {verdict:?}"),
    }
}

/// Sends first packets of strangers until none is accepted; returns the places of those that were.
fn filled(door: &mut Door, address: Address) -> Vec<Place> {
    let knocks = (0..100).flat_map(|source| (0..10).map(move |port| stranger(source, port)));
    let verdicts = knocks.map(|from| door.knock(START, from, address, Standing::Stranger));
    verdicts.filter_map(|it| if let Verdict::Accept(place) = it { Some(place) } else { None }).collect()
}

#[test]
fn a_few_claimed_addresses_are_taken_at_their_word_and_the_next_must_prove_theirs() {
    let mut door = Door::default();
    assert_eq!(filled(&mut door, Address::Claimed).len(), CLAIMED_MAX);
    assert_eq!(door.knock(START, stranger(1, 1), Address::Claimed, Standing::Stranger), Verdict::Retry);
    accepted(door.knock(START, stranger(1, 1), Address::Proven, Standing::Stranger));
}

#[test]
fn the_name_of_a_member_is_no_proof() {
    let mut door = Door::default();
    door.met(member(1));
    filled(&mut door, Address::Claimed);
    assert_eq!(door.knock(START, member(1), Address::Claimed, Standing::Member), Verdict::Retry);
    for _ in 0..MEMBER_MAX {
        accepted(door.knock(START, member(1), Address::Proven, Standing::Stranger));
    }
}

#[test]
fn strangers_are_bounded_by_source_and_in_all() {
    let mut door = Door::default();
    for port in 0..SOURCE_MAX {
        let from = stranger(1, u16::try_from(port).unwrap());
        accepted(door.knock(START, from, Address::Proven, Standing::Stranger));
    }
    let next = stranger(1, 999);
    assert_eq!(door.knock(START, next, Address::Proven, Standing::Stranger), Verdict::Ignore);
    assert_eq!(filled(&mut door, Address::Proven).len(), STRANGERS_MAX - SOURCE_MAX);
    assert_eq!(door.knock(START, stranger(200, 1), Address::Proven, Standing::Stranger), Verdict::Ignore);
}

#[test]
fn a_network_of_64_bits_is_one_source_of_ipv6() {
    let mut door = Door::default();
    let from = |network: &str, host: usize| format!("[{network}::{host:x}]:1").parse().unwrap();
    for host in 1..=SOURCE_MAX {
        accepted(door.knock(START, from("2001:db8:0:1", host), Address::Proven, Standing::Stranger));
    }
    let same = door.knock(START, from("2001:db8:0:1", 99), Address::Proven, Standing::Stranger);
    assert_eq!(same, Verdict::Ignore);
    accepted(door.knock(START, from("2001:db8:0:2", 1), Address::Proven, Standing::Stranger));
}

#[test]
fn members_come_in_beside_any_number_of_strangers() {
    let mut door = Door::default();
    filled(&mut door, Address::Claimed);
    filled(&mut door, Address::Proven);
    for _ in 0..MEMBER_MAX {
        accepted(door.knock(START, member(1), Address::Proven, Standing::Member));
    }
    assert_eq!(door.knock(START, member(1), Address::Proven, Standing::Member), Verdict::Ignore);
    accepted(door.knock(START, member(2), Address::Proven, Standing::Member));
    // One whose address this node has only from a greeting.
    assert_eq!(door.knock(START, member(3), Address::Proven, Standing::Stranger), Verdict::Ignore);
    door.met(member(3));
    accepted(door.knock(START, member(3), Address::Proven, Standing::Stranger));
    let other_port = SocketAddr::new(member(3).ip(), 1);
    assert_eq!(door.knock(START, other_port, Address::Proven, Standing::Stranger), Verdict::Ignore);
}

#[test]
fn the_member_that_greeted_longest_ago_is_forgotten_first() {
    let mut door = Door::default();
    filled(&mut door, Address::Proven);
    let last = u8::try_from(MET_MAX).unwrap();
    (0..last).for_each(|node| door.met(member(node)));
    door.met(member(0));
    door.met(member(last));
    accepted(door.knock(START, member(0), Address::Proven, Standing::Stranger));
    assert_eq!(door.knock(START, member(1), Address::Proven, Standing::Stranger), Verdict::Ignore);
    accepted(door.knock(START, member(2), Address::Proven, Standing::Stranger));
    accepted(door.knock(START, member(last), Address::Proven, Standing::Stranger));
}

#[test]
fn a_member_that_greets_again_and_again_has_one_place_in_memory() {
    let mut door = Door::default();
    filled(&mut door, Address::Proven);
    door.met(member(0));
    (0..2 * MET_MAX).for_each(|_| door.met(member(1)));
    accepted(door.knock(START, member(0), Address::Proven, Standing::Stranger));
}

#[test]
fn a_handshake_that_fails_at_once_keeps_its_place_for_a_while() {
    let mut door = Door::default();
    let places = filled(&mut door, Address::Claimed);
    places.into_iter().for_each(|place| door.left(START, place, Ending::Failed));
    let knock = |door: &mut Door, now| door.knock(now, stranger(1, 1), Address::Claimed, Standing::Stranger);
    let before = START.after(FAILED_HOLD).before(Duration::from_micros(1));
    assert_eq!(knock(&mut door, before), Verdict::Retry);
    accepted(knock(&mut door, START.after(FAILED_HOLD)));
    assert_eq!(door.taken(), 1);
}

#[test]
fn a_handshake_that_came_to_a_greeting_or_was_a_members_frees_its_place_at_once() {
    let mut door = Door::default();
    for (address, standing, ending) in [
        (Address::Claimed, Standing::Stranger, Ending::Greeted),
        (Address::Proven, Standing::Stranger, Ending::Greeted),
        (Address::Proven, Standing::Member, Ending::Greeted),
        (Address::Proven, Standing::Member, Ending::Failed),
    ] {
        let place = accepted(door.knock(START, member(1), address, standing));
        door.left(START, place, ending);
        assert_eq!(door.taken(), 0, "{address:?} {standing:?} {ending:?}");
    }
}

#[test]
fn retries_are_bounded_in_each_window() {
    let mut door = Door::default();
    filled(&mut door, Address::Claimed);
    let knock = |door: &mut Door, now| door.knock(now, stranger(1, 1), Address::Claimed, Standing::Stranger);
    let mut now = START.after(RETRY_WINDOW);
    for _ in 0..2 {
        for _ in 0..RETRIES_MAX {
            assert_eq!(knock(&mut door, now), Verdict::Retry);
        }
        assert_eq!(knock(&mut door, now), Verdict::Ignore);
        let before_the_next = now.after(RETRY_WINDOW).before(Duration::from_micros(1));
        assert_eq!(knock(&mut door, before_the_next), Verdict::Ignore);
        now = now.after(RETRY_WINDOW);
    }
}

#[test]
fn an_operator_is_told_of_a_flood_and_not_of_a_few_strangers() {
    let mut door = Door::default();
    let end = START.after(FLOOD_WINDOW);
    assert_eq!(door.flood(START), None);
    for _ in 0..FLOOD_MIN - 1 + u64::try_from(CLAIMED_MAX).unwrap() {
        door.knock(START, stranger(1, 1), Address::Claimed, Standing::Stranger);
    }
    assert_eq!(door.flood(end), None, "fewer than make a flood");
    for _ in 0..FLOOD_MIN {
        door.knock(end, stranger(1, 1), Address::Claimed, Standing::Stranger);
    }
    assert_eq!(door.flood(end), None, "it was looked at a moment ago");
    assert_eq!(door.flood(end.after(FLOOD_WINDOW)), Some(FLOOD_MIN));
    assert_eq!(door.flood(end.after(FLOOD_WINDOW).after(FLOOD_WINDOW)), None, "it has ended");
}

/// An event at a door.
#[derive(Clone, Debug)]
enum Event {
    Knock { source: u8, port: u16, address: Address, standing: Standing },
    Left { which: usize, ending: Ending },
    Met { source: u8 },
    Wait { millis: u64 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let address = prop_oneof![Just(Address::Claimed), Just(Address::Proven)];
    let standing = prop_oneof![4 => Just(Standing::Stranger), 1 => Just(Standing::Member)];
    let ending = prop_oneof![Just(Ending::Greeted), Just(Ending::Failed)];
    let event = prop_oneof![
        20 => (0..12u8, 0..20u16, address, standing)
            .prop_map(|(source, port, address, standing)| Event::Knock { source, port, address, standing }),
        3 => (any::<usize>(), ending).prop_map(|(which, ending)| Event::Left { which, ending }),
        1 => (0..12u8).prop_map(|source| Event::Met { source }),
        1 => (0..400u64).prop_map(|millis| Event::Wait { millis }),
    ];
    proptest::collection::vec(event, 0..600)
}

/// A door, and the places that are taken at it: by senders with a proven address, and by others.
#[derive(Default)]
struct Played {
    door: Door,
    proven: Vec<Place>,
    claimed: Vec<Place>,
}

impl Played {
    fn knock(&mut self, now: Time, from: SocketAddr, address: Address, standing: Standing) -> Verdict {
        let verdict = self.door.knock(now, from, address, standing);
        if let Verdict::Accept(place) = verdict {
            match address {
                Address::Claimed => self.claimed.push(place),
                Address::Proven => self.proven.push(place),
            }
        }
        verdict
    }
}

proptest! {
    /// Senders with a proven address get the same decisions, and free the same places, whether or not others claim
    /// addresses.
    #[test]
    fn claims_take_nothing_from_those_who_can_prove_their_address(events in events()) {
        let (mut with, mut without) = (Played::default(), Played::default());
        let mut now = START;
        for event in events {
            match event {
                Event::Knock { source, port, address: Address::Claimed, standing } => {
                    with.knock(now, stranger(source, port), Address::Claimed, standing);
                }
                Event::Knock { source, port, address: Address::Proven, standing } => {
                    let both = [&mut with, &mut without]
                        .map(|door| door.knock(now, stranger(source, port), Address::Proven, standing));
                    let same = match both {
                        [Verdict::Accept(_), Verdict::Accept(_)] | [Verdict::Ignore, Verdict::Ignore] => true,
                        [Verdict::Accept(_) | Verdict::Retry | Verdict::Ignore, _] => false,
                    };
                    prop_assert!(same, "{both:?}");
                }
                Event::Left { which, ending } => {
                    if !with.proven.is_empty() {
                        let at = which % with.proven.len();
                        for played in [&mut with, &mut without] {
                            let place = played.proven.swap_remove(at);
                            played.door.left(now, place, ending);
                        }
                    }
                    if let Some(place) = with.claimed.pop() {
                        with.door.left(now, place, ending);
                    }
                }
                Event::Met { source } => {
                    with.door.met(stranger(source, 0));
                    without.door.met(stranger(source, 0));
                }
                Event::Wait { millis } => now = now.after(Duration::from_millis(millis)),
            }
        }
    }

    /// A member that can prove its address and has few handshakes under way is accepted, whatever came before.
    #[test]
    fn a_member_is_always_let_in(events in events()) {
        let mut played = Played::default();
        let mut now = START;
        for event in events {
            match event {
                Event::Knock { source, port, address, standing: _ } => {
                    played.knock(now, stranger(source, port), address, Standing::Stranger);
                }
                Event::Left { .. } | Event::Met { .. } => {}
                Event::Wait { millis } => now = now.after(Duration::from_millis(millis)),
            }
        }
        accepted(played.knock(now, member(1), Address::Proven, Standing::Member));
        played.door.met(member(2));
        accepted(played.knock(now, member(2), Address::Proven, Standing::Stranger));
    }

    /// Every place becomes free again, and there are never more places taken than exist.
    #[test]
    fn places_are_bounded_and_given_back(events in events()) {
        let mut played = Played::default();
        let mut now = START;
        for event in events {
            match event {
                Event::Knock { source, port, address, standing } => {
                    played.knock(now, stranger(source, port), address, standing);
                }
                Event::Left { which, ending } => if !played.proven.is_empty() {
                    let at = which % played.proven.len();
                    let place = played.proven.swap_remove(at);
                    played.door.left(now, place, ending);
                },
                Event::Met { source } => played.door.met(stranger(source, 0)),
                Event::Wait { millis } => now = now.after(Duration::from_millis(millis)),
            }
            // Members' addresses here are at most 12 times 20.
            let bound = CLAIMED_MAX + STRANGERS_MAX + 12 * 20 * MEMBER_MAX;
            prop_assert!(played.door.taken() <= bound);
        }
        for place in core::mem::take(&mut played.proven).into_iter().chain(core::mem::take(&mut played.claimed)) {
            played.door.left(now, place, Ending::Failed);
        }
        accepted(played.knock(now.after(FAILED_HOLD), member(1), Address::Claimed, Standing::Stranger));
        prop_assert_eq!(played.door.taken(), 1, "all others are free");
    }
}
