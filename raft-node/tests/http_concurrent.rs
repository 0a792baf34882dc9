//! Concurrent clients that write with conditions: of two writes under the same condition at most one succeeds.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::rc::Rc;

use http_support::Served;
use tokio::task::{JoinSet, LocalSet};

const CLIENTS: u64 = 8;
const WRITES: u64 = 15;

/// Adds one to the flags of a key `WRITES` times, each time under the condition that no other client has changed the key since
/// it was read.
async fn add(served: Rc<Served>, key: &'static str) {
    let mut done = 0;
    while done < WRITES {
        let entry = served.get(&format!("/v1/kv/{key}")).await.json()[0].clone();
        let (flags, seen) = (entry["Flags"].as_u64().unwrap(), entry["ModifyIndex"].as_u64().unwrap());
        let target = format!("/v1/kv/{key}?flags={}&cas={seen}", flags + 1);
        let answer = served.request("PUT", &target, b"x").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        done += u64::from(answer.text() == "true");
    }
}

#[tokio::test]
async fn no_write_is_lost_between_clients_that_each_write_what_they_have_read_plus_one() {
    let served = Rc::new(Served::alone().await);
    assert_eq!(served.request("PUT", "/v1/kv/count", b"x").await.text(), "true");
    let local = LocalSet::new();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn_local_on(add(Rc::clone(&served), "count"), &local);
    }
    local.run_until(async { while clients.join_next().await.transpose().unwrap().is_some() {} }).await;
    assert_eq!(served.get("/v1/kv/count").await.json()[0]["Flags"], CLIENTS * WRITES);
}

#[tokio::test]
async fn of_clients_that_create_a_key_at_the_same_time_one_does() {
    let served = Rc::new(Served::alone().await);
    for round in 0..WRITES {
        let key = format!("/v1/kv/{round}");
        let local = LocalSet::new();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (served, target) = (Rc::clone(&served), format!("{key}?cas=0"));
            clients.spawn_local_on(async move { served.request("PUT", &target, b"x").await }, &local);
        }
        let answers = local.run_until(clients.join_all()).await;
        let created = answers.iter().filter(|answer| answer.text() == "true").count();
        assert_eq!(created, 1, "of {CLIENTS} clients");
    }
}
