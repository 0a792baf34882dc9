//! The UDP socket under QUIC: tokio's, without the call that finds nothing.
//!
//! QUIC reads a socket until it is told that nothing is left. On Linux one call takes up to 32 packets, and one that
//! takes fewer has emptied the socket; quinn's own socket asks once more all the same. That is a system call for every
//! time that packets arrive, half of all that receive.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net;
use std::sync::Arc;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A UDP socket that is asked only while it may hold packets.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    /// Registers a socket with tokio.
    pub(crate) fn new(socket: net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: UdpSocket::from_std(socket)?, state })
    }

    /// Takes packets, if the socket may hold any. Returns their number; none if the socket was empty.
    ///
    /// After a call that has emptied the socket, tokio is told so: it then waits for the next packet. It forgets only what
    /// it knew of the socket before the call, so a packet that arrives meanwhile is not missed.
    fn take(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Option<usize> {
        let room = buffers.len().min(meta.len());
        let mut taken = None;
        // An error is of a single packet that was sent before, such as an answer that nobody listens. QUIC finds out
        // by itself who does not answer.
        let _: io::Result<()> = self.io.try_io(Interest::READABLE, || {
            let count = self.state.recv((&self.io).into(), buffers, meta)?;
            taken = Some(count);
            if count < room { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        taken
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), transmit))
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(context))?;
            if let Some(count) = self.take(buffers, meta) {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// The wait of one connection until the socket takes packets to send.
struct Writable {
    socket: Arc<Socket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Arc::clone(&self.socket);
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(async move { socket.io.writable().await }));
        let result = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use core::future::poll_fn;
    use core::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const ROOM: usize = 4;

    fn sockets() -> (net::UdpSocket, Socket) {
        let sender = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let receiver = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (sender, Socket::new(receiver).unwrap())
    }

    /// Takes what is there, up to four packets; waits for the first.
    async fn take(socket: &Socket) -> usize {
        let mut space = [[0; 100]; ROOM];
        let mut meta = [RecvMeta::default(); ROOM];
        poll_fn(|context| {
            let [a, b, c, d] = &mut space;
            let mut buffers = [a, b, c, d].map(|space| IoSliceMut::new(space));
            socket.poll_recv(context, &mut buffers, &mut meta)
        })
        .await
        .unwrap()
    }

    /// Whether tokio takes the socket for empty, so that no system call is made.
    fn is_known_to_be_empty(socket: &Socket) -> bool {
        let mut asked = false;
        let _ = socket.io.try_io(Interest::READABLE, || {
            asked = true;
            Ok(())
        });
        !asked
    }

    #[tokio::test]
    async fn an_emptied_socket_is_not_asked_again_until_a_packet_has_come() {
        let (sender, socket) = sockets();
        for _ in 0..3 {
            sender.send(b"one").unwrap();
            assert_eq!(take(&socket).await, 1);
            assert_eq!(is_known_to_be_empty(&socket), cfg!(target_os = "linux"));
            assert!(timeout(Duration::from_millis(10), take(&socket)).await.is_err(), "there is none");
        }
    }

    #[tokio::test]
    async fn more_packets_than_one_call_takes_are_all_received() {
        let (sender, socket) = sockets();
        for _ in 0..20 {
            let count = 2 * ROOM + 1;
            (0..count).for_each(|_| assert_eq!(sender.send(b"packet").unwrap(), 6));
            let mut received = 0;
            while received < count {
                received += timeout(Duration::from_secs(10), take(&socket)).await.expect("they have arrived");
            }
            assert_eq!(received, count);
        }
    }

    /// The sender is another thread, so its packets arrive at any time, also while a call empties the socket.
    #[tokio::test]
    async fn no_packet_is_left_in_the_socket_whenever_it_arrives() {
        let receiver = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let (address, twin) = (receiver.local_addr().unwrap(), receiver.try_clone().unwrap());
        let socket = Socket::new(receiver).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test")]
        let sending = std::thread::spawn(move || {
            let sender = net::UdpSocket::bind("127.0.0.1:0").unwrap();
            for number in 0..20_000_u32 {
                sender.send_to(b"packet", address).unwrap();
                if number % 8 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        while !sending.is_finished() {
            let _ = timeout(Duration::from_millis(100), take(&socket)).await;
        }
        sending.join().unwrap();
        while timeout(Duration::from_millis(100), take(&socket)).await.is_ok() {}
        assert_eq!(twin.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock, "a packet is left");
    }
}
