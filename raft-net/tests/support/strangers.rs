//! Strangers: real first packets of handshakes with a foreign certificate, sent from any address, whose answers get lost.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "shared by a test and an example"
)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raftkit_net::Transport;

/// Returns the first packets of this many attempts of `foreign` to connect, each with connection ids of its own. They
/// were recorded at a socket that nobody serves.
pub async fn first_packets(foreign: &Transport, count: usize) -> Vec<Vec<u8>> {
    let nowhere = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = nowhere.local_addr().unwrap().to_string();
    let mut found: Vec<Vec<u8>> = Vec::with_capacity(count);
    let mut buffer = vec![0; 65_536];
    while found.len() < count {
        let attempt = foreign.hello(&address);
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                _ = &mut attempt => break,
                received = nowhere.recv(&mut buffer) => {
                    let packet = &buffer[..received.unwrap()];
                    // Dropping the last attempt closed it, in a packet with the same connection id.
                    if found.last().is_none_or(|last| destination(last) != destination(packet)) {
                        found.push(packet.to_vec());
                        break;
                    }
                }
            }
        }
    }
    found
}

/// Returns the connection id that the sender of a long header chose for the other side (RFC 9000, section 17.2).
fn destination(packet: &[u8]) -> &[u8] {
    &packet[6..6 + usize::from(packet[5])]
}

/// Sends first packets again and again, until it is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends this many packets a second to `target`, from `sources` addresses in turn.
    pub fn start(target: SocketAddr, packets: Vec<Vec<u8>>, sources: u16, per_second: u32) -> Self {
        let sockets: Vec<UdpSocket> = (0..sources)
            .map(|source| {
                let [high, low] = source.to_be_bytes();
                let socket = UdpSocket::bind((Ipv4Addr::new(127, 200, high, low.max(1)), 0)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let since = Instant::now();
            let mut turns = packets.iter().cycle().zip(sockets.iter().cycle());
            while !stopped.load(Ordering::Relaxed) {
                let due = since.elapsed().as_micros() * u128::from(per_second) / 1_000_000;
                while u128::from(count.load(Ordering::Relaxed)) < due {
                    let (packet, socket) = turns.next().unwrap();
                    // What the kernel does not take is lost, as on any network.
                    let _ = socket.send_to(packet, target);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The packets that [`one_way`] lets back to the dialler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// No packet: the dialler repeats its first packet until it gives up.
    Nothing,
    /// Only Retry packets: the dialler proves its address, and then hears nothing more.
    Retry,
}

/// Starts a proxy before `target` that lets few or no packets back. Returns the address to dial. Ends with the runtime.
pub async fn one_way(target: SocketAddr, lets_back: Back) -> SocketAddr {
    let front = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let back = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
        let mut dialler = None;
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut there) => {
                    dialler = Some(from);
                    let _ = back.send_to(&there[..length], target).await;
                }
                Ok((length, _)) = back.recv_from(&mut here) => {
                    // A long header of packet type 3 (RFC 9000, section 17.2.5).
                    let retry = here[0] & 0b1011_0000 == 0b1011_0000;
                    if retry && lets_back == Back::Retry && let Some(dialler) = dialler {
                        let _ = front.send_to(&here[..length], dialler).await;
                    }
                }
            }
        }
    });
    address
}

/// Lets `foreign` dial `target` again and again through this many such proxies, until the returned value is dropped.
pub async fn dial_in_vain(
    foreign: &Transport,
    target: SocketAddr,
    count: usize,
    lets_back: Back,
) -> tokio::task::JoinSet<()> {
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (foreign, through) = (foreign.clone(), one_way(target, lets_back).await.to_string());
        attempts.spawn(async move {
            loop {
                let _ = foreign.hello(&through).await;
            }
        });
    }
    attempts
}
