//! Faults: processes are killed, paused, stopped and run out of disk. Each fault waits for counters of the clients, so that it
//! meets requests on their way and lets enough of them end; nothing waits for a length of time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raftkit_sim::Rng;

use super::{NODES, Shared};
use crate::support::{Cluster, eventually};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed (SIGKILL) and started again.
    Kill(Whom),
    /// The process is paused (SIGSTOP) until the others have made progress without it, and then resumed (SIGCONT).
    Pause(Whom),
    /// The process is told to stop (its standard input is closed): it hands leadership over, answers, ends, and is started.
    Stop(Whom),
    /// The process is killed and started again at once: its peers learn from the new process that their connections are gone.
    Bounce(Whom),
    /// The process cannot write to any file any more and ends by itself. Then it is started.
    FullDisk(Whom),
    /// The leader is told to stop while no other node answers, and those go on only when it has ended.
    StopAlone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Leader,
    Follower,
    /// The followers.
    Followers,
    All,
}

/// Every fault of a run, in an order drawn from the seed.
pub fn schedule(seed: u64) -> Vec<Fault> {
    let of_each = [
        (3, Fault::Kill(Whom::Leader)),
        (5, Fault::Bounce(Whom::Leader)),
        (1, Fault::Kill(Whom::Follower)),
        (1, Fault::Kill(Whom::All)),
        (3, Fault::Pause(Whom::Leader)),
        (1, Fault::Pause(Whom::Follower)),
        (1, Fault::Pause(Whom::Followers)),
        (2, Fault::Stop(Whom::Leader)),
        (4, Fault::FullDisk(Whom::Leader)),
        (1, Fault::StopAlone),
    ];
    let mut left: Vec<Fault> = of_each.into_iter().flat_map(|(times, fault)| vec![fault; times]).collect();
    let mut rng = Rng::new(seed, "faults");
    let mut schedule = Vec::new();
    while !left.is_empty() {
        let at = usize::try_from(rng.below(left.len() as u64)).unwrap();
        schedule.push(left.swap_remove(at));
    }
    schedule
}

pub struct Faults {
    pub cluster: Cluster,
    pub shared: Arc<Shared>,
    pub rng: Rng,
}

impl Faults {
    pub fn cause(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(whom) => {
                let ids = self.ids(whom);
                for id in &ids {
                    self.end(*id, |cluster, id| cluster.node(id).kill());
                }
                self.back(&ids);
            }
            Fault::Bounce(whom) => {
                let ids = self.ids(whom);
                for id in &ids {
                    self.end(*id, |cluster, id| cluster.node(id).kill());
                    self.cluster.node(*id).start_for_file_limit();
                }
                self.answer(&ids);
            }
            Fault::Pause(whom) => {
                let ids = self.ids(whom);
                let not_done = self.shared.not_done.load(Ordering::SeqCst);
                self.signal(&ids, "-STOP");
                self.writes_go_on_or_are_refused(&ids, not_done);
                self.signal(&ids, "-CONT");
                self.answer(&ids);
            }
            Fault::Stop(whom) => {
                let ids = self.ids(whom);
                for id in &ids {
                    self.end(*id, stop_cleanly);
                }
                self.back(&ids);
            }
            Fault::FullDisk(whom) => {
                let ids = self.ids(whom);
                for id in &ids {
                    self.end(*id, |cluster, id| {
                        cluster.node(id).limit_files();
                        cluster.node(id).wait();
                    });
                }
                self.back(&ids);
            }
            Fault::StopAlone => {
                let (leader, others) = (self.ids(Whom::Leader), self.ids(Whom::Followers));
                self.signal(&others, "-STOP");
                for id in &leader {
                    self.end(*id, stop_cleanly);
                }
                self.signal(&others, "-CONT");
                self.back(&leader);
            }
        }
        self.writes_go_on(60);
    }

    /// Waits for what writes come to while these nodes stand still. `not_done` is how many were refused before.
    fn writes_go_on_or_are_refused(&mut self, still: &[u64], not_done: u64) {
        if still.len() > NODES / 2 {
            eventually("writes are refused without a majority", || {
                self.shared.not_done.load(Ordering::SeqCst) > not_done
            });
        } else {
            self.writes_go_on(80);
        }
    }

    fn ids(&mut self, whom: Whom) -> Vec<u64> {
        let leader = self.cluster.wait_for_leader();
        let followers: Vec<u64> = (1..=NODES as u64).filter(|id| *id != leader).collect();
        match whom {
            Whom::Leader => vec![leader],
            Whom::Follower => vec![self.rng.pick(&followers)],
            Whom::Followers => followers,
            Whom::All => (1..=NODES as u64).collect(),
        }
    }

    fn end(&mut self, id: u64, by: impl FnOnce(&mut Cluster, u64)) {
        let life = &self.shared.lives[place(id)];
        life.fetch_add(1, Ordering::SeqCst);
        by(&mut self.cluster, id);
        life.fetch_add(1, Ordering::SeqCst);
    }

    /// Starts these nodes again; before that the others acknowledge writes if they are a majority.
    fn back(&mut self, ids: &[u64]) {
        if ids.len() <= NODES / 2 {
            self.writes_go_on(60);
        }
        for id in ids {
            self.cluster.node(*id).start_for_file_limit();
        }
        self.answer(ids);
    }

    fn signal(&mut self, ids: &[u64], signal: &str) {
        for id in ids {
            self.cluster.node(*id).signal(signal);
        }
    }

    /// Waits until these nodes answer clients.
    fn answer(&self, ids: &[u64]) {
        let answered = |id: u64| self.shared.answered[place(id)].load(Ordering::SeqCst);
        let before: Vec<u64> = ids.iter().map(|id| answered(*id)).collect();
        eventually("the nodes answer clients again", || {
            ids.iter().zip(&before).all(|(id, before)| answered(*id) > before + 20)
        });
    }

    pub fn writes_go_on(&self, count: u64) {
        let before = self.shared.writes.load(Ordering::SeqCst);
        eventually("writes go on", || self.shared.writes.load(Ordering::SeqCst) > before + count);
    }
}

fn place(id: u64) -> usize {
    usize::try_from(id - 1).unwrap()
}

fn stop_cleanly(cluster: &mut Cluster, id: u64) {
    let status = cluster.node(id).stop();
    assert!(status.success(), "node {id} stops cleanly: {status}");
}
