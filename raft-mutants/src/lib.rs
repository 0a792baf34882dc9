#![doc = include_str!("../README.md")]
#![cfg_attr(not(mutants), no_std)]

#[cfg(mutants)]
mod built_in;
#[cfg(not(mutants))]
mod left_out;

#[cfg(mutants)]
#[doc(hidden)]
pub use built_in::{unknown, wanted_of};

/// Whether the mutants are in this build.
pub const BUILT_IN: bool = cfg!(mutants);

/// `mutant!(Name)` is true where that bug is switched on, `mutant!(One | Other)` where one of them is; `mutant!(Name, bug,
/// right)` takes one of two expressions. The names are those of the calling crate's `mutants::Mutant`. In a build without
/// the mutants all are decided at compile time.
#[macro_export]
#[expect(
    clippy::crate_in_macro_def,
    reason = "each crate has a catalogue of its own, in its module `mutants`"
)]
macro_rules! mutant {
    ($name:ident, $bug:expr, $right:expr $(,)?) => {
        if $crate::mutant!($name) { $bug } else { $right }
    };
    ($($name:ident)|+) => {
        $crate::BUILT_IN && ::core::matches!(
            crate::mutants::Mutant::switched(),
            ::core::option::Option::Some($(crate::mutants::Mutant::$name)|+)
        )
    };
}
