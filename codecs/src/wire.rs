//! What every wire struct has in common: field types that know how they are read and shown, and the
//! macros that declare structs and message enums from a table that reads like the specification's.
//!
//! A struct is declared once, with the specification's offsets; size and offsets are asserted at
//! compile time, and its fields can be listed by the specification's names in snake case (which is
//! what `tickcast inspect` prints).

use zerocopy::byteorder::{big_endian as be, little_endian as le};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::types::{Price, Text};

/// One field's value, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// An unsigned number.
    Uint(u64),
    /// A signed number.
    Int(i64),
    /// A price: shown as a decimal string.
    Price(Price),
    /// Text without its padding.
    Text(&'a [u8]),
    /// One character; a space is kept, a NUL is shown as empty.
    Char(u8),
    /// A byte of flags: (name, mask) from the lowest bit up.
    Flags(u8, &'static [(&'static str, u8)]),
}

/// A wire type that can show its value.
pub trait WireValue {
    /// The value to show.
    fn value(&self) -> Value<'_>;
}

/// A wire struct that can list its fields.
pub trait Fields {
    /// The message's name: the specification's, in snake case.
    const NAME: &'static str;

    /// Calls `visit` with the name and value of each field, in wire order.
    fn fields<'a>(&'a self, visit: &mut dyn FnMut(&'static str, Value<'a>));
}

/// Declares a field type over raw bytes.
macro_rules! wire_type {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
        )]
        #[repr(transparent)]
        pub struct $name(pub $inner);
    };
}

wire_type! {
    /// One ASCII character.
    Char(u8)
}
wire_type! {
    /// ITCH's six-byte big-endian timestamp: nanoseconds since midnight, Eastern time.
    BeTimestamp48([u8; 6])
}
wire_type! {
    /// ITCH `Price(4)`: big-endian unsigned, four implied decimals.
    BePrice4(be::U32)
}
wire_type! {
    /// ITCH `Price(8)`: big-endian unsigned, eight implied decimals.
    BePrice8(be::U64)
}
wire_type! {
    /// IEX `Price`: little-endian signed, four implied decimals.
    LePrice4(le::I64)
}
wire_type! {
    /// IEX `Timestamp`: little-endian nanoseconds since the Unix epoch.
    LeTimestamp(le::I64)
}
wire_type! {
    /// IEX `Event Time`: little-endian seconds since the Unix epoch.
    LeEventTime(le::U32)
}

/// ASCII, left-justified, padded with spaces.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Alpha<const N: usize>(pub [u8; N]);

impl<const N: usize> Alpha<N> {
    /// The text without its padding.
    #[must_use]
    pub fn trimmed(&self) -> &[u8] {
        let end = self
            .0
            .iter()
            .rposition(|&b| b != b' ' && b != 0)
            .map_or(0, |last| last.saturating_add(1));
        self.0.get(..end).unwrap_or(&self.0)
    }

    /// The text, owned, in at most `M` bytes.
    #[must_use]
    pub fn text<const M: usize>(&self) -> Text<M> {
        Text::from_padded(&self.0)
    }
}

impl BeTimestamp48 {
    /// Nanoseconds since midnight.
    #[must_use]
    pub fn nanos(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// To wire bytes; the upper 16 bits are cut (a day has less than 2^47 ns).
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = nanos.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl BePrice4 {
    /// In our units.
    #[must_use]
    pub fn price(self) -> Price {
        Price::from_4_decimals(i64::from(self.0.get()))
    }
}

impl BePrice8 {
    /// In our units; saturates.
    #[must_use]
    pub fn price(self) -> Price {
        Price::from_8_decimals(i64::try_from(self.0.get()).unwrap_or(i64::MAX))
    }
}

impl LePrice4 {
    /// In our units; saturates.
    #[must_use]
    pub fn price(self) -> Price {
        Price::from_4_decimals(self.0.get())
    }
}

impl LeTimestamp {
    /// Nanoseconds since the Unix epoch; a negative wire value is 0.
    #[must_use]
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.get()).unwrap_or(0)
    }
}

impl<const N: usize> WireValue for Alpha<N> {
    fn value(&self) -> Value<'_> {
        Value::Text(self.trimmed())
    }
}
impl WireValue for Char {
    fn value(&self) -> Value<'_> {
        Value::Char(self.0)
    }
}
impl WireValue for u8 {
    fn value(&self) -> Value<'_> {
        Value::Uint(u64::from(*self))
    }
}
impl WireValue for be::U16 {
    fn value(&self) -> Value<'_> {
        Value::Uint(u64::from(self.get()))
    }
}
impl WireValue for be::U32 {
    fn value(&self) -> Value<'_> {
        Value::Uint(u64::from(self.get()))
    }
}
impl WireValue for be::U64 {
    fn value(&self) -> Value<'_> {
        Value::Uint(self.get())
    }
}
impl WireValue for le::U16 {
    fn value(&self) -> Value<'_> {
        Value::Uint(u64::from(self.get()))
    }
}
impl WireValue for le::U32 {
    fn value(&self) -> Value<'_> {
        Value::Uint(u64::from(self.get()))
    }
}
impl WireValue for le::I64 {
    fn value(&self) -> Value<'_> {
        Value::Int(self.get())
    }
}
impl WireValue for BeTimestamp48 {
    fn value(&self) -> Value<'_> {
        Value::Uint(self.nanos())
    }
}
impl WireValue for BePrice4 {
    fn value(&self) -> Value<'_> {
        Value::Price(self.price())
    }
}
impl WireValue for BePrice8 {
    fn value(&self) -> Value<'_> {
        Value::Price(self.price())
    }
}
impl WireValue for LePrice4 {
    fn value(&self) -> Value<'_> {
        Value::Price(self.price())
    }
}
impl WireValue for LeTimestamp {
    fn value(&self) -> Value<'_> {
        Value::Int(self.0.get())
    }
}
impl WireValue for LeEventTime {
    fn value(&self) -> Value<'_> {
        Value::Uint(u64::from(self.0.get()))
    }
}

/// Declares a wire struct: `Name = "snake_name", total bytes { offset field: Type, … }`.
///
/// Size and offsets are asserted at compile time.
macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        $name:ident = $snake:literal, $len:literal {
            $( $(#[$field_meta:meta])* $offset:literal $field:ident : $ty:ty ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
            zerocopy::KnownLayout, zerocopy::Unaligned,
        )]
        #[repr(C)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty ),+
        }

        const _: () = {
            assert!(core::mem::size_of::<$name>() == $len);
            $( assert!(core::mem::offset_of!($name, $field) == $offset); )+
        };

        impl $crate::wire::Fields for $name {
            const NAME: &'static str = $snake;

            fn fields<'a>(&'a self, visit: &mut dyn FnMut(&'static str, $crate::wire::Value<'a>)) {
                $( visit(stringify!($field), $crate::wire::WireValue::value(&self.$field)); )+
            }
        }
    };
}

/// Declares the enum of all messages of a protocol, keyed by the type byte at offset 0 (or by one of
/// several: `b'5' | b'8' => …`).
///
/// `parse` accepts a message longer than its struct (a later version may have added fields at the
/// end) and refuses a shorter one.
macro_rules! wire_messages {
    (
        $(#[$meta:meta])*
        $name:ident, $protocol:literal { $( $($byte:literal)|+ => $variant:ident ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name<'a> {
            $(
                #[doc = concat!("A [`", stringify!($variant), "`].")]
                $variant(&'a $variant)
            ),+
        }

        impl<'a> $name<'a> {
            /// The type bytes of this protocol, in the order of the specification.
            pub const TYPES: &'static [u8] = &[$($($byte),+),+];

            /// A typed view of one message, its type byte first.
            ///
            /// # Errors
            ///
            /// [`DecodeError::Truncated`](crate::DecodeError::Truncated) if the message is shorter
            /// than its type's length, [`DecodeError::UnknownType`](crate::DecodeError::UnknownType)
            /// if the specification has no such type.
            #[inline]
            pub fn parse(bytes: &'a [u8]) -> Result<Self, $crate::DecodeError> {
                let Some(&message_type) = bytes.first() else {
                    return Err($crate::DecodeError::EmptyBlock);
                };
                match message_type {
                    $(
                        $($byte)|+ => match <$variant as zerocopy::FromBytes>::ref_from_prefix(bytes) {
                            Ok((message, _)) => Ok(Self::$variant(message)),
                            Err(_) => Err($crate::DecodeError::Truncated {
                                what: <$variant as $crate::wire::Fields>::NAME,
                                need: core::mem::size_of::<$variant>(),
                                have: bytes.len(),
                            }),
                        },
                    )+
                    message_type => Err($crate::DecodeError::UnknownType {
                        protocol: $protocol,
                        message_type,
                    }),
                }
            }

            /// The length that the specification gives to a type, in bytes; `None` if it has no such type.
            #[must_use]
            pub const fn length_of(message_type: u8) -> Option<usize> {
                match message_type {
                    $( $($byte)|+ => Some(core::mem::size_of::<$variant>()), )+
                    _ => None,
                }
            }

            /// The message's name: the specification's, in snake case.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $( Self::$variant(_) => <$variant as $crate::wire::Fields>::NAME ),+
                }
            }

            /// Calls `visit` with the name and value of each field, in wire order.
            pub fn fields(&self, visit: &mut dyn FnMut(&'static str, $crate::wire::Value<'a>)) {
                match self {
                    $( Self::$variant(message) => $crate::wire::Fields::fields(*message, visit) ),+
                }
            }
        }
    };
}

pub(crate) use {wire_messages, wire_struct};
