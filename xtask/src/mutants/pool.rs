//! Runs many trials, a few of them at the same time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::console::complain;
use crate::workspace::Failure;

/// Calls `of` for each item of `all`, for `at_a_time` items at the same time, and returns the results in the order of the
/// items. `shown` returns the line that is printed as soon as an item is done.
///
/// # Errors
/// The first failure in the order of the items. The other items are tried nevertheless.
pub(super) fn each<T: Sync, R: Send>(
    all: &[T],
    at_a_time: usize,
    of: impl Fn(&T) -> Result<R, Failure> + Sync,
    shown: impl Fn(&T, &R) -> String + Sync,
) -> Result<Vec<R>, Failure> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<R, Failure>>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some((at, it)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, all.get(at)?)))
                {
                    let result = of(it);
                    let words = match &result {
                        Ok(result) => shown(it, result),
                        Err(failure) => failure.to_string(),
                    };
                    let mut done = done.lock().expect("no trial panics");
                    done.insert(at, result);
                    complain(&format!("{}/{} {words}", done.len(), all.len()));
                }
            });
        }
    });
    done.into_inner().expect("no trial panics").into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::each;
    use crate::workspace::Failure;

    #[test]
    fn results_come_in_the_order_of_what_was_tried() {
        let twice = |it: &u64| Ok(it * 2);
        let all: Vec<u64> = (0..9).collect();
        let results = each(&all, 3, twice, |_, _| String::new()).expect("none fails");
        assert_eq!(results, (0..9).map(|it| it * 2).collect::<Vec<u64>>());
    }

    #[test]
    fn the_first_failure_is_returned() {
        let odd = |it: &u64| if it % 2 == 1 { Ok(()) } else { Err(Failure::new(format!("{it} is even"))) };
        let failure = each(&[1, 4, 2], 2, odd, |_, ()| String::new()).expect_err("two fail");
        assert_eq!(failure.to_string(), "4 is even");
    }
}
