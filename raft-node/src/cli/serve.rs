//! `raft-node serve`: a node, from its settings to its end.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::sync::Arc;
use std::time::Duration;

use raftkit_disk::RealDisk;
use raftkit_kv::{KEY_BYTES_MAX, KvMachine};
use raftkit_net::TlsFiles;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use super::tls_files::{self, Paths};
use super::{Failure, output};
use crate::config::{Config, Flags, Found};
use crate::http::{self, HttpState};
use crate::{Formation, Server, ServerConfig, Stopped};

/// What a command adds to its key and value, generously.
const COMMAND_OVERHEAD: usize = 1024;
/// How long a clean stop may take; then the node ends as in a crash, which loses nothing either.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn run(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    start_log(&config.log_level);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let mut ends = Ends::new(flags)?;
    let paths = Paths::of(&config);
    let tls = paths.load().map_err(|wrong| tls_files::failure(&wrong))?;
    // Before the node starts: a port that is taken must not cost the cluster an election.
    let listener = TcpListener::bind(config.http_addr).await.map_err(|error| {
        Failure::Failed(format!(
            "http-addr {} cannot be listened on: {error}; does another program or node use it?",
            config.http_addr
        ))
    })?;
    let http_addr =
        listener.local_addr().map_err(|error| Failure::Failed(format!("no HTTP address: {error}")))?;
    let settings = server_config(&config, tls, http_addr.port());
    let starting = Server::start(settings, Arc::new(RealDisk), KvMachine::open);
    let server = tokio::select! {
        started = starting => started.map_err(|error| Failure::Failed(format!("the node does not start: {}", raftkit_replica::in_words(&error))))?,
        why = ends.next() => {
            tracing::info!("stopped before the node had started: {why}");
            return Ok(());
        }
    };
    let renewing = tokio::spawn(tls_files::follow(paths, server.handle(), ends.hangup()?));
    let state = HttpState::new(server.handle(), &config.datacenter)
        .with_value_bytes_max(config.value_bytes_max)
        .with_delete_keys_max(config.delete_keys_max)
        .with_answer_bytes_max(config.answer_bytes_max)
        .with_send_timeout(config.send_timeout);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(http::serve(listener, state, async { drop(stopped.await) }));
    tracing::info!(
        node = %config.node_id,
        http = %http_addr,
        raft = %config.raft_addr,
        version = env!("CARGO_PKG_VERSION"),
        "the node is up"
    );
    let failed = tokio::select! {
        why = ends.next() => {
            tracing::info!("stopping: {why}");
            None
        }
        why = server.stopped() => match why {
            Stopped::Failed(why) => Some(why),
            Stopped::OnRequest => None,
        },
    };
    renewing.abort();
    let ending = async {
        drop(stop);
        if let Err(error) = serving.await {
            tracing::error!(%error, "serving HTTP ended early");
        }
        if failed.is_none() {
            server.stop().await;
        }
    };
    tokio::select! {
        ended = timeout(STOP_TIMEOUT, ending) => if ended.is_err() {
            tracing::warn!("the clean stop took too long and is given up");
        },
        why = ends.next() => return Err(Failure::Failed(format!("cut off while stopping: {why}"))),
    }
    match failed {
        None => Ok(()),
        Some(why) => Err(Failure::Failed(format!("the node has ended by itself: {why}"))),
    }
}

fn start_log(level: &str) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if subscriber.try_init().is_err() {
        output::complain("another log was set up before; log-level has no effect");
    }
}

/// The server's settings, as these come to.
fn server_config(config: &Config, tls: TlsFiles, http_port: u16) -> ServerConfig {
    let formation = match &config.found {
        Found::Nothing => Formation::Rejoin,
        Found::Alone => Formation::Alone,
        Found::Together { servers, join } => Formation::Expect {
            servers: usize::try_from(*servers).expect("at most 15 servers fit in a usize"),
            join: join.clone(),
        },
    };
    let attributes = BTreeMap::from([
        ("http-addr".to_owned(), http_attribute(config, http_port)),
        ("datacenter".to_owned(), config.datacenter.clone()),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    let mut server =
        ServerConfig::new(config.node_id, config.data_dir.clone(), config.raft_addr, tls, formation);
    server.advertise = Some(config.raft_advertise_addr.clone());
    server.attributes = attributes;
    server.join = config.join.clone();
    server.leader_timeout = config.leader_timeout;
    server.election_timeout = config.election_timeout;
    server.heartbeat_interval = config.heartbeat_interval;
    server.clock_error = config.clock_error;
    server.write_stall = config.write_stall;
    server.batch_bytes_max = config.batch_bytes_max;
    server.commit_timeout = config.commit_timeout;
    server.hold_timeout = config.hold_timeout;
    server.command_bytes_max = config.value_bytes_max + KEY_BYTES_MAX + COMMAND_OVERHEAD;
    server.replica.compaction.trailing_logs = config.trailing_logs;
    server
}

/// Where clients reach this node, as far as it can tell: a wildcard is no place to go to, so its advertised host.
fn http_attribute(config: &Config, port: u16) -> String {
    let ip = config.http_addr.ip();
    if ip.is_unspecified() {
        let host = config.raft_advertise_addr.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
        format!("{host}:{port}")
    } else {
        std::net::SocketAddr::new(ip, port).to_string()
    }
}

/// What ends a node from outside.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    /// Resolves at the end of stdin; none when that is not asked for, or has happened.
    stdin: Option<oneshot::Receiver<()>>,
}

impl Ends {
    fn new(flags: &Flags) -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::Failed(format!("no signals are heard: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            stdin: if flags.stop_on_stdin_eof { Some(stdin_end()?) } else { None },
        })
    }

    /// What asks for certificates to be read again, instead of ending the node.
    fn hangup(&self) -> Result<Signal, Failure> {
        signal(SignalKind::hangup())
            .map_err(|error| Failure::Failed(format!("no signals are heard: {error}")))
    }

    /// Waits for the next one; says which.
    async fn next(&mut self) -> &'static str {
        let stdin = async {
            match self.stdin.as_mut() {
                Some(end) => drop(end.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = stdin => {
                self.stdin = None;
                "stdin has ended"
            }
        }
    }
}

/// Reads stdin away on a thread of its own, which does not keep the process alive; resolves at its end.
fn stdin_end() -> Result<oneshot::Receiver<()>, Failure> {
    let (ended, end) = oneshot::channel();
    let reading = move || {
        let mut buffer = [0; 1024];
        // An error is an end too: whoever held the other side is not to be heard of any more.
        while matches!(std::io::stdin().lock().read(&mut buffer), Ok(count) if count > 0) {}
        let _ = ended.send(());
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(reading);
    thread.map(|_| end).map_err(|error| Failure::Failed(format!("stdin cannot be watched: {error}")))
}
