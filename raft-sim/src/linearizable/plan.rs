//! One key's history, prepared for the search: what is pending when, and which bit stands for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use super::{Inferred, Model, Operation};

/// The operations of one key, in the order of their calls, and their returns in the order of time.
pub(super) struct Plan<'a, M: Model> {
    pub(super) operations: Vec<&'a Operation<M::Input, M::Output>>,
    /// What is known of each, also by others' answers.
    calls: Vec<Inferred<M::Input, M::Output>>,
    pub(super) duties: Vec<Duty>,
    pub(super) returns: Vec<Return>,
    /// The operations that are pending at each return, one after another, with the optional ones that are of use there
    /// and not for ever.
    pending: Vec<usize>,
    /// The optional operations that may be of use for ever, in the order of their calls.
    lasting: Vec<usize>,
    /// The bits of the others, in the order in which they cease to be of use.
    expired: Vec<usize>,
}

/// What the search owes to an operation.
#[derive(Clone, Copy)]
pub(super) enum Duty {
    /// It has to be done before it returns.
    Certain(Certain),
    /// Its outcome is unknown: it may be done at any time after its call.
    Optional {
        /// Its bit in the set of used ones: its own for the whole history.
        bit: usize,
        /// The bit of the one called before it that can stand for it, and that is used up first.
        twin: Option<usize>,
    },
}

/// An operation whose answer is known.
#[derive(Clone, Copy)]
pub(super) struct Certain {
    /// Its bit in the set of done ones; free for another operation after the return.
    pub(super) bit: usize,
    /// Returns number so many to so many come after its call; the last one of them is its own.
    pub(super) called: usize,
    returned: usize,
    /// The operation whose answer says that it comes right before this one.
    predecessor: Option<usize>,
}

/// A point in time at which an operation has to have been done.
pub(super) struct Return {
    /// Which operation.
    pub(super) operation: usize,
    /// Its bit in the set of done ones.
    pub(super) bit: usize,
    /// What is pending just before, itself included: a range of `Plan::pending`.
    pending: Range<usize>,
    /// So many of `Plan::lasting` were called before.
    pub(super) lasting: usize,
    /// The bits of optional operations that change nothing after it: a range of `Plan::expired`.
    expired: Range<usize>,
}

/// Points in time. Calls come before the returns of the same time, so that equal times overlap.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Call,
    Return,
    /// From here on an optional operation changes nothing: after the returns of the same time.
    Expiry,
    /// Answered, but nobody knows when.
    ReturnAtLast,
}

impl<'a, M: Model> Plan<'a, M> {
    /// Prepares a history; none if that alone is more work than `steps_max`, namely the sum of all overlaps.
    pub(super) fn new(
        mut operations: Vec<&'a Operation<M::Input, M::Output>>,
        steps_max: u64,
    ) -> Option<Self> {
        // A read without an answer neither changes nor tells anything.
        operations.retain(|operation| operation.output.is_some() || !M::is_read(&operation.input));
        operations.sort_by_key(|operation| operation.called);
        let mut inferred = M::inferred(&operations);
        let call = |(number, operation): (usize, &&Operation<M::Input, M::Output>)| {
            let Operation { input, output, returned, .. } = (*operation).clone();
            // Of unknown outcome: that its caller gave up says nothing about when it was done.
            let done_by = returned.filter(|_| output.is_some());
            let told = Inferred { input, output, done_by };
            if told.output.is_some() { told } else { inferred.remove(&number).unwrap_or(told) }
        };
        let mut plan = Self {
            duties: Vec::with_capacity(operations.len()),
            returns: Vec::with_capacity(operations.len()),
            calls: operations.iter().enumerate().map(call).collect(),
            pending: Vec::new(),
            lasting: Vec::new(),
            expired: Vec::new(),
            operations,
        };
        plan.number_optional();
        plan.follow_time(steps_max)?;
        plan.chain_positions();
        Some(plan)
    }

    /// The state after an operation, if that is possible.
    pub(super) fn step(&self, state: &M::State, operation: usize) -> Option<M::State> {
        let call = &self.calls[operation];
        M::step(state, &call.input, call.output.as_ref())
    }

    /// Whether an operation only looks.
    pub(super) fn is_read(&self, operation: usize) -> bool {
        M::is_read(&self.calls[operation].input)
    }

    /// The bits of optional operations that change nothing after a return, used or not.
    pub(super) fn expired(&self, at: &Return) -> &[usize] {
        &self.expired[at.expired.clone()]
    }

    /// What may be done just before a return.
    pub(super) fn pending(&self, at: &Return) -> impl Iterator<Item = usize> {
        self.pending[at.pending.clone()].iter().chain(&self.lasting[..at.lasting]).copied()
    }

    /// What may be done just before a return, and was or will be done for certain.
    pub(super) fn pending_certain(&self, at: &Return) -> impl Iterator<Item = (usize, Certain)> {
        self.pending[at.pending.clone()].iter().filter_map(|&operation| match self.duties[operation] {
            Duty::Certain(certain) => Some((operation, certain)),
            Duty::Optional { .. } => None,
        })
    }

    /// The operation whose answer says that it comes right before this one.
    pub(super) fn predecessor(&self, operation: usize) -> Option<usize> {
        match self.duties[operation] {
            Duty::Certain(certain) => certain.predecessor,
            Duty::Optional { .. } => None,
        }
    }

    /// What has to be done before `certain` by the answers' own word, and is perhaps not done yet.
    pub(super) fn waits_for(&self, certain: &Certain, event: usize) -> Wait {
        let Some(Duty::Certain(before)) = certain.predecessor.map(|before| self.duties[before]) else {
            return Wait::Nothing;
        };
        if before.returned < event {
            Wait::Nothing
        } else if before.called <= event {
            Wait::Bit(before.bit)
        } else {
            Wait::Future
        }
    }

    /// Gives each operation its duty; those of certain ones are filled in by the next steps.
    fn number_optional(&mut self) {
        let mut newest_alike = BTreeMap::new();
        let mut bits = 0..;
        for call in &self.calls {
            let duty = if call.output.is_some() {
                Duty::Certain(Certain { bit: 0, called: 0, returned: 0, predecessor: None })
            } else {
                let bit = bits.next().unwrap_or_default();
                Duty::Optional { bit, twin: newest_alike.insert((&call.input, call.done_by), bit) }
            };
            self.duties.push(duty);
        }
    }

    /// All points in time, in their order.
    fn points(&self) -> Vec<(u64, Point, usize)> {
        let mut points = Vec::with_capacity(2 * self.operations.len());
        for (number, (operation, call)) in self.operations.iter().zip(&self.calls).enumerate() {
            points.push((operation.called, Point::Call, number));
            let done_by = call.done_by.map(|done_by| done_by.max(operation.called));
            match (&call.output, done_by) {
                (Some(_), Some(done_by)) => points.push((done_by, Point::Return, number)),
                (Some(_), None) => points.push((u64::MAX, Point::ReturnAtLast, number)),
                (None, Some(done_by)) => points.push((done_by, Point::Expiry, number)),
                (None, None) => {}
            }
        }
        points.sort_unstable();
        points
    }

    /// Walks through calls and returns, and notes what is pending at each return.
    fn follow_time(&mut self, steps_max: u64) -> Option<()> {
        let mut now: Vec<usize> = Vec::new();
        let mut free_bits = BinaryHeap::new();
        let mut bits = 0..;
        for (_, point, operation) in self.points() {
            let event = self.returns.len();
            let lasts = self.calls[operation].done_by.is_none();
            match (&mut self.duties[operation], point) {
                (Duty::Certain(certain), Point::Call) => {
                    certain.called = event;
                    let free = free_bits.pop().map(|Reverse(bit)| bit);
                    certain.bit = free.or_else(|| bits.next()).unwrap_or_default();
                    now.push(operation);
                }
                (Duty::Optional { .. }, Point::Call) if lasts => self.lasting.push(operation),
                (Duty::Optional { .. }, Point::Call) => now.push(operation),
                (Duty::Certain(certain), Point::Return | Point::ReturnAtLast) => {
                    certain.returned = event;
                    let bit = certain.bit;
                    free_bits.push(Reverse(bit));
                    let start = self.pending.len();
                    if (start + now.len()) as u64 > steps_max {
                        return None;
                    }
                    self.pending.extend(&now);
                    now.retain(|&other| other != operation);
                    let pending = start..self.pending.len();
                    let expired = self.expired.len()..self.expired.len();
                    self.returns.push(Return {
                        operation,
                        bit,
                        pending,
                        lasting: self.lasting.len(),
                        expired,
                    });
                }
                (Duty::Optional { bit, .. }, Point::Return | Point::Expiry | Point::ReturnAtLast) => {
                    now.retain(|&other| other != operation);
                    self.expired.push(*bit);
                    if let Some(last) = self.returns.last_mut() {
                        last.expired.end = self.expired.len();
                    }
                }
                (Duty::Certain(_), Point::Expiry) => {}
            }
        }
        Some(())
    }

    /// Lets each answer that tells its position wait for the one before it.
    fn chain_positions(&mut self) {
        let mut positions: Vec<(u64, usize)> = Vec::new();
        for (number, call) in self.calls.iter().enumerate() {
            if let Some(position) = call.output.as_ref().and_then(M::position) {
                positions.push((position, number));
            }
        }
        positions.sort_unstable();
        for pair in positions.windows(2) {
            if let [(_, before), (_, after)] = pair
                && let Duty::Certain(certain) = &mut self.duties[*after]
            {
                certain.predecessor = Some(*before);
            }
        }
    }
}

/// Whether an operation has to wait for another one.
pub(super) enum Wait {
    /// No.
    Nothing,
    /// For the one that this bit stands for.
    Bit(usize),
    /// For one that is called only later: never to be done in time.
    Future,
}
