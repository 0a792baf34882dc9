//! The promise `flow`: a cluster that is only busy keeps its leader, and writes succeed although clients ask for more than it can
//! carry.

use raftkit_core::{NodeId, Term};

use crate::checks::violation::Promise;
use crate::subject::Subject;
use crate::world::{Happening, MS, SECOND, World};

/// Interval of the checks, in microseconds.
const LOOK_US: u64 = SECOND;
/// Number of consecutive checks without an acknowledged write that break the promise.
const DRY_LOOKS: u32 = 3;
/// Number of writes that may end in doubt in addition to a quarter of those that succeed: writes that were accepted before the
/// measured pace dropped.
const DOUBTS: u64 = 20;

/// Counts since the checks began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady {
    leader: NodeId,
    term: Term,
    /// Numbers of writes that were acknowledged, and that ended in doubt, before the checks began.
    writes: u64,
    doubts: u64,
    /// Number of acknowledged writes at the last check, and the number of checks since it changed.
    last_writes: u64,
    dry: u32,
}

impl<S: Subject> World<S> {
    /// Checks that writes flow, and plans the next check until faults end.
    pub(crate) fn look_after_flow(&mut self) {
        if self.healed || self.now > self.settings.duration_ms * MS {
            return;
        }
        let now = self.leader().and_then(|id| {
            let node = self.hosts[&id].process.as_ref()?.service.replica().node();
            Some((id, node.term()))
        });
        let counts = self.counts;
        let Some((leader, term)) = now else {
            return self.unsteady("nobody leads");
        };
        let mut steady = self.steady.unwrap_or(Steady {
            leader,
            term,
            writes: counts.writes,
            doubts: counts.doubts,
            last_writes: counts.writes,
            dry: 0,
        });
        if (steady.leader, steady.term) != (leader, term) {
            let what =
                format!("{} led in term {}, and now {leader} does in {term}", steady.leader, steady.term);
            return self.unsteady(&what);
        }
        steady.dry =
            if counts.writes == steady.last_writes && self.steady.is_some() { steady.dry + 1 } else { 0 };
        steady.last_writes = counts.writes;
        self.steady = Some(steady);
        if self.settings.flowing == 1 {
            let (writes, doubts) = (counts.writes - steady.writes, counts.doubts - steady.doubts);
            if steady.dry >= DRY_LOOKS {
                return self.unsteady(&format!("no write has succeeded for {DRY_LOOKS} s"));
            }
            if doubts > DOUBTS + writes / 4 {
                let what = format!("{writes} writes have succeeded, and {doubts} ended in doubt");
                return self.unsteady(&what);
            }
        }
        self.at(self.now + LOOK_US, Happening::Steady);
    }

    fn unsteady(&mut self, what: &str) {
        let what = format!("a cluster that is only busy does not go on: {what}");
        self.ensure(Err((Promise::Flow, what)));
    }
}
