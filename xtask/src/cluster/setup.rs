//! What must be there before nodes start: the binary, free ports, certificates, a configuration for each node.

use std::fs;
use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::data_dir::Layout;
use crate::console;
use crate::workspace::{self, Failure};

/// How long nodes of a cluster that was killed a moment ago may still take to let go of their ports.
const PORTS_TIMEOUT: Duration = Duration::from_secs(3);

/// Where one node is and what it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) id: u64,
    pub(super) http: SocketAddr,
    pub(super) raft: SocketAddr,
    pub(super) data: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
}

/// A plan for each node, ids from 1.
pub(super) fn plans(dir: &Path, layout: Layout) -> Vec<Plan> {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    (0..layout.nodes)
        .map(|i| {
            let id = u64::from(i) + 1;
            Plan {
                id,
                http: at(layout.http_port + i),
                raft: at(layout.raft_port + i),
                data: dir.join(format!("node-{id}")),
                config: dir.join(format!("node-{id}.toml")),
                log: dir.join(format!("node-{id}.log")),
            }
        })
        .collect()
}

/// Checks that nobody has the ports.
///
/// # Errors
/// The first port that is taken, and what to do.
pub(super) fn check_ports(plans: &[Plan]) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let Some(taken) = plans.iter().find_map(taken_port) else { return Ok(()) };
        if start.elapsed() >= PORTS_TIMEOUT {
            return Err(Failure::new(taken));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn taken_port(plan: &Plan) -> Option<String> {
    let id = plan.id;
    if let Err(error) = TcpListener::bind(plan.http) {
        let port = plan.http.port();
        return Some(format!(
            "TCP port {port}, for the HTTP of node {id}, cannot be had ({error}): stop what uses it (to find it: \
             ss -ltnp sport = :{port}), or choose others with --http-port"
        ));
    }
    if let Err(error) = UdpSocket::bind(plan.raft) {
        let port = plan.raft.port();
        return Some(format!(
            "UDP port {port}, for the QUIC of node {id}, cannot be had ({error}): stop what uses it (to find it: \
             ss -lunp sport = :{port}); for a new cluster others can be chosen with --raft-port"
        ));
    }
    None
}

/// Builds raft-node in release, with cargo's own progress, and says where it is.
///
/// # Errors
/// It does not build.
pub(super) fn build() -> Result<PathBuf, Failure> {
    console::complain("building raft-node (release); the first time takes a few minutes");
    let start = Instant::now();
    let args = ["build", "--release", "-p", "raftkit-node", "--bin", "raft-node"];
    let mut cargo = workspace::cargo();
    cargo.args(args).arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(Failure::of("cannot run cargo"))?;
    let mut binary = None;
    if let Some(stdout) = child.stdout.take() {
        for line in std::io::BufReader::new(stdout).lines() {
            let line = line.map_err(Failure::of("cannot read what cargo says"))?;
            binary = binary_in(&line).or(binary);
        }
    }
    let status = child.wait().map_err(Failure::of("cannot wait for cargo"))?;
    if !status.success() {
        return Err(Failure::new("raft-node does not build; what cargo says stands above"));
    }
    console::complain(&format!("built in {}", console::seconds(start.elapsed())));
    binary.ok_or_else(|| Failure::new("cargo built raft-node and did not say where it is"))
}

/// The path of raft-node, if this line of cargo's is the one that says it.
fn binary_in(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message.get("target")?.get("name")?.as_str()? != "raft-node" {
        return None;
    }
    message.get("executable")?.as_str().map(PathBuf::from)
}

/// Makes the certificate authority and a certificate for each node, unless they are there.
///
/// # Errors
/// raft-node cannot make them.
pub(super) fn make_certificates(binary: &Path, dir: &Path, plans: &[Plan]) -> Result<(), Failure> {
    let tls = dir.join("tls");
    fs::create_dir_all(&tls).map_err(Failure::of(format!("cannot make {}", tls.display())))?;
    let missing = |name: &str| {
        let (cert, key) = (tls.join(format!("{name}.pem")), tls.join(format!("{name}-key.pem")));
        !(cert.exists() && key.exists())
    };
    let new_authority = missing("ca");
    if new_authority {
        let mut command = Command::new(binary);
        command.args(["cert", "ca", "--out"]).arg(&tls);
        workspace::output_of(command)?;
    }
    for plan in plans {
        let name = format!("node-{}", plan.id);
        // A certificate of an earlier authority would be refused by every peer.
        if new_authority || missing(&name) {
            let mut command = Command::new(binary);
            command.args(["cert", "node", "--ca-dir"]).arg(&tls);
            command.args(["--node-id", &plan.id.to_string(), "--host", "127.0.0.1", "--out"]).arg(&tls);
            workspace::output_of(command)?;
        }
    }
    Ok(())
}

/// Writes each node's configuration, anew at every start.
///
/// # Errors
/// One cannot be written.
pub(super) fn write_configs(dir: &Path, plans: &[Plan]) -> Result<(), Failure> {
    for plan in plans {
        let text = config_text(dir, plan, plans)?;
        fs::write(&plan.config, text)
            .map_err(Failure::of(format!("cannot write {}", plan.config.display())))?;
    }
    Ok(())
}

fn config_text(dir: &Path, plan: &Plan, plans: &[Plan]) -> Result<String, Failure> {
    let others: Vec<String> =
        plans.iter().filter(|it| it.id != plan.id).map(|it| quoted(&it.raft.to_string())).collect();
    let tls = dir.join("tls");
    let id = plan.id;
    Ok([
        "# Written by cargo xtask cluster, anew at every start.".to_owned(),
        format!("node-id = {id}"),
        format!("data-dir = {}", quoted_path(&plan.data)?),
        format!("http-addr = {}", quoted(&plan.http.to_string())),
        format!("raft-addr = {}", quoted(&plan.raft.to_string())),
        format!("bootstrap-expect = {}", plans.len()),
        format!("join = [{}]", others.join(", ")),
        String::new(),
        "[tls]".to_owned(),
        format!("ca = {}", quoted_path(&tls.join("ca.pem"))?),
        format!("cert = {}", quoted_path(&tls.join(format!("node-{id}.pem")))?),
        format!("key = {}", quoted_path(&tls.join(format!("node-{id}-key.pem")))?),
        String::new(),
    ]
    .join("\n"))
}

/// A basic string of TOML; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn quoted_path(path: &Path) -> Result<String, Failure> {
    path.to_str()
        .map(quoted)
        .ok_or_else(|| Failure::new(format!("{} is no UTF-8, choose another --data-dir", path.display())))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Layout, binary_in, config_text, plans};

    #[test]
    fn a_configuration_names_the_other_nodes_and_its_own_files() {
        let layout = Layout { nodes: 3, http_port: 8501, raft_port: 9501 };
        let dir = Path::new("/d\"x");
        let plans = plans(dir, layout);
        let text = config_text(dir, &plans[1], &plans).expect("UTF-8");
        let expected = r#"# Written by cargo xtask cluster, anew at every start.
node-id = 2
data-dir = "/d\"x/node-2"
http-addr = "127.0.0.1:8502"
raft-addr = "127.0.0.1:9502"
bootstrap-expect = 3
join = ["127.0.0.1:9501", "127.0.0.1:9503"]

[tls]
ca = "/d\"x/tls/ca.pem"
cert = "/d\"x/tls/node-2.pem"
key = "/d\"x/tls/node-2-key.pem"
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn cargo_says_where_the_binary_is() {
        let line =
            r#"{"reason":"compiler-artifact","target":{"name":"raft-node"},"executable":"/t/raft-node"}"#;
        assert_eq!(binary_in(line), Some(PathBuf::from("/t/raft-node")));
        for other in [
            "",
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"target":{"name":"bytes"},"executable":null}"#,
            r#"{"target":{"name":"raft-node"},"executable":null}"#,
        ] {
            assert_eq!(binary_in(other), None);
        }
    }
}
