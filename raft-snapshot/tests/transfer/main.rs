//! A sender and a receiver over a network that loses, duplicates, reorders and corrupts messages, in virtual time.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "test")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common::{CHUNK, Rng, content, data, open, source};
use raftkit_core::{LogId, LogIndex, NodeId, SnapshotSent, Time};
use raftkit_disk::SimulatedDisk;
use raftkit_snapshot::{
    Audience, Cargo, Partial, Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput, Sender, SenderInput,
    SenderOptions, SenderOutput, SnapshotDir, SnapshotFile, SnapshotMessage,
};

const RECEIVER: NodeId = NodeId(9);
/// Faults end at this time, in microseconds. From then on every transfer must finish.
const HEAL: u64 = 60_000_000;
const END: u64 = 600_000_000;
/// Number of bytes before the chunk in a chunk's message.
const CHUNK_HEADER: u64 = 22;

#[derive(Debug)]
enum Event {
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
struct Faults {
    lost: u64,
    doubled: u64,
    changed: u64,
    unreadable: u64,
}

/// A sending node.
struct Source {
    file: SnapshotFile,
    sender: Option<Sender>,
    tries: u64,
    done: bool,
}

struct World {
    now: u64,
    rng: Rng,
    faults: Faults,
    delay: u64,
    /// Probability that the receiver's disk takes longer than any time-out, in percent.
    hangs: u64,
    /// Rate of the link from each sender, in bytes per second; `None` for unlimited.
    rate: Option<u64>,
    /// Time at which the link from each sender has taken everything given to it.
    link_free: BTreeMap<NodeId, u64>,
    queue: BTreeMap<(u64, u64), Event>,
    next: u64,
    sources: BTreeMap<NodeId, Source>,
    receiver: Receiver,
    life: u64,
    disk: SimulatedDisk,
    dir: SnapshotDir,
    partial: Option<Partial>,
    finished: Option<SnapshotFile>,
    /// Time at which the receiver's disk and state machine have finished their work.
    busy_until: u64,
    applied: LogIndex,
    data: BTreeMap<LogId, Vec<u8>>,
    /// Observations for the tests.
    chunks_sent: u64,
    failed: u64,
    window: usize,
    /// Maximum number of chunk bytes at a sender that its link has not taken yet.
    waiting_max: u64,
    waiting: u64,
    /// Number of ticks since time last advanced.
    idle: u32,
}

impl World {
    fn new(seed: u64, snapshots: &[(LogId, usize)]) -> Self {
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

    fn at(&mut self, time: u64, event: Event) {
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
    fn send(&mut self, message: &SnapshotMessage, wrap: impl Fn(Bytes) -> Event) {
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

    fn receive(&mut self, input: ReceiverInput) {
        let mut out = Vec::new();
        self.receiver.handle(Time(self.now), input, &mut out);
        for output in out {
            self.work(output);
        }
    }

    /// Carries out an output of the receiver; the results follow later, in order.
    fn work(&mut self, output: ReceiverOutput) {
        let answer = match output {
            ReceiverOutput::Open(manifest) => {
                assert!(self.partial.is_none(), "one at a time");
                let partial = self.dir.partial(&manifest).unwrap();
                let have = partial.have().clone();
                self.partial = Some(partial);
                ReceiverInput::Opened { have }
            }
            ReceiverOutput::Store { chunk, bytes } => {
                self.partial.as_mut().unwrap().store(chunk, &bytes).unwrap();
                ReceiverInput::Stored { chunk }
            }
            ReceiverOutput::Finish => {
                self.finished = Some(self.partial.take().unwrap().finish().unwrap());
                ReceiverInput::Finished
            }
            ReceiverOutput::Install(manifest) => {
                let file = self.finished.take().unwrap();
                assert_eq!(file.manifest(), &manifest);
                assert_eq!(content(&file), self.data[&manifest.id]);
                assert!(self.applied < manifest.id.index, "the state does not go back");
                self.applied = manifest.id.index;
                ReceiverInput::Installed
            }
            ReceiverOutput::Discard => {
                self.partial = None;
                self.finished = None;
                return;
            }
            ReceiverOutput::Send { to, message } => {
                assert_eq!(message.audience(), Audience::Sender);
                self.send(&message, |bytes| Event::ToSender(to, bytes));
                return;
            }
        };
        // Occasionally longer than any time-out: a slow disk is no reason to fail.
        let took = if self.rng.percent(self.hangs) { 20_000_000 } else { self.rng.below(100_000) };
        self.busy_until = self.busy_until.max(self.now) + 1 + took;
        self.at(self.busy_until, Event::Done(self.life, answer));
    }

    fn crash(&mut self) {
        self.life += 1;
        self.busy_until = 0;
        self.disk.freeze();
        (self.partial, self.finished) = (None, None);
        self.disk.crash();
        self.dir = open(&self.disk).unwrap();
        self.receiver = Receiver::new(ReceiverOptions::default());
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
    fn run(&mut self) {
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

#[test]
fn snapshot_arrives_whole_over_any_network() {
    let (mut failed, mut crashes) = (0, 0);
    for seed in 0..1500 {
        let chunks = [0, 1, 4, 5, 20][usize::try_from(seed % 5).unwrap()];
        let length = chunks * CHUNK as usize + usize::from(seed % 2 == 0) * 10;
        let mut world = World::new(seed, &[(LogId::new(3, 50), length)]);
        world.at(0, Event::Start(NodeId(1)));
        while world.rng.percent(40) {
            let time = world.rng.below(HEAL);
            world.at(time, Event::Crash);
            crashes += 1;
        }
        world.run();
        assert_eq!(world.applied, LogIndex(50), "seed {seed}");
        assert!(world.window <= ReceiverOptions::default().window_max, "seed {seed}");
        failed += world.failed;
    }
    assert!(failed > 50 && crashes > 100, "{failed} {crashes}");
}

#[test]
fn several_senders_of_equal_and_newer_snapshots_come_to_an_end() {
    for seed in 0..700 {
        let snapshots = [(LogId::new(3, 50), 9000), (LogId::new(3, 50), 9000), (LogId::new(4, 70), 7000)];
        let mut world = World::new(seed, &snapshots);
        for node in 1..=3 {
            let time = world.rng.below(20_000_000);
            world.at(time, Event::Start(NodeId(node)));
        }
        if world.rng.percent(50) {
            let time = world.rng.below(HEAL);
            world.at(time, Event::Crash);
        }
        world.run();
        assert_eq!(world.applied, LogIndex(70), "seed {seed}");
    }
}

#[test]
fn sound_network_carries_each_chunk_once() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[(LogId::new(3, 50), 20_000)]);
        world.faults = Faults { lost: 0, doubled: 0, changed: 0, unreadable: 0 };
        world.delay = 1000;
        world.at(0, Event::Start(NodeId(1)));
        world.run();
        assert_eq!((world.chunks_sent, world.failed), (20, 0), "seed {seed}");
    }
}

/// A world without losses, with links of this rate.
fn slow(seed: u64, length: usize, rate: u64) -> World {
    let mut world = World::new(seed, &[(LogId::new(3, 50), length)]);
    world.faults = Faults { lost: 0, doubled: 0, changed: 0, unreadable: 0 };
    (world.delay, world.rate, world.hangs) = (20_000, Some(rate), 0);
    world
}

#[test]
fn slow_link_makes_a_transfer_slow_and_carries_each_chunk_once() {
    // A chunk takes from 10 ms to 10 s, so the whole transfer takes from 0.2 to 200 s.
    for (rate, seconds) in [(100_000, 2), (5_000, 6), (500, 44), (200, 110), (100, 215)] {
        let mut world = slow(1, 20_000, rate);
        world.at(0, Event::Start(NodeId(1)));
        world.run();
        assert_eq!((world.chunks_sent, world.failed), (20, 0), "at {rate} bytes a second");
        assert!(world.now < seconds * 1_000_000, "{} us at {rate} bytes a second", world.now);
        assert!(
            world.waiting_max <= 2 * (u64::from(CHUNK) + CHUNK_HEADER),
            "{} bytes wait",
            world.waiting_max
        );
    }
}

#[test]
fn link_on_which_the_first_chunk_takes_longer_than_any_time_out_carries_a_snapshot_all_the_same() {
    // A chunk takes 40 s.
    let mut world = slow(1, 3_000, 25);
    world.at(0, Event::Start(NodeId(1)));
    world.run();
    assert!(world.chunks_sent <= 6, "{} chunks were sent for three", world.chunks_sent);
}

#[test]
fn restarts_on_a_slow_link_cost_a_few_chunks_each() {
    let mut world = slow(1, 20_000, 500);
    world.at(0, Event::Start(NodeId(1)));
    for second in [9, 17, 26] {
        world.at(second * 1_000_000, Event::Crash);
    }
    world.run();
    assert!(world.chunks_sent <= 20 + 3 * 4, "{} chunks were sent for 20", world.chunks_sent);
}

#[test]
fn restarted_receiver_asks_only_for_what_it_lacks() {
    let mut world = World::new(1, &[(LogId::new(3, 50), 20_000)]);
    world.faults = Faults { lost: 0, doubled: 0, changed: 0, unreadable: 0 };
    world.delay = 1000;
    let mut partial = world.dir.partial(world.sources[&NodeId(1)].file.manifest()).unwrap();
    for chunk in 0..15 {
        partial.store(chunk, &world.sources[&NodeId(1)].file.read_chunk(chunk).unwrap()).unwrap();
    }
    drop(partial);
    world.at(0, Event::Start(NodeId(1)));
    world.run();
    assert_eq!(world.chunks_sent, 5);
}

#[test]
fn same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed, &[(LogId::new(3, 50), 9000)]);
        world.at(0, Event::Start(NodeId(1)));
        world.run();
        (world.now, world.next, world.chunks_sent)
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn time_outs_leave_room_for_one_another() {
    let (sender, receiver) = (SenderOptions::default(), ReceiverOptions::default());
    assert!(receiver.working_interval * 2 <= sender.offer_again.max(Duration::from_secs(2)));
    assert!(sender.offer_again * 3 <= sender.silence_max);
    assert!(receiver.ask_again * 2 <= receiver.give_up);
    assert!(receiver.sender_silence < receiver.give_up);
    assert!(receiver.window_min <= receiver.window && receiver.window <= receiver.window_max);
}
