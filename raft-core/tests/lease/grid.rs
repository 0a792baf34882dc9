//! What differs from run to run, and all combinations of it.

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How fast each node's clock runs, in thousandths of real time; node 1 is the first leader.
    pub rates: Vec<u64>,
    pub delays: Delays,
    /// Questions for a vote wait in the network until who is asked is free to give it.
    pub holds_questions: bool,
    pub pause: Option<Pause>,
    pub fault: Fault,
    /// Microseconds after the network began to delay.
    pub fault_at: u64,
}

/// Microseconds that messages take.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub to_leader: u64,
    pub to_others: u64,
}

/// A driver stops for a while.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    pub of: u64,
    pub at: PauseAt,
    /// Microseconds.
    pub length: u64,
    /// It begins with the first input from so many microseconds before the fault on.
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

/// What ends the first leadership, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody hears the leader any more.
    CutLeader,
    /// Node 3 has not heard it for long and campaigns; now node 2 does not hear it either.
    CutLast,
    /// The same, and node 2 is started again after so many microseconds.
    RestartVoter { down: u64 },
    /// The leader is started again after so many microseconds.
    RestartLeader { down: u64 },
    /// Node 2 is to lead. What tells it so arrives so many microseconds late; nothing reaches a deaf leader any more.
    Transfer { late: u64, is_deaf: bool },
}

impl Fault {
    /// Node 3 does not hear the leader, from the beginning.
    pub fn is_lonely(self) -> bool {
        match self {
            Self::CutLast | Self::RestartVoter { .. } => true,
            Self::CutLeader | Self::RestartLeader { .. } | Self::Transfer { .. } => false,
        }
    }

    /// For how many microseconds to look on.
    pub fn span(self) -> u64 {
        match self {
            Self::CutLeader | Self::CutLast => 1_200 * MS,
            Self::RestartVoter { down } | Self::RestartLeader { down } => down + 1_200 * MS,
            Self::Transfer { late, .. } => late + 1_000 * MS,
        }
    }
}

const MS: u64 = 1000;

/// Each node's clock is slow or fast.
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
                    let rates = rates.clone();
                    plans.push(Plan { rates, delays, holds_questions, pause, fault, fault_at });
                }
            }
        }
    }
    plans
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

/// What happens, when, and whether questions are held back.
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
