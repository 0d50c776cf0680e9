//! Why bytes were refused.  Small facts that a counter can be keyed by; never a string.

use core::fmt;

/// Why a packet, block or message was refused.
///
/// An operating fact, not an exception: it is handled where it occurs, and moves exactly one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the named structure needs.
    Truncated {
        /// The structure or field that didn't fit.
        what: &'static str,
        /// Bytes it needs.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// Bytes remain after the last block that the header announced.
    TrailingBytes {
        /// The structure that should have ended.
        what: &'static str,
        /// How many bytes remain.
        excess: usize,
    },
    /// A message block of length 0.
    EmptyBlock,
    /// A message type that this version of the specification doesn't have.
    UnknownType {
        /// The protocol's name.
        protocol: &'static str,
        /// The type byte.
        message_type: u8,
    },
    /// A field holds a value outside the specification's domain.
    BadValue {
        /// The field's name.
        field: &'static str,
        /// What it held, widened.
        value: u64,
    },
}

impl DecodeError {
    /// The counter that this error moves: a stable, short name.
    #[must_use]
    pub fn counter(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::TrailingBytes { .. } => "trailing_bytes",
            Self::EmptyBlock => "empty_block",
            Self::UnknownType { .. } => "unknown_type",
            Self::BadValue { .. } => "bad_value",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { what, need, have } => {
                write!(f, "{what} needs {need} bytes, {have} are there")
            }
            Self::TrailingBytes { what, excess } => {
                write!(f, "{excess} bytes follow the end of {what}")
            }
            Self::EmptyBlock => f.write_str("a message block has length 0"),
            Self::UnknownType {
                protocol,
                message_type,
            } => write!(
                f,
                "{protocol} has no message type {:?} (0x{message_type:02x})",
                char::from(message_type)
            ),
            Self::BadValue { field, value } => write!(f, "{field} can't be {value}"),
        }
    }
}

impl core::error::Error for DecodeError {}
