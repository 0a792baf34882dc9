//! What a connection knows of its client: whether it is still there.
//!
//! A client that closes its sending side after a request (`nc -N`, some libraries) still wants the answer: that is no loss
//! of interest (RFC 9112, section 9.6). From here it looks the same as a client that is gone, until something is sent to
//! it: then the one takes it, and the other's machine resets the connection. So requests are answered as ever, and a
//! blocking query, which might send nothing for minutes, is answered some seconds after the close with what there is, as
//! at the end of its `wait`. So a client that is gone costs no more than these seconds.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a blocking query still waits for a client that has closed its sending side. Long enough that one who does so
/// with each of its queries asks a few times a minute only.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long without a packet the client's machine is asked whether it is still there. One that has lost power, or its
/// network, is given up after this and three unanswered questions.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;
/// Bounds on what is read from a client that was refused before it had sent everything: a connection that is closed with
/// bytes unread is reset, and the client may never see its answer.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 64 << 20;

tokio::task_local! {
    /// Whether the client of the connection that this task serves has closed its sending side.
    static CLOSED: watch::Receiver<bool>;
}

/// Sets a new connection up.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Without this an answer that does not fill a packet waits for the acknowledgement of the one before it: 40 ms.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_COUNT)?;
    Ok(())
}

/// Runs `connection`, which serves `stream`, as long as the client is there.
pub(super) async fn while_there(stream: &TcpStream, connection: impl Future<Output = ()>) {
    let (closed, is_closed) = watch::channel(false);
    let gone = async {
        // No bytes are out of band: "priority" is what also becomes ready when the client's side is closed, and unlike
        // "readable" not when its next request is there.
        if stream.ready(Interest::PRIORITY).await.is_ok() {
            closed.send_replace(true);
            // The connection was reset, or the client's machine does not answer.
            drop(stream.ready(Interest::ERROR).await);
        }
    };
    tokio::select! {
        () = CLOSED.scope(is_closed, connection) => {}
        () = gone => {}
    }
}

/// Returns once a query that waits should be answered with what there is, because its client has closed its sending side.
/// To be waited for in a connection's own task.
pub(super) async fn waits_no_longer() {
    if let Ok(mut closed) = CLOSED.try_with(Clone::clone)
        && closed.wait_for(|closed| *closed).await.is_ok()
    {
        sleep(PATIENCE).await;
    } else {
        std::future::pending().await
    }
}

/// Reads on, for a while, what a client sends that has got its last answer.
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
    // Whether the client ended in time makes no difference: the connection is closed either way.
    drop(timeout(LINGER, reading).await);
}
