//! The slot that holds the half owning redb. The settler takes it for a chore, the flusher when the journal is full.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{StoreError, Trouble};
use crate::settler::SettleCore;

/// A handle to the slot, one for each half.
#[derive(Clone, Debug)]
pub(crate) struct SharedCore(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    /// `None` while one of the halves holds the core.
    core: Mutex<Option<Box<SettleCore>>>,
    put_back: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Box<SettleCore>>> {
        // Poisoning can be ignored: nothing panics while holding this lock.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The core, taken out of its slot. A value rather than a lock guard, because it is held from the beginning of a step
/// to its end, and a simulator that runs both halves in one thread does other work in between.
#[derive(Debug)]
pub(crate) struct Held {
    core: Option<Box<SettleCore>>,
    slot: Arc<Slot>,
}

impl SharedCore {
    pub(crate) fn new(core: SettleCore) -> Self {
        Self(Arc::new(Slot { core: Mutex::new(Some(Box::new(core))), put_back: Condvar::new() }))
    }

    /// Takes the core, waiting until the other half has put it back.
    pub(crate) fn take_out(&self) -> Held {
        let waiting = self.0.put_back.wait_while(self.0.lock(), |core| core.is_none());
        let core = waiting.unwrap_or_else(PoisonError::into_inner).take();
        Held { core, slot: self.0.clone() }
    }

    /// Returns true if one of the halves holds the core.
    pub(crate) fn is_out(&self) -> bool {
        self.0.lock().is_none()
    }
}

impl Held {
    /// Puts the core back after a step: success makes the step's effects visible, an error ends the store.
    pub(crate) fn put_back<T>(mut self, result: Result<T, Trouble>) -> Result<T, StoreError> {
        match result {
            Ok(done) => {
                self.show();
                Ok(done)
            }
            error @ Err(_) => self.shared.end_on_error(error),
        }
    }
}

impl Deref for Held {
    type Target = SettleCore;

    fn deref(&self) -> &SettleCore {
        self.core.as_ref().expect("only dropping it takes it away")
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut SettleCore {
        self.core.as_mut().expect("only dropping it takes it away")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(core) = self.core.take() else { return };
        // Dropped in the middle of a step, by a panic or because its process ended. The core is ahead of what others
        // see, so the store must end.
        if core.has_more_to_show() {
            core.shared.end();
        }
        *self.slot.lock() = Some(core);
        self.slot.put_back.notify_one();
    }
}
