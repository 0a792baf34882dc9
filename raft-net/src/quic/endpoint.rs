//! The UDP socket and QUIC's settings.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    VarInt,
};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};

use super::config::TransportConfig;
use super::error::StartError;
use super::gentle::GentleFactory;
use super::lock;
use super::own_time::OwnTime;
use super::tasks::Tasks;
use super::tls::TlsIdentity;
use crate::refusal::Lane;

/// Size of the socket buffer that the kernel is asked for, in each direction. Smaller buffers lose packets on loopback
/// (measured).
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Size in bytes of packets between nodes on one machine. Ten of them, which one call may carry, stay below UDP's 64
/// KiB.
const LOOPBACK_MTU: u16 = 6000;

/// Upper bounds on the unread bytes of a stream, and of a connection.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 48 << 20;

/// Number of streams of each kind that a peer may have open at once: one of each is used, beside a greeting.
const STREAMS_MAX: u32 = 8;

/// Round trip that is assumed before one is measured. A first packet that was lost is repeated after three times this,
/// so that a peer that just starts is found soon.
const INITIAL_RTT: Duration = Duration::from_millis(33);

const CID_BYTES: usize = 8;

/// Upper bound on the first packets that wait for a decision. Each is decided on as soon as its turn comes, so more
/// come only in a burst; those are dropped unread, and their senders repeat them.
const INCOMING_MAX: usize = 1024;

/// Upper bounds on the bytes of one handshake, and of all, that are kept before their first packets are decided on.
const INCOMING_BYTES: u64 = 64 << 10;
const INCOMING_BYTES_ALL: u64 = 4 << 20;

/// QUIC's settings towards peers on this machine and elsewhere.
pub(crate) struct QuicConfigs {
    peer_timeout: Duration,
    current: Mutex<Current>,
}

/// The settings that contain a certificate.
struct Current {
    client: ClientConfig,
    server: ServerConfig,
    server_loopback: Arc<ServerConfig>,
}

impl QuicConfigs {
    /// Returns the settings for dialling an address with this time-out of the answer. After the answer the other side's
    /// `peer_timeout` holds for the connection, as QUIC takes the smaller of both. Bulk gives way to everything else on
    /// the same link.
    pub(crate) fn client(&self, remote: IpAddr, lane: Lane, answer_timeout: Duration) -> ClientConfig {
        let mut transport = transport(self.peer_timeout, is_loopback(remote).then_some(LOOPBACK_MTU));
        transport.max_idle_timeout(Some(idle(self.peer_timeout.max(answer_timeout))));
        match lane {
            Lane::Bulk => drop(transport.congestion_controller_factory(Arc::new(GentleFactory))),
            Lane::Control | Lane::Discovery => {}
        }
        let mut client = lock(&self.current).client.clone();
        client.transport_config(Arc::new(transport));
        client
    }

    /// Settings for accepting from an address; none for the endpoint's default.
    pub(crate) fn server(&self, remote: IpAddr) -> Option<Arc<ServerConfig>> {
        is_loopback(remote).then(|| Arc::clone(&lock(&self.current).server_loopback))
    }

    /// Replaces certificate, key and authorities for connections that are made from now on, in either direction.
    pub(crate) fn replace(&self, endpoint: &Endpoint, tls: &TlsIdentity) {
        let mut current = lock(&self.current);
        current.client = client_config(tls);
        // The settings stay otherwise as they were, with the key of address tokens: a Retry may be on its way.
        current.server.crypto = server_crypto(tls);
        let mut loopback = ServerConfig::clone(&current.server_loopback);
        loopback.crypto = server_crypto(tls);
        current.server_loopback = Arc::new(loopback);
        endpoint.set_server_config(Some(current.server.clone()));
    }
}

fn client_config(tls: &TlsIdentity) -> ClientConfig {
    let crypto = QuicClientConfig::try_from(tls.client()).expect("ring has QUIC's initial cipher");
    ClientConfig::new(Arc::new(crypto))
}

fn server_crypto(tls: &TlsIdentity) -> Arc<QuicServerConfig> {
    Arc::new(QuicServerConfig::try_from(tls.server()).expect("ring has QUIC's initial cipher"))
}

/// Binds the socket and makes the endpoint on it. Must be called within tokio.
pub(crate) fn open(config: &TransportConfig, tasks: &Tasks) -> Result<(Endpoint, QuicConfigs), StartError> {
    let addr = config.listen;
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::AddrInUse {
            StartError::AddressInUse { addr }
        } else {
            StartError::Socket { addr, source }
        }
    };
    let socket = bind(addr).map_err(failed)?;

    let key = hmac::Key::new(hmac::HMAC_SHA256, config.tls.secret());
    // The key is the same after a restart, so that the new process can tell peers that the old one's connections are
    // over (RFC 9000, section 10.3.2). Otherwise they would find out by silence.
    let reset = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, b"raftkit stateless reset").as_ref());
    let mut endpoint = EndpointConfig::new(Arc::new(reset));
    endpoint.max_udp_payload_size(LOOPBACK_MTU).expect("a legal size");
    endpoint.cid_generator(|| Box::new(RandomIds(SystemRandom::new())));

    let peer_timeout = config.peer_timeout;
    let mut server = ServerConfig::with_crypto(server_crypto(&config.tls));
    server
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_ALL);
    let mut server_loopback = server.clone();
    server.transport_config(Arc::new(transport(peer_timeout, None)));
    server_loopback.transport_config(Arc::new(transport(peer_timeout, Some(LOOPBACK_MTU))));

    // A connection is kept alive four times in this time, so between two looks at the clock less than half of it goes by.
    let runtime = Arc::new(OwnTime::new(tasks.clone(), peer_timeout / 2));
    let endpoint = Endpoint::new(endpoint, Some(server.clone()), socket, runtime).map_err(failed)?;
    let current =
        Current { client: client_config(&config.tls), server, server_loopback: Arc::new(server_loopback) };
    Ok((endpoint, QuicConfigs { peer_timeout, current: Mutex::new(current) }))
}

fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        // Both families on one socket where the system can; where it cannot, IPv6 alone works.
        let _ = socket.set_only_v6(false);
    }
    // The kernel gives what it permits; less costs speed only.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

fn idle(timeout: Duration) -> IdleTimeout {
    IdleTimeout::try_from(timeout).unwrap_or(VarInt::MAX.into())
}

fn transport(peer_timeout: Duration, mtu: Option<u16>) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle(peer_timeout)))
        .keep_alive_interval(Some(peer_timeout / 4))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .datagram_receive_buffer_size(None);
    if let Some(mtu) = mtu {
        transport.initial_mtu(mtu).min_mtu(mtu).mtu_discovery_config(None);
    }
    transport
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Generator of connection ids: random, and valid for every later process on this address, which answers an unknown one
/// with a stateless reset. (quinn's own generator drops ids that an earlier process gave.)
struct RandomIds(SystemRandom);

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CID_BYTES];
        self.0.fill(&mut id).expect("the system's random source works once TLS has started");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
