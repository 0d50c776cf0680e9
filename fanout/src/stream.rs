//! Streams: the messages of one profile, each encoded once.
//!
//! A stream knows what its subscribers know: for books by price the view last sent, for all the number of the
//! state last sent.  When the book is in its next state it finds the difference, encodes it, and what comes out is
//! the same for everybody.  A snapshot is of the state last sent, so one that joins changes nothing for the
//! others, and the next message continues from it.
//!
//! Invariant (the chain): a message's `prev` is the `seq` of the message before it in this stream.

use bytes::Bytes;
use tickcast_book::{Book, checksum};
use tickcast_codecs::event::Header;
use tickcast_codecs::outbound::{
    Body, Message, MessageHeader, OrderUpdate, Reason, Schema, fb, flags, json,
};
use tickcast_codecs::types::{Level, Price, Side};

use crate::hub::Encoding;
use crate::mirror::Mirrors;
use crate::protocol::OnSlow;
use crate::topic::{Format, Profile};

/// Encodes messages, into memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    out: Vec<u8>,
    fb: fb::Encoder,
    /// What messages say that they were encoded at, ns since the Unix epoch.
    pub(crate) ts_out: u64,
    /// Orders of one chunk of a snapshot.
    orders_max: usize,
    /// Messages encoded.
    pub(crate) messages: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Encoder {
    pub(crate) fn new(orders_max: usize) -> Self {
        Self {
            orders_max,
            ..Self::default()
        }
    }

    pub(crate) fn encode(&mut self, message: &Message<'_>, format: &Format) -> Bytes {
        self.out.clear();
        match format.encoding {
            Encoding::Json => json::encode(message, format.decimal, &mut self.out),
            Encoding::FlatBuffers => self.fb.encode(message, &mut self.out),
        }
        self.messages += 1;
        self.bytes += self.out.len() as u64;
        Bytes::copy_from_slice(&self.out)
    }
}

/// Where a subscriber stands in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It gets every message.
    Live,
    /// It gets none before a snapshot.
    Waiting(Reason),
    /// It has missed messages, gets none before it was told so, and then, where there is a book, a snapshot.
    Skipping {
        /// `seq` of the last message that it got.
        prev: u64,
        /// `seq` of the first message missed.
        from: u64,
        /// `seq` of the last message missed.
        to: u64,
        /// How many; 0 = not known.
        count: u64,
    },
}

/// A subscriber of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) subscriber: u32,
    pub(crate) on_slow: OnSlow,
    pub(crate) standing: Standing,
}

/// What a profile's subscribers know of a book by price.
#[derive(Debug, Default)]
struct View {
    bids: Vec<Level>,
    asks: Vec<Level>,
}

/// What is found at a flush.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bids: Vec<Level>,
    asks: Vec<Level>,
    changed_bids: Vec<Level>,
    changed_asks: Vec<Level>,
    orders: Vec<OrderUpdate>,
}

/// The next message of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its number.
    pub(crate) seq: u64,
    /// The number of the one before.
    pub(crate) prev: u64,
}

/// The messages of one profile.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) profile: Profile,
    pub(crate) channel: usize,
    pub(crate) members: Vec<Member>,
    /// Whether `seq` and the view mean something yet.
    primed: bool,
    /// The number of the state last sent.
    pub(crate) seq: u64,
    /// The view last sent; not kept for `mbp-full`.
    view: View,
    /// Prices touched since the last message, for `mbp-full`.
    dirty: Vec<(Side, Price)>,
    /// Events since the last flush.
    events: u32,
    /// Their sequence numbers, first and last.
    sequence: Option<(u64, u64)>,
    /// The header of the last event sent.
    header: Header,
    /// Whether it waits for its interval to end.
    pub(crate) is_due: bool,
    /// Its interval ended amid an event.
    pub(crate) is_overdue: bool,
    /// The snapshot of the state last sent, encoded for whoever needs it, for this reason and these flags.
    snapshot: Option<(Reason, u8, Vec<Bytes>)>,
    /// Subscribers that wait until the book is consistent.
    pub(crate) deferred: Vec<u32>,
    /// Where the next walk over the members begins, so that nobody is always last.
    pub(crate) walk: usize,
}

/// The levels that differ, best first; size 0 = gone.
fn difference(side: Side, old: &[Level], new: &[Level], out: &mut Vec<Level>) {
    let better = |a: Price, b: Price| match side {
        Side::Bid => a > b,
        Side::Ask => a < b,
    };
    out.clear();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let gone = |was: &Level| Level {
            px: was.px,
            size: 0,
            count: 0,
        };
        match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(was), None) => {
                out.push(gone(was));
                old.next();
            }
            (Some(was), Some(is)) if better(was.px, is.px) => {
                out.push(gone(was));
                old.next();
            }
            (was, Some(is)) => {
                let same_px = was.is_some_and(|was| was.px == is.px);
                if was != Some(is) {
                    out.push(**is);
                }
                if same_px {
                    old.next();
                }
                new.next();
            }
        }
    }
}

const fn of(header: &Header) -> Option<(u64, u64)> {
    if header.sequence == 0 {
        None
    } else {
        Some((header.sequence, header.sequence))
    }
}

impl Stream {
    pub(crate) const fn new(profile: Profile, channel: usize) -> Self {
        Self {
            profile,
            channel,
            members: Vec::new(),
            primed: false,
            seq: 0,
            view: View {
                bids: Vec::new(),
                asks: Vec::new(),
            },
            dirty: Vec::new(),
            events: 0,
            sequence: None,
            header: Header {
                instrument_id: 0,
                sequence: 0,
                ts_event: 0,
                ts_recv: 0,
            },
            is_due: false,
            is_overdue: false,
            snapshot: None,
            deferred: Vec::new(),
            walk: 0,
        }
    }

    /// Levels a side that are kept as a view; `None` if there is none.
    const fn view_depth(&self) -> Option<usize> {
        match self.profile.topic.schema.depth() {
            Some(usize::MAX) | None => None,
            depth => depth,
        }
    }

    fn message_header(&self, header: &Header, sent: Sent, flags: u8, ts_out: u64) -> MessageHeader {
        MessageHeader {
            schema: self.profile.topic.schema,
            instrument_id: self.profile.topic.instrument_id,
            seq: sent.seq,
            prev: sent.prev,
            ts_event: header.ts_event,
            ts_recv: header.ts_recv,
            ts_out,
            flags,
            sequence: of(header),
        }
    }

    /// Whether it has begun: see [`prime`](Self::prime).
    pub(crate) const fn is_primed(&self) -> bool {
        self.primed
    }

    /// A stream that isn't of a book begins at this state.
    pub(crate) const fn begin(&mut self, seq: u64) {
        self.primed = true;
        self.seq = seq;
    }

    /// The book, which is consistent now, is where the stream begins (again): whoever follows it needs a snapshot.
    pub(crate) fn prime(&mut self, mirrors: &Mirrors) {
        let id = self.profile.topic.instrument_id;
        let book = mirrors.book(id);
        if let Some(depth) = self.view_depth() {
            self.view.bids.clear();
            self.view.asks.clear();
            self.view.bids.extend(book.bids().take(depth));
            self.view.asks.extend(book.asks().take(depth));
        }
        self.primed = true;
        self.seq = mirrors.seq(id);
        self.header = mirrors.header(id);
        self.dirty.clear();
        self.events = 0;
        self.sequence = None;
        self.snapshot = None;
    }

    /// What was sent holds no more; the stream begins again at the next [`prime`](Self::prime).
    pub(crate) fn lose(&mut self) {
        self.primed = false;
        self.snapshot = None;
        self.dirty.clear();
        self.events = 0;
        self.sequence = None;
    }

    /// Whether something since the last message may differ.
    pub(crate) const fn has_events(&self) -> bool {
        self.events > 0
    }

    /// An event is complete: remembers what it touched.
    pub(crate) fn event(&mut self, header: &Header, touched: &[(Side, Price)]) {
        self.events = self.events.saturating_add(1);
        if let Some((first, last)) = of(header) {
            let first = self.sequence.map_or(first, |(first, _)| first);
            self.sequence = Some((first, last));
        }
        if self.profile.topic.schema == Schema::MbpFull {
            self.dirty.extend_from_slice(touched);
            // Under conflation a level is often touched again and again.
            if self.dirty.len() > 1024 {
                self.dirty.sort_unstable();
                self.dirty.dedup();
            }
        }
    }

    fn checksum(&self, book: &Book<'_>) -> Option<u32> {
        if !self.profile.format.checksum {
            return None;
        }
        Some(if self.view_depth().is_some() {
            checksum(
                self.view.bids.iter().copied(),
                self.view.asks.iter().copied(),
            )
        } else {
            book.checksum()
        })
    }

    /// Takes the book's present state as sent, and finds what changed within the depth.  `None`: nothing.
    ///
    /// The message is in `scratch`; [`encode_update`](Self::encode_update) makes bytes of it if anybody wants them.
    pub(crate) fn advance(&mut self, mirrors: &Mirrors, scratch: &mut Scratch) -> Option<Sent> {
        let id = self.profile.topic.instrument_id;
        let book = mirrors.book(id);
        if let Some(depth) = self.view_depth() {
            scratch.bids.clear();
            scratch.asks.clear();
            scratch.bids.extend(book.bids().take(depth));
            scratch.asks.extend(book.asks().take(depth));
            difference(
                Side::Bid,
                &self.view.bids,
                &scratch.bids,
                &mut scratch.changed_bids,
            );
            difference(
                Side::Ask,
                &self.view.asks,
                &scratch.asks,
                &mut scratch.changed_asks,
            );
        } else {
            self.dirty.sort_unstable();
            self.dirty.dedup();
            scratch.changed_bids.clear();
            scratch.changed_asks.clear();
            for &(side, px) in &self.dirty {
                let level = book.level(side, px).unwrap_or(Level {
                    px,
                    size: 0,
                    count: 0,
                });
                match side {
                    Side::Bid => scratch.changed_bids.push(level),
                    Side::Ask => scratch.changed_asks.push(level),
                }
            }
            scratch.changed_bids.reverse();
            self.dirty.clear();
        }
        if scratch.changed_bids.is_empty() && scratch.changed_asks.is_empty() {
            self.events = 0;
            self.sequence = None;
            return None;
        }
        core::mem::swap(&mut self.view.bids, &mut scratch.bids);
        core::mem::swap(&mut self.view.asks, &mut scratch.asks);
        Some(self.step(mirrors.seq(id), mirrors.header(id)))
    }

    /// The next message has this number.
    fn step(&mut self, seq: u64, header: Header) -> Sent {
        let sent = Sent {
            seq,
            prev: self.seq,
        };
        self.seq = seq;
        self.header = header;
        self.snapshot = None;
        sent
    }

    /// Encodes what [`advance`](Self::advance) found, and forgets the events that it is of.
    pub(crate) fn encode_update(
        &self,
        sent: Sent,
        mirrors: &Mirrors,
        scratch: &Scratch,
        bad: u8,
        encoder: &mut Encoder,
    ) -> Bytes {
        let book = mirrors.book(self.profile.topic.instrument_id);
        let mut header = self.message_header(&self.header, sent, flags::LAST | bad, encoder.ts_out);
        header.sequence = self.sequence.or(header.sequence);
        let message = Message {
            header,
            body: Body::Update {
                bids: &scratch.changed_bids,
                asks: &scratch.changed_asks,
                checksum: self.checksum(&book),
                events: self.events.max(1),
            },
        };
        encoder.encode(&message, &self.profile.format)
    }

    /// The events so far are told.
    pub(crate) const fn told(&mut self) {
        self.events = 0;
        self.sequence = None;
    }

    /// `mbo`: an event's order updates are the next message.
    pub(crate) fn advance_orders(&mut self, mirrors: &Mirrors) -> Sent {
        let id = self.profile.topic.instrument_id;
        self.step(mirrors.seq(id), mirrors.header(id))
    }

    /// Encodes an event's order updates.
    pub(crate) fn encode_orders(
        &self,
        sent: Sent,
        orders: &[OrderUpdate],
        bad: u8,
        encoder: &mut Encoder,
    ) -> Bytes {
        let message = Message {
            header: self.message_header(&self.header, sent, flags::LAST | bad, encoder.ts_out),
            body: Body::Orders { orders },
        };
        encoder.encode(&message, &self.profile.format)
    }

    /// A stream that isn't of a book: the next message has this number.
    pub(crate) fn advance_to(&mut self, seq: u64, header: &Header) -> Sent {
        self.step(seq, *header)
    }

    /// Encodes a message that isn't of a book.
    pub(crate) fn encode_body(
        &self,
        sent: Sent,
        header: &Header,
        body: Body<'_>,
        message_flags: u8,
        encoder: &mut Encoder,
    ) -> Bytes {
        let message = Message {
            header: self.message_header(header, sent, message_flags, encoder.ts_out),
            body,
        };
        encoder.encode(&message, &self.profile.format)
    }

    /// The snapshot of the state last sent, in chunks where it is long.  The stream is primed, and what is kept
    /// without a view has been flushed.
    pub(crate) fn snapshot(
        &mut self,
        reason: Reason,
        mirrors: &Mirrors,
        scratch: &mut Scratch,
        bad: u8,
        encoder: &mut Encoder,
    ) -> &[Bytes] {
        let fresh =
            matches!(&self.snapshot, Some((was, was_bad, _)) if (*was, *was_bad) == (reason, bad));
        if !fresh {
            let book = mirrors.book(self.profile.topic.instrument_id);
            let sent = Sent {
                seq: self.seq,
                prev: self.seq,
            };
            let all = flags::SNAPSHOT | bad;
            let mut chunks = Vec::new();
            if self.profile.topic.schema == Schema::Mbo {
                scratch.orders.clear();
                for side in [Side::Bid, Side::Ask] {
                    scratch
                        .orders
                        .extend(book.orders(side).map(|order| OrderUpdate {
                            action: tickcast_codecs::outbound::OrderAction::Add,
                            order_id: order.order_id,
                            side: order.side,
                            px: order.px,
                            size: order.size,
                        }));
                }
                let orders_max = encoder.orders_max.max(1);
                let count = scratch.orders.len().div_ceil(orders_max).max(1);
                for n in 0..count {
                    let from = n * orders_max;
                    let to = (from + orders_max).min(scratch.orders.len());
                    let first = if n == 0 { flags::CLEAR } else { 0 };
                    let last = if n + 1 == count { flags::LAST } else { 0 };
                    let message = Message {
                        header: self.message_header(
                            &self.header,
                            sent,
                            all | first | last,
                            encoder.ts_out,
                        ),
                        body: Body::OrderSnapshot {
                            reason,
                            orders: &scratch.orders[from..to],
                        },
                    };
                    chunks.push(encoder.encode(&message, &self.profile.format));
                }
            } else {
                if self.view_depth().is_none() {
                    scratch.bids.clear();
                    scratch.asks.clear();
                    scratch.bids.extend(book.bids());
                    scratch.asks.extend(book.asks());
                }
                let (bids, asks) = if self.view_depth().is_some() {
                    (&self.view.bids, &self.view.asks)
                } else {
                    (&scratch.bids, &scratch.asks)
                };
                let message = Message {
                    header: self.message_header(
                        &self.header,
                        sent,
                        all | flags::LAST,
                        encoder.ts_out,
                    ),
                    body: Body::Snapshot {
                        reason,
                        bids,
                        asks,
                        checksum: self.checksum(&book),
                    },
                };
                chunks.push(encoder.encode(&message, &self.profile.format));
            }
            self.snapshot = Some((reason, bad, chunks));
        }
        self.snapshot.as_ref().map_or(&[], |(_, _, chunks)| chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(sizes: &[(i64, u64)]) -> Vec<Level> {
        sizes
            .iter()
            .map(|&(px, size)| Level {
                px: Price(px),
                size,
                count: 0,
            })
            .collect()
    }

    #[test]
    fn the_difference_tells_what_left_what_came_and_what_changed() {
        let mut out = Vec::new();
        let old = levels(&[(10, 1), (9, 2), (7, 3)]);
        let new = levels(&[(11, 5), (10, 1), (8, 4), (7, 9)]);
        difference(Side::Bid, &old, &new, &mut out);
        assert_eq!(out, levels(&[(11, 5), (9, 0), (8, 4), (7, 9)]));
        difference(Side::Bid, &old, &old, &mut out);
        assert!(out.is_empty());
        difference(Side::Bid, &old, &[], &mut out);
        assert_eq!(out, levels(&[(10, 0), (9, 0), (7, 0)]));
        let (old, new) = (
            levels(&[(7, 3), (9, 2)]),
            levels(&[(8, 1), (9, 2), (10, 1)]),
        );
        difference(Side::Ask, &old, &new, &mut out);
        assert_eq!(out, levels(&[(7, 0), (8, 1), (10, 1)]));
    }
}
