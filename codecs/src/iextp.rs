//! IEX Transport Protocol 1 (specification 1.26): segments, heartbeats, gap fill requests.
//!
//! A segment is a 40-byte header and as many message blocks as the header says: a little-endian
//! 16-bit length, then that many bytes.  [`Segment::parse`] checks the whole segment once; what it
//! gives out afterwards can't fail.  A segment that doesn't fit its own header in every byte is
//! refused whole, so no message of it is ever delivered.
//!
//! A message of length 0 is legal here: what it means is the higher protocol's business.  So is an
//! unknown protocol id.  Over TCP segments follow each other as a stream of bytes; [`Segments`] cuts it.
//! Not done: the bytestream half of the protocol beyond carrying its numbers (every IEX feed retransmits
//! by sequence number).

use zerocopy::byteorder::little_endian::{I64, U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use crate::DecodeError;
use crate::types::SessionId;
use crate::wire::{LeTimestamp, wire_struct};

/// The version of IEX-TP that is implemented; any other is refused.
pub const VERSION: u8 = 1;

/// What the errors of this module call an outbound segment.
const SEGMENT: &str = "segment";
/// What the errors of this module call a message block.
const BLOCK: &str = "message_block";
/// What the errors of this module call a gap fill request.
const REQUEST: &str = "gap_fill_request";

wire_struct! {
    /// The header of an outbound segment ("IEX-TP Header").
    SegmentHeader = "segment", 40 {
        /// Version of the transport: 1.
        0 version: u8,
        /// Reserved; not 0 in practice.
        1 reserved: u8,
        /// The higher-layer protocol: 0x8002 TOPS 1.5, 0x8003 TOPS 1.6, 0x8004 DEEP, 0x8005 DEEP+.
        2 message_protocol_id: U16,
        /// The stream of sequenced messages.
        4 channel_id: U32,
        /// The session.
        8 session_id: U32,
        /// Bytes after this header.
        12 payload_length: U16,
        /// Message blocks in the payload.
        14 message_count: U16,
        /// Where the payload stands in the session's stream of bytes.
        16 stream_offset: I64,
        /// The first message's sequence number; in a heartbeat the next message's.
        24 first_message_sequence_number: I64,
        /// When the sender sent the segment.
        32 send_time: LeTimestamp,
    }
}

impl SegmentHeader {
    /// Bytes of the header.
    pub const LENGTH: usize = size_of::<Self>();

    /// Bytes of the whole segment: how many to wait for when segments come over TCP.
    #[must_use]
    pub fn segment_length(&self) -> usize {
        Self::LENGTH.saturating_add(usize::from(self.payload_length.get()))
    }
}

/// A segment that was checked whole.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    header: &'a SegmentHeader,
    payload: &'a [u8],
    sequence: u64,
}

impl<'a> Segment<'a> {
    /// Checks one whole segment.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: fewer bytes than the header, the payload length or a block says;
    /// - [`DecodeError::TrailingBytes`]: bytes after the payload, or payload after the last block;
    /// - [`DecodeError::BadValue`]: a version other than 1, a negative sequence number, or one that
    ///   leaves no room for the messages.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Ok((header, payload)) = SegmentHeader::ref_from_prefix(bytes) else {
            return Err(DecodeError::Truncated {
                what: SEGMENT,
                need: SegmentHeader::LENGTH,
                have: bytes.len(),
            });
        };
        if header.version != VERSION {
            return Err(DecodeError::BadValue {
                field: "version",
                value: u64::from(header.version),
            });
        }
        let need = header.segment_length();
        if bytes.len() < need {
            return Err(DecodeError::Truncated {
                what: SEGMENT,
                need,
                have: bytes.len(),
            });
        }
        if bytes.len() > need {
            return Err(DecodeError::TrailingBytes {
                what: SEGMENT,
                excess: bytes.len().saturating_sub(need),
            });
        }

        let first = header.first_message_sequence_number.get();
        let count = header.message_count.get();
        // "Long" is signed: a sequence number past i64::MAX doesn't exist.
        if first < 0 || first.checked_add(i64::from(count)).is_none() {
            return Err(DecodeError::BadValue {
                field: "first_message_sequence_number",
                value: first.cast_unsigned(),
            });
        }

        let mut rest = payload;
        for _ in 0..count {
            rest = split_block(rest)?.1;
        }
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes {
                what: BLOCK,
                excess: rest.len(),
            });
        }
        Ok(Self {
            header,
            payload,
            sequence: first.cast_unsigned(),
        })
    }

    /// The header as on the wire.
    #[must_use]
    pub fn header(&self) -> &'a SegmentHeader {
        self.header
    }

    /// Which higher-layer protocol the messages are of.
    #[must_use]
    pub fn protocol(&self) -> u16 {
        self.header.message_protocol_id.get()
    }

    /// The exchange's channel.
    #[must_use]
    pub fn channel(&self) -> u32 {
        self.header.channel_id.get()
    }

    /// The session, as the word that all transports share.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId::from_number(self.header.session_id.get())
    }

    /// The first message's sequence number; of a heartbeat, the next message's.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many messages there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.header.message_count.get()
    }

    /// The sequence number after the last message.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        // Checked by `parse`; saturating only says so to the compiler.
        self.sequence.saturating_add(u64::from(self.count()))
    }

    /// Where the payload stands in the session's stream of bytes.
    #[must_use]
    pub fn stream_offset(&self) -> i64 {
        self.header.stream_offset.get()
    }

    /// When the exchange sent it, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn send_time(&self) -> u64 {
        self.header.send_time.nanos()
    }

    /// Whether it carries nothing: a heartbeat, or the answer to a gap fill test request.
    #[must_use]
    pub fn is_heartbeat(&self) -> bool {
        self.count() == 0
    }

    /// The messages, in order: the first has [`Self::sequence`], each next one more.
    #[must_use]
    pub fn messages(&self) -> Messages<'a> {
        Messages {
            rest: self.payload,
            left: self.count(),
        }
    }
}

/// Takes one block off the front.
#[inline]
fn split_block(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
        return Err(DecodeError::Truncated {
            what: BLOCK,
            need: 2,
            have: bytes.len(),
        });
    };
    let length = usize::from(u16::from_le_bytes(*length));
    rest.split_at_checked(length).ok_or(DecodeError::Truncated {
        what: BLOCK,
        need: length,
        have: rest.len(),
    })
}

/// The messages of a checked segment.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // Never `None` here: `Segment::parse` walked the same blocks.
        let (message, rest) = split_block(self.rest).ok()?;
        self.rest = rest;
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.left);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Messages<'_> {}

/// Bytes of the longest segment: the payload's length has 16 bits.
pub const SEGMENT_BYTES_MAX: usize = SegmentHeader::LENGTH + 0xFFFF;

/// Cuts a byte stream into segments ("TCP Gap Fill"), wherever TCP split or joined it.
///
/// It holds two segments of the greatest length at most, so that after all whole segments were taken there
/// is room for one more.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out.
    taken: usize,
}

impl Segments {
    /// A machine at the beginning of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes, and tells how many: all, unless about 128 KiB are held.  At least one is taken if
    /// [`Segments::poll`] gave `None` before.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> usize {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let room = SEGMENT_BYTES_MAX
            .saturating_mul(2)
            .saturating_sub(self.buffer.len());
        let accepted = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(accepted);
        accepted.len()
    }

    /// The next whole segment, or why it isn't one; `None` if more bytes are needed.
    ///
    /// After an error the stream can't be trusted any more: nothing says where the next segment begins but
    /// the one that was refused.
    pub fn poll(&mut self) -> Option<Result<Segment<'_>, DecodeError>> {
        let held = self.buffer.get(self.taken..)?;
        let (header, _) = SegmentHeader::ref_from_prefix(held).ok()?;
        let segment = held.get(..header.segment_length())?;
        self.taken = self.taken.saturating_add(segment.len());
        Some(Segment::parse(segment))
    }
}

/// What all segments of one stream have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The higher-layer protocol.
    pub message_protocol_id: u16,
    /// The channel.
    pub channel_id: u32,
    /// The session.
    pub session_id: u32,
}

/// Writes one segment at the end of a caller's buffer, which stays as it was if the encoder is
/// dropped without [`finish`](Self::finish).
#[derive(Debug)]
pub struct SegmentEncoder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    payload_length_max: u16,
    header: SegmentHeader,
    finished: bool,
}

impl<'a> SegmentEncoder<'a> {
    /// Begins a segment.  `sequence` is its first message's; values past `i64::MAX`, which the wire
    /// doesn't have, are cut to that.
    ///
    /// `payload_length_max` is what fits a datagram of the path (the header's 40 bytes not counted).
    pub fn begin(
        out: &'a mut Vec<u8>,
        stream: Stream,
        stream_offset: u64,
        sequence: u64,
        send_time: u64,
        payload_length_max: u16,
    ) -> Self {
        let start = out.len();
        let long = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let header = SegmentHeader {
            version: VERSION,
            reserved: 0,
            message_protocol_id: U16::new(stream.message_protocol_id),
            channel_id: U32::new(stream.channel_id),
            session_id: U32::new(stream.session_id),
            payload_length: U16::new(0),
            message_count: U16::new(0),
            stream_offset: I64::new(long(stream_offset)),
            first_message_sequence_number: I64::new(long(sequence)),
            send_time: LeTimestamp(I64::new(long(send_time))),
        };
        out.extend_from_slice(header.as_bytes());
        Self {
            out,
            start,
            payload_length_max,
            header,
            finished: false,
        }
    }

    /// Adds a message; `false`, and nothing is written, if it doesn't fit this segment any more.
    #[must_use]
    pub fn push(&mut self, message: &[u8]) -> bool {
        let Ok(length) = u16::try_from(message.len()) else {
            return false;
        };
        let payload_length = length
            .checked_add(2)
            .and_then(|block| self.header.payload_length.get().checked_add(block))
            .filter(|&total| total <= self.payload_length_max);
        let count = self.header.message_count.get().checked_add(1);
        let (Some(payload_length), Some(count)) = (payload_length, count) else {
            return false;
        };
        self.header.payload_length.set(payload_length);
        self.header.message_count.set(count);
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(message);
        true
    }

    /// How many messages were added.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.header.message_count.get()
    }

    /// Bytes of the payload so far: what the next segment's stream offset is further.
    #[must_use]
    pub fn payload_length(&self) -> u16 {
        self.header.payload_length.get()
    }

    /// Completes the header.  Without any message this is a heartbeat.
    pub fn finish(mut self) {
        if let Some((to, _)) = self
            .out
            .get_mut(self.start..)
            .and_then(<[u8]>::split_first_chunk_mut::<{ SegmentHeader::LENGTH }>)
        {
            to.copy_from_slice(self.header.as_bytes());
        }
        self.finished = true;
    }
}

impl Drop for SegmentEncoder<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

wire_struct! {
    /// The header of a gap fill request.
    GapFillRequestHeader = "gap_fill_request", 16 {
        /// Version of the transport: 1.
        0 version: u8,
        /// What the ranges count: 1 messages, 2 bytes.
        1 request_type: u8,
        /// The higher-layer protocol.
        2 message_protocol_id: U16,
        /// The stream.
        4 channel_id: U32,
        /// The session.
        8 session_id: U32,
        /// Ranges that follow; 0 only asks whether the server is there.
        12 request_range_count: U32,
    }
}

wire_struct! {
    /// A range of messages asked for again, both ends included.
    SequenceRange = "request_range", 16 {
        /// The first message.
        0 first_message_sequence_number: I64,
        /// The last message.
        8 last_message_sequence_number: I64,
    }
}

wire_struct! {
    /// A range of the stream of bytes asked for again, both ends included.
    BytestreamRange = "request_range", 16 {
        /// The first byte.
        0 starting_stream_offset: I64,
        /// The last byte.
        8 ending_stream_offset: I64,
    }
}

/// The ranges of a gap fill request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges<'a> {
    /// Request type 1, which is what IEX's servers support.
    SequencedMessages(&'a [SequenceRange]),
    /// Request type 2.
    Bytestream(&'a [BytestreamRange]),
}

/// A gap fill request that was checked whole, as it comes to a server.
#[derive(Debug, Clone, Copy)]
pub struct GapFillRequest<'a> {
    header: &'a GapFillRequestHeader,
    ranges: Ranges<'a>,
}

impl<'a> GapFillRequest<'a> {
    /// Checks one whole request.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`], [`DecodeError::TrailingBytes`]: the number of ranges isn't what follows;
    /// - [`DecodeError::BadValue`]: another version, an unknown request type, or ranges that are
    ///   negative, empty, overlapping or not increasing.  A server ignores such a request.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let truncated = |need| DecodeError::Truncated {
            what: REQUEST,
            need,
            have: bytes.len(),
        };
        let Ok((header, body)) = GapFillRequestHeader::ref_from_prefix(bytes) else {
            return Err(truncated(size_of::<GapFillRequestHeader>()));
        };
        if header.version != VERSION {
            return Err(DecodeError::BadValue {
                field: "version",
                value: u64::from(header.version),
            });
        }
        let count = usize::try_from(header.request_range_count.get()).unwrap_or(usize::MAX);
        let body_length = count.saturating_mul(size_of::<SequenceRange>());
        if body.len() < body_length {
            return Err(truncated(
                size_of::<GapFillRequestHeader>().saturating_add(body_length),
            ));
        }
        if body.len() > body_length {
            return Err(DecodeError::TrailingBytes {
                what: REQUEST,
                excess: body.len().saturating_sub(body_length),
            });
        }
        // Cut to a multiple of the range's size just now: the casts below can't fail.
        let ranges = match header.request_type {
            1 => {
                let ranges =
                    <[SequenceRange]>::ref_from_bytes(body).map_err(|_| truncated(body_length))?;
                check_increasing(
                    "first_message_sequence_number",
                    ranges.iter().map(|range| {
                        (
                            range.first_message_sequence_number.get(),
                            range.last_message_sequence_number.get(),
                        )
                    }),
                )?;
                Ranges::SequencedMessages(ranges)
            }
            2 => {
                let ranges = <[BytestreamRange]>::ref_from_bytes(body)
                    .map_err(|_| truncated(body_length))?;
                check_increasing(
                    "starting_stream_offset",
                    ranges.iter().map(|range| {
                        (
                            range.starting_stream_offset.get(),
                            range.ending_stream_offset.get(),
                        )
                    }),
                )?;
                Ranges::Bytestream(ranges)
            }
            other => {
                return Err(DecodeError::BadValue {
                    field: "request_type",
                    value: u64::from(other),
                });
            }
        };
        Ok(Self { header, ranges })
    }

    /// The header as on the wire.
    #[must_use]
    pub fn header(&self) -> &'a GapFillRequestHeader {
        self.header
    }

    /// Which stream it is about.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream {
            message_protocol_id: self.header.message_protocol_id.get(),
            channel_id: self.header.channel_id.get(),
            session_id: self.header.session_id.get(),
        }
    }

    /// What is asked for: increasing, without overlap.
    #[must_use]
    pub fn ranges(&self) -> Ranges<'a> {
        self.ranges
    }

    /// Whether it only asks if the server is there.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.header.request_range_count.get() == 0
    }

    /// Writes a request for messages at the end of `out`; each range is (first, last), both included.
    /// No range at all makes a test request.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadValue`] if the ranges are more than a `u32` counts, past `i64::MAX`, empty,
    /// overlapping or not increasing: a server would ignore that.  `out` is as it was then.
    pub fn encode(
        out: &mut Vec<u8>,
        stream: Stream,
        ranges: &[(u64, u64)],
    ) -> Result<(), DecodeError> {
        let long = |value: u64| i64::try_from(value).unwrap_or(-1);
        check_increasing(
            "first_message_sequence_number",
            ranges
                .iter()
                .map(|&(first, last)| (long(first), long(last))),
        )?;
        let count = u32::try_from(ranges.len()).map_err(|_| DecodeError::BadValue {
            field: "request_range_count",
            value: u64::MAX,
        })?;
        let header = GapFillRequestHeader {
            version: VERSION,
            request_type: 1,
            message_protocol_id: U16::new(stream.message_protocol_id),
            channel_id: U32::new(stream.channel_id),
            session_id: U32::new(stream.session_id),
            request_range_count: U32::new(count),
        };
        out.extend_from_slice(header.as_bytes());
        for &(first, last) in ranges {
            let range = SequenceRange {
                first_message_sequence_number: I64::new(long(first)),
                last_message_sequence_number: I64::new(long(last)),
            };
            out.extend_from_slice(range.as_bytes());
        }
        Ok(())
    }
}

/// "All Request Range Blocks … must … not overlap, and monotonically increase."
fn check_increasing(
    field: &'static str,
    ranges: impl Iterator<Item = (i64, i64)>,
) -> Result<(), DecodeError> {
    let mut before = -1;
    for (first, last) in ranges {
        if first <= before || last < first {
            return Err(DecodeError::BadValue {
                field,
                value: first.cast_unsigned(),
            });
        }
        before = last;
    }
    Ok(())
}
