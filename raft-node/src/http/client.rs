//! Notices when the client of a connection is gone.
//!
//! A client that closes its sending side after a request (`nc -N`, some libraries) still wants the answer (RFC 9112, section
//! 9.6). The server cannot tell it from a client that is gone until something is sent: the first client takes it, and the
//! machine of the second resets the connection. So requests are answered as usual. A blocking query, which might send nothing
//! for minutes, is answered a few seconds after the close with the present result, as at the end of its `wait`. Thus a client
//! that is gone occupies its place for these seconds only.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Time that a blocking query still waits after its client has closed its sending side. It is long enough that a client which
/// does so with every query asks only a few times a minute.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time without a packet after which TCP's keepalive probes the client's machine. A machine that has lost its power or its
/// network is given up after this time and three unanswered probes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;
/// Bounds on the time and bytes that are read from a client that was refused before it had sent everything. If a connection is
/// closed with unread bytes, it is reset, and the client may never see its answer.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 64 << 20;

tokio::task_local! {
    /// Whether the client of the connection that this task serves has closed its sending side.
    static CLOSED: watch::Receiver<bool>;
}

/// Sets the socket options of a new connection.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Without this, an answer that does not fill a packet waits up to 40 ms for the acknowledgement of the packet before.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_COUNT)?;
    Ok(())
}

/// Runs `connection`, which serves `stream`, until it ends or the client is gone.
pub(super) async fn while_there(stream: &TcpStream, connection: impl Future<Output = ()>) {
    let (closed, is_closed) = watch::channel(false);
    let gone = async {
        // "Priority" also becomes ready when the client closes its side. "Readable" would do so for the client's next request
        // as well. Out-of-band bytes, for which "priority" is made, are not used here.
        if stream.ready(Interest::PRIORITY).await.is_ok() {
            closed.send_replace(true);
            // Ready if the connection was reset, or if the client's machine does not answer.
            drop(stream.ready(Interest::ERROR).await);
        }
    };
    tokio::select! {
        () = CLOSED.scope(is_closed, connection) => {}
        () = gone => {}
    }
}

/// Returns once a waiting query should be answered with the present result, because its client has closed its sending side.
/// It must be awaited in the connection's own task.
pub(super) async fn waits_no_longer() {
    if let Ok(mut closed) = CLOSED.try_with(Clone::clone)
        && closed.wait_for(|closed| *closed).await.is_ok()
    {
        sleep(PATIENCE).await;
    } else {
        std::future::pending().await
    }
}

/// Reads and discards for a while what a client still sends after its last answer.
pub(super) async fn linger(stream: &TcpStream) {
    let reading = async {
        let mut left = LINGER_BYTES_MAX;
        let mut buffer = [0; 4096];
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if count > left => return,
                Ok(count) => left -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // The connection is closed whether or not the client ended in time.
    drop(timeout(LINGER, reading).await);
}
