//! The state machine by itself, without a cluster: commands in, answers and reads out.
//!
//! ```text
//! cargo run -p raftkit-kv --example store -- /tmp/store
//! ```
//!
//! Run the example again, and it goes on with what the last run made durable.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_disk::RealDisk;
use raftkit_kv::{Command, Condition, KvMachine, Response, Watched};
use raftkit_replica::{Applied, StateMachine};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("store"), PathBuf::from);
    let mut machine = KvMachine::open(Arc::new(RealDisk), &dir)?;
    let reader = machine.reader();
    println!("{} shows the state of entry {}", dir.display(), machine.applied());

    // Readers see one state as a whole, and a watch fires once that state has changed under it.
    let mut watch = reader.watch(Watched::Prefix("visit/".into()));
    let seen = watch.look(|| reader.list("visit/"))?;
    println!("{} visits so far, index {}", seen.value.len(), seen.index);

    // In a cluster these commands come out of the replicated log, with the log's ids.
    let number = seen.value.len() + 1;
    for key in [format!("visit/{number}"), "last".into()] {
        let condition = if key == "last" { Condition::Always } else { Condition::Cas(0) };
        let value = Bytes::from(number.to_string());
        let answer = apply(&mut machine, &Command::Put { key: key.clone(), value, flags: 0, condition })?;
        println!("put {key}: {answer:?}");
    }
    assert_eq!(watch.unchanged_through(), None, "a key under the prefix was stored");

    // Applied commands are durable once `persist` has returned; until then the log must keep them.
    println!("durable up to entry {} before, {} now", machine.durable(), machine.persist()?);
    let last = reader.get("last")?.value.ok_or("`last` was just stored")?;
    println!("last = {:?}, ModifyIndex {}", last.value, last.modify_index);
    Ok(())
}

/// Applies one command as the next entry of the log.
fn apply(machine: &mut KvMachine, command: &Command) -> Result<Response, Box<dyn Error>> {
    // Entry 1 is the founding membership of a cluster, so a new state begins with entry 2.
    let index = machine.applied().index.0.max(1) + 1;
    let entry = Applied { id: LogId::new(1, index), command: Some(command.encode()) };
    let answers = machine.apply(&[entry])?;
    Ok(Response::decode(answers.into_iter().next().ok_or("each entry has an answer")?)?)
}
