//! Three servers far apart, each behind a proxy: with suitable time-outs they form a cluster, elect a leader and write.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{LogId, NodeId};
use raftkit_disk::SimulatedDisk;
use raftkit_net::{TlsFiles, certificates};
use raftkit_node::{Consistency, Formation, Server, ServerConfig};
use raftkit_replica::{Application, InMemory};
use raftkit_test_links::{Conditions, Proxy, Way};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Register {
    values: BTreeMap<u64, u64>,
}

impl Application for Register {
    type Command = (u64, u64);
    type Response = u64;

    fn apply(&mut self, id: LogId, (key, value): (u64, u64)) -> u64 {
        self.values.insert(key, value);
        id.index.0
    }
}

type Machine = InMemory<Register>;

struct Nodes {
    servers: Vec<Server<Machine>>,
    _proxies: Vec<Proxy>,
}

impl Nodes {
    /// Starts three servers at once. Their packets take `delay` each way and are lost at the given rate.
    async fn start(port: u16, delay: Duration, loss_permille: u32) -> Self {
        let pid = std::process::id();
        let ip = format!("127.{}.{}.{}", 1 + (pid >> 14) % 250, 1 + (pid >> 7) % 127, 130 + pid % 120);
        let ca = certificates::create_ca("test").unwrap();
        let addresses: Vec<SocketAddr> =
            (0..3).map(|at| format!("{ip}:{}", port + at).parse().unwrap()).collect();
        let proxies: Vec<Proxy> = addresses.iter().map(|address| Proxy::start(*address).unwrap()).collect();
        for way in [Way::In, Way::Out] {
            for proxy in &proxies {
                proxy.set(way, Conditions { delay, loss_permille, ..Conditions::default() });
            }
        }
        let join: Vec<String> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        let mut servers = Vec::new();
        for (id, address) in (1..=3u64).zip(&addresses) {
            let own =
                certificates::create_node_certificate(&ca, NodeId(id), std::slice::from_ref(&ip)).unwrap();
            let tls = TlsFiles {
                ca_pem: ca.cert.clone().into(),
                cert_pem: own.cert.into(),
                key_pem: own.key.into(),
            };
            let formation = Formation::Expect { servers: 3, join: join.clone() };
            let mut config = ServerConfig::new(NodeId(id), PathBuf::from("/data"), *address, tls, formation);
            config.advertise = Some(join[servers.len()].clone());
            // The settings that the README gives for this distance, with a margin for a busy machine.
            let round_trip = delay * 2;
            config.leader_timeout = round_trip * 4 + Duration::from_secs(1);
            config.election_timeout = config.leader_timeout * 2;
            config.heartbeat_interval = config.leader_timeout / 5;
            config.clock_error = config.leader_timeout / 10;
            config.commit_timeout = round_trip * 4 + Duration::from_secs(5);
            config.hold_timeout = Duration::from_secs(60);
            let disk = Arc::new(SimulatedDisk::new(id));
            servers.push(Server::start(config, disk, Machine::open).await.unwrap());
        }
        Self { servers, _proxies: proxies }
    }

    /// Writes through each node, and reads on each.
    async fn write_and_read(&self) {
        for (key, server) in (1..).zip(&self.servers) {
            let handle = server.handle();
            handle.propose(Machine::encode(&(key, 10 * key)).unwrap()).await.expect("it commits");
            let read = handle.read(Consistency::Consistent, |state| Ok(state.read(Register::clone))).await;
            let register = read.expect("it is confirmed").value;
            assert_eq!(register.values.get(&key), Some(&(10 * key)));
        }
    }
}

#[tokio::test]
async fn three_servers_that_start_at_once_125_ms_apart_form_a_cluster_and_write() {
    let nodes = Nodes::start(7170, Duration::from_millis(125), 0).await;
    nodes.write_and_read().await;
    let status = nodes.servers[0].handle().status();
    let round_trips: Vec<u64> = status.members.iter().filter_map(|member| member.round_trip_us).collect();
    assert_eq!(round_trips.len(), 2, "{status:?}");
    assert!(round_trips.iter().all(|us| *us >= 250_000), "{round_trips:?}");
}

#[tokio::test]
async fn three_servers_300_ms_apart_form_a_cluster_though_packets_are_lost() {
    let nodes = Nodes::start(7180, Duration::from_millis(300), 20).await;
    nodes.write_and_read().await;
}
