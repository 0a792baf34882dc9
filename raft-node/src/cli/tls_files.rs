//! The files with CA, certificate and key: read, checked, and read again when they change.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raftkit_core::NodeId;
use raftkit_kv::KvMachine;
use raftkit_net::{Checkup, TlsError, TlsFile, TlsFiles, check_up};
use tokio::signal::unix::Signal;

use super::Failure;
use crate::Handle;
use crate::config::Config;

/// Interval at which the files are checked for changes. They are read again only if two checks find them in the same state,
/// because files are replaced one after the other.
const LOOK: Duration = Duration::from_secs(3);

/// The paths of the files, and the node that they must belong to.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    node: NodeId,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// The facts that tell whether the files have changed: modification time in nanoseconds, length and inode of each.
type Stamp = [Option<(i64, i64, u64, u64)>; 3];

impl Paths {
    pub(super) fn of(config: &Config) -> Self {
        let (ca, cert, key) = (config.tls_ca.clone(), config.tls_cert.clone(), config.tls_key.clone());
        Self { node: config.node_id, ca, cert, key }
    }

    fn path(&self, file: TlsFile) -> (&'static str, &Path) {
        match file {
            TlsFile::Ca => ("tls-ca", &self.ca),
            TlsFile::Certificate => ("tls-cert", &self.cert),
            TlsFile::Key => ("tls-key", &self.key),
        }
    }

    /// Reads and checks the files. A file that cannot be read is reported, and the others are checked all the same.
    pub(super) fn examine(&self) -> (TlsFiles, Checkup, Vec<String>) {
        let mut wrong = Vec::new();
        let mut read = |file| {
            let (name, path) = self.path(file);
            std::fs::read(path).map_err(|error| wrong.push(unreadable(name, path, &error))).ok()
        };
        let contents = [TlsFile::Ca, TlsFile::Certificate, TlsFile::Key].map(|file| (file, read(file)));
        let missing: Vec<TlsFile> =
            contents.iter().filter(|(_, content)| content.is_none()).map(|(file, _)| *file).collect();
        let [ca_pem, cert_pem, key_pem] = contents.map(|(_, content)| content.unwrap_or_default());
        let files = TlsFiles { ca_pem, cert_pem, key_pem };
        let now = u64::try_from(crate::shell::seconds_since_1970()).unwrap_or(0);
        let checkup = check_up(&files, Some(self.node), now);
        let problems = checkup.problems.iter().filter(|problem| !missing.contains(&problem.file));
        wrong.extend(problems.map(|problem| self.in_words(problem)));
        (files, checkup, wrong)
    }

    /// Reads the files for use.
    ///
    /// # Errors
    /// The files cannot be used; a line for each problem.
    pub(super) fn load(&self) -> Result<TlsFiles, Vec<String>> {
        let (files, _, wrong) = self.examine();
        if wrong.is_empty() { Ok(files) } else { Err(wrong) }
    }

    fn in_words(&self, error: &TlsError) -> String {
        let (name, path) = self.path(error.file);
        format!("{name}: {} cannot be used: {}", shown(path), error.problem)
    }

    /// A file as it is named in messages: what it is, and its path.
    pub(super) fn shown(&self, file: TlsFile) -> String {
        let (name, path) = self.path(file);
        format!("{name}: {}", shown(path))
    }

    fn stamp(&self) -> Stamp {
        [&self.ca, &self.cert, &self.key].map(|path| {
            let it = std::fs::metadata(path).ok()?;
            Some((it.mtime(), it.mtime_nsec(), it.size(), it.ino()))
        })
    }
}

/// The absolute path: a relative one says nothing to a reader who does not know where the process was started.
fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's kinds are many, and grow")]
fn unreadable(name: &str, path: &Path, error: &std::io::Error) -> String {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => "`raft-node cert ca` and `raft-node cert node` make certificates",
        std::io::ErrorKind::PermissionDenied => "let the user that runs raft-node read it",
        _ => "it must be a file that the user that runs raft-node can read",
    };
    format!("{name}: {} cannot be read: {error}; {hint}", shown(path))
}

/// The failure of a command because of these problems.
pub(super) fn failure(wrong: &[String]) -> Failure {
    Failure::Failed(wrong.join("\n"))
}

/// Has the node use the files again when they have changed, and at each signal. This never ends.
pub(super) async fn follow(paths: Paths, handle: Handle<KvMachine>, mut signal: Signal) {
    let mut used = paths.stamp();
    let mut before = used;
    loop {
        let asked = tokio::select! {
            _ = signal.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let stamp = paths.stamp();
        if asked || (stamp != used && stamp == before) {
            used = stamp;
            renew(&paths, &handle);
        }
        before = stamp;
    }
}

fn renew(paths: &Paths, handle: &Handle<KvMachine>) {
    let wrong = match paths.load() {
        Ok(files) => match handle.set_tls(&files) {
            Ok(()) => {
                tracing::info!("certificate, key and CA were read again and are used for new connections");
                return;
            }
            Err(error) => vec![raftkit_replica::in_words(&error)],
        },
        Err(wrong) => wrong,
    };
    for line in wrong {
        tracing::warn!("{line}; what was read before stays in use");
    }
}
