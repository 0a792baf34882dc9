//! Reads. A blocking query reads again after each change, until the answer is newer than what the client has.

use std::time::Duration;

use raftkit_kv::{KvEntry, Watched};
use tokio::time::{Instant, sleep_until};

use super::answer::Problem;
use super::lists::{List, ListKey};
use super::meta::Meta;
use super::options::Options;
use super::{Client, HttpState, client as connection};
use crate::{Consistency, Fresh};

/// The result of a read.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    /// The value that was read.
    pub(crate) value: T,
    /// The index that the client's next blocking query should name.
    pub(crate) index: u64,
    /// The freshness of the value, for the headers.
    pub(crate) meta: Meta,
}

/// Reads one key on the calling thread, because that takes only microseconds.
pub(crate) async fn entry(
    state: &HttpState,
    options: &Options,
    key: &str,
) -> Result<Seen<Option<KvEntry>>, Problem> {
    let look = |consistency| async move {
        let query = |reader: &raftkit_kv::KvReader| {
            let read = reader.get(key)?;
            let applied = read.applied;
            Ok((read, applied))
        };
        let Fresh { value: read, known_leader, last_contact } = state.handle.read(consistency, query).await?;
        let meta = Meta { known_leader, last_contact, consistency };
        Ok(Seen { value: read.value, index: read.index, meta })
    };
    until_newer(state, options, || Watched::Key(key.to_owned()), look).await
}

/// Reads a list on another thread, because that may take long and heartbeats must go on meanwhile.
pub(crate) async fn list(
    state: &HttpState,
    client: Client,
    options: &Options,
    key: &ListKey,
) -> Result<Seen<List>, Problem> {
    let look = |consistency| async move {
        // A list that is read from now on is at least as new as this confirmed read requires.
        let ready = state.handle.read(consistency, |reader| reader.applied().map(|id| (id, id))).await?;
        let list = state.lists.list(client, key, ready.value.index).await?;
        if consistency == Consistency::Stale {
            // The list may show a later state than the one that was confirmed. Confirm that state too: a stale read must
            // not show a state that a power cut on this node could take back.
            let applied = list.applied;
            state.handle.read(consistency, |_| Ok(((), applied))).await?;
        }
        let meta = Meta { known_leader: ready.known_leader, last_contact: ready.last_contact, consistency };
        let index = list.index;
        Ok(Seen { value: list, index, meta })
    };
    until_newer(state, options, || Watched::Prefix(key.prefix.clone()), look).await
}

/// Reads as fresh as the options ask for. With an index in the options it reads again after each change of the watched key or
/// prefix, until the result's index is above that index or the wait is over.
async fn until_newer<T, L: Future<Output = Result<Seen<T>, Problem>>>(
    state: &HttpState,
    options: &Options,
    watched: impl Fn() -> Watched,
    look: impl Fn(Consistency) -> L,
) -> Result<Seen<T>, Problem> {
    if options.index == 0 {
        return fresh(options, &look).await;
    }
    let mut watch = state.lists.reader.watch(watched());
    let deadline = Instant::now() + options.wait + jitter(options.wait);
    let mut stopping = state.stopping.subscribe();
    let mut client = std::pin::pin!(connection::waits_no_longer());
    let mut over = false;
    loop {
        let seen = watch.look(|| fresh(options, &look)).await?;
        if over || seen.index > options.index {
            return Ok(seen);
        }
        // Free the result, which may be large, before waiting.
        drop(seen);
        let stop = async { drop(stopping.wait_for(|stopping| *stopping).await) };
        over = tokio::select! {
            () = watch.changed() => false,
            () = sleep_until(deadline) => true,
            () = stop => true,
            () = &mut client => true,
        };
    }
}

/// Reads once. If a stale answer is older than the options allow, reads again with the default consistency.
async fn fresh<T, L: Future<Output = Result<Seen<T>, Problem>>>(
    options: &Options,
    look: &impl Fn(Consistency) -> L,
) -> Result<Seen<T>, Problem> {
    let seen = look(options.consistency).await?;
    if options.max_stale.is_some_and(|max| seen.meta.last_contact > max) {
        return look(Consistency::Default).await;
    }
    Ok(seen)
}

/// A random time of up to a sixteenth of `wait`, so that clients that began together do not all return together.
fn jitter(wait: Duration) -> Duration {
    let draw = getrandom::u32().unwrap_or(0);
    (wait / 16).mul_f64(f64::from(draw) / f64::from(u32::MAX))
}
