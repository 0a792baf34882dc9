//! Moments of changes and syncs, and how far each thread of a program had come when its life ended.

/// A moment is a number that rises, and after it these bits for the thread whose change or sync it is of.
const THREAD_BITS: u32 = 8;

/// The moment of what this thread does as the `count`-th thing of all.
pub(crate) fn moment(count: u64, thread: u8) -> u64 {
    count << THREAD_BITS | u64::from(thread)
}

/// The thread of the program that did at this moment what was done then.
pub(crate) fn thread_of(moment: u64) -> u64 {
    moment & ((1 << THREAD_BITS) - 1)
}

/// Up to which moment each thread of a program had come: what it did from there on has not happened. One without a cut has done
/// all that it seems to have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cuts(Vec<u64>);

impl Cuts {
    /// The thread of this moment has not come further; nothing changes where it has not even come that far.
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
