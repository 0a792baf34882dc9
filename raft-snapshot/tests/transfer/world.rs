//! The world of a transfer: the nodes, their links, and the events that are due.

use std::collections::BTreeMap;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId, SnapshotSent, Time};
use raftkit_disk::SimulatedDisk;
use raftkit_snapshot::{
    Audience, Cargo, Partial, Receiver, ReceiverInput, ReceiverOptions, Sender, SenderInput, SenderOptions,
    SenderOutput, SnapshotDir, SnapshotFile, SnapshotMessage,
};

use crate::common::{Rng, data, open, source};

const RECEIVER: NodeId = NodeId(9);
/// Faults end at this time, in microseconds. From then on every transfer must finish.
pub(crate) const HEAL: u64 = 60_000_000;
const END: u64 = 600_000_000;
/// Number of bytes before the chunk in a chunk's message.
pub(crate) const CHUNK_HEADER: u64 = 22;

#[derive(Debug)]
pub(crate) enum Event {
    ToReceiver(NodeId, Bytes),
    ToSender(NodeId, Bytes),
    /// A sender's disk has read a chunk, in the transfer with this number.
    Read(NodeId, u64, SenderInput),
    /// An offer or chunk has left for the link.
    Left(NodeId, LogId, Cargo),
    /// The receiver's disk or state machine is done, in the life with this number.
    Done(u64, ReceiverInput),
    /// A sender tries again.
    Start(NodeId),
    /// The receiver loses power.
    Crash,
    Tick,
}

/// Probabilities of the faults, in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) changed: u64,
    pub(crate) unreadable: u64,
}

/// A sending node.
pub(crate) struct Source {
    pub(crate) file: SnapshotFile,
    pub(crate) sender: Option<Sender>,
    pub(crate) tries: u64,
    pub(crate) done: bool,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) faults: Faults,
    pub(crate) delay: u64,
    /// Probability that the receiver's disk takes longer than any time-out, in percent.
    pub(crate) hangs: u64,
    /// Rate of the link from each sender, in bytes per second; `None` for unlimited.
    pub(crate) rate: Option<u64>,
    /// Time at which the link from each sender has taken everything given to it.
    pub(crate) link_free: BTreeMap<NodeId, u64>,
    pub(crate) queue: BTreeMap<(u64, u64), Event>,
    pub(crate) next: u64,
    pub(crate) sources: BTreeMap<NodeId, Source>,
    pub(crate) receiver: Receiver,
    pub(crate) life: u64,
    pub(crate) disk: SimulatedDisk,
    pub(crate) dir: SnapshotDir,
    pub(crate) partial: Option<Partial>,
    pub(crate) finished: Option<SnapshotFile>,
    /// Time at which the receiver's disk and state machine have finished their work.
    pub(crate) busy_until: u64,
    pub(crate) applied: LogIndex,
    pub(crate) data: BTreeMap<LogId, Vec<u8>>,
    /// Observations for the tests.
    pub(crate) chunks_sent: u64,
    pub(crate) failed: u64,
    pub(crate) window: usize,
    /// Maximum number of chunk bytes at a sender that its link has not taken yet.
    pub(crate) waiting_max: u64,
    pub(crate) waiting: u64,
    /// Number of ticks since time last advanced.
    pub(crate) idle: u32,
}

impl World {
    pub(crate) fn new(seed: u64, snapshots: &[(LogId, usize)]) -> Self {
        let mut rng = Rng(seed);
        let data: BTreeMap<_, _> =
            snapshots.iter().map(|(id, length)| (*id, data(*length, id.index.0))).collect();
        let sources = (1..)
            .zip(snapshots)
            .map(|(node, (id, _))| {
                let source = Source { file: source(*id, &data[id]), sender: None, tries: 0, done: false };
                (NodeId(node), source)
            })
            .collect();
        let disk = SimulatedDisk::new(rng.next());
        let dir = open(&disk).unwrap();
        let mut drawn = |limit| if rng.percent(50) { rng.below(limit) } else { 0 };
        let faults = Faults { lost: drawn(40), doubled: drawn(40), changed: drawn(15), unreadable: drawn(3) };
        let delay = [1_000, 50_000, 3_000_000][usize::try_from(rng.below(3)).unwrap()];
        Self {
            now: 0,
            rng,
            faults,
            delay,
            hangs: 2,
            rate: None,
            link_free: BTreeMap::new(),
            queue: BTreeMap::new(),
            next: 0,
            sources,
            receiver: Receiver::new(ReceiverOptions::default()),
            life: 0,
            disk,
            dir,
            partial: None,
            finished: None,
            busy_until: 0,
            applied: LogIndex(2),
            data,
            chunks_sent: 0,
            failed: 0,
            window: 0,
            waiting_max: 0,
            waiting: 0,
            idle: 0,
        }
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.next += 1;
        self.queue.insert((time, self.next), event);
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.now < HEAL && self.rng.percent(chance)
    }

    fn delay(&mut self) -> u64 {
        let most = if self.now < HEAL { self.delay } else { 50_000 };
        self.now + 1 + self.rng.below(most)
    }

    /// Sends a sender's message over its link, one at a time.
    fn send_over_link(&mut self, node: NodeId, message: &SnapshotMessage) {
        let bytes = message.encode().len() as u64;
        let takes = self.rate.map_or(0, |rate| bytes * 1_000_000 / rate);
        let free = self.link_free.entry(node).or_default();
        *free = (*free).max(self.now) + takes;
        let left = *free;
        let cargo = match message {
            SnapshotMessage::Offer(_) => Some(Cargo::Offer),
            SnapshotMessage::Chunk { chunk, .. } => Some(Cargo::Chunk(*chunk)),
            _ => None,
        };
        if let Some(cargo) = cargo {
            self.at(left, Event::Left(node, message.snapshot(), cargo));
        }
        if matches!(cargo, Some(Cargo::Chunk(_))) {
            self.waiting += bytes;
            self.waiting_max = self.waiting_max.max(self.waiting);
        }
        let now = std::mem::replace(&mut self.now, left);
        self.send(message, |bytes| Event::ToReceiver(node, bytes));
        self.now = now;
    }

    /// Delivers a message, or loses, duplicates or corrupts it.
    pub(crate) fn send(&mut self, message: &SnapshotMessage, wrap: impl Fn(Bytes) -> Event) {
        if self.percent(self.faults.lost) {
            return;
        }
        let copies = if self.percent(self.faults.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let mut bytes = message.encode().to_vec();
            // The transport detects corruption, so only a chunk can be wrong, when the sender's disk rots.
            if matches!(message, SnapshotMessage::Chunk { .. }) && self.percent(self.faults.changed) {
                *bytes.last_mut().unwrap() ^= 1;
            }
            let time = self.delay();
            self.at(time, wrap(bytes.into()));
        }
    }

    fn sender(&mut self, node: NodeId, input: SenderInput) {
        let source = self.sources.get_mut(&node).unwrap();
        let Some(sender) = &mut source.sender else { return };
        let mut out = Vec::new();
        sender.handle(Time(self.now), input, &mut out);
        let tries = source.tries;
        for output in out {
            match output {
                SenderOutput::Send(message) => {
                    self.chunks_sent += u64::from(matches!(message, SnapshotMessage::Chunk { .. }));
                    self.send_over_link(node, &message);
                }
                SenderOutput::ReadChunk { chunk } => {
                    let input = if self.percent(self.faults.unreadable) {
                        SenderInput::ReadFailed
                    } else {
                        let bytes = self.sources[&node].file.read_chunk(chunk).unwrap();
                        SenderInput::ChunkRead { chunk, bytes }
                    };
                    let time = self.delay();
                    self.at(time, Event::Read(node, tries, input));
                }
                SenderOutput::Done(result) => self.sent(node, result),
            }
        }
    }

    fn sent(&mut self, node: NodeId, result: SnapshotSent) {
        let source = self.sources.get_mut(&node).unwrap();
        let sender = source.sender.take().unwrap();
        assert_eq!(sender.next_deadline(), None, "nothing follows");
        match result {
            SnapshotSent::Installed(id) => {
                assert_eq!(id, source.file.manifest().id);
                assert!(self.applied >= id.index, "said to be installed, and is");
                source.done = true;
            }
            SnapshotSent::Failed => {
                self.failed += 1;
                let time = self.now + 1_000_000;
                self.at(time, Event::Start(node));
            }
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::ToReceiver(from, bytes) => {
                let message = SnapshotMessage::decode(bytes).unwrap();
                assert_eq!(message.audience(), Audience::Receiver);
                self.receive(ReceiverInput::Message { from, message, applied: self.applied });
            }
            Event::ToSender(node, bytes) => {
                self.sender(node, SenderInput::Message(SnapshotMessage::decode(bytes).unwrap()));
            }
            Event::Read(node, tries, input) => {
                if self.sources[&node].tries == tries {
                    self.sender(node, input);
                }
            }
            Event::Left(node, snapshot, cargo) => {
                if let Cargo::Chunk(chunk) = cargo {
                    let manifest = self.sources[&node].file.manifest();
                    self.waiting -= manifest.chunk_length(chunk).unwrap() as u64 + CHUNK_HEADER;
                }
                self.sender(node, SenderInput::Left { snapshot, cargo });
            }
            Event::Done(life, input) => {
                if self.life == life {
                    self.receive(input);
                }
            }
            Event::Start(node) => {
                let source = self.sources.get_mut(&node).unwrap();
                let manifest = source.file.manifest().clone();
                source.tries += 1;
                source.sender = Some(Sender::new(RECEIVER, manifest, SenderOptions::default()));
                self.sender(node, SenderInput::Start);
            }
            Event::Crash => self.crash(),
            Event::Tick => {
                let due = |at: Option<Time>| at.is_some_and(|at| at <= Time(self.now));
                let senders: Vec<NodeId> = self
                    .sources
                    .iter()
                    .filter(|(_, source)| due(source.sender.as_ref().and_then(Sender::next_deadline)))
                    .map(|(node, _)| *node)
                    .collect();
                if due(self.receiver.next_deadline()) {
                    self.receive(ReceiverInput::Tick);
                }
                for node in senders {
                    self.sender(node, SenderInput::Tick);
                }
            }
        }
        self.window = self.window.max(self.outstanding());
    }

    /// The number of chunks on their way to the receiver's disk.
    fn outstanding(&self) -> usize {
        self.queue
            .values()
            .filter(|event| matches!(event, Event::Done(life, ReceiverInput::Stored { .. }) if *life == self.life))
            .count()
    }

    /// Runs until every source is done.
    pub(crate) fn run(&mut self) {
        while self.sources.values().any(|source| !source.done) {
            let deadlines =
                self.sources.values().filter_map(|source| source.sender.as_ref()?.next_deadline());
            let deadline =
                deadlines.chain(self.receiver.next_deadline()).min().map_or(u64::MAX, |time| time.0);
            let event = match self.queue.first_key_value() {
                Some(((time, _), _)) if *time <= deadline => {
                    let ((time, _), event) = self.queue.pop_first().unwrap();
                    self.now = time;
                    event
                }
                _ => {
                    assert!(deadline < u64::MAX, "nobody waits for anything");
                    // A chunk that arrives soon may make older requests overdue.
                    let deadline = deadline.max(self.now);
                    // A deadline that stays in the past would make a driver spin.
                    self.idle = if deadline == self.now { self.idle + 1 } else { 0 };
                    assert!(self.idle < 10, "time stands still");
                    self.now = deadline;
                    Event::Tick
                }
            };
            assert!(
                self.now < END,
                "not done at {} s: {:?} {:?}",
                self.now / 1_000_000,
                self.faults,
                self.receiver
            );
            self.step(event);
        }
    }
}
