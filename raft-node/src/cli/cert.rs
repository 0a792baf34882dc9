//! `raft-node cert`: makes and checks the authority's and the nodes' certificates.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use raftkit_core::NodeId;
use raftkit_net::certificates::{CaPem, create_ca, create_node_certificate, create_node_certificate_for};

use super::tls_files::{self, Paths};
use super::{Failure, output};
use crate::config::{Config, Flags};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Make the certificate authority that all nodes of a cluster trust
    #[command(
        long_about = "Make the certificate authority that all nodes of a cluster trust. It consists of DIR/ca.pem, which every \
                      node needs, and DIR/ca-key.pem, which no node needs: keep it safe, as anyone who has that key can make \
                      nodes. Existing files are not overwritten.",
        after_help = "Example:\n\n  raft-node cert ca --out tls"
    )]
    Ca {
        /// The folder to write to; it is created if it does not exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The name in the authority's certificate
        #[arg(long, value_name = "NAME", default_value = "raft-node authority")]
        name: String,
    },
    /// Check the CA, certificate and key that a node is to use
    #[command(
        long_about = "Check the CA, certificate and key that a node's settings name. The command reports everything that would \
                      keep the node from using them, with the file and what to do about it. The exit code is 1 if anything \
                      is wrong.",
        after_help = "Example:\n\n  raft-node cert check --config /etc/raft-node/node.toml"
    )]
    Check {
        /// The file with the node's settings
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make a node's certificate and key
    #[command(
        long_about = "Make a node's certificate and key, signed by the authority in --ca-dir, as DIR/node-N.pem and \
                      DIR/node-N-key.pem. Existing files of this node are replaced.",
        after_help = "Example:\n\n  raft-node cert node --ca-dir tls --node-id 1 --host 10.0.0.1 --host node1.example --out tls"
    )]
    Node {
        /// The folder with ca.pem and ca-key.pem
        #[arg(long, value_name = "DIR")]
        ca_dir: PathBuf,
        /// The node's id, as in its settings
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        node_id: u64,
        /// A host name or IP address of the node; may be repeated
        #[arg(long = "host", value_name = "HOST", required = true, value_parser = host)]
        hosts: Vec<String>,
        /// Number of days that the certificate is valid; without this option it does not expire
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
        /// The folder to write to; it is created if it does not exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Parses a host name or an IP address, and refuses anything else: a certificate for `10.0.0.1:8300` would fit no connection.
fn host(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    if text.contains("://") || text.contains('/') {
        return Err("it must be a host name or an IP address, not a URL".to_owned());
    }
    if text.contains(':') {
        return Err("it must be a host name or an IP address without a port".to_owned());
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A text of digits and dots alone is an invalid IPv4 address, and not a host name.
    let address_like = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if address_like || text.len() > 253 || !text.split('.').all(label) {
        return Err("it must be a host name, such as node1.example, or an IP address".to_owned());
    }
    Ok(text.to_owned())
}

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    Everyone,
    Owner,
}

/// What to do if a file exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    Refused,
    Replaced,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Ca { out, name } => ca(&out, &name),
        Command::Check { config } => check(config),
        Command::Node { ca_dir, node_id, hosts, days, out } => {
            node(&ca_dir, NodeId(node_id), &hosts, days, &out)
        }
    }
}

fn ca(out: &Path, name: &str) -> Result<(), Failure> {
    let (cert, key) = (out.join("ca.pem"), out.join("ca-key.pem"));
    // Check both files before writing either, so that no half-made authority is left.
    for path in [&cert, &key] {
        if path.symlink_metadata().is_ok() {
            return Err(refused(path));
        }
    }
    let made = create_ca(name).map_err(|error| Failure::Failed(format!("no authority was made: {error}")))?;
    make_dir(out)?;
    write(&key, &made.key, Readers::Owner, Existing::Refused)?;
    write(&cert, &made.cert, Readers::Everyone, Existing::Refused)?;
    output::line(&format!("{}\n{}", cert.display(), key.display()))
}

fn node(ca_dir: &Path, node: NodeId, hosts: &[String], days: Option<u32>, out: &Path) -> Result<(), Failure> {
    let read = |name: &str| {
        let path = ca_dir.join(name);
        fs::read_to_string(&path).map_err(|error| {
            let hint = "`raft-node cert ca` makes an authority";
            Failure::Failed(format!("{} cannot be read: {error}; {hint}", path.display()))
        })
    };
    let ca = CaPem { cert: read("ca.pem")?, key: read("ca-key.pem")? };
    let made = match days {
        Some(days) => create_node_certificate_for(&ca, node, hosts, days),
        None => create_node_certificate(&ca, node, hosts),
    };
    let made = made.map_err(|error| Failure::Failed(format!("no certificate was made: {error}")))?;
    make_dir(out)?;
    let (cert, key) = (out.join(format!("node-{node}.pem")), out.join(format!("node-{node}-key.pem")));
    write(&key, &made.key, Readers::Owner, Existing::Replaced)?;
    write(&cert, &made.cert, Readers::Everyone, Existing::Replaced)?;
    output::line(&format!("{}\n{}", cert.display(), key.display()))
}

fn check(config: PathBuf) -> Result<(), Failure> {
    let config = Config::load(&Flags { config: Some(config), ..Flags::default() })?;
    let paths = Paths::of(&config);
    let (_, checkup, wrong) = paths.examine();
    for facts in &checkup.certificates {
        let names: Vec<&str> = facts.names.iter().map(String::as_str).collect();
        let names = if names.is_empty() { String::new() } else { format!(", names {}", names.join(" ")) };
        output::line(&format!(
            "{}: {}, issued by {}, valid until {}{names}",
            paths.shown(facts.file),
            facts.subject,
            facts.issuer,
            facts.end
        ))?;
    }
    if !wrong.is_empty() {
        return Err(tls_files::failure(&wrong));
    }
    let ends = checkup.certificates.iter().filter_map(|facts| {
        let warning = crate::shell::ends_soon(facts.valid.1)?;
        Some(format!("{}: {} {warning}", paths.shown(facts.file), facts.subject))
    });
    ends.collect::<Vec<_>>().iter().try_for_each(|line| output::line(line))?;
    output::line(&format!("node {} can use these files", config.node_id))
}

fn make_dir(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir)
        .map_err(|error| Failure::Failed(format!("{} cannot be made: {error}", dir.display())))
}

/// Writes a file atomically: the file exists with its whole content or not at all. At no time can anyone but `readers` read it.
fn write(path: &Path, text: &str, readers: Readers, existing: Existing) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("{} cannot be written: {error}", path.display()));
    let mode = match readers {
        Readers::Everyone => 0o644,
        Readers::Owner => 0o600,
    };
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    // An interrupted run may have left this file behind, with other permissions.
    if let Err(error) = fs::remove_file(&unfinished)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    match existing {
        Existing::Replaced => fs::rename(&unfinished, path).map_err(failed),
        // Unlike a rename, a link fails if the file exists.
        Existing::Refused => {
            let linked = fs::hard_link(&unfinished, path);
            fs::remove_file(&unfinished).map_err(failed)?;
            let there = |error: &std::io::Error| error.kind() == ErrorKind::AlreadyExists;
            linked.map_err(|error| if there(&error) { refused(path) } else { failed(error) })
        }
    }
}

fn refused(path: &Path) -> Failure {
    Failure::Failed(format!(
        "{} is there already and is not overwritten: nodes with certificates of that authority would be cut off",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_around_it() {
        for text in ["10.0.0.1", "::1", "node1", "node-1.example", "localhost", "my_host"] {
            assert_eq!(host(text).as_deref(), Ok(text));
        }
        for text in [
            "10.0.0.1:8300",
            "http://a",
            "a/b",
            "[::1]",
            "",
            "a b",
            "300.1.1.1",
            "-a",
            "a..b",
            "node1:8300",
            "*",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
