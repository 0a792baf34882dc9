//! The budget for the bytes of answers on their way to clients. Bytes count from before they are made until the kernel has
//! them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Problem;

/// Default size of the budget for all answers together, in bytes: 64 MiB are a small part of the memory of any server, and
/// enough for 500 lists at a time.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Maximum size of an answer that is not counted, in bytes. There are at most as many of them as connections, so they need at
/// most 64 MiB, and a put or a read of a small value must not pay for the counting.
pub(crate) const UNCOUNTED_MAX: usize = 16 << 10;

/// Granularity of the budget, in bytes.
const UNIT: usize = 1 << 10;

/// A budget of bytes, which is cheap to clone.
///
/// A quarter is reserved for answers that have begun and need more bytes. Such an answer waits for them while it holds a share.
/// If it waited for bytes of the same kind, answers that have begun could hold the whole budget and wait for each other
/// forever. A holder of reserved bytes waits for its client alone, and that wait ends by a time-out.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    first: Part,
    more: Part,
}

#[derive(Clone, Debug)]
struct Part {
    units: Arc<Semaphore>,
    units_max: usize,
}

/// A share of the budget, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl Budget {
    /// Creates a budget of `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        let more = bytes / 4;
        Self { first: Part::new(bytes - more), more: Part::new(more) }
    }

    /// Takes a share of `bytes` for a new answer; none while others hold too much.
    pub(crate) fn take(&self, bytes: usize) -> Option<Share> {
        let units = self.first.units(bytes);
        Arc::clone(&self.first.units).try_acquire_many_owned(units).ok().map(|permit| Share(Some(permit)))
    }

    /// Takes a further share of `bytes` for an answer that has begun, and waits until it is available.
    pub(crate) async fn more(&self, bytes: usize) -> Share {
        let units = self.more.units(bytes);
        // The semaphore is never closed.
        Share(Arc::clone(&self.more.units).acquire_many_owned(units).await.ok())
    }

    /// Counts an answer's bytes if they are many: the result holds a share of the budget.
    pub(crate) fn count(&self, bytes: Bytes) -> Result<Bytes, Problem> {
        if bytes.len() <= UNCOUNTED_MAX {
            return Ok(bytes);
        }
        let share = self.take(bytes.len()).ok_or_else(exhausted)?;
        Ok(share.hold(bytes))
    }

    /// Number of bytes on their way, rounded up to whole units for each answer.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        [&self.first, &self.more]
            .iter()
            .map(|part| part.units_max - part.units.available_permits())
            .sum::<usize>()
            * UNIT
    }
}

impl Part {
    fn new(bytes: usize) -> Self {
        let units_max = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units_max)), units_max }
    }

    /// The number of units for `bytes`. A request for more than the whole gets the whole, as it would otherwise wait forever.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).min(self.units_max)).unwrap_or(u32::MAX)
    }
}

impl Share {
    /// Ties the share to `bytes`: it is given back when the last copy of the bytes is dropped.
    pub(crate) fn hold(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

struct Held<B> {
    bytes: B,
    _share: Share,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// The refusal while the budget is exhausted.
pub(crate) fn exhausted() -> Problem {
    Problem::unavailable(
        "too many bytes of answers are on their way to clients: try again (http-answer-bytes-max bounds them)",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn a_share_is_held_as_long_as_any_copy_of_its_bytes() {
        let budget = Budget::new(130 << 10);
        let bytes = budget.count(Bytes::from(vec![7; 64 << 10])).unwrap();
        let part = bytes.slice(10..20);
        assert_eq!(budget.used(), 64 << 10);
        let problem = budget.count(Bytes::from(vec![7; 64 << 10])).unwrap_err();
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(bytes);
        assert_eq!((budget.used(), &part[..]), (64 << 10, &[7; 10][..]));
        drop(part);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn small_answers_are_not_counted() {
        let budget = Budget::new(UNIT);
        let all: Vec<_> =
            (0..10).map(|_| budget.count(Bytes::from(vec![1; UNCOUNTED_MAX])).unwrap()).collect();
        assert_eq!((all.len(), budget.used()), (10, 0));
    }

    #[test]
    fn what_is_larger_than_all_takes_all() {
        let budget = Budget::new(8 * UNIT);
        let all = budget.take(100 * UNIT).unwrap();
        assert_eq!((budget.used(), budget.take(1).is_none()), (6 * UNIT, true));
        drop(all);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_has_begun_waits_only_for_others_that_have() {
        let budget = Budget::new(8 * UNIT);
        let _all = budget.take(100 * UNIT).unwrap();
        let mut one = std::pin::pin!(budget.more(100 * UNIT));
        let mut other = std::pin::pin!(budget.more(1));
        let one = poll(one.as_mut()).unwrap();
        assert!(poll(other.as_mut()).is_none());
        assert_eq!(budget.used(), 8 * UNIT);
        drop(one);
        assert!(poll(other.as_mut()).is_some());
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
