//! Known bugs of real systems, each of which a test-only build can switch on: a test suite that does not notice them
//! would not notice them in earnest either.
//!
//! `RAFTKIT_MUTANTS=1` at compile time puts them in (`build.rs`), and `RAFTKIT_MUTANT=<name>` switches one on in every
//! [`Config`](crate::Config) made from then on. In any other build [`mutant!`] is `false`, and nothing of this exists.
//! `cargo xtask mutants --crate raft-core` runs the tests against each.

#[cfg(mutants)]
#[macro_use]
mod listing;
#[cfg(mutants)]
mod catalogue;

#[cfg(mutants)]
pub use catalogue::Mutant;

/// `mutant!(config, Name)` is true where that bug is switched on; `mutant!(config, Name, bug, right)` takes one of two
/// expressions; `mutant!(Name)` is for places that know no `config`. In a build without the bugs all are decided at
/// compile time.
macro_rules! mutant {
    ($config:expr, $name:ident, $bug:expr, $right:expr $(,)?) => {
        if mutant!($config, $name) { $bug } else { $right }
    };
    ($config:expr, $name:ident) => {{
        #[cfg(mutants)]
        let is_on = $config.mutant == Some($crate::Mutant::$name);
        #[cfg(not(mutants))]
        let is_on = {
            let _ = &$config;
            false
        };
        is_on
    }};
    ($name:ident) => {{
        #[cfg(mutants)]
        let is_on = $crate::mutants::everywhere() == Some($crate::Mutant::$name);
        #[cfg(not(mutants))]
        let is_on = false;
        is_on
    }};
}

mod counting;
mod wrong;

pub(crate) use counting::{agreed, tally};
pub(crate) use wrong::{count_twice, is_forgotten, truncate_apart};

/// Whether this build has a mutant of this name; one without mutants has none.
#[must_use]
pub fn has_mutant(name: &str) -> bool {
    #[cfg(mutants)]
    let found = Mutant::find(name).is_some();
    #[cfg(not(mutants))]
    let found = {
        let _ = name;
        false
    };
    found
}

/// The variable that names the mutant to switch on.
#[cfg(mutants)]
const VARIABLE: &str = "RAFTKIT_MUTANT";

/// What may stand before the names of this crate's mutants; a name of another crate is none of ours.
#[cfg(mutants)]
const CRATE: &str = "raft-core";

/// What `RAFTKIT_MUTANT` asks for, for code that knows no [`Config`](crate::Config).
#[cfg(mutants)]
pub(crate) fn everywhere() -> Option<Mutant> {
    static SWITCHED: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    *SWITCHED.get_or_init(Mutant::from_environment)
}

#[cfg(mutants)]
impl Mutant {
    /// The mutant of this name or number.
    #[must_use]
    pub fn find(name_or_number: &str) -> Option<Self> {
        let wanted = name_or_number.trim();
        Self::ALL.into_iter().find(|it| it.name() == wanted || wanted.parse() == Ok(it.number()))
    }

    /// What `RAFTKIT_MUTANT` asks for; none when it is not set or empty, or names a mutant of another crate.
    ///
    /// # Panics
    /// It names no mutant: the tests would pass, and say nothing.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let wanted = std::env::var(VARIABLE).ok().filter(|wanted| !wanted.is_empty())?;
        let wanted = match wanted.split_once('/') {
            Some((other, _)) if other != CRATE => return None,
            Some((_, name)) => name,
            None => &wanted,
        };
        let known = || Self::ALL.map(Self::name).join(", ");
        Some(
            Self::find(wanted)
                .unwrap_or_else(|| panic!("{VARIABLE}={wanted} is no mutant; known: {}", known())),
        )
    }
}

#[cfg(all(test, mutants))]
mod tests {
    use std::println;

    use super::*;

    /// One line a mutant, fields divided by tabs: what `cargo xtask mutants` reads.
    #[test]
    fn the_catalogue_is_listed() {
        println!();
        for it in Mutant::ALL {
            println!("mutant\t{}\t{}\t{}\t{}", it.number(), it.name(), it.what(), it.source());
        }
    }

    #[test]
    fn numbers_count_up_and_names_are_words_with_hyphens_between() {
        for (at, it) in (1..).zip(Mutant::ALL) {
            assert_eq!((it.number(), Mutant::find(it.name())), (at, Some(it)));
            assert!(it.name().split('-').all(|word| !word.is_empty()), "{}", it.name());
            assert!(it.name().chars().all(|c| c == '-' || c.is_ascii_lowercase()), "{}", it.name());
            assert!(it.what().is_ascii() && !it.source().is_empty());
        }
        assert_eq!(Mutant::find("7"), Some(Mutant::ALL[6]));
        assert_eq!(Mutant::find("no-such-bug"), None);
    }
}
