//! Moments of changes and syncs, and how far each thread of a program had come when the program ended.

/// Number of low bits of a moment that hold the thread; the bits above are a rising counter.
const THREAD_BITS: u32 = 8;

/// Returns the moment of the `count`-th operation, by this thread.
pub(crate) fn moment(count: u64, thread: u8) -> u64 {
    count << THREAD_BITS | u64::from(thread)
}

/// Returns the thread that acted at this moment.
pub(crate) fn thread_of(moment: u64) -> u64 {
    moment & ((1 << THREAD_BITS) - 1)
}

/// The moment that each thread had reached. What a thread did at or after its cut has not happened; a thread without a
/// cut has done everything it appears to have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cuts(Vec<u64>);

impl Cuts {
    /// Moves the cut of a moment's thread back to that moment, unless it is already at an earlier one.
    pub(crate) fn cut(&mut self, moment: u64) {
        let thread = thread_of(moment);
        match self.0.iter_mut().find(|cut| thread_of(**cut) == thread) {
            Some(cut) => *cut = moment.min(*cut),
            None => self.0.push(moment),
        }
    }

    pub(crate) fn has_happened(&self, moment: u64) -> bool {
        self.0.iter().all(|cut| moment < *cut || thread_of(*cut) != thread_of(moment))
    }
}
