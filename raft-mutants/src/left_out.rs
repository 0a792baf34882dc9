//! The catalogue in any build that someone would run: names that can be asked for, and nothing behind them.

/// Makes `Mutant` from the list of a crate's mutants; its numbers and words are left out of this build.
#[macro_export]
macro_rules! catalogue {
    ($krate:literal; $(
        $(#[$when:meta])? $number:literal $variant:ident $name:literal $source:literal $what:literal,
    )*) => {
        /// A bug that a test-only build can switch on; not this one.
        #[allow(missing_docs, reason = "what each does is known to the builds that have them")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$when])? $variant,)*
        }

        impl Mutant {
            /// None is in this build.
            pub const ALL: &'static [Self] = &[];

            /// None has a name in this build.
            #[must_use]
            pub const fn find(_name_or_number: &str) -> Option<Self> {
                None
            }

            /// None can be switched on in this build.
            #[must_use]
            pub const fn switched() -> Option<Self> {
                None
            }
        }
    };
}
