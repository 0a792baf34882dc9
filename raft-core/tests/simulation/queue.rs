//! What is to happen, by virtual time; at one moment in the order in which it was scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::events::Event;

/// A heap of moments; the events lie still in slots beside it, which are used again.
#[derive(Default)]
pub struct Queue {
    /// When, the how manieth, and in which slot.
    moments: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    scheduled: u64,
}

impl Queue {
    pub fn push(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Some(event));
        } else {
            self.slots[slot] = Some(event);
        }
        self.moments.push(Reverse((at, self.scheduled, slot)));
    }

    /// The next event and its moment, if that is not after `end`.
    pub fn pop_until(&mut self, end: u64) -> Option<(u64, Event)> {
        let at = self.moments.peek().map(|Reverse((at, ..))| *at).filter(|at| *at <= end)?;
        let Reverse((_, _, slot)) = self.moments.pop().expect("it was seen");
        self.free.push(slot);
        Some((at, self.slots[slot].take().expect("every moment has its event")))
    }
}
