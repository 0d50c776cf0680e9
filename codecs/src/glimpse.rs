//! GLIMPSE: a snapshot of the books, as ITCH messages and one more.
//!
//! Implements *Nasdaq GLIMPSE Version 5.0*, section 1.7 "Snapshot Message".  All other messages of a
//! GLIMPSE session are [`itch50`](crate::itch50)'s; it is carried by [`soupbintcp`](crate::soupbintcp)
//! and its messages are numbered by that, not by the ITCH feed.
//!
//! The sequence number here is the point where the real-time feed joins: "firms should begin to process
//! real-time TotalView-ITCH messages beginning with the sequence number stated".

use zerocopy::FromBytes;

use crate::DecodeError;
use crate::soupbintcp::{decimal, decimal_20};
use crate::wire::{Alpha, Char, wire_struct};

/// The type byte of [`EndOfSnapshot`].
pub const END_OF_SNAPSHOT: u8 = b'G';

wire_struct! {
    /// End of Snapshot (1.7).
    EndOfSnapshot = "end_of_snapshot", 21 {
        /// `G`.
        0 message_type: Char,
        /// The first ITCH sequence number that isn't part of the snapshot, as ASCII digits.
        1 sequence_number: Alpha<20>,
    }
}

impl EndOfSnapshot {
    /// An end of snapshot after which the feed is processed from `sequence` on.
    ///
    /// The number is padded on the left with spaces, as `SoupBinTCP`'s are.
    #[must_use]
    pub fn new(sequence: u64) -> Self {
        Self {
            message_type: Char(END_OF_SNAPSHOT),
            sequence_number: Alpha(decimal_20(sequence)),
        }
    }

    /// Reads one message, its type byte first.  A longer one is accepted, as ITCH messages are.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`] if it is shorter than 21 bytes;
    /// - [`DecodeError::UnknownType`] if its type isn't `G`;
    /// - [`DecodeError::BadValue`] if the sequence number is no decimal number of 64 bits, padded
    ///   with spaces or zeros.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            None => return Err(DecodeError::EmptyBlock),
            Some(&END_OF_SNAPSHOT) => {}
            Some(&message_type) => {
                return Err(DecodeError::UnknownType {
                    protocol: "GLIMPSE",
                    message_type,
                });
            }
        }
        let Ok((message, _)) = Self::read_from_prefix(bytes) else {
            return Err(DecodeError::Truncated {
                what: "end_of_snapshot",
                need: size_of::<Self>(),
                have: bytes.len(),
            });
        };
        message.sequence()?;
        Ok(message)
    }

    /// The first sequence number of the feed that isn't part of the snapshot.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadValue`] as for [`EndOfSnapshot::parse`]; never after it.
    pub fn sequence(&self) -> Result<u64, DecodeError> {
        decimal("sequence_number", &self.sequence_number.0)
    }

    /// The 21 bytes of the message.
    #[must_use]
    pub fn encode(&self) -> [u8; 21] {
        zerocopy::transmute!(*self)
    }
}
