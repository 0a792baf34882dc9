//! The promise `explained`. A write may end with an unknown outcome, and a request without a leader, only after an event that
//! explains it. Otherwise a request that the node has forgotten to answer could not be told from one that a fault has cost.

use raftkit_core::NodeId;
use raftkit_replica::{ProposeError, ReadRefused, Reply};

use crate::checks::violation::{Checked, promise};
use crate::subject::Subject;
use crate::world::{SECOND, World};
use crate::{Mark, Marks};

/// Time without an explaining event after which a cluster counts as calm, in microseconds. Requests from before have ended by
/// then.
const SETTLES_US: u64 = 4 * SECOND;
/// Upper bound on the delays of links and disks, in microseconds. With longer ones, time-outs happen without any fault.
const NEAR_US: u64 = 50_000;

/// Marks that are also met in a healthy cluster. Every other mark explains doubt.
const ALL_IS_WELL: &[Mark] = &[
    Mark::CommitOfOldTerm,
    Mark::Fetched,
    Mark::FetchedNothing,
    Mark::Compacted,
    Mark::SnapshotBuilt,
    Mark::SnapshotResumed,
    Mark::AskedInCalm,
    Mark::WriteCommitted,
    Mark::WriteForwarded,
    Mark::WriteUnknown,
    Mark::UnknownCommitted,
    Mark::WriteNoLeader,
    Mark::ManyInOneBatch,
    Mark::ReadDefault,
    Mark::ReadConsistent,
    Mark::ReadStale,
    Mark::ReadByFollower,
    Mark::StaleIsOld,
    Mark::ReadNotConfirmed,
    Mark::LogCopied,
    Mark::StateCopied,
];

/// The events so far that may explain doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Troubles {
    /// Number of such events.
    count: u64,
    /// Time at which the last disturbance with a duration ends.
    until: u64,
}

/// The explaining events at the last check, and the time since which there have been no more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    troubles: Troubles,
    since: u64,
}

/// The explaining events up to a request in a calm cluster. If there are no more when the request ends in doubt, nothing explains
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calm(Troubles);

impl Marks {
    fn troubles(&self) -> u64 {
        let of = |mark: Mark| if ALL_IS_WELL.contains(&mark) { 0 } else { self.count(mark) };
        Mark::ALL.iter().map(|(mark, _)| of(*mark)).sum()
    }
}

impl<S: Subject> World<S> {
    fn troubles(&self) -> Troubles {
        let counts = self.counts;
        let network = self.network.lost + counts.lost + counts.split + counts.partitions;
        let processes = counts.pauses + counts.crashes + counts.stops + counts.wipes + counts.rots;
        let disks = self.hosts.values().map(|host| {
            let injected = host.disk.injected();
            let errors = injected.failed_syncs + injected.full + injected.io_errors;
            errors + injected.stalls + injected.rotten_bytes
        });
        let hosts = self.hosts.values();
        let hosts = hosts.map(|host| host.paused_until.max(host.stalled_until).max(host.held_until));
        let lags = self.lags.values().map(|lag| lag.until);
        Troubles {
            count: self.marks.troubles() + network + processes + disks.sum::<u64>() + self.calls_broken,
            until: hosts.chain(lags).max().unwrap_or(0).max(self.network.disturbed_until()),
        }
    }

    /// Returns the explaining events so far if the cluster is calm and the node may be asked; none otherwise.
    pub(crate) fn is_calm(&mut self, node: NodeId) -> Option<Calm> {
        let (now, settings) = (self.now, &self.settings);
        let delays =
            [settings.ahead_us, settings.back_us, settings.delay_us, settings.flush_us, settings.apply_us];
        let near = delays.iter().all(|delay| *delay <= NEAR_US);
        let noisy = !self.healed && settings.slow + settings.hiccups > 0;
        let narrow = settings.link_kbps + settings.disk_kbps + settings.bulk_bytes_s > 0;
        let troubles = self.troubles();
        if troubles != self.seen.troubles {
            self.seen = Seen { troubles, since: now };
        }
        let rests = now >= self.seen.since.max(troubles.until).saturating_add(SETTLES_US);
        let member = self.truth.membership_as_of(self.truth.last()).is_voter(node);
        let calm = rests && near && !noisy && !narrow && member;
        self.marks.hit_if(calm, Mark::AskedInCalm);
        calm.then_some(Calm(troubles))
    }

    /// Checks that an event explains the doubt in which a request has ended, if the cluster was calm when it was sent.
    pub(crate) fn check_doubt(&self, node: NodeId, asked: Option<Calm>, reply: &Reply) -> Checked {
        let doubt = match reply {
            Reply::Proposed(Err(why @ (ProposeError::Unknown(_) | ProposeError::NoLeader))) => {
                why.to_string()
            }
            Reply::ReadRefused(why @ (ReadRefused::NotConfirmed | ReadRefused::NoLeader)) => why.to_string(),
            Reply::Proposed(_)
            | Reply::ReadNow(_)
            | Reply::Show(_)
            | Reply::ReadRefused(ReadRefused::Stopping)
            | Reply::Transferred(_)
            | Reply::Changed(_) => return Ok(()),
        };
        promise!(
            Explained,
            asked != Some(Calm(self.troubles())),
            "{node} says \"{doubt}\", and for {} s nothing has happened that explains it",
            (self.now - self.seen.since) / SECOND
        );
        Ok(())
    }
}
