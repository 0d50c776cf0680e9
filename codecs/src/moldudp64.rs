//! MoldUDP64: numbered messages in UDP packets.
//!
//! Implements *MoldUDP64 Protocol Specification* V 1.00 (edition of 2 August 2024): "Downstream
//! Packet" (header, message blocks, heartbeats, end of session) and "Request Packet".  All numbers are
//! big-endian ("Assumptions").
//!
//! [`DownstreamPacket::parse`] checks a packet once and whole; after that its blocks can be walked
//! without a further failure, so either every message of a packet is delivered or none.
//!
//! What the specification leaves to the reader, and what is done here:
//!
//! - A message of length 0 is allowed ("Message Data … can be zero length"), but means nothing to any
//!   protocol carried: a message begins with its type byte.  A packet with one is refused.
//! - Bytes after the last block are not mentioned.  They mean that header and blocks disagree; the
//!   packet is refused.
//! - A count of 0xFFFF is never a count, in whatever packet.
//!
//! This module doesn't follow a session, find gaps, or decide what to request.

use core::fmt;
use core::iter::FusedIterator;

use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::DecodeError;
use crate::types::SessionId;
use crate::wire::{Alpha, wire_struct};

/// The message count that says "end of session" ("End of Session").
pub const END_OF_SESSION: u16 = 0xFFFF;

/// Bytes of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Bytes of a block's length field.
const LENGTH_LEN: usize = size_of::<U16>();

wire_struct! {
    /// Downstream Packet Header ("Downstream Packet", "Header").
    Header = "downstream_packet_header", 20 {
        /// The session to which the packet belongs.
        0 session: Alpha<10>,
        /// The sequence number of the first message in the packet.
        10 sequence_number: U64,
        /// The count of messages; 0 is a heartbeat, 0xFFFF the end of the session.
        18 message_count: U16,
    }
}

wire_struct! {
    /// Request Packet ("Request Packet"): asks for messages to be sent again.
    Request = "request_packet", 20 {
        /// The session to which the request belongs.
        0 session: Alpha<10>,
        /// The first requested sequence number.
        10 sequence_number: U64,
        /// How many messages are requested.
        18 requested_message_count: U16,
    }
}

/// What a downstream packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It carries one message or more.
    Data,
    /// It carries none; its sequence number is the next expected one.
    Heartbeat,
    /// The session is over; its sequence number is the next that would have come.
    EndOfSession,
}

/// A downstream packet whose every block was found to fit.
#[derive(Debug, Clone, Copy)]
pub struct DownstreamPacket<'a> {
    header: &'a Header,
    blocks: &'a [u8],
    kind: Kind,
}

impl<'a> DownstreamPacket<'a> {
    /// Checks one UDP payload from its first to its last byte.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`] if the header, a block's length or its message doesn't fit;
    /// - [`DecodeError::EmptyBlock`] if a block has length 0;
    /// - [`DecodeError::TrailingBytes`] if bytes follow the last announced block;
    /// - [`DecodeError::BadValue`] if the sequence number after the packet doesn't fit 64 bits.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Ok((header, blocks)) = Header::ref_from_prefix(bytes) else {
            return Err(DecodeError::Truncated {
                what: "downstream packet header",
                need: HEADER_LEN,
                have: bytes.len(),
            });
        };
        let (kind, count) = match header.message_count.get() {
            0 => (Kind::Heartbeat, 0),
            END_OF_SESSION => (Kind::EndOfSession, 0),
            count => (Kind::Data, count),
        };
        let sequence = header.sequence_number.get();
        if sequence.checked_add(u64::from(count)).is_none() {
            return Err(DecodeError::BadValue {
                field: "sequence_number",
                value: sequence,
            });
        }
        let mut rest = blocks;
        for _ in 0..count {
            rest = split_block(rest)?.1;
        }
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes {
                what: "downstream packet",
                excess: rest.len(),
            });
        }
        Ok(Self {
            header,
            blocks,
            kind,
        })
    }

    /// What the packet is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The header as on the wire.
    #[must_use]
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.header.session.text()
    }

    /// The sequence number of the first message; of the next expected one if there is none.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.header.sequence_number.get()
    }

    /// How many messages the packet carries: 0 for a heartbeat and for the end of the session.
    #[must_use]
    pub fn count(&self) -> u16 {
        match self.kind {
            Kind::Data => self.header.message_count.get(),
            Kind::Heartbeat | Kind::EndOfSession => 0,
        }
    }

    /// The sequence number that follows this packet's last message.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        // Never saturates: `parse` refuses a packet whose range ends beyond 64 bits.
        self.sequence().saturating_add(u64::from(self.count()))
    }

    /// The messages, in the order of their sequence numbers.
    #[must_use]
    pub fn blocks(&self) -> MessageBlocks<'a> {
        MessageBlocks {
            rest: self.blocks,
            left: self.count(),
        }
    }
}

impl<'a> IntoIterator for &DownstreamPacket<'a> {
    type Item = &'a [u8];
    type IntoIter = MessageBlocks<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.blocks()
    }
}

/// The messages of one packet; none of them is empty.
#[derive(Debug, Clone)]
pub struct MessageBlocks<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Iterator for MessageBlocks<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // `parse` walked these same blocks, so this can't fail.
        let (message, rest) = split_block(self.rest).ok()?;
        self.rest = rest;
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.left);
        (left, Some(left))
    }
}

impl ExactSizeIterator for MessageBlocks<'_> {}
impl FusedIterator for MessageBlocks<'_> {}

/// One block off the front: its message, and what follows it.
#[inline]
fn split_block(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
        return Err(DecodeError::Truncated {
            what: "message length",
            need: LENGTH_LEN,
            have: bytes.len(),
        });
    };
    let need = usize::from(u16::from_be_bytes(*length));
    if need == 0 {
        return Err(DecodeError::EmptyBlock);
    }
    rest.split_at_checked(need).ok_or(DecodeError::Truncated {
        what: "message data",
        need,
        have: rest.len(),
    })
}

impl Request {
    /// A request for `count` messages of `session` from `sequence` on.
    #[must_use]
    pub fn new(session: SessionId, sequence: u64, count: u16) -> Self {
        Self {
            session: Alpha(session.to_padded()),
            sequence_number: U64::new(sequence),
            requested_message_count: U16::new(count),
        }
    }

    /// Reads one UDP payload.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`] or [`DecodeError::TrailingBytes`] if it isn't 20 bytes long;
    /// - [`DecodeError::BadValue`] if the range requested ends beyond 64 bits.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Ok((request, rest)) = Self::read_from_prefix(bytes) else {
            return Err(DecodeError::Truncated {
                what: "request packet",
                need: size_of::<Self>(),
                have: bytes.len(),
            });
        };
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes {
                what: "request packet",
                excess: rest.len(),
            });
        }
        if request
            .sequence()
            .checked_add(u64::from(request.count()))
            .is_none()
        {
            return Err(DecodeError::BadValue {
                field: "sequence_number",
                value: request.sequence(),
            });
        }
        Ok(request)
    }

    /// The 20 bytes to send.
    #[must_use]
    pub fn encode(&self) -> [u8; 20] {
        zerocopy::transmute!(*self)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session.text()
    }

    /// The first requested sequence number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence_number.get()
    }

    /// How many messages are requested.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.requested_message_count.get()
    }
}

/// Why a message didn't join a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushError {
    /// The packet is full: send it, and put the message into the next one.
    Full,
    /// No packet of this size can carry the message.
    TooLong {
        /// The message's length.
        len: usize,
        /// The longest that would fit an empty packet.
        max: usize,
    },
    /// The message is empty.
    Empty,
    /// The session has no sequence number left for the message.
    SequenceExhausted,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Full => f.write_str("the packet is full"),
            Self::TooLong { len, max } => {
                write!(
                    f,
                    "a message of {len} bytes exceeds the {max} that a packet carries"
                )
            }
            Self::Empty => f.write_str("the message is empty"),
            Self::SequenceExhausted => f.write_str("no sequence number is left in the session"),
        }
    }
}

impl core::error::Error for PushError {}

/// Writes one downstream packet into a buffer that the caller keeps and uses again.
///
/// The buffer holds a well-formed packet at all times: a heartbeat as long as nothing was pushed.
#[derive(Debug)]
pub struct PacketBuilder<'a> {
    buffer: &'a mut Vec<u8>,
    sequence: u64,
    count: u16,
    bytes_max: usize,
}

impl<'a> PacketBuilder<'a> {
    /// Begins a packet whose first message has this sequence number, in at most `bytes_max` bytes
    /// (at least the header's 20 are written).  What `buffer` held is gone.
    pub fn new(
        buffer: &'a mut Vec<u8>,
        session: SessionId,
        sequence: u64,
        bytes_max: usize,
    ) -> Self {
        write_header(buffer, session, sequence, 0);
        Self {
            buffer,
            sequence,
            count: 0,
            bytes_max,
        }
    }

    /// Appends one message.
    ///
    /// # Errors
    ///
    /// [`PushError`]; the packet is as it was before.
    pub fn push(&mut self, message: &[u8]) -> Result<(), PushError> {
        let max = self
            .bytes_max
            .saturating_sub(HEADER_LEN)
            .saturating_sub(LENGTH_LEN)
            .min(usize::from(u16::MAX));
        let len = match u16::try_from(message.len()) {
            Ok(0) => return Err(PushError::Empty),
            Ok(len) if message.len() <= max => len,
            _ => {
                return Err(PushError::TooLong {
                    len: message.len(),
                    max,
                });
            }
        };
        let count = match self.count.checked_add(1) {
            Some(count) if count != END_OF_SESSION => count,
            _ => return Err(PushError::Full),
        };
        if self.sequence.checked_add(u64::from(count)).is_none() {
            return Err(PushError::SequenceExhausted);
        }
        let block = message.len().saturating_add(LENGTH_LEN);
        if self.buffer.len().saturating_add(block) > self.bytes_max {
            return Err(PushError::Full);
        }
        self.buffer.extend_from_slice(&len.to_be_bytes());
        self.buffer.extend_from_slice(message);
        self.count = count;
        if let Ok((header, _)) = Header::mut_from_prefix(self.buffer) {
            header.message_count = U16::new(count);
        }
        Ok(())
    }

    /// How many messages were pushed.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The sequence number that the next pushed message would get.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        // Never saturates: `push` checks.
        self.sequence.saturating_add(u64::from(self.count))
    }

    /// The packet as it is now.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer
    }
}

/// Writes a heartbeat that announces `next_sequence`.  What `buffer` held is gone.
pub fn encode_heartbeat(buffer: &mut Vec<u8>, session: SessionId, next_sequence: u64) {
    write_header(buffer, session, next_sequence, 0);
}

/// Writes an end of session that announces `next_sequence`.  What `buffer` held is gone.
pub fn encode_end_of_session(buffer: &mut Vec<u8>, session: SessionId, next_sequence: u64) {
    write_header(buffer, session, next_sequence, END_OF_SESSION);
}

fn write_header(buffer: &mut Vec<u8>, session: SessionId, sequence: u64, count: u16) {
    let header = Header {
        session: Alpha(session.to_padded()),
        sequence_number: U64::new(sequence),
        message_count: U16::new(count),
    };
    buffer.clear();
    buffer.extend_from_slice(header.as_bytes());
}
