//! Measures how soon a member is connected again while strangers flood the node, and what that costs the node.
//!
//! `cargo run --release -p raftkit-net --example strangers -- [DATAGRAMS_A_SECOND]` (10,000 by default; 0 for a comparison)
//!
//! The node, the member and the strangers are three processes. The strangers send first packets of real handshakes from a
//! foreign certificate, from forged loopback addresses, and 64 more of them dial and never hear an answer. The member
//! starts anew twenty times, each time at another port, and measures the time until it is connected.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use raftkit_core::{ClusterId, Incarnation, NodeId, StoreId};
use raftkit_net::certificates::{CaPem, create_ca, create_node_certificate};
use raftkit_net::{Inbound, Inbox, LocalIdentity, TlsFiles, TlsIdentity, Transport, TransportConfig};

#[path = "../tests/support/strangers.rs"]
mod strangers;
use strangers::{Back, Flood, dial_in_vain, first_packets};

const RESTARTS: u64 = 20;

fn start(ca: &CaPem, node: u64, port: u16, incarnation: u64) -> (Transport, Inbox) {
    let own = create_node_certificate(ca, NodeId(node), &[]).unwrap();
    let files =
        TlsFiles { ca_pem: ca.cert.clone().into(), cert_pem: own.cert.into(), key_pem: own.key.into() };
    let identity = LocalIdentity {
        node: NodeId(node),
        store: StoreId(node.into()),
        incarnation: Incarnation(incarnation),
        cluster: Some(ClusterId(1)),
        address: format!("127.0.0.1:{port}"),
        attributes: bytes::Bytes::new(),
    };
    let listen = ([127, 0, 0, 1], port).into();
    let config = TransportConfig::new(listen, TlsIdentity::parse(&files).unwrap(), identity);
    Transport::start(config).unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let texts: Vec<&str> = args.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["strangers", target, rate] => flood(target.parse().unwrap(), rate.parse().unwrap()).await,
        ["member", target, folder] => member(target, folder).await,
        [rate] => node(rate).await,
        _ => node("10000").await,
    }
}

/// The node under attack: drives the others and looks at its own use of CPU and memory.
async fn node(rate: &str) {
    let folder = std::env::temp_dir().join(format!("strangers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ca = create_ca("measured").unwrap();
    std::fs::write(folder.join("ca.pem"), &ca.cert).unwrap();
    std::fs::write(folder.join("ca-key.pem"), &ca.key).unwrap();
    let (transport, mut inbound) = start(&ca, 1, 0, 1);
    let target = transport.local_addr().to_string();
    tokio::spawn(async move { while inbound.recv().await.is_some() {} });
    let before = memory_kib();
    let mut strangers = child(&["strangers", &target, rate]);
    // The first packets are made before they are sent.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (cpu, since) = (cpu_seconds(), Instant::now());
    let mut member = child(&["member", &target, folder.to_str().unwrap()]);
    while member.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (cpu, took) = (cpu_seconds() - cpu, since.elapsed().as_secs_f64());
    println!(
        "node: {:.0} % of a core over {took:.1} s; memory {before} KiB before, {} KiB now, {} KiB at most",
        100.0 * cpu / took,
        memory_kib(),
        status_kib("VmHWM:")
    );
    strangers.kill().unwrap();
    strangers.wait().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

fn child(args: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap()).args(args).spawn().unwrap()
}

async fn flood(target: SocketAddr, rate: u32) {
    let (foreign, _inbound) = start(&create_ca("foreign").unwrap(), 9, 0, 1);
    if rate == 0 {
        return std::future::pending().await;
    }
    let packets = first_packets(&foreign, 20_000.min(usize::try_from(rate).unwrap() * 2)).await;
    let flood = Flood::start(target, packets, 1_000, rate);
    let _attempts = dial_in_vain(&foreign, target, 64, Back::Nothing).await;
    let since = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        println!("strangers: {:.0} datagrams a second", flood_rate(&flood, since));
    }
}

fn flood_rate(flood: &Flood, since: Instant) -> f64 {
    f64::from(u32::try_from(flood.sent()).unwrap_or(u32::MAX)) / since.elapsed().as_secs_f64()
}

async fn member(target: &str, folder: &str) {
    let read = |name| std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
    let ca = CaPem { cert: read("ca.pem"), key: read("ca-key.pem") };
    let mut times = Vec::new();
    for life in 1..=RESTARTS {
        let (transport, mut inbound) = start(&ca, 2, 0, life);
        let since = Instant::now();
        transport.set_peer(NodeId(1), StoreId(1), target);
        while !matches!(inbound.recv().await, Some(Inbound::Connected(_))) {}
        times.push(since.elapsed());
        transport.close().await;
    }
    times.sort_unstable();
    println!(
        "member: connected {RESTARTS} times, median {:?}, longest {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

fn cpu_seconds() -> f64 {
    // Fields 14 and 15, in ticks of 10 ms, counted behind the name in brackets.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) / 100.0
}

fn memory_kib() -> u64 {
    status_kib("VmRSS:")
}

fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
