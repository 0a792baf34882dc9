//! Clients of every kind use all nodes of a real cluster, which are killed, paused, stopped and run out of disk meanwhile. There
//! must be one order of requests that explains every answer.
//!
//! `RAFT_HISTORY_SEED` repeats the choices of the clients and the order of the faults. It does not repeat their timing.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "test")]

mod history_support;
mod support;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use history_support::clients::Client;
use history_support::faults::{Faults, schedule};
use history_support::judge::{Counts, judge};
use history_support::{Ask, Event, Mode, NODES, Shared, Shown, Told};
use raftkit_sim::Rng;
use support::Cluster;

/// Number of clients: three at each node, and three that use any node.
const CLIENTS: u64 = 12;

#[test]
fn what_clients_are_told_while_nodes_fail_has_one_order() {
    let seed = std::env::var("RAFT_HISTORY_SEED").map_or_else(
        |_| getrandom::u64().unwrap() % 1_000_000,
        |seed| seed.parse().expect("RAFT_HISTORY_SEED is a number"),
    );
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed)));
    if let Err(panic) = ran {
        eprintln!(
            "to draw the same again: RAFT_HISTORY_SEED={seed} cargo test -p raftkit-node --test http_history"
        );
        std::panic::resume_unwind(panic);
    }
}

fn run(seed: u64) {
    let begin = Instant::now();
    // Refuse a request soon if there is no leader, so that clients do not only wait during that time.
    let mut cluster =
        Cluster::prepare(NODES as u64, "raft-hold-timeout = \"1000ms\"\nraft-commit-timeout = \"2000ms\"");
    for id in 1..=NODES as u64 {
        cluster.node(id).start_for_file_limit();
    }
    cluster.wait_for_leader();
    let shared = Arc::new(Shared::new(cluster.nodes.iter().map(|node| node.http.clone()).collect()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| {
            let home = (id < 9).then(|| usize::try_from(id).unwrap() % NODES);
            let client = Client::new(seed, id, home, Arc::clone(&shared));
            std::thread::spawn(move || client.run())
        })
        .collect();
    let mut faults = Faults { cluster, shared: Arc::clone(&shared), rng: Rng::new(seed, "whom") };
    faults.writes_go_on(200);
    for fault in schedule(seed) {
        let since = Instant::now();
        faults.cause(fault);
        eprintln!("{fault:?} took {:?}", since.elapsed());
    }
    shared.stop.store(true, Ordering::SeqCst);
    let mut events: Vec<Event> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    faults.cluster.settle();
    let logs = faults.cluster.logs();
    events.extend(Client::new(seed, CLIENTS, None, shared).look_at_all());
    drop(faults);
    let counts = Counts::of(&events);
    eprintln!("seed {seed}, {} requests in {:?}: {counts:?}", events.len(), begin.elapsed());
    let since = Instant::now();
    if let Err(why) = judge(&events) {
        eprintln!("{logs}");
        panic!("seed {seed}: {why}");
    }
    counts.check();
    eprintln!("judged in {:?}", since.elapsed());
}

/// An answer of node 1 in its first run.
fn answer(at: u64, ask: Ask, told: Told) -> Event {
    Event { client: 0, node: 0, life: Some(0), called: at, returned: at + 1, ask, told }
}

#[test]
fn what_cannot_be_true_is_noticed() {
    let put = |at, value| answer(at, Ask::Put { key: 0, value, cas: None }, Told::Done(true));
    let get = |at, mode, value, modified| {
        let shown = vec![Shown { key: 0, value, modified, created: 5 }];
        answer(at, Ask::Get { key: 0, mode, index: None }, Told::Found { index: modified, shown })
    };
    let list = |at, index, shown: Vec<Shown>| {
        answer(at, Ask::List { tree: 0, mode: Mode::Stale, index: None }, Told::Found { index, shown })
    };
    let (first, second) = (get(20, Mode::Stale, 1, 5), get(30, Mode::Default, 2, 7));
    let base = vec![put(0, 1), put(10, 2), first, second];
    assert_eq!(judge(&base), Ok(()));
    let refused = answer(1, Ask::Put { key: 0, value: 3, cas: None }, Told::NotDone("no leader".into()));
    let elsewhere = Shown { key: 1, value: 1, modified: 5, created: 5 };
    for (words, wrong) in [
        ("was replaced", vec![get(40, Mode::Stale, 1, 5)]),
        ("no order", vec![get(40, Mode::Consistent, 1, 5)]),
        ("nobody had put", vec![get(40, Mode::Stale, 9, 8)]),
        ("certainly not done", vec![refused, get(40, Mode::Stale, 3, 8)]),
        ("shown differently", vec![get(40, Mode::Stale, 1, 7)]),
        ("nobody had put", vec![list(40, 7, vec![elsewhere])]),
        ("is missing", vec![list(40, 7, Vec::new())]),
        (
            "an index that is not",
            vec![list(40, 6, vec![Shown { key: 0, value: 2, modified: 7, created: 5 }])],
        ),
    ] {
        let why = judge(&[base.clone(), wrong].concat()).expect_err(words);
        assert!(why.contains(words), "{words}: {why}");
    }
    // An answer of another run of the node may be older.
    let mut older = get(40, Mode::Stale, 1, 5);
    older.life = Some(2);
    assert_eq!(judge(&[base, vec![older]].concat()), Ok(()));
}
