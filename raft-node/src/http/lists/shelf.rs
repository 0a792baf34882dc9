//! Lists that were made, kept for a moment: many who are woken by one change ask for the same list.

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

/// How long a list that nobody asks for is kept: longer than a client takes to come back with its next blocking query.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// How long the state of a long list is held open for others: just long enough for those who were woken together.
const OPEN_FOR: Duration = Duration::from_millis(500);
/// At most so many lists are kept; others are made for each who asks.
const KEPT_MAX: usize = 1024;

/// The lists that are kept; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    slots: Arc<Mutex<BTreeMap<ListKey, Slot>>>,
}

/// The place of one list.
#[derive(Default)]
pub(crate) struct Place {
    /// Who holds the lock looks whether the list is there, and makes it if not.
    kept: tokio::sync::Mutex<Option<Kept>>,
    /// The clients that wait for it, once for each request.
    waiting: Mutex<Vec<Client>>,
}

/// A request that waits for a list.
pub(crate) struct Waiting<'p> {
    place: &'p Place,
    client: Client,
}

impl Place {
    /// A client's request waits from now on.
    pub(crate) fn wait(&self, client: Client) -> Waiting<'_> {
        self.waiting().push(client);
        Waiting { place: self, client }
    }

    /// The list, or the place to put it.
    pub(crate) async fn kept(&self) -> tokio::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().await
    }

    /// Whoever waits.
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

/// A list that was made.
pub(crate) struct Kept {
    watch: Watch,
    index: u64,
    /// The state that it was read from.
    applied: LogId,
    body: KeptBody,
    made: Instant,
    used: Instant,
}

pub(crate) enum KeptBody {
    Empty,
    Whole(Arc<[Bytes]>),
    /// Too long to be kept; its state is, for a moment.
    Long(Option<Listing>),
}

impl KeptBody {
    /// For an answer; none where the state is to be opened again.
    fn list(&self) -> Option<ListBody> {
        match self {
            Self::Empty => Some(ListBody::Empty),
            Self::Whole(pieces) => Some(ListBody::Whole(Arc::clone(pieces))),
            Self::Long(listing) => listing.as_ref().map(|listing| ListBody::Long(listing.again())),
        }
    }
}

impl Kept {
    /// `watch` was armed before the state was opened.
    pub(crate) fn new(watch: Watch, index: u64, applied: LogId, body: KeptBody) -> Self {
        let now = Instant::now();
        Self { watch, index, applied, body, made: now, used: now }
    }

    /// The list, if it is that of a state that shows at least the entry `since`.
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
            // The state is to be opened again: it must be one in which nothing under the prefix has changed.
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

    /// Whether the list is the same in the state of this entry, which is newer than its own.
    ///
    /// A change is visible for a moment before it fires its watches: then the state is newer than what is known to be
    /// unchanged, and a read that has just seen the change elsewhere must not be followed by the list without it.
    fn holds_at(&self, applied: LogId) -> bool {
        self.watch.unchanged_through().is_some_and(|through| applied.index <= through)
    }

    /// Whether it may be of use to somebody who asks later.
    fn may_be_of_use(&self, now: Instant) -> bool {
        self.watch.unchanged_through().is_some() && now.duration_since(self.used) < KEPT_FOR
    }
}

impl Shelf {
    /// The place of a list; one of its own, which is not kept, while there are too many.
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

    /// Frees the lists that have changed, or that nobody has asked for in a while. Those at which somebody is at work stay.
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

    /// Frees every list at which nobody is at work: what is on its way to clients needs the memory.
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
