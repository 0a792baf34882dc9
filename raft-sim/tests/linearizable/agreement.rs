//! The checker says what enumeration says.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use raftkit_sim::linearizable::{Budget, KvInput, KvModel, KvOutput, KvState, Model, Verdict, check};

use crate::random::{lie, run, step, tell};
use crate::twins::{by_all_indexes, by_all_orders};
use crate::{history, verdict};

/// So many histories are tried; `HISTORIES=1000000 cargo test -p raftkit-sim --test linearizable agree` tries more.
fn histories() -> u32 {
    std::env::var("HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

/// The store without the hints that shorten the search.
#[derive(Clone, Copy, Debug)]
enum Unhinted {}

impl Model for Unhinted {
    type Input = KvInput;
    type Output = KvOutput;
    type State = KvState;
    type Key = u64;

    fn key(input: &KvInput) -> u64 {
        KvModel::key(input)
    }

    fn initial() -> KvState {
        KvModel::initial()
    }

    fn step(state: &KvState, input: &KvInput, output: Option<&KvOutput>) -> Option<KvState> {
        KvModel::step(state, input, output)
    }

    fn is_read(input: &KvInput) -> bool {
        KvModel::is_read(input)
    }
}

#[derive(Debug, Default)]
struct Counts {
    linearizable: u32,
    violations: u32,
    unknown: u32,
    /// Accepted, though the model with all indexes told would refuse them: see the documentation of the model.
    forgotten: u32,
}

#[test]
fn verdicts_agree_with_enumeration() {
    let counts = RefCell::new(Counts::default());
    let all = histories();
    let input = (1_u64..=3, 1_u64..=2).prop_flat_map(|(clients, keys)| {
        (
            proptest::collection::vec(step(clients, keys, 4), 1..=7),
            proptest::collection::vec(lie(), 0..=4),
            any::<[bool; 7]>(),
            0_u8..3,
        )
    });
    let config = Config { cases: all, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&input, |(steps, lies, hidden, hides)| {
            let mut operations = run(&steps);
            lies.iter().for_each(|lie| tell(&mut operations, lie));
            // A third of the histories is one in which some indexes are not told.
            for operation in operations.iter_mut().zip(hidden).filter_map(|(one, hide)| hide.then_some(one)) {
                if let (Some(KvOutput::Written { done, .. }), 0) = (operation.output, hides) {
                    operation.output = Some(KvOutput::Acknowledged { done });
                }
            }
            let found = match verdict(&operations) {
                Verdict::Linearizable => true,
                Verdict::Violation(violation) => {
                    prop_assert!(!violation.to_string().is_empty());
                    false
                }
                Verdict::OutOfBudget { key } => return Err(TestCaseError::fail(format!("key {key}"))),
            };
            prop_assert_eq!(found, history(&operations).check(Budget::default()).is_linearizable());

            // Without hints the search finds exactly what all orders of the model's steps come to. With them it also knows
            // indexes that the model's states have forgotten, so it can refuse more, but nothing that is possible.
            let model = by_all_orders::<KvModel>(&operations);
            let unhinted = check::<Unhinted>(&operations, Budget::default()).is_linearizable();
            prop_assert_eq!(unhinted, model, "without hints: {:#?}", operations);
            let possible = by_all_indexes(&operations);
            prop_assert!(found || !possible, "refused, but possible: {operations:#?}");
            prop_assert!(model || !found, "accepted, but no order of the model's steps: {operations:#?}");
            prop_assert!(possible || !lies.is_empty(), "the twin refuses the truth: {operations:#?}");

            let mut counts = counts.borrow_mut();
            counts.linearizable += u32::from(found);
            counts.violations += u32::from(!found);
            counts.unknown += u32::from(operations.iter().any(|operation| operation.output.is_none()));
            counts.forgotten += u32::from(found && !possible);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));

    let counts = counts.into_inner();
    println!("{all} histories: {counts:?}");
    assert!(counts.linearizable >= all / 5 && counts.violations >= all / 5, "both are frequent: {counts:?}");
    assert!(counts.unknown >= all / 5, "{counts:?}");
    assert!(counts.forgotten <= all / 1_000, "what the model forgets is rare: {counts:?}");
}
