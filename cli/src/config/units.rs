//! Durations and sizes as people write them: `"1500ms"`, `"32MiB"`.
//!
//! A whole number and a unit, nothing else: `1.5s` and `1500` are refused, so that nobody has to guess.

use std::fmt;

use serde::{Serialize, Serializer};

/// Units of a duration, largest first, in nanoseconds.
const DURATIONS: [(&str, u64); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of a size, largest first, in bytes.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A duration in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) u64);

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

impl Nanos {
    /// Milliseconds.
    pub(crate) const fn ms(count: u64) -> Self {
        Self(count * 1_000_000)
    }

    /// Microseconds.
    pub(crate) const fn us(count: u64) -> Self {
        Self(count * 1_000)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        parse(text, &DURATIONS).map(Self)
    }
}

impl Bytes {
    /// Times 1,024.
    pub(crate) const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// Times 1,048,576.
    pub(crate) const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        parse(text, &SIZES).map(Self)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &DURATIONS)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &SIZES)
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    count.parse::<u64>().ok()?.checked_mul(*factor)
}

/// In the largest unit that loses nothing.
fn show(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let exact = units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    match exact.or(units.last()) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        for (text, nanos) in [
            ("1500ms", 1_500_000_000),
            ("3s", 3_000_000_000),
            ("7ns", 7),
            ("0ns", 0),
        ] {
            assert_eq!(Nanos::parse(text), Some(Nanos(nanos)));
            assert_eq!(Nanos(nanos).to_string(), text);
        }
        for (text, bytes) in [("32MiB", 32 << 20), ("208KiB", 208 << 10), ("1B", 1)] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)));
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn numbers_without_unit_fractions_and_overflow_are_refused() {
        for text in [
            "",
            "5",
            "ms",
            "1.5s",
            "-1s",
            "1 min",
            "99999999999s",
            "5MiB",
        ] {
            assert_eq!(Nanos::parse(text), None, "{text}");
        }
        for text in ["32MB", "32", "17179869184GiB"] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
    }
}
