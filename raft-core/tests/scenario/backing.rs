//! What is below the nodes of a scenario: where they store their logs, and how their messages travel. The tests
//! of this crate use the model in `common/disk.rs`; those of raftkit-replica run the same scenarios over the
//! real log and the real frame codec.

use raftkit_core::{
    Base, Config, Entry, Fetch, Fetched, Health, LogIndex, Message, Restored, Write, WriteSeq,
};

use crate::disk::{Disk, Image};

/// The log of one machine, and the codec of its messages.
pub trait Backing {
    /// A new data folder: that of a founding member, or with the default base an empty one.
    fn new(config: &Config, base: Base) -> Self;

    /// What the log holds durably, by the model.
    fn durable(&self) -> &Image;

    /// What the log holds, together with the writes that are not durable yet, by the model.
    fn view(&self) -> &Image;

    /// Queues a write.
    fn queue(&mut self, write: Write);

    /// True when every write is durable.
    fn is_idle(&self) -> bool;

    /// Makes all queued writes durable. Returns the sequence number of the last of them.
    fn flush(&mut self) -> Option<WriteSeq>;

    /// Loses power, and with it all queued writes.
    fn crash(&mut self);

    /// Loses the entries from an index on. `health` says whether the loss is detected.
    fn lose(&mut self, from: LogIndex, health: Health);

    /// Reads the log back, for a start.
    fn restored(&self, applied: LogIndex) -> Restored;

    /// Reads a range of the log for its node.
    fn read(&self, fetch: &Fetch) -> Fetched;

    /// What arrives of a message.
    fn carry(message: Message) -> Message;
}

impl Backing for Disk {
    fn new(_config: &Config, base: Base) -> Self {
        Self::founded(base)
    }

    fn durable(&self) -> &Image {
        &self.durable
    }

    fn view(&self) -> &Image {
        &self.view
    }

    fn queue(&mut self, write: Write) {
        Self::queue(self, write);
    }

    fn is_idle(&self) -> bool {
        Self::is_idle(self)
    }

    fn flush(&mut self) -> Option<WriteSeq> {
        Self::flush(self, self.queued())
    }

    fn crash(&mut self) {
        Self::crash(self, 0);
    }

    fn lose(&mut self, from: LogIndex, health: Health) {
        let image = &mut self.durable;
        image.entries.retain(|entry| entry.id.index < from);
        image.hard.health = health;
        image.hard.commit = image.hard.commit.min(image.last().index);
        self.view = image.clone();
    }

    fn restored(&self, applied: LogIndex) -> Restored {
        self.durable.restored(applied)
    }

    fn read(&self, fetch: &Fetch) -> Fetched {
        let mut bytes = 0;
        let entries: Vec<Entry> = (fetch.first.0..=fetch.last.0)
            .map_while(|index| self.view.entry(LogIndex(index)).cloned())
            .take_while(|entry| {
                bytes += entry.weight();
                entry.id.index == fetch.first || bytes <= fetch.bytes_max
            })
            .collect();
        if entries.is_empty() { Fetched::Compacted } else { Fetched::Entries(entries) }
    }

    fn carry(message: Message) -> Message {
        message
    }
}
