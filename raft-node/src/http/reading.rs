//! Reads: once, or again after each change until the answer is newer than what the client has (blocking queries).

use std::time::Duration;

use raftkit_kv::{KvEntry, Watched};
use tokio::time::{Instant, sleep_until};

use super::answer::Problem;
use super::lists::{List, ListKey};
use super::meta::Meta;
use super::options::Options;
use super::{Client, HttpState, client as connection};
use crate::{Consistency, Fresh};

/// What a read found.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    /// The answer.
    pub(crate) value: T,
    /// The index to block on next.
    pub(crate) index: u64,
    /// What the headers say of it.
    pub(crate) meta: Meta,
}

/// Reads one key, on the thread that asks: that takes microseconds.
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

/// Reads a list, on another thread: that may take long, and heartbeats must go on beside it.
pub(crate) async fn list(
    state: &HttpState,
    client: Client,
    options: &Options,
    key: &ListKey,
) -> Result<Seen<List>, Problem> {
    let look = |consistency| async move {
        // What is read from now on is at least as new as the moment that the read may show.
        let ready = state.handle.read(consistency, |reader| reader.applied().map(|id| (id, id))).await?;
        let list = state.lists.list(client, key, ready.value.index).await?;
        if consistency == Consistency::Stale {
            // The state has moved on meanwhile: a stale read must show none that a power cut could take back.
            let applied = list.applied;
            state.handle.read(consistency, |_| Ok(((), applied))).await?;
        }
        let meta = Meta { known_leader: ready.known_leader, last_contact: ready.last_contact, consistency };
        let index = list.index;
        Ok(Seen { value: list, index, meta })
    };
    until_newer(state, options, || Watched::Prefix(key.prefix.clone()), look).await
}

/// Looks as fresh as the options say; and again, after each change of what is watched, until the index is above theirs.
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
        // What was found is not needed any more, and may be large.
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

/// Looks once, and once more where a stale answer is staler than allowed.
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

/// Up to a sixteenth of `wait`, at random: so that clients that began together do not all return together.
fn jitter(wait: Duration) -> Duration {
    let draw = getrandom::u32().unwrap_or(0);
    (wait / 16).mul_f64(f64::from(draw) / f64::from(u32::MAX))
}
