//! Where the half of a store that owns redb is kept: the settler takes it out for a chore, the flusher where the journal is full.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{StoreError, Trouble};
use crate::settler::SettleCore;

/// The core, from either half.
#[derive(Clone, Debug)]
pub(crate) struct SharedCore(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    /// None while somebody holds it.
    core: Mutex<Option<Box<SettleCore>>>,
    put_back: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Box<SettleCore>>> {
        // Nobody panics while it holds it.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The core, taken out. It is a value and no guard, as it is held from the beginning of a step to its end, and who simulates two
/// threads in one does other things between them.
#[derive(Debug)]
pub(crate) struct Held {
    core: Option<Box<SettleCore>>,
    slot: Arc<Slot>,
}

impl SharedCore {
    pub(crate) fn new(core: SettleCore) -> Self {
        Self(Arc::new(Slot { core: Mutex::new(Some(Box::new(core))), put_back: Condvar::new() }))
    }

    /// Takes the core out, once the other half has put it back.
    pub(crate) fn take_out(&self) -> Held {
        let waiting = self.0.put_back.wait_while(self.0.lock(), |core| core.is_none());
        let core = waiting.unwrap_or_else(PoisonError::into_inner).take();
        Held { core, slot: self.0.clone() }
    }

    /// True while somebody holds it.
    pub(crate) fn is_out(&self) -> bool {
        self.0.lock().is_none()
    }
}

impl Held {
    /// Puts the core back, after something that has come to this: what was done is shown, or the store has ended.
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
        // Dropped in the middle, by a panic or with the process that it is of: what it would go on from is not what is shown.
        if core.has_more_to_show() {
            core.shared.end();
        }
        *self.slot.lock() = Some(core);
        self.slot.put_back.notify_one();
    }
}
