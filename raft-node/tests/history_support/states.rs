//! Rules for reads of every mode, stale ones included: each shows the state of the index that it reports, and within one life
//! of one node none shows an older state than a read before it.

use std::collections::BTreeMap;

use super::judge::line;
use super::{Ask, Event, KEYS, Shown, Told, keys_of};

/// All that reads have shown, by key and modify index.
pub struct States {
    versions: BTreeMap<(usize, u64), Shown>,
    /// The first index under which a value was shown.
    index_of: BTreeMap<(usize, u64), u64>,
}

impl States {
    /// Collects what was shown.
    ///
    /// # Errors
    /// Two reads contradict each other, or show what nobody can have written.
    pub fn of(events: &[Event]) -> Result<Self, String> {
        let mut puts = BTreeMap::new();
        for event in events {
            if let Ask::Put { key, value, .. } = event.ask {
                puts.insert((key, value), event);
            }
        }
        let mut states = Self { versions: BTreeMap::new(), index_of: BTreeMap::new() };
        let mut owners = BTreeMap::new();
        for event in events {
            let Told::Found { index, shown: all } = &event.told else { continue };
            for shown in all {
                let (key, modified) = (shown.key, shown.modified);
                let put = puts.get(&(key, shown.value)).filter(|put| put.called < event.returned);
                let Some(put) = put else {
                    return Err(format!("a value that nobody had put yet:\n{}", line(event)));
                };
                if matches!(put.told, Told::NotDone(_) | Told::Done(false)) {
                    return Err(format!(
                        "what was certainly not done is shown:\n{}\n{}",
                        line(put),
                        line(event)
                    ));
                }
                let first = *states.versions.entry((key, modified)).or_insert(*shown);
                let owner = *owners.entry(modified).or_insert(key);
                if first != *shown || owner != key || shown.created > modified {
                    return Err(format!(
                        "{} as {first:?} is elsewhere shown differently:\n{}",
                        KEYS[owner],
                        line(event)
                    ));
                }
                let is_one_key = matches!(event.ask, Ask::Get { .. });
                let is_odd = if is_one_key { *index != modified } else { *index < modified };
                if is_odd {
                    return Err(format!("an index that is not that of what is shown:\n{}", line(event)));
                }
                let first = states.index_of.entry((key, shown.value)).or_insert(modified);
                *first = modified.min(*first);
            }
        }
        Ok(states)
    }

    /// The index under which a value was shown.
    pub fn index_of(&self, key: usize, value: u64) -> Option<u64> {
        self.index_of.get(&(key, value)).copied()
    }

    /// Every read shows the state of its index, and no older one than another read of the same node and life had shown
    /// before.
    ///
    /// # Errors
    /// A read that does not, with what it contradicts.
    pub fn check_each_node(&self, events: &[Event]) -> Result<(), String> {
        let mut lives: BTreeMap<(usize, u64), Vec<&Event>> = BTreeMap::new();
        for event in events {
            match (&event.told, event.life) {
                (Told::Found { .. } | Told::Names { .. }, Some(life)) => {
                    lives.entry((event.node, life)).or_default().push(event);
                }
                (Told::Found { .. } | Told::Names { .. }, None) => self.check(event, None)?,
                (Told::Done(_) | Told::NotDone(_) | Told::Unknown(_), _) => {}
            }
        }
        for mut reads in lives.into_values() {
            let mut ended = reads.clone();
            reads.sort_by_key(|event| event.called);
            ended.sort_by_key(|event| event.returned);
            let (mut ended, mut newest) = (ended.into_iter().peekable(), None);
            for read in reads {
                while let Some(before) = ended.next_if(|before| before.returned < read.called) {
                    if newest.is_none_or(|newest| proven(newest) < proven(before)) {
                        newest = Some(before);
                    }
                }
                self.check(read, newest)?;
            }
        }
        Ok(())
    }

    /// One read, after the one that had shown the newest state by then.
    fn check(&self, event: &Event, newest: Option<&Event>) -> Result<(), String> {
        let own = proven(event);
        let at = own.max(newest.map_or(0, proven));
        let contradicts = |what: &str| {
            let before = newest.map_or_else(|| "nothing".to_owned(), line);
            Err(format!(
                "{what}, at index {at} or later:\n{}\nthe node had shown before:\n{before}",
                line(event)
            ))
        };
        let (keys, index): (Vec<usize>, u64) = match (&event.ask, &event.told) {
            (Ask::Get { key, .. }, Told::Found { index, shown }) => {
                if shown.is_empty() && *index < at {
                    return contradicts("a state that is too old");
                }
                (vec![*key], *index)
            }
            (Ask::List { tree, .. }, Told::Found { index, .. }) => (keys_of(*tree).collect(), *index),
            (Ask::Names { tree, .. }, Told::Names { index, keys }) => {
                // Which versions they are is not told.
                (keys_of(*tree).filter(|key| !keys.contains(key)).collect(), *index)
            }
            _ => return Ok(()),
        };
        for key in keys {
            let shown = match &event.told {
                Told::Found { shown, .. } => shown.iter().find(|shown| shown.key == key),
                Told::Done(_) | Told::Names { .. } | Told::NotDone(_) | Told::Unknown(_) => None,
            };
            match shown {
                Some(shown) => {
                    let later = self.versions.range((key, shown.modified + 1)..).next();
                    if let Some((_, later)) = later.filter(|((of, index), _)| *of == key && *index <= at) {
                        return contradicts(&format!("{shown:?} was replaced by {later:?}"));
                    }
                }
                // The next version that is known tells whether the key was there.
                None => {
                    // For a single key that is missing nothing at all has changed since its index.
                    let next = self.versions.range((key, at)..=(key, u64::MAX)).next();
                    if let Some((_, there)) = next.filter(|(_, there)| there.created <= at) {
                        return contradicts(&format!(
                            "{} is missing at {index} and was {there:?}",
                            KEYS[key]
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The state that a read shows is at least of this index.
fn proven(event: &Event) -> u64 {
    match &event.told {
        Told::Found { index, .. } | Told::Names { index, .. } => *index,
        Told::Done(_) | Told::NotDone(_) | Told::Unknown(_) => 0,
    }
}
