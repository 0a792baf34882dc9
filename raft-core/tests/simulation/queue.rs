//! The scheduled events by virtual time, and at the same time in the order in which they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::events::Event;

/// A heap of times. The events stay in reusable slots beside it, so that the heap moves small items only.
#[derive(Default)]
pub struct Queue {
    /// Time, sequence number and slot of each event.
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

    /// The next event and its time, unless that is after `end`.
    pub fn pop_until(&mut self, end: u64) -> Option<(u64, Event)> {
        let at = self.moments.peek().map(|Reverse((at, ..))| *at).filter(|at| *at <= end)?;
        let Reverse((_, _, slot)) = self.moments.pop().expect("it was seen");
        self.free.push(slot);
        Some((at, self.slots[slot].take().expect("every moment has its event")))
    }
}
