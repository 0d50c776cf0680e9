//! A byte stream of units that carry their own length, cut anywhere: what `SoupBinTCP` and
//! `BinaryFILE` have in common.
//!
//! Each unit is a big-endian 16-bit length and that many bytes.  The buffer is bounded: it holds two
//! units of the greatest length, so that after all whole units were taken there is room for one more.

/// Bytes of the length field.
pub(crate) const LENGTH_LEN: usize = 2;

/// Bytes that are held at most.
pub(crate) const HELD_BYTES_MAX: usize = 2 * (LENGTH_LEN + 0xFFFF);

/// Bytes that were put in and not yet taken out.
#[derive(Debug, Clone, Default)]
pub(crate) struct LengthPrefixed {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were taken out.
    taken: usize,
}

impl LengthPrefixed {
    /// Takes as many bytes as there is room for, and tells how many; at least one if whole units were
    /// taken out before and `bytes` isn't empty.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> usize {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let room = HELD_BYTES_MAX.saturating_sub(self.buffer.len());
        let accepted = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(accepted);
        accepted.len()
    }

    /// The next whole unit, its length field first.
    pub(crate) fn take(&mut self) -> Option<&[u8]> {
        let held = self.buffer.get(self.taken..)?;
        let (length, rest) = held.split_first_chunk::<LENGTH_LEN>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if rest.len() < length {
            return None;
        }
        let unit = held.get(..LENGTH_LEN.saturating_add(length))?;
        self.taken = self.taken.saturating_add(unit.len());
        Some(unit)
    }

    /// Bytes that are held: less than one unit once [`LengthPrefixed::take`] gave `None`.
    pub(crate) fn held(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }
}

/// How many bytes `held`, the beginning of a unit, still needs in all.
pub(crate) fn needed(held: &[u8]) -> usize {
    match held.first_chunk::<LENGTH_LEN>() {
        Some(length) => LENGTH_LEN.saturating_add(usize::from(u16::from_be_bytes(*length))),
        None => LENGTH_LEN,
    }
}
