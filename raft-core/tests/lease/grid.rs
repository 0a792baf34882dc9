//! The parameters of a run, and all combinations of them.

/// The parameters of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rate of each node's clock, in thousandths of real time. Node 1 is the first leader.
    pub rates: Vec<u64>,
    pub timeouts: Timeouts,
    pub delays: Delays,
    /// True when the network holds vote requests back until their receiver is free to grant them.
    pub holds_questions: bool,
    pub pause: Option<Pause>,
    pub fault: Fault,
    /// When the fault happens, in microseconds after the network began to delay.
    pub fault_at: u64,
}

/// `leader_timeout` of the nodes, in milliseconds. Node 3 always has 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The time-out of node 1, the first leader.
    pub leader: u64,
    /// The time-out of node 2.
    pub voter: u64,
    /// The time-out of a node after a restart; none leaves it as it was.
    pub restarted: Option<u64>,
}

impl Timeouts {
    /// The same time-out for all nodes, without changes.
    pub const USUAL: Self = Self { leader: 500, voter: 500, restarted: None };

    fn longest(self) -> u64 {
        self.leader.max(self.voter).max(self.restarted.unwrap_or(0)).max(500)
    }
}

/// Delays of messages, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub to_leader: u64,
    pub to_others: u64,
}

/// A pause of a driver.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    pub of: u64,
    pub at: PauseAt,
    /// Length of the pause, in microseconds.
    pub length: u64,
    /// The pause begins with the first input at most this many microseconds before the fault.
    pub lead: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseAt {
    /// Between taking an input and reading the clock.
    BeforeClock,
    /// Between reading the clock and giving the input to the core.
    AfterClock,
    /// Between reading the clock and taking inputs. Drivers must not do this (`Node`'s contract).
    ClockFirst,
}

/// The fault that ends, or may end, the first leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No node hears the leader any more.
    CutLeader,
    /// Node 3 has not heard the leader for long and campaigns; now node 2 does not hear it either.
    CutLast,
    /// As `CutLast`, and node 2 restarts after this many microseconds.
    RestartVoter { down: u64 },
    /// The leader restarts after this many microseconds.
    RestartLeader { down: u64 },
    /// A transfer to node 2. `TimeoutNow` arrives this many microseconds late; a deaf leader receives nothing
    /// any more.
    Transfer { late: u64, is_deaf: bool },
}

impl Fault {
    /// True when node 3 does not hear the leader from the beginning.
    pub fn is_lonely(self) -> bool {
        match self {
            Self::CutLast | Self::RestartVoter { .. } => true,
            Self::CutLeader | Self::RestartLeader { .. } | Self::Transfer { .. } => false,
        }
    }

    /// Length of the run, in microseconds.
    pub fn span(self, timeouts: Timeouts) -> u64 {
        let longest = timeouts.longest() * MS;
        match self {
            Self::CutLeader | Self::CutLast => longest + 700 * MS,
            Self::RestartVoter { down } | Self::RestartLeader { down } => down + longest + 700 * MS,
            Self::Transfer { late, .. } => late + 1_000 * MS,
        }
    }
}

const MS: u64 = 1000;

/// All combinations of slow and fast clocks.
pub fn rates(nodes: u32, slow: u64, fast: u64) -> Vec<Vec<u64>> {
    let rate = |is_fast: bool| if is_fast { fast } else { slow };
    (0..1_u32 << nodes).map(|bits| (0..nodes).map(|node| rate(bits >> node & 1 == 1)).collect()).collect()
}

/// All combinations for clocks of these rates.
pub fn plans(rates: &[Vec<u64>]) -> Vec<Plan> {
    let delays = [(0, 0), (300, 0), (430, 0), (20, 20), (0, 200)];
    let delays = delays.map(|(leader, others)| Delays { to_leader: leader * MS, to_others: others * MS });
    let mut plans = Vec::new();
    for rates in rates {
        for delays in delays {
            for pause in pauses() {
                for (fault, fault_at, holds_questions) in faults(rates.len()) {
                    let (rates, timeouts) = (rates.clone(), Timeouts::USUAL);
                    plans.push(Plan { rates, timeouts, delays, holds_questions, pause, fault, fault_at });
                }
            }
        }
    }
    plans
}

/// The same grid with different settings for each node, or changed by restarts as in a rolling restart.
pub fn plans_with_changed_settings(rates: &[Vec<u64>]) -> Vec<Plan> {
    let changes = [
        // Lowered: earlier promises are longer than new ones.
        (500, 500, Some(100)),
        (500, 500, Some(250)),
        (2_000, 2_000, Some(250)),
        // Raised in an earlier restart, and lowered now.
        (500, 2_000, Some(250)),
        (2_000, 500, Some(250)),
        // Raised.
        (500, 500, Some(2_000)),
        (2_000, 500, Some(2_000)),
        // Different settings without restarts. A leader that hears nobody keeps leading for one and a half
        // time-outs: a promise of about that length must not make its lease longer than its own time-out.
        (500, 740, None),
        (500, 2_000, None),
        (2_000, 500, None),
    ];
    let all = plans(rates);
    let kept = all.iter().filter(|plan| match plan.fault {
        Fault::CutLast | Fault::RestartVoter { .. } => plan.pause.is_none_or(|pause| pause.lead == 0),
        Fault::RestartLeader { .. } => plan.pause.is_none(),
        Fault::CutLeader | Fault::Transfer { .. } => false,
    });
    kept.flat_map(|plan| {
        changes.map(|(leader, voter, restarted)| Plan {
            timeouts: Timeouts { leader, voter, restarted },
            ..plan.clone()
        })
    })
    .collect()
}

fn pauses() -> Vec<Option<Pause>> {
    let mut pauses = vec![None];
    for of in [1, 2] {
        for at in [PauseAt::BeforeClock, PauseAt::AfterClock] {
            pauses.extend([0, 200].map(|lead| Some(Pause { of, at, length: 300 * MS, lead: lead * MS })));
        }
    }
    pauses
}

/// The faults, their times, and whether vote requests are held back.
fn faults(nodes: usize) -> Vec<(Fault, u64, bool)> {
    let all = [
        Fault::CutLeader,
        Fault::CutLast,
        Fault::RestartVoter { down: 0 },
        Fault::RestartVoter { down: 120 * MS },
        Fault::RestartLeader { down: 0 },
        Fault::RestartLeader { down: 120 * MS },
        Fault::Transfer { late: 0, is_deaf: false },
        Fault::Transfer { late: 0, is_deaf: true },
        Fault::Transfer { late: 1_200 * MS, is_deaf: false },
    ];
    let mut faults = Vec::new();
    for fault in all {
        // Node 3 campaigns after 1.5 leader time-outs of a slow clock at the latest; then three moments of the time
        // between two heartbeats.
        let begin = if fault.is_lonely() { 900 } else { 400 };
        for moment in [0, 33, 66] {
            let at = (begin + moment) * MS;
            faults.push((fault, at, false));
            // Two nodes elect nobody while the leader does not vote.
            if nodes > 2 && (fault.is_lonely() || fault == Fault::CutLeader) {
                faults.push((fault, at, true));
            }
        }
    }
    faults
}
