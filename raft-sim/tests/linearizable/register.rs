//! A model without hints: all that the checker knows of it is what it does.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use raftkit_sim::linearizable::{Budget, Model, Operation, Verdict, check};

use crate::twins::by_all_orders;

#[derive(Clone, Copy, Debug)]
enum Register {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Read,
    Write(u8),
    /// Write the second where the first is; answers whether it was.
    Swap(u8, u8),
}

impl Model for Register {
    type Input = (u8, Call);
    /// The value read; 1 or 0 for whether a swap was done; 0 for a write.
    type Output = u8;
    type State = u8;
    type Key = u8;

    fn key(input: &(u8, Call)) -> u8 {
        input.0
    }

    fn initial() -> u8 {
        0
    }

    fn step(state: &u8, input: &(u8, Call), output: Option<&u8>) -> Option<u8> {
        let (answer, after) = match input.1 {
            Call::Read => (*state, *state),
            Call::Write(value) => (0, value),
            Call::Swap(old, new) if old == *state => (1, new),
            Call::Swap(..) => (0, *state),
        };
        output.is_none_or(|output| *output == answer).then_some(after)
    }

    fn is_read(input: &(u8, Call)) -> bool {
        matches!(input.1, Call::Read)
    }
}

fn operation() -> impl Strategy<Value = Operation<(u8, Call), u8>> {
    let call = prop_oneof![
        Just(Call::Read),
        (0_u8..3).prop_map(Call::Write),
        (0_u8..3, 0_u8..3).prop_map(|(old, new)| Call::Swap(old, new)),
    ];
    let output = prop_oneof![3 => (0_u8..3).prop_map(Some), 1 => Just(None)];
    (0_u64..3, 0_u8..2, call, output, 0_u64..20, proptest::option::weighted(0.9, 0_u64..8)).prop_map(
        |(client, key, call, output, called, length)| {
            // The plausible answers: most histories are refused all the same.
            let output = output.map(|output| match call {
                Call::Read => output,
                Call::Write(_) => 0,
                Call::Swap(..) => output % 2,
            });
            Operation {
                client,
                input: (key, call),
                output,
                called,
                returned: length.map(|length| called + length),
            }
        },
    )
}

#[test]
fn verdicts_agree_with_enumeration_also_without_positions() {
    let (linearizable, violations) = (Cell::new(0_u32), Cell::new(0_u32));
    let config = Config { cases: 20_000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&proptest::collection::vec(operation(), 0..=7), |operations| {
            let verdict = check::<Register>(&operations, Budget::default());
            let counter = match verdict {
                Verdict::Linearizable => &linearizable,
                Verdict::Violation(_) => &violations,
                Verdict::OutOfBudget { key } => return Err(TestCaseError::fail(format!("key {key}"))),
            };
            counter.set(counter.get() + 1);
            prop_assert_eq!(verdict.is_linearizable(), by_all_orders::<Register>(&operations));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{} linearizable, {} not", linearizable.get(), violations.get());
    assert!(linearizable.get() >= 4_000 && violations.get() >= 4_000);
}

#[test]
fn budget_ends_the_search_and_says_so() {
    // Fifty writes at once that none reads, and a read of what none wrote.
    let write = |value: u8| Operation {
        client: u64::from(value),
        input: (7, Call::Write(value)),
        output: Some(0),
        called: 0,
        returned: Some(10),
    };
    let mut history: Vec<_> = (1..50).map(write).collect();
    history.push(Operation { input: (7, Call::Read), output: Some(99), ..write(50) });
    let small = Budget { steps_max: 10_000 };
    assert!(matches!(check::<Register>(&history, small), Verdict::OutOfBudget { key: 7 }));

    // A violation on another key is found all the same.
    history.push(Operation { input: (9, Call::Read), output: Some(1), ..write(51) });
    assert_eq!(check::<Register>(&history, small).violation().map(|violation| violation.key), Some(9));
}
