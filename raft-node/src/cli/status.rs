//! `raft-node status`: the cluster as a table.

use bytes::Bytes;
use clap::Args;
use hyper::Method;

use super::{Failure, Target, kv, output};
use crate::NodeStatus;
use crate::http::Member;

#[derive(Clone, Debug, Args)]
#[command(
    long_about = "Show the status of all nodes of a running cluster. The node that is asked collects it from the others.

  node      the node's id
  role      leader, follower or candidate; `silent` if the node did not answer in time
  term      the latest term that the node knows
  last      index of the last entry in the node's log
  commit    index of the last entry that the node knows to be committed
  applied   index of the last entry that was applied to the node's state
  lag       number of committed entries that are not applied yet
  address   the address at which other nodes reach the node
  http      the address at which clients reach the node

The exit code is 1 if a node is silent or no node knows a leader.",
    after_help = "Examples:\n\n  raft-node status\n  raft-node status --addr 10.0.0.2:8500\n  raft-node status --json | jq '.[].Applied'"
)]
pub(super) struct Command {
    /// Print the full status of each node as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let client = command.target.client()?;
    let answer = client.send(Method::GET, "/v1/raft/status?all&pretty", Bytes::new()).await?;
    let answer = kv::from_a_node(&client, answer)?;
    let members: Vec<Member> = kv::parsed(&answer)?;
    if command.json {
        output::write(&answer.body)?;
    } else {
        output::write(render(&members).as_bytes())?;
    }
    judge(&members)
}

/// Fails if a node is silent or no node knows a leader, so that scripts can rely on the exit code.
fn judge(members: &[Member]) -> Result<(), Failure> {
    let silent = members.iter().filter_map(|member| match member {
        Member::Silent { node, .. } => Some(format!("node {node} is silent")),
        Member::Answered(_) => None,
    });
    let mut wrong: Vec<String> = silent.collect();
    if leaderless(members) {
        wrong.push("no node knows a leader".to_owned());
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(wrong.join(", ")))
}

fn leaderless(members: &[Member]) -> bool {
    members.iter().filter_map(Member::status).all(|status| status.leader.is_none())
}

fn render(members: &[Member]) -> String {
    let commit = members.iter().filter_map(Member::status).map(|status| status.commit.0).max().unwrap_or(0);
    let heading = ["node", "role", "term", "last", "commit", "applied", "lag", "address", "http"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for member in members {
        match member {
            Member::Answered(status) => {
                rows.push(answered(status, commit));
                for warning in &status.warnings {
                    notes.push_str(&format!("node {}: {warning}\n", status.node));
                }
            }
            Member::Silent { node, error, raft_addr } => {
                let mut row = vec!["-".to_owned(); heading.len()];
                row[0] = node.to_string();
                row[1] = "silent".to_owned();
                row[7] = raft_addr.clone().unwrap_or_else(|| "-".to_owned());
                rows.push(row);
                notes.push_str(&format!("node {node} did not answer: {error}\n"));
            }
        }
    }
    format!("{}{notes}", output::table(&rows))
}

fn answered(status: &NodeStatus, commit: u64) -> Vec<String> {
    vec![
        status.node.to_string(),
        format!("{:?}", status.role).to_lowercase(),
        status.term.to_string(),
        status.last.to_string(),
        status.commit.to_string(),
        status.applied.to_string(),
        commit.saturating_sub(status.applied.0).to_string(),
        status.raft_addr.clone(),
        status.attributes.get("http-addr").cloned().unwrap_or_else(|| "-".to_owned()),
    ]
}
