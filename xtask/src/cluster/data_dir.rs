//! The folder that holds a cluster: a file marks it as ours, remembers how the cluster was made, and is
//! locked while a cluster runs from it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::flags::ClusterFlags;
use crate::workspace::{self, Failure};

const MARKER: &str = "xtask-cluster.json";
const NODES_DEFAULT: u16 = 3;
const HTTP_PORT_DEFAULT: u16 = 8501;
/// From the HTTP port to the QUIC port.
const RAFT_PORT_OFFSET: u16 = 1000;

/// How a cluster is made. Its nodes know each other by the QUIC ports, so those stay as they are with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) nodes: u16,
    pub(super) http_port: u16,
    pub(super) raft_port: u16,
}

/// A data folder that no other cluster runs from.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// Locked as long as this lives; the system unlocks it, however this process ends.
    marker: File,
    stored: Option<Layout>,
}

impl DataDir {
    /// Opens the folder, or makes it, and locks it.
    ///
    /// # Errors
    /// A cluster runs from it, or it holds something else than a cluster.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let default = workspace::root().join("raftkit-data");
        let path = path.unwrap_or(&default);
        let shown = path.display();
        fs::create_dir_all(path).map_err(Failure::of(format!("cannot make {shown}")))?;
        let path = path.canonicalize().map_err(Failure::of(format!("cannot open {shown}")))?;
        let marker_path = path.join(MARKER);
        if !marker_path.exists() && !is_empty(&path)? {
            return Err(Failure::new(format!(
                "{shown} holds something, but no cluster (there is no {MARKER} in it): \
                 name another folder with --data-dir"
            )));
        }
        let mut marker = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&marker_path)
            .map_err(Failure::of(format!("cannot open {}", marker_path.display())))?;
        match marker.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(format!(
                    "a cluster runs from {shown} already: stop it (Ctrl-C where it runs), or start another one \
                     with --data-dir and --http-port"
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Failure::new(format!("cannot lock {}: {error}", marker_path.display())));
            }
        }
        let mut text = String::new();
        marker
            .read_to_string(&mut text)
            .map_err(Failure::of(format!("cannot read {}", marker_path.display())))?;
        Ok(Self { path, marker, stored: Layout::parse(&text) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier cluster's data is in it.
    pub(super) fn is_used(&self) -> bool {
        self.stored.is_some()
    }

    /// The cluster to run: what was asked for, else what the folder holds, else the defaults.
    ///
    /// # Errors
    /// The folder holds a cluster that was made otherwise, or the ports go beyond the last one.
    pub(super) fn layout(&self, flags: &ClusterFlags) -> Result<Layout, Failure> {
        Layout::choose(flags, if flags.fresh { None } else { self.stored })
    }

    /// Removes everything but the locked file.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub(super) fn clear(&mut self) -> Result<(), Failure> {
        let failed = |path: &Path| Failure::of(format!("cannot remove {}", path.display()));
        for entry in
            fs::read_dir(&self.path).map_err(Failure::of(format!("cannot read {}", self.path.display())))?
        {
            let entry = entry.map_err(Failure::of(format!("cannot read {}", self.path.display())))?;
            if entry.file_name() == MARKER {
                continue;
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(failed(&path))?;
            if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .map_err(failed(&path))?;
        }
        self.stored = None;
        Ok(())
    }

    /// Remembers how the cluster in it is made.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn remember(&mut self, layout: Layout) -> Result<(), Failure> {
        let failed = || Failure::of(format!("cannot write {}", self.path.join(MARKER).display()));
        let text = layout.to_json();
        self.marker.rewind().map_err(failed())?;
        self.marker.set_len(0).map_err(failed())?;
        self.marker.write_all(text.as_bytes()).map_err(failed())?;
        self.stored = Some(layout);
        Ok(())
    }
}

impl Layout {
    fn choose(flags: &ClusterFlags, stored: Option<Layout>) -> Result<Self, Failure> {
        let keep = |what: &str, asked: Option<u16>, stored: Option<u16>| match (asked, stored) {
            (Some(asked), Some(stored)) if asked != stored => Err(Failure::new(format!(
                "the data folder holds a cluster made with {what} {stored}, not {asked}: leave {what} out, name \
                 another folder with --data-dir, or start over with --fresh"
            ))),
            (asked, stored) => Ok(asked.or(stored)),
        };
        let nodes = keep("--nodes", flags.nodes, stored.map(|it| it.nodes))?.unwrap_or(NODES_DEFAULT);
        let http_port = flags.http_port.or(stored.map(|it| it.http_port)).unwrap_or(HTTP_PORT_DEFAULT);
        let raft_port = keep("--raft-port", flags.raft_port, stored.map(|it| it.raft_port))?
            .unwrap_or_else(|| http_port.saturating_add(RAFT_PORT_OFFSET));
        for (what, first) in [("--http-port", http_port), ("--raft-port", raft_port)] {
            if first.checked_add(nodes - 1).is_none() {
                return Err(Failure::new(format!("{nodes} ports from {what} {first} go beyond 65535")));
            }
        }
        Ok(Self { nodes, http_port, raft_port })
    }

    fn to_json(self) -> String {
        let Self { nodes, http_port, raft_port } = self;
        format!("{}\n", json!({"nodes": nodes, "http-port": http_port, "raft-port": raft_port}))
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let number = |field: &str| value.get(field)?.as_u64().and_then(|it| u16::try_from(it).ok());
        let (nodes, http_port, raft_port) = (number("nodes")?, number("http-port")?, number("raft-port")?);
        (nodes > 0).then_some(Self { nodes, http_port, raft_port })
    }
}

fn is_empty(path: &Path) -> Result<bool, Failure> {
    let mut entries = fs::read_dir(path).map_err(Failure::of(format!("cannot read {}", path.display())))?;
    Ok(entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::{ClusterFlags, Layout};

    fn flags(nodes: Option<u16>, http_port: Option<u16>, raft_port: Option<u16>) -> ClusterFlags {
        ClusterFlags { nodes, http_port, raft_port, data_dir: None, fresh: false, binary: None }
    }

    const STORED: Layout = Layout { nodes: 5, http_port: 8601, raft_port: 9601 };

    #[test]
    fn defaults_are_three_nodes_from_8501_and_9501() {
        let layout = Layout::choose(&flags(None, None, None), None).expect("legal");
        assert_eq!(layout, Layout { nodes: 3, http_port: 8501, raft_port: 9501 });
    }

    #[test]
    fn a_second_start_needs_no_flags() {
        assert_eq!(Layout::choose(&flags(None, None, None), Some(STORED)).expect("legal"), STORED);
        assert_eq!(Layout::parse(&STORED.to_json()), Some(STORED));
    }

    #[test]
    fn another_http_port_leaves_the_quic_ports_where_the_members_expect_them() {
        let layout = Layout::choose(&flags(None, Some(8701), None), Some(STORED)).expect("legal");
        assert_eq!(layout, Layout { nodes: 5, http_port: 8701, raft_port: 9601 });
    }

    #[test]
    fn another_size_or_quic_port_is_refused_for_a_cluster_that_exists() {
        for asked in [flags(Some(3), None, None), flags(None, None, Some(9000))] {
            let failure = Layout::choose(&asked, Some(STORED)).expect_err("refused").to_string();
            assert!(failure.contains("--fresh"), "{failure}");
        }
    }

    #[test]
    fn ports_end_at_65535() {
        assert!(Layout::choose(&flags(Some(3), Some(65_534), Some(9000)), None).is_err());
        assert!(Layout::choose(&flags(Some(1), Some(65_535), Some(9000)), None).is_ok());
    }

    #[test]
    fn what_another_file_says_is_no_layout() {
        for text in ["", "{}", "{\"nodes\":0,\"http-port\":1,\"raft-port\":1}"] {
            assert_eq!(Layout::parse(text), None);
        }
    }
}
