//! The words of the normalized model: price, side, symbol, session.

use core::fmt;

/// A price: an integer in units of 10^-9, as in DBN.
///
/// Shown as a decimal without trailing zeros: `128.46`, `10`, `-0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Price(pub i64);

impl Price {
    /// Units in 1.
    pub const SCALE: i64 = 1_000_000_000;

    /// From a wire integer with four implied decimals (ITCH `Price(4)`, IEX `Price`).
    ///
    /// Saturates at the ends of `i64`: a wire value that large is no price, and isn't one after either.
    #[must_use]
    pub const fn from_4_decimals(wire: i64) -> Self {
        Self(wire.saturating_mul(100_000))
    }

    /// From a wire integer with eight implied decimals (ITCH `Price(8)`).
    #[must_use]
    pub const fn from_8_decimals(wire: i64) -> Self {
        Self(wire.saturating_mul(10))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SCALE: u64 = Price::SCALE.unsigned_abs();
        let units = self.0.unsigned_abs();
        let (whole, mut fraction) = (units / SCALE, units % SCALE);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if fraction == 0 {
            return Ok(());
        }
        let mut width = 9_usize;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width = width.saturating_sub(1);
        }
        write!(f, ".{fraction:0width$}")
    }
}

/// The side of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    /// Buyers; best is highest.
    Bid = 0,
    /// Sellers; best is lowest.
    Ask = 1,
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }

    /// DBN's letter: `B` or `A`.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Bid => 'B',
            Self::Ask => 'A',
        }
    }
}

/// One price row of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Level {
    /// The price.
    pub px: Price,
    /// The sum of the orders' shares; 0 = the level is gone.
    pub size: u64,
    /// How many orders; 0 where the venue doesn't tell (level venues).
    pub count: u32,
}

/// ASCII text of at most `N` bytes, without the wire's padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// Takes wire bytes; spaces and NULs at the end are padding.  What exceeds `N` is cut.
    #[must_use]
    pub fn from_padded(wire: &[u8]) -> Self {
        let end = wire
            .iter()
            .rposition(|&b| b != b' ' && b != 0)
            .map_or(0, |last| last.saturating_add(1));
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(wire.iter().take(end)) {
            *to = *from;
        }
        Self { bytes }
    }

    /// The text, up to its first NUL.  Bytes that aren't ASCII show as `?`: see [`fmt::Display`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.bytes.iter().position(|&b| b == 0).unwrap_or(N);
        self.bytes.get(..end).unwrap_or(&self.bytes)
    }

    /// Wire bytes again, padded on the right with spaces: [`Text::from_padded`] of them is this text.
    #[must_use]
    pub fn to_padded(&self) -> [u8; N] {
        let mut wire = self.bytes;
        for byte in wire.iter_mut().rev().take_while(|byte| **byte == 0) {
            *byte = b' ';
        }
        wire
    }

    /// The text if it is valid UTF-8 (wire text is ASCII), else `None`.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(self.as_bytes()).ok()
    }

    /// Whether nothing but padding was there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { bytes: [0; N] }
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.as_bytes() {
            let shown = if byte.is_ascii_graphic() || byte == b' ' {
                char::from(byte)
            } else {
                '?'
            };
            fmt::Write::write_char(f, shown)?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// An instrument's symbol as its venue writes it, without padding.
pub type Symbol = Text<16>;

/// The identity of a numbered stream: MoldUDP64's ten characters, or IEX-TP's number in decimal.
pub type SessionId = Text<10>;

impl SessionId {
    /// From IEX-TP's 32-bit session number, in decimal.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        let mut digits = itoa::Buffer::new();
        Self::from_padded(digits.format(number).as_bytes())
    }

    /// The number, if this is one of IEX-TP.
    #[must_use]
    pub fn to_number(&self) -> Option<u32> {
        self.as_str()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_shows_as_decimal_without_trailing_zeros() {
        for (units, text) in [
            (0, "0"),
            (128_460_000_000, "128.46"),
            (10_000_000_000, "10"),
            (1, "0.000000001"),
            (-500_000_000, "-0.5"),
            (i64::MIN, "-9223372036.854775808"),
            (i64::MAX, "9223372036.854775807"),
        ] {
            assert_eq!(Price(units).to_string(), text);
        }
    }

    #[test]
    fn padding_is_not_part_of_text() {
        assert_eq!(Symbol::from_padded(b"AAPL    ").to_string(), "AAPL");
        assert_eq!(Symbol::from_padded(b"BF.B\0\0\0\0").as_str(), Some("BF.B"));
        assert!(Symbol::from_padded(b"        ").is_empty());
        assert_eq!(&Text::<6>::from_padded(b" A\0B").to_padded(), b" A\0B  ");
        assert_eq!(
            SessionId::from_number(u32::MAX).as_str(),
            Some("4294967295")
        );
        assert_eq!(SessionId::from_number(u32::MAX).to_number(), Some(u32::MAX));
        assert_eq!(SessionId::from_padded(b"4294967296").to_number(), None);
        assert_eq!(SessionId::from_padded(b"A").to_number(), None);
    }
}
