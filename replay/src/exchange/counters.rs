//! What the exchange's servers count: each counter has one sentence.

/// Declares a struct of counters, each with its sentence, that can be listed.
macro_rules! counters {
    (
        $(#[$meta:meta])*
        pub struct $counters:ident {
            $(#[doc = $help:literal] $name:ident,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $counters {
            $(#[doc = $help] pub $name: u64,)+
        }

        impl $counters {
            /// Each counter's name, its sentence, and its value.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help.trim_ascii(), self.$name),)+].into_iter()
            }
        }
    };
}
pub(super) use counters;
