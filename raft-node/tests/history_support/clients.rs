//! Clients: they draw their requests from a seed and record the answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raftkit_sim::Rng;

use super::{Ask, Event, KEYS, Mode, NODES, Shared, TREES, Told, answers};

/// Time-out of a request: longer than the nodes' commit and hold time-outs together.
const PATIENCE: Duration = Duration::from_millis(3500);

pub struct Client {
    id: u64,
    /// Node that this client stays at while it answers: clients of the other nodes go on while one node hangs.
    home: Option<usize>,
    is_away: bool,
    rng: Rng,
    shared: Arc<Shared>,
    values: u64,
    events: Vec<Event>,
}

impl Client {
    pub fn new(seed: u64, id: u64, home: Option<usize>, shared: Arc<Shared>) -> Self {
        let rng = Rng::new(seed, &format!("client {id}"));
        Self { id, home, is_away: false, rng, shared, values: id * 1_000_000, events: Vec::new() }
    }

    /// Sends one request after the other until told to stop.
    pub fn run(mut self) -> Vec<Event> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.turn();
        }
        self.events
    }

    fn turn(&mut self) {
        // Lower keys are used more often.
        let keys = KEYS.len() as u64;
        let limit = self.rng.range(1, keys);
        let key = usize::try_from(self.rng.below(limit)).unwrap();
        let drawn = self.rng.below(1000);
        let other = self.rng.range(1, 50);
        let seen = self.shared.seen.lock().unwrap()[key];
        let stale = seen.saturating_sub(other).max(1);
        match drawn {
            0..100 => self.put(key, None),
            100..280 => {
                if let Some(index) = self.look(key) {
                    self.put(key, Some(index));
                }
            }
            280..390 => self.put(key, Some(seen)),
            390..420 => self.put(key, Some(0)),
            420..450 => self.put(key, Some(stale)),
            450..475 => self.write(Ask::Delete { key, cas: None }),
            475..515 => {
                if let Some(index) = self.look(key) {
                    self.write(Ask::Delete { key, cas: Some(index) });
                }
            }
            515..530 => self.write(Ask::Delete { key, cas: Some(stale) }),
            530..542 => {
                let tree = usize::try_from(self.rng.below(TREES.len() as u64)).unwrap();
                self.write(Ask::DeleteTree { tree });
            }
            542..670 => drop(self.read(Ask::Get { key, mode: Mode::Default, index: None })),
            670..760 => drop(self.read(Ask::Get { key, mode: Mode::Consistent, index: None })),
            760..860 => drop(self.read(Ask::Get { key, mode: Mode::Stale, index: None })),
            _ => {
                let mode = self.rng.pick(&[Mode::Default, Mode::Consistent, Mode::Stale]);
                let index = self.rng.permille(300).then_some(seen.max(1));
                let tree = usize::try_from(self.rng.below(TREES.len() as u64)).unwrap();
                drop(self.read(match drawn {
                    860..910 => Ask::Get { key, mode, index: Some(seen.max(1)) },
                    910..960 => Ask::List { tree, mode, index },
                    _ => Ask::Names { tree, mode, index },
                }));
            }
        }
    }

    /// The index that a condition for a key needs now.
    fn look(&mut self, key: usize) -> Option<u64> {
        let mode = self.rng.pick(&[Mode::Default, Mode::Consistent]);
        match self.read(Ask::Get { key, mode, index: None }) {
            Told::Found { shown, .. } => Some(shown.first().map_or(0, |shown| shown.modified)),
            Told::Done(_) | Told::Names { .. } | Told::NotDone(_) | Told::Unknown(_) => None,
        }
    }

    fn put(&mut self, key: usize, cas: Option<u64>) {
        self.values += 1;
        let value = self.values;
        self.write(Ask::Put { key, value, cas });
    }

    fn write(&mut self, ask: Ask) {
        // Some clients give up at once, and the node still carries their request out.
        let patience =
            if self.rng.permille(6) { Duration::from_micros(self.rng.range(500, 8_000)) } else { PATIENCE };
        let counter = match self.ask(ask, patience) {
            Told::Done(_) => &self.shared.writes,
            Told::NotDone(_) => &self.shared.not_done,
            Told::Unknown(_) => &self.shared.unknown,
            told @ (Told::Found { .. } | Told::Names { .. }) => panic!("{ask:?} is answered with {told:?}"),
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }

    pub fn read(&mut self, ask: Ask) -> Told {
        let told = self.ask(ask, PATIENCE);
        if let (Told::Found { shown, .. }, Ask::Get { key, mode: Mode::Default | Mode::Consistent, .. }) =
            (&told, ask)
        {
            self.shared.seen.lock().unwrap()[key] = shown.first().map_or(0, |shown| shown.modified);
        }
        told
    }

    fn ask(&mut self, ask: Ask, patience: Duration) -> Told {
        let drawn = usize::try_from(self.rng.below(NODES as u64)).unwrap();
        let node = self.home.filter(|_| !self.is_away).unwrap_or(drawn);
        self.ask_node(node, ask, patience)
    }

    fn ask_node(&mut self, node: usize, ask: Ask, patience: Duration) -> Told {
        let shared = Arc::clone(&self.shared);
        let (life, called) = (shared.life(node), shared.now());
        let (told, came) = answers::ask(&shared.addresses[node], &ask, patience);
        let returned = shared.now();
        let life = Some(life).filter(|life| *life == shared.life(node));
        self.is_away = came == answers::Came::Nothing;
        if matches!(&told, Told::Done(_) | Told::Found { .. } | Told::Names { .. }) {
            shared.answered[node].fetch_add(1, Ordering::SeqCst);
        }
        self.events.push(Event { client: self.id, node, life, called, returned, ask, told: told.clone() });
        told
    }

    /// Reads everything through every node in every way.
    pub fn look_at_all(mut self) -> Vec<Event> {
        for mode in [Mode::Stale, Mode::Default, Mode::Consistent] {
            for node in 0..NODES {
                for key in 0..KEYS.len() {
                    self.ask_node(node, Ask::Get { key, mode, index: None }, PATIENCE);
                }
                for tree in 0..TREES.len() {
                    self.ask_node(node, Ask::List { tree, mode, index: None }, PATIENCE);
                    self.ask_node(node, Ask::Names { tree, mode, index: None }, PATIENCE);
                }
            }
        }
        self.events
    }
}
