//! The only clock of a node.

use raftkit_core::Time;
use rustix::time::{ClockId, clock_gettime};

/// The present time in microseconds since the machine started, time in suspend included (`CLOCK_BOOTTIME`): a lease
/// must not outlive a suspend.
pub(crate) fn now() -> Time {
    let moment = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(moment.tv_sec).expect("the boot clock starts at zero");
    let nanos = u64::try_from(moment.tv_nsec).expect("nanoseconds are below 10^9");
    Time(seconds * 1_000_000 + nanos / 1_000)
}
