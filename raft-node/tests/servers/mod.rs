//! Settings for three servers in one process that form a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use raftkit_core::NodeId;
use raftkit_net::{TlsFiles, certificates};
use raftkit_node::{Formation, ServerConfig};

/// Three servers that listen from this port on, at a loopback address of this process's own, and keep their data in `/data`
/// on disks of their own.
pub(crate) fn three(port: u16) -> Vec<ServerConfig> {
    let pid = std::process::id();
    let ip = format!("127.{}.{}.{}", 1 + (pid >> 14) % 250, 1 + (pid >> 7) % 127, 130 + pid % 120);
    let ca = certificates::create_ca("test").unwrap();
    let addresses: Vec<SocketAddr> =
        (0..3).map(|at| format!("{ip}:{}", port + at).parse().unwrap()).collect();
    let join: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let config = |(id, address): (u64, &SocketAddr)| {
        let own = certificates::create_node_certificate(&ca, NodeId(id), std::slice::from_ref(&ip)).unwrap();
        let tls =
            TlsFiles { ca_pem: ca.cert.clone().into(), cert_pem: own.cert.into(), key_pem: own.key.into() };
        let formation = Formation::Expect { servers: 3, join: join.clone() };
        ServerConfig::new(NodeId(id), PathBuf::from("/data"), *address, tls, formation)
    };
    (1..=3).zip(&addresses).map(config).collect()
}
