//! The headers of frames: rkyv structs of explicit unaligned little-endian numbers, checked before use.
//!
//! No field depends on rkyv's features, and none holds a pointer, so every header has one size and one layout.
//! Enums are one tag byte and the largest variant; bytes that a smaller variant leaves over are zero.

pub(crate) mod message;
pub(crate) mod session;

use rkyv::rancor::Fallible;
use rkyv::rend::unaligned::{u32_ule, u64_ule, u128_ule};
use rkyv::{Archive, Place, Serialize};

/// Defines a number whose archived form is spelt out: rkyv's own forms of `u64` and the like change with the features
/// that any crate in the build may enable.
macro_rules! explicit_number {
    ($name:ident, $native:ty, $archived:ty) => {
        #[doc = concat!("A `", stringify!($native), "`, archived unaligned and little-endian.")]
        #[derive(Clone, Copy)]
        pub(crate) struct $name($native);

        impl From<$native> for $name {
            fn from(value: $native) -> Self {
                Self(value)
            }
        }

        impl Archive for $name {
            type Archived = $archived;
            type Resolver = ();

            fn resolve(&self, (): (), out: Place<$archived>) {
                out.write(<$archived>::from_native(self.0));
            }
        }

        impl<S: Fallible + ?Sized> Serialize<S> for $name {
            fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
                Ok(())
            }
        }
    };
}

explicit_number!(U32, u32, u32_ule);
explicit_number!(U64, u64, u64_ule);
explicit_number!(U128, u128, u128_ule);
