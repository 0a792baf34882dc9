//! What really was done one by one is accepted, however much wider the calls seem, and whether or not indexes are told.

use proptest::prelude::*;
use raftkit_sim::linearizable::KvOutput;

use crate::random::{run, step};
use crate::verdict;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_real_execution_is_accepted(
        steps in proptest::collection::vec(step(6, 2, 20), 0..60),
        widened in proptest::collection::vec((0_u64..30, 0_u64..30, any::<bool>(), any::<bool>()), 60),
    ) {
        let mut history = run(&steps);
        for (operation, (before, after, lost, hidden)) in history.iter_mut().zip(widened) {
            operation.called = operation.called.saturating_sub(before);
            operation.returned = operation.returned.map(|returned| returned + after);
            if lost && after % 4 == 0 {
                operation.output = None;
            }
            if let Some(KvOutput::Written { done, .. }) = operation.output
                && hidden
            {
                operation.output = Some(KvOutput::Acknowledged { done });
            }
        }
        let verdict = verdict(&history);
        prop_assert!(verdict.is_linearizable(), "{verdict}");
    }
}
