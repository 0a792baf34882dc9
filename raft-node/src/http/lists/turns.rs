//! Decides which client's work is done next. Clients take turns, so that a client with much work does not keep the others
//! waiting.

use std::collections::{BTreeMap, VecDeque};

/// The waiting work, by client.
///
/// Each client has one turn in a round, however much work waits for it. The work of one client is done in the order in which it
/// came.
#[derive(Debug)]
pub(crate) struct Turns<C, W> {
    waiting: BTreeMap<C, VecDeque<W>>,
    /// Every client with waiting work, once; the first one is next.
    order: VecDeque<C>,
    running: usize,
    running_max: usize,
}

impl<C: Ord + Copy, W> Turns<C, W> {
    /// Creates a queue from which at most `running_max` pieces of work are done at the same time.
    pub(crate) fn new(running_max: usize) -> Self {
        Self { waiting: BTreeMap::new(), order: VecDeque::new(), running: 0, running_max }
    }

    /// Adds work for a client.
    pub(crate) fn push(&mut self, client: C, work: W) {
        let queue = self.waiting.entry(client).or_default();
        if queue.is_empty() {
            self.order.push_back(client);
        }
        queue.push_back(work);
    }

    /// Adds work that serves several clients. It waits for the turn of the client with the least waiting work.
    pub(crate) fn push_for(&mut self, clients: impl IntoIterator<Item = C>, work: W) {
        let waits = |client: &C| self.waiting.get(client).map_or(0, VecDeque::len);
        if let Some(client) = clients.into_iter().min_by_key(waits) {
            self.push(client, work);
        }
    }

    /// Takes the next piece of work, unless enough is being done already. It counts as being done until
    /// [`done`](Self::done) is called.
    pub(crate) fn start(&mut self) -> Option<W> {
        if self.running == self.running_max {
            return None;
        }
        let client = self.order.pop_front()?;
        let queue = self.waiting.get_mut(&client)?;
        let work = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.order.push_back(client);
        }
        self.running += usize::from(work.is_some());
        work
    }

    /// Records that one piece of work is done.
    pub(crate) fn done(&mut self) {
        self.running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let mut turns = Turns::new(10);
        for work in ["a1", "a2", "a3", "b1", "c1", "c2"] {
            turns.push(&work[..1], work);
        }
        let done: Vec<_> = std::iter::from_fn(|| turns.start()).collect();
        assert_eq!(done, ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert!(turns.waiting.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn what_is_done_for_several_is_done_for_whom_least_waits() {
        let mut turns = Turns::new(10);
        for work in ["a1", "a2", "b1"] {
            turns.push(&work[..1], work);
        }
        turns.push_for(["a", "b"], "both");
        turns.push_for(["a", "c"], "other");
        let done: Vec<_> = std::iter::from_fn(|| turns.start()).collect();
        assert_eq!(done, ["a1", "b1", "other", "a2", "both"]);
    }

    #[test]
    fn no_more_is_done_at_a_time_than_allowed() {
        let mut turns = Turns::new(2);
        for work in 0..4 {
            turns.push((), work);
        }
        assert_eq!([turns.start(), turns.start(), turns.start()], [Some(0), Some(1), None]);
        turns.done();
        assert_eq!([turns.start(), turns.start()], [Some(2), None]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whoever has work waits for at most one work of each other client before each of its own.
        #[test]
        fn nobody_is_passed_twice(pushes in proptest::collection::vec((0_u8..5, any::<bool>()), 1..200)) {
            let mut turns = Turns::new(usize::MAX);
            let mut started: Vec<u8> = Vec::new();
            // How many works of another client were started since this one's last, while it waited.
            let mut passed: BTreeMap<(u8, u8), u32> = BTreeMap::new();
            let mut left: BTreeMap<u8, usize> = BTreeMap::new();
            for (client, start) in pushes {
                turns.push(client, client);
                *left.entry(client).or_default() += 1;
                if !start {
                    continue;
                }
                let now = turns.start().expect("there is work");
                started.push(now);
                *left.get_mut(&now).expect("it waited") -= 1;
                for (waiting, _) in left.iter().filter(|(waiting, count)| **count > 0 && **waiting != now) {
                    let times = passed.entry((*waiting, now)).or_default();
                    *times += 1;
                    prop_assert!(*times <= 1, "{waiting} was passed twice by {now}: {started:?}");
                }
                passed.retain(|(waiting, _), _| *waiting != now);
            }
            let more = std::iter::from_fn(|| turns.start()).count();
            prop_assert_eq!(more, left.values().sum::<usize>());
        }
    }
}
