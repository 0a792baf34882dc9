//! A counter of one's own, replicated by three durable processes. Start one process for each of the nodes 1 to 3:
//!
//! ```text
//! cargo run -p raftkit-node --no-default-features --example counter -- 1 /tmp/counter 127.0.0.1:7000
//! ```
//!
//! (node 2 then listens on port 7001, node 3 on 7002), and type numbers to add into any of them. Each line is answered
//! with the new sum and the log index that it is committed at. `=` asks for the sum without adding.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use raftkit_node::serde::{Deserialize, Serialize};
use raftkit_node::{Application, InMemory, LogId, NodeId, RealDisk, certificates};
use raftkit_node::{Consistency, Formation, Server, ServerConfig};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

/// The state: replicated, made durable and sent to nodes that were away, all by deriving serde.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(crate = "raftkit_node::serde")]
struct Counter {
    sum: i64,
}

impl Application for Counter {
    type Command = i64;
    type Response = i64;

    fn apply(&mut self, _id: LogId, add: i64) -> i64 {
        self.sum = self.sum.wrapping_add(add);
        self.sum
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [node, dir, first] = args.as_slice() else {
        return Err("usage: counter NODE DIR FIRST_ADDRESS".into());
    };
    let (id, dir, first) = (node.parse::<u16>()?, PathBuf::from(dir), first.parse::<SocketAddr>()?);
    let address = |id: u16| SocketAddr::new(first.ip(), first.port() + id - 1);
    let node = NodeId(u64::from(id));

    let formation =
        Formation::Expect { servers: 3, join: [1, 2, 3].map(|id| address(id).to_string()).to_vec() };
    let tls = certificates::for_trying_out(&dir, node)?;
    let config = ServerConfig::new(node, dir.join(format!("node-{id}")), address(id), tls, formation);
    let server = Server::start(config, Arc::new(RealDisk), InMemory::<Counter>::open).await?;
    let counter = server.handle();

    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line.trim() == "=" {
            let sum =
                counter.read(Consistency::Default, |state| Ok(state.read(|counter| counter.sum))).await?;
            println!("sum {}", sum.value);
            continue;
        }
        match counter.submit(&line.trim().parse()?).await {
            Ok(done) => println!("sum {} at {}", done.response, done.id.index),
            Err(error) => println!("error {error}"),
        }
    }
    server.stop().await;
    Ok(())
}
