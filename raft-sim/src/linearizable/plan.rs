//! The history of one key, prepared for the search: which operations are pending at each return, and the bit of each operation.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use super::{Inferred, Model, Operation};

/// The operations on one key in the order of their calls, and their returns in the order of time.
pub(super) struct Plan<'a, M: Model> {
    pub(super) operations: Vec<&'a Operation<M::Input, M::Output>>,
    /// Facts about each operation: its own input and answer, or those inferred from other answers.
    calls: Vec<Inferred<M::Input, M::Output>>,
    pub(super) duties: Vec<Duty>,
    pub(super) returns: Vec<Return>,
    /// Operations that are pending at each return, concatenated return by return. Optional operations are among them if
    /// they may still change the state there and will cease to at some return.
    pending: Vec<usize>,
    /// Optional operations that may change the state at any time after their call, in the order of their calls.
    lasting: Vec<usize>,
    /// Bits of the other optional operations, in the order in which these cease to be able to change the state.
    expired: Vec<usize>,
}

/// States whether the search must do an operation or only may.
#[derive(Clone, Copy)]
pub(super) enum Duty {
    /// The operation must be done before it returns.
    Certain(Certain),
    /// The outcome is unknown: the operation may be done at any time after its call.
    Optional {
        /// Bit in the set of used operations. It belongs to this operation for the whole history.
        bit: usize,
        /// Bit of the last earlier operation with the same input and the same expiry, which must be used before this one.
        twin: Option<usize>,
    },
}

/// An operation whose answer is known.
#[derive(Clone, Copy)]
pub(super) struct Certain {
    /// Bit in the set of done operations; another operation takes it after the return.
    pub(super) bit: usize,
    /// Number of the first return after the call.
    pub(super) called: usize,
    /// Number of the operation's own return.
    returned: usize,
    /// The operation with the next lower position by its answer ([`Model::position`]).
    predecessor: Option<usize>,
}

/// The return of an operation: the point in time by which the operation must have been done.
pub(super) struct Return {
    /// The operation that returns.
    pub(super) operation: usize,
    /// Bit of that operation in the set of done operations.
    pub(super) bit: usize,
    /// Operations that are pending just before, that one included: a range of `Plan::pending`.
    pending: Range<usize>,
    /// Number of operations in `Plan::lasting` that were called before.
    pub(super) lasting: usize,
    /// Bits of optional operations that can change nothing after this return: a range of `Plan::expired`.
    expired: Range<usize>,
}

/// Points in time. Calls come before the returns of the same time, so that equal times overlap.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Call,
    Return,
    /// Time from which on an optional operation can change nothing. It comes after the returns of the same time.
    Expiry,
    /// Return of an operation with an answer, at an unknown time: after everything else.
    ReturnAtLast,
}

impl<'a, M: Model> Plan<'a, M> {
    /// Prepares a history. Returns none if the operations that are pending at all returns together are more than `steps_max`.
    pub(super) fn new(
        mut operations: Vec<&'a Operation<M::Input, M::Output>>,
        steps_max: u64,
    ) -> Option<Self> {
        // A read of unknown outcome neither changes nor tells anything.
        operations.retain(|operation| operation.output.is_some() || !M::is_read(&operation.input));
        operations.sort_by_key(|operation| operation.called);
        let mut inferred = M::inferred(&operations);
        let call = |(number, operation): (usize, &&Operation<M::Input, M::Output>)| {
            let Operation { input, output, returned, .. } = (*operation).clone();
            // Without an answer the time of the return is that at which the caller gave up, which says nothing.
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

    /// Returns the state after an operation, or none if its answer is not possible in `state`.
    pub(super) fn step(&self, state: &M::State, operation: usize) -> Option<M::State> {
        let call = &self.calls[operation];
        M::step(state, &call.input, call.output.as_ref())
    }

    /// True if an operation is a read.
    pub(super) fn is_read(&self, operation: usize) -> bool {
        M::is_read(&self.calls[operation].input)
    }

    /// Bits of the optional operations that can change nothing after a return, whether they were used or not.
    pub(super) fn expired(&self, at: &Return) -> &[usize] {
        &self.expired[at.expired.clone()]
    }

    /// Operations that may be done just before a return.
    pub(super) fn pending(&self, at: &Return) -> impl Iterator<Item = usize> {
        self.pending[at.pending.clone()].iter().chain(&self.lasting[..at.lasting]).copied()
    }

    /// Those of them that must be done, with their data.
    pub(super) fn pending_certain(&self, at: &Return) -> impl Iterator<Item = (usize, Certain)> {
        self.pending[at.pending.clone()].iter().filter_map(|&operation| match self.duties[operation] {
            Duty::Certain(certain) => Some((operation, certain)),
            Duty::Optional { .. } => None,
        })
    }

    /// The operation with the next lower position by its answer ([`Model::position`]).
    pub(super) fn predecessor(&self, operation: usize) -> Option<usize> {
        match self.duties[operation] {
            Duty::Certain(certain) => certain.predecessor,
            Duty::Optional { .. } => None,
        }
    }

    /// The operation that must be done before `certain` by the positions that the answers tell, if it may not be done yet at
    /// return number `event`.
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

    /// Decides for each operation whether it must be done. The data of those that must is filled in by the next steps.
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

    /// Calls, returns and expiries in the order of time.
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

    /// Walks through all points in time and records the operations that are pending at each return.
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

    /// Lets each operation whose answer tells a position wait for the one with the next lower position.
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

/// The operation that another one must wait for.
pub(super) enum Wait {
    /// No operation that is not done yet.
    Nothing,
    /// The pending operation with this bit.
    Bit(usize),
    /// An operation that is called only after the waiting one has returned, so that it cannot be done in time.
    Future,
}
