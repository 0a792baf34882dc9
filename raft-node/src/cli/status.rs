//! `raft-node status`: the cluster as a table.

use bytes::Bytes;
use clap::Args;
use hyper::Method;

use super::{Failure, Target, kv, output};
use crate::NodeStatus;
use crate::http::Member;

#[derive(Clone, Debug, Args)]
#[command(
    long_about = "Show all nodes of a running cluster, as the node that is asked hears of them.

  node      its id
  role      leader, follower or candidate; `silent` when it did not answer in time
  term      the election that it knows last
  last      the last entry in its log
  commit    the last entry that it knows to be committed
  applied   the last entry that its state shows
  lag       how many committed entries its state does not show yet
  address   where other nodes reach it
  http      where clients reach it

The exit code is 1 when a node is silent or no node knows a leader.",
    after_help = "Examples:\n\n  raft-node status\n  raft-node status --addr 10.0.0.2:8500\n  raft-node status --json | jq '.[].Applied'"
)]
pub(super) struct Command {
    /// Print what the nodes say of themselves as JSON
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

/// Not all is well where a node is silent or there is no leader: scripts look at the exit code.
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
