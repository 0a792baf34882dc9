//! Settings and logs that a node is not started with.

use std::time::Duration;

use raftkit_core::*;

use crate::members::voters;
use crate::messages::LIFE;

/// A lease lasts for a leader time-out less the clock error, and is renewed a heartbeat and a round trip later.
#[test]
fn settings_that_leave_no_time_for_a_round_trip_are_refused() {
    let config = |heartbeat, clock_error| Config {
        heartbeat_interval: Duration::from_millis(heartbeat),
        clock_error: Duration::from_millis(clock_error),
        ..Config::new(NodeId(1), StoreId(1), Incarnation(1), 1)
    };
    let bears = |config: Config| (config.validate(), config.round_trip_max().as_millis());
    assert_eq!(bears(config(100, 50)), (Ok(()), 250), "half of the leader time-out");
    assert_eq!(bears(config(250, 100)), (Ok(()), 150));
    assert_eq!(bears(config(250, 200)), (Ok(()), 50));
    assert_eq!(bears(config(250, 201)), (Err(ConfigError::NoRoundTrip), 49));
    let far = Config { leader_timeout: Duration::from_secs(4), ..config(100, 50) };
    assert_eq!(far.round_trip_max(), Duration::from_millis(500), "half of the election time-out");
}

#[test]
fn a_log_that_contradicts_itself_is_not_started_from() {
    let restore = |change: fn(&mut Restored)| {
        let mut restored = Restored {
            base: Base { id: LogId::new(3, 10), membership: voters(&[1, 2, 3]) },
            term_runs: vec![TermRun { term: Term(4), first: LogIndex(11) }],
            last: LogIndex(12),
            memberships: vec![(LogIndex(11), voters(&[1]))],
            hard_state: HardState { term: Term(4), commit: LogIndex(11), ..HardState::default() },
            applied: LogIndex(10),
        };
        change(&mut restored);
        Node::restore(Config::new(NodeId(1), StoreId(1), LIFE, 1), restored, Time(0)).err()
    };
    assert_eq!(restore(|_| {}), None);
    let refused: [fn(&mut Restored); 9] = [
        |it| it.last = LogIndex(9),
        |it| it.last = LogIndex(u64::MAX),
        |it| it.term_runs.clear(),
        |it| it.term_runs[0].first = LogIndex(12),
        |it| it.memberships[0].0 = LogIndex(13),
        |it| it.hard_state.term = Term(3),
        |it| it.hard_state.commit = LogIndex(13),
        |it| it.applied = LogIndex(13),
        |it| it.applied = LogIndex(9),
    ];
    for (at, change) in refused.into_iter().enumerate() {
        assert!(restore(change).is_some(), "contradiction {at} was taken");
    }
}
