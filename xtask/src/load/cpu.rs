//! Processor time of processes, from `/proc`.

use std::fs;
use std::time::Duration;

use crate::workspace::Failure;

/// Length of the unit in `/proc/<pid>/stat`. Linux reports it as 1/100 s to programs on every architecture that it runs on.
const TICK: Duration = Duration::from_millis(10);

/// Returns the processor time, in user and system mode, that a process has used with all its threads.
///
/// # Errors
/// There is no such process.
pub(crate) fn used_by(process: &str) -> Result<Duration, Failure> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).map_err(Failure::of(format!("cannot read {path}")))?;
    ticks(&stat)
        .map(|ticks| TICK * ticks)
        .ok_or_else(|| Failure::new(format!("{path} does not have the fields of proc(5)")))
}

/// Parses the sum of `utime` and `stime`, the fields 14 and 15 (proc(5)). The second field, the name of the program, may have
/// spaces and parentheses, so fields are counted from its end.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::{ticks, used_by};

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 120 34 0 0 20 0 1 0 1 2 3";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_a_time_and_an_unknown_one_is_an_error() {
        used_by("self").expect("it runs");
        let error = used_by("0").expect_err("no process has this number").to_string();
        assert!(error.contains("/proc/0/stat"), "{error}");
    }
}
