//! The proxy: its sockets, and the threads that read them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::conditions::{Conditions, Counters, Way};
use crate::lane::Lane;

/// Clients beyond this number are not served: each takes a socket and a thread.
const CLIENTS_MAX: usize = 1024;
/// Size of the largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A UDP proxy in front of one address. Dropping it closes its sockets and ends its threads.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// State that the threads of a proxy share.
#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    /// The socket that clients send to and are answered from.
    front: Arc<UdpSocket>,
    address: SocketAddr,
    inward: Lane,
    outward: Lane,
    clients: Mutex<BTreeMap<SocketAddr, Client>>,
    ended: AtomicBool,
}

/// A client, and the way to the target that is its own.
#[derive(Debug)]
struct Client {
    upstream: Arc<UdpSocket>,
    thread: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of `target`, which must be an IPv4 address, at a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The system has no more sockets or threads.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        Self::start_seeded(target, 1)
    }

    /// Starts a proxy as [`Proxy::start`] does; `seed` decides which datagrams are lost.
    ///
    /// # Errors
    /// The errors of [`Proxy::start`].
    pub fn start_seeded(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        let shared = Arc::new(Shared {
            target,
            address: front.local_addr()?,
            front,
            inward: Lane::new(seed),
            outward: Lane::new(seed.wrapping_add(1)),
            clients: Mutex::new(BTreeMap::new()),
            ended: AtomicBool::new(false),
        });
        let mut proxy = Self { shared, threads: Vec::new() };
        for work in
            [Shared::serve_clients, |it| it.inward.run(), |it| it.outward.run()] as [fn(&Arc<Shared>); 3]
        {
            let shared = Arc::clone(&proxy.shared);
            // On an error the proxy is dropped, which ends the threads that were started before.
            proxy.threads.push(spawn(move || work(&shared))?);
        }
        Ok(proxy)
    }

    /// The address that clients send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Changes the conditions on one direction. What is on its way already arrives as scheduled, unless the link is cut.
    pub fn set(&self, way: Way, conditions: Conditions) {
        self.shared.lane(way).set(conditions);
    }

    /// Changes the conditions on both directions.
    pub fn set_both(&self, conditions: Conditions) {
        self.set(Way::In, conditions);
        self.set(Way::Out, conditions);
    }

    /// Counters of the datagrams of one direction so far.
    #[must_use]
    pub fn counters(&self, way: Way) -> Counters {
        self.shared.lane(way).counters()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.ended.store(true, Ordering::SeqCst);
        shared.inward.end();
        shared.outward.end();
        wake(&shared.front);
        for thread in self.threads.drain(..) {
            let _panicked_already = thread.join();
        }
        // The thread that adds clients has ended.
        let clients = std::mem::take(&mut *shared.clients.lock().unwrap_or_else(PoisonError::into_inner));
        for client in clients.values() {
            wake(&client.upstream);
        }
        for client in clients.into_values() {
            let _panicked_already = client.thread.join();
        }
    }
}

impl Shared {
    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::In => &self.inward,
            Way::Out => &self.outward,
        }
    }

    /// Takes in what clients send, until the proxy ends.
    fn serve_clients(self: &Arc<Self>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while let Ok((len, client)) = self.front.recv_from(&mut buffer) {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            if let Some(upstream) = self.upstream_of(client) {
                self.inward.send(&buffer[..len], &upstream, self.target);
            }
        }
    }

    /// Takes in what the target answers one client, until the proxy ends.
    fn serve_target(&self, upstream: &UdpSocket, client: SocketAddr) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while let Ok((len, from)) = upstream.recv_from(&mut buffer) {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            if from == self.target {
                self.outward.send(&buffer[..len], &self.front, client);
            }
        }
    }

    /// The socket of a client, or `None` if there are too many clients or the machine has no more sockets or threads.
    fn upstream_of(self: &Arc<Self>, address: SocketAddr) -> Option<Arc<UdpSocket>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&address) {
            return Some(Arc::clone(&client.upstream));
        }
        if clients.len() >= CLIENTS_MAX {
            return None;
        }
        // Not connected: a connected socket reports that the target is gone as an error, and a proxy outlives restarts.
        let upstream = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?);
        let (shared, socket) = (Arc::clone(self), Arc::clone(&upstream));
        let thread = spawn(move || shared.serve_target(&socket, address)).ok()?;
        clients.insert(address, Client { upstream: Arc::clone(&upstream), thread });
        Some(upstream)
    }
}

/// Has the thread that waits for a datagram on `socket` look whether the proxy has ended.
fn wake(socket: &UdpSocket) {
    if let Ok(address) = socket.local_addr() {
        let _full_means_awake = socket.send_to(&[], address);
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("udp-proxy".into()).spawn(work)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::Proxy;
    use crate::conditions::{Conditions, Way};

    /// No datagram takes this long, whatever else the machine does.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        socket
    }

    fn start() -> (UdpSocket, Proxy) {
        let server = socket();
        let proxy = Proxy::start(server.local_addr().expect("bound")).expect("a proxy");
        (server, proxy)
    }

    fn receive(socket: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) = socket.recv_from(&mut buffer).expect("a datagram");
        (buffer[..len].to_vec(), from)
    }

    #[test]
    fn clients_are_told_apart_and_each_gets_its_own_answers() {
        let (server, proxy) = start();
        let clients = [socket(), socket()];
        for (number, client) in (0..).zip(&clients) {
            client.send_to(&[number], proxy.address()).expect("sent");
            let (bytes, from) = receive(&server);
            assert_eq!(bytes, [number]);
            server.send_to(&[number, number], from).expect("sent");
            assert_eq!(receive(client), (vec![number, number], proxy.address()));
        }
        // A datagram is counted right after it was passed on.
        while [Way::In, Way::Out].iter().any(|way| proxy.counters(*way).delivered < 2) {
            std::thread::yield_now();
        }
        assert_eq!(proxy.counters(Way::In).delivered, 2);
        assert_eq!(proxy.counters(Way::Out).delivered_bytes, 4);
    }

    #[test]
    fn each_direction_has_its_own_delay() {
        let (server, proxy) = start();
        let client = socket();
        proxy.set(Way::In, Conditions { delay: Duration::from_millis(30), ..Conditions::default() });
        proxy.set(Way::Out, Conditions { delay: Duration::from_millis(70), ..Conditions::default() });
        let start = Instant::now();
        client.send_to(b"x", proxy.address()).expect("sent");
        let (_, from) = receive(&server);
        let arrived = Instant::now();
        assert!(arrived - start >= Duration::from_millis(30));
        server.send_to(b"y", from).expect("sent");
        receive(&client);
        assert!(arrived.elapsed() >= Duration::from_millis(70));
    }

    #[test]
    fn a_rate_makes_datagrams_wait_for_each_other() {
        let (server, proxy) = start();
        proxy.set(Way::In, Conditions { bytes_per_second: Some(100_000), ..Conditions::default() });
        let client = socket();
        let start = Instant::now();
        for _ in 0..10 {
            client.send_to(&[0; 1000], proxy.address()).expect("sent");
        }
        for _ in 0..10 {
            receive(&server);
        }
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn a_cut_is_counted_and_ends() {
        let (server, proxy) = start();
        let client = socket();
        proxy.set_both(Conditions { cut: true, ..Conditions::default() });
        client.send_to(b"lost", proxy.address()).expect("sent");
        while proxy.counters(Way::In).dropped_cut == 0 {
            std::thread::yield_now();
        }
        proxy.set_both(Conditions::default());
        client.send_to(b"arrives", proxy.address()).expect("sent");
        assert_eq!(receive(&server).0, b"arrives");
    }

    #[test]
    fn a_target_that_is_gone_for_a_while_does_not_end_the_proxy() {
        let (server, proxy) = start();
        let client = socket();
        let address = server.local_addr().expect("bound");
        drop(server);
        client.send_to(b"to nobody", proxy.address()).expect("sent");
        while proxy.counters(Way::In).delivered == 0 {
            std::thread::yield_now();
        }
        let server = UdpSocket::bind(address).expect("the port is free again");
        server.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        client.send_to(b"hello", proxy.address()).expect("sent");
        assert_eq!(receive(&server).0, b"hello");
    }

    #[test]
    fn dropping_a_proxy_ends_its_threads() {
        let (server, proxy) = start();
        let client = socket();
        client.send_to(b"x", proxy.address()).expect("sent");
        receive(&server);
        let shared = Arc::downgrade(&proxy.shared);
        drop(proxy);
        assert!(shared.upgrade().is_none(), "a thread still holds what the proxy shared");
    }
}
