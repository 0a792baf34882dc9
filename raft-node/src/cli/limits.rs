//! The process's limit on open files, and how many of them HTTP connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of descriptors that connections never take: those of log, journal, state, snapshots, sockets to peers and stdio, and
/// as many again in reserve, so that many clients cannot keep a node from making a snapshot.
const KEPT_BACK: u64 = 128;
/// Minimum number of connections, however low the limit on open files is.
const CONNECTIONS_MIN: u64 = 16;

/// Raises the soft limit on open files to the hard limit: systemd and many shells set a soft limit of 1,024 for the sake of
/// programs that use `select`, which handles no more. Returns the limit that holds now; none for no limit.
pub(super) fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files stays at {}", in_words(current));
            current
        }
    }
}

/// The number of connections to serve, at most `wanted`, and a line for the log if it is lower.
pub(super) fn connections(wanted: usize, open_files: Option<u64>) -> (usize, Option<String>) {
    let Some(limit) = open_files else { return (wanted, None) };
    let room = limit.saturating_sub(KEPT_BACK).max(CONNECTIONS_MIN);
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if wanted <= room {
        return (wanted, None);
    }
    let line = format!(
        "only {room} HTTP connections are served at a time, not http-connections-max = {wanted}: this process may have \
         {limit} files open (ulimit -n, LimitNOFILE), and keeps {KEPT_BACK} for itself"
    );
    (room, Some(line))
}

fn in_words(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_node_itself() {
        assert_eq!(connections(4096, None), (4096, None));
        assert_eq!(connections(4096, Some(1 << 20)), (4096, None));
        assert_eq!(connections(4096, Some(4096 + KEPT_BACK)), (4096, None));
        let (room, line) = connections(4096, Some(1024));
        assert_eq!(room, 896);
        assert!(line.is_some_and(|line| line.contains("only 896") && line.contains("1024 files")));
        assert_eq!(connections(4096, Some(20)).0, 16);
    }
}
