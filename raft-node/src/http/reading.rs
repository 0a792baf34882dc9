//! Reads: once, or again until something has changed (blocking queries).

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use raftkit_kv::{KvReader, Read};
use raftkit_replica::MachineError;
use tokio::time::{Instant, sleep_until};

use super::HttpState;
use super::answer::Problem;
use super::meta::Meta;
use super::options::Options;
use crate::{Consistency, Fresh, ReadError};

/// Where a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// On the thread that asks: microseconds.
    Light,
    /// On a thread of its own: it may take long, and heartbeats must go on beside it.
    Heavy,
}

/// What a read found.
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    /// The answer.
    pub(crate) value: T,
    /// The index to block on next.
    pub(crate) index: u64,
    /// What the headers say of it.
    pub(crate) meta: Meta,
    /// To look again without a message.
    reader: KvReader,
}

impl<T> Seen<T> {
    /// Puts the headers about the read onto an answer.
    pub(crate) fn describe(&self, response: Response) -> Response {
        self.meta.describe(response, Some(self.index))
    }
}

/// Asks `query` as fresh as the options say; and again, after each change, until its index is above theirs.
pub(crate) async fn read<T, Q>(
    state: &HttpState,
    options: &Options,
    weight: Weight,
    query: Q,
) -> Result<Seen<T>, Problem>
where
    T: Send + 'static,
    Q: Fn(&KvReader) -> Result<Read<T>, MachineError> + Clone + Send + Sync + 'static,
{
    if options.index == 0 {
        return fresh(state, options, weight, &query).await;
    }
    // Before the read: what is applied after it must not be missed.
    let mut applied = state.handle.applied();
    let deadline = Instant::now() + options.wait + jitter(options.wait);
    let mut stopping = state.stopping.subscribe();
    let mut over = false;
    loop {
        applied.borrow_and_update();
        let seen = fresh(state, options, weight, &query).await?;
        if over || seen.index > options.index {
            return Ok(seen);
        }
        over = loop {
            let stop = async { drop(stopping.wait_for(|stopping| *stopping).await) };
            tokio::select! {
                changed = applied.changed() => if changed.is_err() { break true },
                () = sleep_until(deadline) => break true,
                () = stop => break true,
            }
            // A look at what this node has applied costs no message. Only when it shows a change is the question asked
            // as fresh as the client wants it.
            let look = ask(&seen.reader, weight, &query).await?;
            if look.index > options.index {
                break false;
            }
        };
    }
}

/// Asks once, and once more where a stale answer is staler than allowed.
async fn fresh<T, Q>(
    state: &HttpState,
    options: &Options,
    weight: Weight,
    query: &Q,
) -> Result<Seen<T>, Problem>
where
    T: Send + 'static,
    Q: Fn(&KvReader) -> Result<Read<T>, MachineError> + Clone + Send + Sync + 'static,
{
    let seen = once(state, options.consistency, weight, query).await?;
    if options.max_stale.is_some_and(|max| seen.meta.last_contact > max) {
        return once(state, Consistency::Default, weight, query).await;
    }
    Ok(seen)
}

async fn once<T, Q>(
    state: &HttpState,
    consistency: Consistency,
    weight: Weight,
    query: &Q,
) -> Result<Seen<T>, Problem>
where
    T: Send + 'static,
    Q: Fn(&KvReader) -> Result<Read<T>, MachineError> + Clone + Send + Sync + 'static,
{
    let Fresh { value: (read, reader), known_leader, last_contact } = match weight {
        Weight::Light => {
            let here = |reader: &KvReader| {
                let read = query(reader)?;
                let applied = read.applied;
                Ok(((read, reader.clone()), applied))
            };
            state.handle.read(consistency, here).await?
        }
        Weight::Heavy => heavy(state, consistency, query).await?,
    };
    let meta = Meta { known_leader, last_contact, consistency };
    // 0 would tell the client not to block next time.
    Ok(Seen { value: read.value, index: read.index.max(1), meta, reader })
}

/// As a light read, on another thread. What is read there is at least as new as the moment that the read may show.
async fn heavy<T, Q>(
    state: &HttpState,
    consistency: Consistency,
    query: &Q,
) -> Result<Fresh<(Read<T>, KvReader)>, Problem>
where
    T: Send + 'static,
    Q: Fn(&KvReader) -> Result<Read<T>, MachineError> + Clone + Send + Sync + 'static,
{
    let ready = state.handle.read(consistency, |reader| Ok((reader.clone(), reader.applied()?))).await?;
    let read = ask(&ready.value, Weight::Heavy, query).await?;
    if consistency == Consistency::Stale {
        // The state has moved on meanwhile: a stale read must show none that a power cut could take back.
        let applied = read.applied;
        state.handle.read(consistency, |_| Ok(((), applied))).await?;
    }
    Ok(Fresh {
        value: (read, ready.value),
        known_leader: ready.known_leader,
        last_contact: ready.last_contact,
    })
}

/// Asks this node's state as it is now.
async fn ask<T, Q>(reader: &KvReader, weight: Weight, query: &Q) -> Result<Read<T>, Problem>
where
    T: Send + 'static,
    Q: Fn(&KvReader) -> Result<Read<T>, MachineError> + Clone + Send + 'static,
{
    let read = match weight {
        Weight::Light => query(reader),
        Weight::Heavy => {
            let (reader, query) = (reader.clone(), query.clone());
            tokio::task::spawn_blocking(move || query(&reader)).await.map_err(|error| {
                tracing::error!(%error, "a read ended early");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the read ended early")
            })?
        }
    };
    Ok(read.map_err(ReadError::from)?)
}

/// Up to a sixteenth of `wait`, at random: so that clients that began together do not all return together.
fn jitter(wait: Duration) -> Duration {
    let draw = getrandom::u32().unwrap_or(0);
    (wait / 16).mul_f64(f64::from(draw) / f64::from(u32::MAX))
}
