//! The catalogue in a build that has the mutants: what is known of each, and which one is switched on.

/// The variable that names the mutant to switch on.
const VARIABLE: &str = "RAFTKIT_MUTANT";

/// Makes `Mutant`, and the tests that list and check the catalogue, from the list of a crate's mutants.
#[macro_export]
macro_rules! catalogue {
    ($krate:literal; $(
        $(#[$when:meta])? $number:literal $variant:ident $name:literal $source:literal $what:literal,
    )*) => {
        /// A bug that a test-only build can switch on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$when])? #[doc = $what] $variant,)*
        }

        impl Mutant {
            /// All, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$($(#[$when])? Self::$variant),*];

            /// Its number, from 1.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self {
                    $($(#[$when])? Self::$variant => $number,)*
                }
            }

            /// Its name in words, with hyphens between them.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($(#[$when])? Self::$variant => $name,)*
                }
            }

            /// What it does wrong, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $($(#[$when])? Self::$variant => $what,)*
                }
            }

            /// The section that it breaks, or the system that had it.
            #[must_use]
            pub const fn source(self) -> &'static str {
                match self {
                    $($(#[$when])? Self::$variant => $source,)*
                }
            }

            /// The mutant of this name or number.
            #[must_use]
            pub fn find(name_or_number: &str) -> Option<Self> {
                let wanted = name_or_number.trim();
                Self::ALL.iter().copied().find(|it| it.name() == wanted || wanted.parse() == Ok(it.number()))
            }

            /// What `RAFTKIT_MUTANT` asked for when this was first called; none when that was not set, or names a mutant
            /// of another crate.
            ///
            /// # Panics
            /// It names no mutant of this crate: the tests would pass, and say nothing.
            #[must_use]
            pub fn switched() -> Option<Self> {
                static SWITCHED: ::std::sync::OnceLock<Option<Mutant>> = ::std::sync::OnceLock::new();
                *SWITCHED.get_or_init(|| {
                    let wanted = $crate::wanted_of($krate)?;
                    Some(Self::find(&wanted).unwrap_or_else(|| $crate::unknown($krate, &wanted, &[$($(#[$when])? $name),*])))
                })
            }
        }

        #[cfg(test)]
        mod tests {
            use super::Mutant;

            /// One line a mutant, fields divided by tabs: what `cargo xtask mutants` reads.
            #[test]
            fn the_catalogue_is_listed() {
                ::std::println!();
                for it in Mutant::ALL {
                    ::std::println!("mutant\t{}\t{}\t{}\t{}", it.number(), it.name(), it.what(), it.source());
                }
            }

            #[test]
            fn numbers_count_up_and_names_are_words_with_hyphens_between() {
                for (at, it) in (1..).zip(Mutant::ALL) {
                    assert_eq!((it.number(), Mutant::find(it.name())), (at, Some(*it)));
                    assert!(it.name().split('-').all(|word| !word.is_empty()), "{}", it.name());
                    assert!(it.name().chars().all(|c| c == '-' || c.is_ascii_lowercase()), "{}", it.name());
                    assert!(it.what().is_ascii() && !it.source().is_empty());
                }
                assert_eq!(Mutant::find("no-such-bug"), None);
            }
        }
    };
}

/// What `RAFTKIT_MUTANT` asks for, if it is of this crate: what stands behind `<crate>/`.
#[doc(hidden)]
#[must_use]
pub fn wanted_of(krate: &str) -> Option<String> {
    name_in(&std::env::var(VARIABLE).ok()?, krate).map(str::to_owned)
}

fn name_in<'a>(wanted: &'a str, krate: &str) -> Option<&'a str> {
    wanted.split_once('/').filter(|(of, _)| *of == krate).map(|(_, name)| name)
}

/// Ends a process that was to run with a mutant that does not exist.
///
/// # Panics
/// Always.
#[doc(hidden)]
pub fn unknown(krate: &str, wanted: &str, known: &[&str]) -> ! {
    panic!("{VARIABLE}={krate}/{wanted} is no mutant; known: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::name_in;

    #[test]
    fn a_name_counts_in_its_own_crate() {
        assert_eq!(name_in("raft-log/a-b", "raft-log"), Some("a-b"));
        assert_eq!(name_in("raft-log/a-b", "raft-net"), None);
        assert_eq!(name_in("a-b", "raft-log"), None);
        assert_eq!(name_in("", "raft-log"), None);
    }
}
