//! A counter of one's own, replicated by three durable processes. Start one process for each of the nodes 1 to 3:
//!
//! ```text
//! cargo run --no-default-features --example counter -- 1 /tmp/counter 127.0.0.1:7000
//! ```
//!
//! (node 2 then listens on port 7001, node 3 on 7002), and type numbers to add into any of them. Each line is answered
//! with the new sum and the log index that it is committed at. `=` asks for the sum without adding.

use std::path::PathBuf;
use std::sync::Arc;

use raftkit_core::{LogId, NodeId};
use raftkit_disk::RealDisk;
use raftkit_net::{TlsFiles, certificates};
use raftkit_node::{Consistency, Formation, Server, ServerConfig};
use raftkit_replica::{Application, InMemory};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

type Error = Box<dyn std::error::Error>;

/// The state: replicated, made durable and sent to nodes that were away, all by deriving serde.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [node, dir, first] = args.as_slice() else {
        return Err("usage: counter NODE DIR FIRST_ADDRESS".into());
    };
    let (node, dir, first) = (node.parse()?, PathBuf::from(dir), first.parse::<std::net::SocketAddr>()?);
    let address =
        |id: u64| std::net::SocketAddr::new(first.ip(), first.port() + u16::try_from(id - 1).unwrap_or(0));
    let join = (1..=3).map(|id| address(id).to_string()).collect();
    let formation = Formation::Expect { servers: 3, join };
    let tls = tls(&dir, NodeId(node))?;
    let config =
        ServerConfig::new(NodeId(node), dir.join(format!("node-{node}")), address(node), tls, formation);

    let server = Server::start(config, Arc::new(RealDisk), InMemory::<Counter>::open).await?;
    let counter = server.handle();
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line.trim() == "=" {
            let sum =
                counter.read(Consistency::Default, |state| Ok(state.read(|counter| counter.sum))).await?;
            println!("sum {}", sum.value);
        } else {
            let add = InMemory::<Counter>::encode(&line.trim().parse()?)?;
            match counter.propose(add).await {
                Ok(done) => {
                    println!("sum {} at {}", InMemory::<Counter>::decode(&done.response)?, done.id.index)
                }
                Err(error) => println!("error {error}"),
            }
        }
    }
    server.stop().await;
    Ok(())
}

/// Certificates for a try on one machine: the CA is made by whoever comes first.
fn tls(dir: &std::path::Path, node: NodeId) -> Result<TlsFiles, Error> {
    std::fs::create_dir_all(dir)?;
    let (ca, key) = (dir.join("ca.pem"), dir.join("ca-key.pem"));
    if !key.exists() {
        let made = certificates::create_ca("counter")?;
        std::fs::write(&ca, &made.cert)?;
        std::fs::write(&key, &made.key)?;
    }
    let ca = certificates::CaPem { cert: std::fs::read_to_string(ca)?, key: std::fs::read_to_string(key)? };
    let own = certificates::create_node_certificate(&ca, node, &["127.0.0.1".to_owned()])?;
    Ok(TlsFiles { ca_pem: ca.cert.into(), cert_pem: own.cert.into(), key_pem: own.key.into() })
}
