//! Named counters: each kind is a variant with a line of text.

/// Declares an enum of kinds, and a counter for each.
macro_rules! counts {
    (
        $(#[$doc:meta])* $kind:ident, $(#[$all_doc:meta])* $counts:ident:
        $($name:ident = $text:literal,)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind { $($name,)* }

        impl $kind {
            /// All kinds in order, with their texts.
            pub const ALL: &[($kind, &str)] = &[$(($kind::$name, $text),)*];
        }

        $(#[$all_doc])*
        #[derive(Clone)]
        pub struct $counts([u64; $kind::ALL.len()]);

        impl Default for $counts {
            fn default() -> Self {
                Self([0; $kind::ALL.len()])
            }
        }

        impl $counts {
            pub fn hit(&mut self, kind: $kind) {
                self.0[kind as usize] += 1;
            }

            pub fn count(&self, kind: $kind) -> u64 {
                self.0[kind as usize]
            }

            pub fn add(&mut self, other: &Self) {
                self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
            }
        }
    };
}
