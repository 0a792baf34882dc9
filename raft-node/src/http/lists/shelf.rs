//! Finished lists, kept for a short time, because many blocking queries that are woken by one change ask for the same list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex};
use raftkit_kv::{KvReader, Listing, Watch};
use raftkit_replica::MachineError;
use tokio::time::Instant;

use super::encoding::ListError;
use super::{Client, List, ListBody, ListKey};

/// Time that a list is kept after the last request for it: longer than a client takes to send its next blocking query.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Time that the state of a long list is held open for further requests: just long enough for queries that were woken together.
const OPEN_FOR: Duration = Duration::from_millis(500);
/// Maximum number of lists that are kept; further lists are made for each request.
const KEPT_MAX: usize = 1024;

/// The lists that are kept; it is cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    slots: Arc<Mutex<BTreeMap<ListKey, Slot>>>,
}

/// The place of one list.
#[derive(Default)]
pub(crate) struct Place {
    /// The finished list. The holder of the lock makes the list if there is none.
    kept: tokio::sync::Mutex<Option<Kept>>,
    /// The clients that wait for the list, once for each request.
    waiting: Mutex<Vec<Client>>,
}

/// A request that waits for a list.
pub(crate) struct Waiting<'p> {
    place: &'p Place,
    client: Client,
}

impl Place {
    /// Registers a client's request as waiting until the result is dropped.
    pub(crate) fn wait(&self, client: Client) -> Waiting<'_> {
        self.waiting().push(client);
        Waiting { place: self, client }
    }

    /// Locks the list, or the place to put it.
    pub(crate) async fn kept(&self) -> tokio::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().await
    }

    /// The clients that wait.
    pub(crate) fn clients(&self) -> BTreeSet<Client> {
        self.waiting().iter().copied().collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Client>> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.place.waiting();
        if let Some(at) = waiting.iter().position(|client| *client == self.client) {
            waiting.swap_remove(at);
        }
    }
}

type Slot = Arc<Place>;

/// A finished list.
pub(crate) struct Kept {
    watch: Watch,
    index: u64,
    /// The last entry that was applied to the state from which the list was read.
    applied: LogId,
    body: KeptBody,
    made: Instant,
    used: Instant,
}

pub(crate) enum KeptBody {
    Empty,
    Whole(Arc<[Bytes]>),
    /// A list that is too long to be kept. Its state is kept instead, for a short time.
    Long(Option<Listing>),
}

impl KeptBody {
    /// The list for an answer; none if the state must be opened again.
    fn list(&self) -> Option<ListBody> {
        match self {
            Self::Empty => Some(ListBody::Empty),
            Self::Whole(pieces) => Some(ListBody::Whole(Arc::clone(pieces))),
            Self::Long(listing) => listing.as_ref().map(|listing| ListBody::Long(listing.again())),
        }
    }
}

impl Kept {
    /// Keeps a finished list. `watch` must have been armed before the list's state was opened.
    pub(crate) fn new(watch: Watch, index: u64, applied: LogId, body: KeptBody) -> Self {
        let now = Instant::now();
        Self { watch, index, applied, body, made: now, used: now }
    }

    /// The list, if it is that of a state to which the entry `since`, or a later one, is applied.
    pub(crate) fn list(
        &mut self,
        reader: &KvReader,
        key: &ListKey,
        since: LogIndex,
    ) -> Result<Option<List>, ListError> {
        let Some((applied, body)) = self.current(reader, key, since)? else { return Ok(None) };
        self.used = Instant::now();
        Ok(Some(List { index: self.index, applied, key: key.clone(), body }))
    }

    fn current(
        &self,
        reader: &KvReader,
        key: &ListKey,
        since: LogIndex,
    ) -> Result<Option<(LogId, ListBody)>, MachineError> {
        let Some(body) = self.body.list() else {
            // Open the state again. The list's index is valid only if nothing under the prefix has changed in that state.
            let listing = reader.listing(&key.prefix)?;
            let applied = listing.applied();
            return Ok(self.holds_at(applied).then_some((applied, ListBody::Long(listing))));
        };
        if self.applied.index >= since {
            return Ok(Some((self.applied, body)));
        }
        let applied = reader.applied()?;
        Ok(self.holds_at(applied).then_some((applied, body)))
    }

    /// Whether the list is the same in the state of the entry `applied`, which is newer than the list's own.
    ///
    /// For a moment readers see a change that has not fired its watches yet. Then the state is newer than the entry up to which
    /// the watch is known to be unchanged. Answering with the kept list would be wrong: a client that has just read the change
    /// elsewhere would get a list without it.
    fn holds_at(&self, applied: LogId) -> bool {
        self.watch.unchanged_through().is_some_and(|through| applied.index <= through)
    }

    /// Whether the list may serve a later request.
    fn may_be_of_use(&self, now: Instant) -> bool {
        self.watch.unchanged_through().is_some() && now.duration_since(self.used) < KEPT_FOR
    }
}

impl Shelf {
    /// The place of a list. If too many lists are kept, the result is a new place, which is not kept.
    pub(crate) fn place(&self, key: &ListKey) -> Arc<Place> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        if slots.len() < KEPT_MAX {
            slots.insert(key.clone(), Arc::clone(&slot));
        }
        slot
    }

    /// Frees lists that have changed, or that nobody has asked for in a while. Lists that are being made stay.
    pub(crate) fn sweep(&self, now: Instant) {
        self.lock().retain(|_, slot| {
            let Ok(mut kept) = slot.kept.try_lock() else { return true };
            match &mut *kept {
                Some(list) if list.may_be_of_use(now) => {
                    if let KeptBody::Long(listing) = &mut list.body
                        && now.duration_since(list.made) >= OPEN_FOR
                    {
                        *listing = None;
                    }
                    true
                }
                Some(_) => {
                    *kept = None;
                    Arc::strong_count(slot) > 1
                }
                None => Arc::strong_count(slot) > 1,
            }
        });
    }

    /// Frees all lists that are not being made, because answers on their way to clients need the memory.
    pub(crate) fn free(&self) {
        self.lock().retain(|_, slot| match slot.kept.try_lock() {
            Ok(mut kept) => {
                *kept = None;
                Arc::strong_count(slot) > 1
            }
            Err(_) => true,
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ListKey, Slot>> {
        // Nothing panics while it is held.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
