//! The IEX gap fill servers: over UDP, and one connection over TCP.
//!
//! Implements the server's part of *IEX Transport Specification* 1.26, "Unicast Gap Fill" and "Gap Fill
//! Request", for requests of sequenced messages, the one type that IEX's feeds support.  Over UDP the answer
//! is limited, an invalid request is ignored, and a request without ranges is answered by a segment without
//! payload.  Over TCP there is no limit; an invalid request ends the session, and so does it when all is
//! filled, or when "retransmission has caught up with the most current publication".
//!
//! As in the [request server](super::request_server), only listed peers are answered over UDP, and each only a
//! number of times a second.  What a range asks for and isn't stored any more is left out over UDP; over TCP,
//! where the answer has no holes, it ends the session.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use tickcast_codecs::iextp::{
    GapFillRequest, GapFillRequestHeader, Ranges, SegmentEncoder, SequenceRange, Stream,
};
use zerocopy::FromBytes as _;

use super::counters::counters;
use super::peers::{Admission, Peers};
use super::store::Store;
use crate::limits::{
    ANSWERS_MAX, REQUEST_RANGES_MAX, REQUEST_WAIT_NS_MAX, REQUESTS_PER_SECOND_MAX,
    STREAM_CHUNK_BYTES, UDP_RETRANSMISSION_MESSAGES_MAX,
};

/// How to answer over UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapFillConfig {
    /// What is published.
    pub stream: Stream,
    /// Whom to answer.
    pub peers: Vec<IpAddr>,
    /// How many requests of each in any second.
    pub requests_per_second_max: u32,
    /// Messages of one answer.
    pub messages_max: u64,
    /// Bytes of a segment's payload.
    pub payload_bytes_max: u16,
}

impl GapFillConfig {
    /// A stream's server that answers these peers: 100 requests a second each, 1,000 messages, segments
    /// that pass any Ethernet unfragmented.
    #[must_use]
    pub fn new(stream: Stream, peers: Vec<IpAddr>) -> Self {
        Self {
            stream,
            peers,
            requests_per_second_max: REQUESTS_PER_SECOND_MAX,
            messages_max: UDP_RETRANSMISSION_MESSAGES_MAX,
            payload_bytes_max: 1_360,
        }
    }
}

counters! {
    /// What a gap fill server counts; over UDP each request moves `requests` and one more.
    pub struct GapFillCounters {
        /// Requests received.
        requests,
        /// Requests that are answered, test requests included.
        answered,
        /// Requests from addresses that aren't listed.
        unlisted,
        /// Requests of a peer that had asked often enough within the second.
        limited,
        /// Requests whose bytes don't fit the protocol, or that are of another type.
        malformed,
        /// Requests for another stream or session.
        other_stream,
        /// Requests for messages none of which is stored any more, or yet.
        not_stored,
        /// Requests dropped because too many answers waited to be sent.
        dropped,
        /// Messages sent again.
        messages,
        /// Bytes sent.
        bytes,
    }
}

/// A gap fill server over UDP; see the [module](self).
#[derive(Debug)]
pub struct GapFillServer {
    stream: Stream,
    messages_max: u64,
    payload_bytes_max: u16,
    peers: Peers,
    answers: VecDeque<Answer>,
    counters: GapFillCounters,
}

/// One range to send to a peer.
#[derive(Debug, Clone, Copy)]
struct Answer {
    peer: SocketAddr,
    next: u64,
    /// One behind the last; the same as `next` makes a segment without payload.
    end: u64,
}

impl GapFillServer {
    /// A server before its first request.
    #[must_use]
    pub fn new(config: &GapFillConfig) -> Self {
        Self {
            stream: config.stream,
            messages_max: config.messages_max,
            payload_bytes_max: config.payload_bytes_max,
            peers: Peers::new(&config.peers, config.requests_per_second_max),
            answers: VecDeque::with_capacity(ANSWERS_MAX),
            counters: GapFillCounters::default(),
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &GapFillCounters {
        &self.counters
    }

    /// Takes one UDP payload from `peer`.
    pub fn handle_request(&mut self, now: u64, peer: SocketAddr, bytes: &[u8], store: &Store) {
        self.counters.requests += 1;
        let refused = match self.peers.admit(now, peer.ip()) {
            Admission::Unlisted => &mut self.counters.unlisted,
            Admission::Limited => &mut self.counters.limited,
            Admission::Answer => match check(bytes, self.stream) {
                Err(Invalid::Malformed) => &mut self.counters.malformed,
                Err(Invalid::OtherStream) => &mut self.counters.other_stream,
                Ok(ranges) if self.answers.len() + ranges.len().max(1) > ANSWERS_MAX => {
                    &mut self.counters.dropped
                }
                Ok([]) => {
                    let next = store.next_sequence();
                    self.answers.push_back(Answer {
                        peer,
                        next,
                        end: next,
                    });
                    &mut self.counters.answered
                }
                Ok(ranges) => {
                    if queue(&mut self.answers, peer, ranges, self.messages_max, store) {
                        &mut self.counters.answered
                    } else {
                        &mut self.counters.not_stored
                    }
                }
            },
        };
        *refused += 1;
    }

    /// Writes the next segment into `packet`, in place of what it held; gives whom to send it to.
    /// `send_time` is in nanoseconds since the Unix epoch.
    pub fn poll_transmit(
        &mut self,
        send_time: u64,
        store: &Store,
        packet: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        while let Some(answer) = self.answers.front_mut() {
            packet.clear();
            let peer = answer.peer;
            let wanted = answer.next..answer.end;
            let count = encode(
                packet,
                self.stream,
                wanted.clone(),
                send_time,
                self.payload_bytes_max,
                store,
            );
            answer.next += u64::from(count);
            let is_test = wanted.is_empty();
            if count == 0 || answer.next >= answer.end {
                self.answers.pop_front();
            }
            // Gone since it was asked for, or longer than a segment: nothing is sent of it.
            if count > 0 || is_test {
                self.counters.messages += u64::from(count);
                self.counters.bytes += packet.len() as u64;
                return Some(peer);
            }
        }
        None
    }
}

/// Queues what is stored of the ranges, up to the limit; `false` if that is nothing.
fn queue(
    answers: &mut VecDeque<Answer>,
    peer: SocketAddr,
    ranges: &[SequenceRange],
    messages_max: u64,
    store: &Store,
) -> bool {
    let mut left = messages_max;
    for range in ranges {
        let (first, end) = bounds(range);
        let next = first.max(store.first_sequence());
        let end = end
            .min(store.next_sequence())
            .min(next.saturating_add(left));
        if next < end {
            left -= end - next;
            answers.push_back(Answer { peer, next, end });
        }
    }
    left < messages_max
}

/// Why a request is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Malformed,
    OtherStream,
}

/// The ranges of a request for messages of this stream.
fn check(bytes: &[u8], stream: Stream) -> Result<&[SequenceRange], Invalid> {
    let request = GapFillRequest::parse(bytes).map_err(|_| Invalid::Malformed)?;
    // "Each Gap Fill Server only responds to Gap Fill Requests of one Request Type."
    let Ranges::SequencedMessages(ranges) = request.ranges() else {
        return Err(Invalid::Malformed);
    };
    if request.stream() != stream {
        return Err(Invalid::OtherStream);
    }
    if ranges.len() > REQUEST_RANGES_MAX {
        return Err(Invalid::Malformed);
    }
    Ok(ranges)
}

/// The first sequence number of a range, and the one behind its last.
fn bounds(range: &SequenceRange) -> (u64, u64) {
    // Neither is negative: the request was checked.
    let first = range.first_message_sequence_number.get().unsigned_abs();
    let last = range.last_message_sequence_number.get().unsigned_abs();
    (first, last.saturating_add(1))
}

/// Appends one segment of as many messages as fit and are stored, and tells how many.
fn encode(
    out: &mut Vec<u8>,
    stream: Stream,
    wanted: core::ops::Range<u64>,
    send_time: u64,
    payload_bytes_max: u16,
    store: &Store,
) -> u16 {
    let first = wanted.start;
    let offset = store.stream_offset(first).unwrap_or_default();
    let mut segment =
        SegmentEncoder::begin(out, stream, offset, first, send_time, payload_bytes_max);
    for message in wanted.map_while(|sequence| store.get(sequence)) {
        if !segment.push(message) {
            break;
        }
    }
    let count = segment.count();
    segment.finish();
    count
}

/// One connection of the gap fill server over TCP; see the [module](self).
#[derive(Debug)]
pub struct GapFillConnection {
    stream: Stream,
    /// The beginning of a request.
    held: Vec<u8>,
    /// What is still to be sent: each range as its next sequence number and the one behind its last.
    ranges: VecDeque<(u64, u64)>,
    /// One behind the last message asked for so far: "these same restrictions apply over multiple TCP
    /// Gap Fill Requests".
    asked_to: u64,
    /// When the first request has to be there; `None` once it is.
    request_due: Option<u64>,
    closing: bool,
    counters: GapFillCounters,
}

impl GapFillConnection {
    /// A connection that was just opened.
    #[must_use]
    pub fn new(stream: Stream, now: u64) -> Self {
        Self {
            stream,
            held: Vec::new(),
            ranges: VecDeque::new(),
            asked_to: 0,
            request_due: Some(now.saturating_add(REQUEST_WAIT_NS_MAX)),
            closing: false,
            counters: GapFillCounters::default(),
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &GapFillCounters {
        &self.counters
    }

    /// Takes bytes from the client, split anywhere.
    pub fn handle_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.closing {
            // Never less: what is held was looked at when it came.
            let missing = needed(&self.held).saturating_sub(self.held.len());
            let (taken, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.held.extend_from_slice(taken);
            bytes = rest;
            let needed = needed(&self.held);
            if needed == self.held.len() {
                self.handle_request();
                self.held.clear();
            } else if needed > REQUEST_BYTES_MAX {
                self.counters.requests += 1;
                self.counters.malformed += 1;
                self.handle_closed();
            }
        }
    }

    /// The client closed the connection.
    pub fn handle_closed(&mut self) {
        self.ranges.clear();
        self.closing = true;
    }

    /// Time has passed.  "If the receiver does not submit a request immediately upon establishing a
    /// connection, their session will be terminated."
    pub fn handle_timeout(&mut self, now: u64) {
        if self.request_due.is_some_and(|due| due <= now) {
            self.closing = true;
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.request_due.filter(|_| !self.closing)
    }

    /// Writes the next segment into `out`, in place of what it held.  `false`: there is none now.
    /// `send_time` is in nanoseconds since the Unix epoch.
    pub fn poll_transmit(&mut self, send_time: u64, store: &Store, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.closing {
            return false;
        }
        let Some((next, end)) = self.ranges.front_mut() else {
            return false;
        };
        let count = encode(
            out,
            self.stream,
            *next..*end,
            send_time,
            PAYLOAD_BYTES_MAX,
            store,
        );
        *next += u64::from(count);
        if *next >= *end {
            self.ranges.pop_front();
        } else if count == 0 {
            // Caught up with the publication, or gone: either ends the session.
            if *next < store.next_sequence() {
                self.counters.not_stored += 1;
            }
            self.ranges.clear();
            out.clear();
        }
        self.counters.messages += u64::from(count);
        self.counters.bytes += out.len() as u64;
        self.closing = self.ranges.is_empty();
        !out.is_empty()
    }

    /// Whether the connection is to be closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    fn handle_request(&mut self) {
        self.counters.requests += 1;
        self.request_due = None;
        let refused = match check(&self.held, self.stream) {
            Err(Invalid::OtherStream) => &mut self.counters.other_stream,
            Ok(ranges)
                if ranges
                    .first()
                    .is_none_or(|first| bounds(first).0 >= self.asked_to)
                    && self.ranges.len() + ranges.len() <= REQUEST_RANGES_MAX =>
            {
                self.ranges.extend(ranges.iter().map(bounds));
                self.asked_to = self.ranges.back().map_or(self.asked_to, |&(_, end)| end);
                self.counters.answered += 1;
                // Without ranges nothing is left to fill.
                self.closing = self.ranges.is_empty();
                return;
            }
            Ok(_) | Err(Invalid::Malformed) => &mut self.counters.malformed,
        };
        *refused += 1;
        self.handle_closed();
    }
}

/// Bytes of a request's header.
const HEADER_LEN: usize = size_of::<GapFillRequestHeader>();

/// Bytes of the longest request.
const REQUEST_BYTES_MAX: usize = HEADER_LEN + REQUEST_RANGES_MAX * size_of::<SequenceRange>();

/// A segment over TCP "may be up to 64KB in length": so much payload with the header is less.
#[expect(clippy::cast_possible_truncation, reason = "a constant below 65,536")]
const PAYLOAD_BYTES_MAX: u16 = (STREAM_CHUNK_BYTES - 1_024) as u16;

/// How many bytes the request has that begins with `held`.
fn needed(held: &[u8]) -> usize {
    GapFillRequestHeader::ref_from_prefix(held).map_or(HEADER_LEN, |(header, _)| {
        usize::try_from(header.request_range_count.get())
            .unwrap_or(usize::MAX)
            .saturating_mul(size_of::<SequenceRange>())
            .saturating_add(HEADER_LEN)
    })
}
