//! Bounds on a node's files and memory, which hold under any load.

use raftkit_core::NodeId;

use crate::checks::violation::{Checked, promise};
use crate::process::folders::Folders;
use crate::subject::Subject;
use crate::world::World;

/// Upper bound on the length of a log's database, as a multiple of the largest size that its entries have had: redb doubles a file
/// that is full, its pages are powers of two, and compacted entries are freed two commits later.
const LOG_TIMES: u64 = 4;
/// Bytes that are added to that bound: the length of an almost empty file of redb, and one write that a settling may add before it
/// frees another.
const LOG_BYTES: u64 = 6 << 20;
/// The same multiple for the state. It is larger, as a view for readers keeps pages from being used again.
const STATE_TIMES: u64 = 12;
/// Bytes that are added to the bound on the state.
const STATE_BYTES: u64 = 16 << 20;
impl<S: Subject> World<S> {
    /// Checks the size of a node's log on disk and in memory, after a step of one of its threads.
    pub(crate) fn check_log_size(&mut self, id: NodeId) {
        let settings = &self.settings;
        let (ring, largest) = (settings.journal_kib << 10, self.largest_write());
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.kept_most = host.kept_most.max(host.durable.bytes() as u64);
        let Some(process) = &host.process else { return };
        let most = LOG_TIMES * (host.kept_most + largest) + LOG_BYTES;
        let memory_most = (64 << 10) + 2 * ring + 2 * largest;
        let memory = process.flush.half.flusher().memory_bytes() as u64;
        let file = self.log_bytes(id);
        let checked = bounded(id, "log.redb", file, most)
            .and_then(|()| bounded(id, "its log in memory", memory, memory_most));
        self.ensure(checked);
    }

    /// Checks the size of a node's state on disk, after a step of its thread.
    pub(crate) fn check_state_size(&mut self, id: NodeId) {
        let most = STATE_TIMES * self.live_most() + STATE_BYTES;
        let file = self.state_bytes(id);
        self.ensure(bounded(id, "state.redb", file, most));
    }

    fn log_bytes(&self, id: NodeId) -> u64 {
        let path = Folders::of(&self.settings).database();
        self.hosts.get(&id).and_then(|host| host.disk.len_of(&path)).unwrap_or(0)
    }

    fn state_bytes(&self, id: NodeId) -> u64 {
        let path = Folders::of(&self.settings).state.join("state.redb");
        self.hosts.get(&id).and_then(|host| host.disk.len_of(&path)).unwrap_or(0)
    }

    /// Size of the largest write that a client or leader makes, in bytes.
    fn largest_write(&self) -> u64 {
        2 * self.settings.value_bytes.max(20_000)
            + self.settings.batch_bytes.min(self.settings.uncommitted_bytes).min(8 << 20)
    }

    /// Largest size of all keys and values at one time, in bytes.
    fn live_most(&self) -> u64 {
        (self.settings.keys + 2) * self.settings.value_bytes.max(20_000)
    }
}

fn bounded(id: NodeId, what: &str, bytes: u64, most: u64) -> Checked {
    promise!(Bounded, bytes <= most, "{what} of {id} has {bytes} bytes; {most} are allowed");
    Ok(())
}
