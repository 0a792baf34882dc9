//! Runs one line of a scenario.

use raftkit_core::{Health, Input, LogIndex};

use crate::backing::Backing;
use crate::cluster::{Cluster, Founding};
use crate::disk::Disk;
use crate::drive::Limits;
use crate::words::{Words, bytes, node, number, span};

/// Runs one command. Its output is in `cluster.told`.
pub fn run<B: Backing>(cluster: &mut Cluster<B>, line: &str) -> Result<(), String> {
    let words = Words::of(line);
    let first = *words.plain.first().ok_or("no command")?;
    if !(found(cluster, first, &words)?
        || happen(cluster, first, &words)?
        || ask(cluster, first, &words)?
        || break_down(cluster, first, &words)?
        || show(cluster, first, &words)?)
    {
        return Err(format!("{first} is no command"));
    }
    Ok(())
}

/// Commands that create a cluster.
fn found<B: Backing>(cluster: &mut Cluster<B>, first: &str, words: &Words<'_>) -> Result<bool, String> {
    match first {
        "cluster" => {
            let founding = founding(words)?;
            cluster.found(&founding)?;
            if let Some(leader) = words.named("leader").map(node).transpose()? {
                cluster.start_all();
                cluster.elect(leader, &Limits::default());
                cluster.told.clear();
            }
        }
        "log" => {
            let terms: Result<Vec<u64>, String> =
                words.plain.iter().skip(2).map(|term| number(term)).collect();
            let term = words.named("term").map(number).transpose()?;
            cluster.write_log(words.node()?, &terms?, term);
        }
        "start" => cluster.start_all(),
        _ => return Ok(false),
    }
    Ok(true)
}

fn founding(words: &Words<'_>) -> Result<Founding, String> {
    let mut config = Cluster::<Disk>::config();
    for (name, value) in &words.named {
        match *name {
            "learners" | "staging" | "priorities" | "leader" | "clocks" => {}
            "batch" => config.batch_bytes_max = bytes(value)?,
            "inflight" => config.inflight_bytes_max = bytes(value)?,
            "messages" => config.inflight_messages_max = bytes(value)?,
            "uncommitted" => config.uncommitted_bytes_max = bytes(value)?,
            "tail" => config.tail_bytes_max = bytes(value)?,
            other => return Err(format!("{other} is no setting")),
        }
    }
    Ok(Founding {
        count: number(words.plain.get(1).ok_or("how many?")?)?,
        learners: words.set("learners")?,
        staging: words.set("staging")?,
        priorities: words.numbers("priorities")?,
        clocks: words.numbers("clocks")?,
        config,
    })
}

/// Commands about time, messages, disks and drivers.
fn happen<B: Backing>(cluster: &mut Cluster<B>, first: &str, words: &Words<'_>) -> Result<bool, String> {
    let limits = Limits { drop: words.set("drop")?, stuck: words.set("stuck")? };
    match first {
        "elect" => cluster.elect(words.node()?, &limits),
        "campaign" => cluster.campaign(words.node()?),
        "deliver" => cluster.deliver(&limits),
        "drop" => cluster.drop_wire(&words.set("to")?, &words.set("from")?),
        "repeat" => cluster.repeat_wire(),
        "persist" => cluster.persist(words.node()?),
        "answer" => cluster.answer(words.node()?),
        "settle" => cluster.settle(&limits),
        "wait" => cluster.wait(words.span()?),
        "standstill" => cluster.standstill(words.span()?),
        "run" => cluster.run(words.span()?, &limits),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Commands that make requests to a node.
fn ask<B: Backing>(cluster: &mut Cluster<B>, first: &str, words: &Words<'_>) -> Result<bool, String> {
    match first {
        "propose" => cluster.propose(words.node()?, &words.plain[2..]),
        "read" => cluster.read(words.node()?, words.mode()?),
        "transfer" => cluster.transfer(words.node()?, words.named("to").map(node).transpose()?),
        "change" => cluster.change(words.node()?, words)?,
        "what-if" => cluster.what_if(words.node()?, words)?,
        "compact" => {
            let to = number(words.named("to").ok_or("to where?")?)?;
            cluster.input(words.node()?, Input::Compact(LogIndex(to)));
        }
        "snapshot" => {
            let at = words.named("at").map(number).transpose()?.map(LogIndex);
            match words.plain.get(2) {
                Some(&"ok") => cluster.snapshot(words.node()?, words.to()?, at),
                Some(&"fails") => cluster.snapshot_fails(words.node()?, words.to()?),
                Some(_) | None => return Err("ok or fails?".into()),
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Commands that inject and repair faults.
fn break_down<B: Backing>(cluster: &mut Cluster<B>, first: &str, words: &Words<'_>) -> Result<bool, String> {
    match first {
        "crash" => cluster.crash(words.node()?),
        "restart" => {
            if let Some(timeout) = words.named("timeout").map(span).transpose()? {
                cluster.set_timeout(words.node()?, timeout);
            }
            cluster.restart(words.node()?);
        }
        "damage" | "forget" => {
            let from = number(words.named("from").ok_or("from where?")?)?;
            let health = if first == "damage" { Health::Damaged } else { Health::Sound };
            cluster.lose(words.node()?, LogIndex(from), health);
        }
        "wipe" => cluster.wipe(words.node()?),
        "rot" => cluster.rot(words.node()?),
        "fail" => cluster.input(words.node()?, Input::WriteFailed),
        "lost" => cluster.input(words.node()?, Input::Unreachable(words.to()?)),
        "cut" => cluster.cut(words.node()?, words.given("from")?),
        "mend" => cluster.cut.clear(),
        _ => return Ok(false),
    }
    Ok(true)
}

fn show<B: Backing>(cluster: &mut Cluster<B>, first: &str, words: &Words<'_>) -> Result<bool, String> {
    match first {
        "messages" => cluster.show_messages(),
        "promises" => cluster.show_promises(),
        "count" => cluster.show_count(),
        "logs" => cluster.show_logs(),
        "status" => cluster.show_status(words.node()?),
        "membership" => cluster.show_membership(words.node()?),
        _ => return Ok(false),
    }
    Ok(true)
}
