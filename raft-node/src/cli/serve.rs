//! `raft-node serve`: runs a node, from its settings to its end.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use raftkit_disk::RealDisk;
use raftkit_kv::{KEY_BYTES_MAX, KvMachine};
use raftkit_net::{TlsFiles, caught};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use super::ends::Ends;
use super::lossy_log::LossyLog;
use super::tls_files::{self, Paths};
use super::{Failure, limits, lossy_log, output};
use crate::config::{Config, Flags, Found, Origin};
use crate::http::{self, HttpState};
use crate::{Formation, Server, ServerConfig, StartError, Stopped};

/// Generous upper bound on the bytes that a command needs beside its key and value.
const COMMAND_OVERHEAD: usize = 1024;
/// A second signal within this time counts as the first one, because programs such as `timeout` send a signal twice. A later
/// second signal cuts the clean stop short.
const INSISTS: Duration = Duration::from_secs(1);
/// Maximum duration of a clean stop. After that the node ends as in a crash, which loses nothing either.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn run(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    start_log(&config.log_level);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let (connections, fewer) = limits::connections(config.http_connections_max, limits::raise_open_files());
    if let Some(line) = fewer {
        tracing::warn!("{line}");
    }
    say_folder(&config);
    let mut ends = Ends::new(flags.stop_on_stdin_eof)?;
    let paths = Paths::of(&config);
    let tls = paths.load().map_err(|wrong| tls_files::failure(&wrong))?;
    // Bind the port before the node starts: if the port is taken, the attempt must not disturb the cluster.
    let listener =
        TcpListener::bind(config.http_addr).await.map_err(|error| not_listening(&config, &error))?;
    let http_addr =
        listener.local_addr().map_err(|error| Failure::Failed(format!("no HTTP address: {error}")))?;
    let settings = server_config(&config, tls, http_addr.port());
    let starting = Server::start(settings, Arc::new(RealDisk), KvMachine::open);
    let server = tokio::select! {
        started = starting => started.map_err(|error| not_started(&config, &error))?,
        why = ends.next() => {
            tracing::info!("stopped before the node had started: {why}");
            return Ok(());
        }
    };
    let renewing = tls_files::follow(paths, server.handle(), ends.hangup()?);
    let state = HttpState::new(server.handle(), &config.datacenter)
        .with_value_bytes_max(config.value_bytes_max)
        .with_delete_keys_max(config.delete_keys_max)
        .with_answer_bytes_max(config.answer_bytes_max)
        .with_send_timeout(config.send_timeout)
        .with_connections_max(connections);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = http::serve(listener, state, async { drop(stopped.await) });
    tracing::info!(
        node = %config.node_id,
        http = %http_addr,
        raft = %config.raft_addr,
        data = %config.data_dir.display(),
        version = env!("CARGO_PKG_VERSION"),
        "the node is up"
    );
    let ended = until_the_end(server, serving, renewing, stop, ends).await?;
    ended.map_or(Ok(()), |why| {
        // Name the data folder: the operator may have to free space there or to look after its disk, and the error may not
        // say where it happened.
        let dir = config.data_dir.display();
        Err(Failure::Failed(format!("the node has ended by itself: {why} (its data folder is {dir})")))
    })
}

/// Serves until something ends the node, and then stops its other parts. Returns why the node has ended by itself, if it has.
async fn until_the_end(
    server: Server<KvMachine>,
    serving: impl Future<Output = ()> + Send + 'static,
    renewing: impl Future<Output = ()> + Send + 'static,
    stop: oneshot::Sender<()>,
    mut ends: Ends,
) -> Result<Option<String>, Failure> {
    #[expect(clippy::disallowed_methods, reason = "their panics are caught, and looked at below")]
    let (mut serving, mut renewing) = (tokio::spawn(caught(serving)), tokio::spawn(caught(renewing)));
    let failed = tokio::select! {
        why = ends.next() => {
            tracing::info!("stopping: {why}");
            None
        }
        why = server.stopped() => match why {
            Stopped::Failed(why) => Some(why),
            // End as in a crash: a clean stop may need the part that panicked, and nothing is lost without a clean stop.
            Stopped::Panicked(why) => return Err(panicked(&why)),
            Stopped::OnRequest => None,
        },
        served = &mut serving => return Err(panicked(&match served {
            Ok(Err(message)) => format!("the task that accepts HTTP connections panicked: {message}"),
            Ok(Ok(())) | Err(_) => "HTTP is not served any more".to_owned(),
        })),
        Ok(Err(message)) = &mut renewing => {
            return Err(panicked(&format!("the task that reads certificates again panicked: {message}")));
        }
    };
    renewing.abort();
    let ending = async {
        drop(stop);
        if !matches!(serving.await, Ok(Ok(()))) {
            tracing::error!("serving HTTP ended early");
        }
        if failed.is_none() {
            server.stop().await;
        }
    };
    tokio::select! {
        ended = timeout(STOP_TIMEOUT, ending) => if ended.is_err() {
            tracing::warn!("the clean stop took too long and is given up");
        },
        why = ends.next_after(INSISTS) => {
            return Err(Failure::Failed(format!("cut off while stopping: {why} came again")));
        }
    }
    Ok(failed)
}

fn panicked(why: &str) -> Failure {
    Failure::Panicked(format!("the node has ended by a panic, which is a bug: {why}; start it again"))
}

/// Logs the path of the data folder. With a relative `data-dir`, another working directory means another folder, hence another
/// node, and with `bootstrap` even another cluster.
fn say_folder(config: &Config) {
    let dir = config.data_dir.display();
    let new = std::fs::read_dir(&config.data_dir).map_or(true, |mut files| files.next().is_none());
    match (&config.found, new) {
        (_, false) => tracing::info!("the data folder is {dir}"),
        (Found::Alone, true) => tracing::warn!(
            "the data folder {dir} is new ({}): a new cluster of this node alone is formed in it",
            config.origin("data-dir")
        ),
        (Found::Nothing | Found::Together { .. }, true) => {
            tracing::info!("the data folder {dir} is new ({})", config.origin("data-dir"));
        }
    }
}

fn not_listening(config: &Config, error: &std::io::Error) -> Failure {
    let (addr, origin) = (config.http_addr, config.origin("http-addr"));
    let hints = [
        (ErrorKind::AddrInUse, "another program or node uses it"),
        (ErrorKind::AddrNotAvailable, "this machine has no such address; 0.0.0.0 stands for all that it has"),
        (ErrorKind::PermissionDenied, "ports below 1024 need a privilege"),
    ];
    let hint = hints.iter().find(|(kind, _)| *kind == error.kind());
    let hint = hint.map_or("it must be an address of this machine with a free port", |(_, hint)| *hint);
    let variable = match origin {
        Origin::Environment(_) => {
            "; that variable is the server's setting, and commands such as `raft-node kv` take RAFT_NODE_ADDR"
        }
        Origin::Flag | Origin::File { .. } | Origin::Default => "",
    };
    Failure::Failed(format!(
        "http-addr {addr}, set {origin}, cannot be listened on: {error}: {hint}{variable}"
    ))
}

fn not_started(config: &Config, error: &StartError) -> Failure {
    let why = raftkit_replica::in_words(error);
    // The error of an address does not say where the address was set.
    let set = match error {
        StartError::Transport(_) => {
            format!(" (raft-addr {}, set {})", config.raft_addr, config.origin("raft-addr"))
        }
        StartError::DataDir { .. }
        | StartError::InUse { .. }
        | StartError::Log(_)
        | StartError::Form(_)
        | StartError::Machine(_)
        | StartError::Replica(_)
        | StartError::Tls(_)
        | StartError::Thread(_)
        | StartError::Stopped => String::new(),
    };
    Failure::Failed(format!("the node does not start: {why}{set}"))
}

fn start_log(level: &str) {
    std::panic::set_hook(Box::new(|panic| {
        // Do not write to stderr directly, as the default hook does: a reader that does not read would block the panic, and
        // the panicking thread would not even end.
        let thread = std::thread::current();
        let text = panic.to_string().replace('\n', " ");
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), "{text}");
        // Unwinding may panic again, which ends the process at once, so flush now.
        lossy_log::flush_briefly();
    }));
    let log = match LossyLog::start() {
        Ok(log) => log,
        Err(error) => return output::complain(&format!("nothing is logged: {error}")),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(log);
    if subscriber.try_init().is_err() {
        output::complain("another log was set up before; log-level has no effect");
    }
}

/// The server's settings that follow from the node's configuration.
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

/// The address at which clients probably reach this node. A wildcard address cannot be connected to, so it is replaced by the
/// host that is advertised to other nodes.
fn http_attribute(config: &Config, port: u16) -> String {
    let ip = config.http_addr.ip();
    if ip.is_unspecified() {
        let host = config.raft_advertise_addr.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
        format!("{host}:{port}")
    } else {
        std::net::SocketAddr::new(ip, port).to_string()
    }
}
