//! A channel, its market, and what it tells: packets in, books kept, updates out.
//!
//! A machine without I/O: the same code runs behind a socket, behind a capture file and in tests.  It is
//! generic over where its updates go and over an observer that sees every change of a book, so that both
//! cost nothing where nobody listens.

use tickcast_book::link::{self, Publisher};
use tickcast_book::market::Mic;
use tickcast_book::{BookKind, Limits, Market, Update, UpdateKind, UpdateSink, flags};
use tickcast_codecs::event::{Event, Header, Sink};
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::{DecodeError, SessionId};

use crate::channel::Channel;
use crate::counters::{ChannelCounters, ChannelStatus};
use crate::limits::SNAPSHOTS_PER_ROUND_MAX;

/// Sees every change of a book, right after it.
pub trait Observer {
    /// A message was accepted by a book.
    fn book_changed(&mut self, market: &Market, session: SessionId, header: &Header);
}

/// Sees nothing.
impl Observer for () {
    #[inline]
    fn book_changed(&mut self, _: &Market, _: SessionId, _: &Header) {}
}

/// A channel and its market.
#[derive(Debug)]
pub struct Shard<U, O = ()> {
    channel: Channel,
    market: Market,
    updates: U,
    observer: O,
    /// A gap is open: the books are stale until the next session.
    stale: bool,
    ended: bool,
}

/// Events into the market, its updates out, its changes shown.
struct Apply<'a, U, O> {
    market: &'a mut Market,
    updates: &'a mut U,
    observer: &'a mut O,
    session: SessionId,
}

impl<U: UpdateSink, O: Observer> Sink for Apply<'_, U, O> {
    #[inline]
    fn event(&mut self, header: &Header, event: &Event) {
        let applied = self.market.apply(header, event, self.updates);
        if applied.book_changed {
            self.observer
                .book_changed(self.market, self.session, header);
        }
    }
}

impl<U: UpdateSink, O: Observer> Shard<U, O> {
    /// A shard of a protocol's channel.  `number` is the upper half of its instrument ids, `venue` a
    /// market identifier code.
    #[must_use]
    pub fn new(protocol: Protocol, number: u16, venue: &str, updates: U, observer: O) -> Self {
        Self {
            channel: Channel::new(protocol, number),
            market: Market::new(
                Mic::from_padded(venue.as_bytes()),
                number,
                &Limits::default(),
            ),
            updates,
            observer,
            stale: false,
            ended: false,
        }
    }

    /// The channel's machine.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The books.
    #[must_use]
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// Where the updates go.
    #[must_use]
    pub fn updates(&self) -> &U {
        &self.updates
    }

    /// The observer.
    #[must_use]
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// The observer.
    #[must_use]
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// What was counted on the wire.
    #[must_use]
    pub fn counters(&self) -> &ChannelCounters {
        self.channel.counters()
    }

    /// Whether the venue said that the session is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes one UDP payload that reached us at `ts_recv` (ns since the Unix epoch).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it is malformed: counted, nothing of it was applied.
    pub fn handle_packet(&mut self, payload: &[u8], ts_recv: u64) -> Result<(), DecodeError> {
        let accepted = self.channel.handle_packet(payload)?;
        let verdict = accepted.verdict;
        // The channel itself is number 0; what is told of it carries the place of the packet.
        let header = Header {
            instrument_id: u32::from(self.market.channel()) << 16,
            sequence: self.market.last().sequence,
            ts_event: self.market.last().ts_event,
            ts_recv,
        };
        if verdict.start.is_some() {
            self.ended = false;
            self.market.apply(&header, &Event::Clear, &mut self.updates);
            if self.stale && verdict.missing.is_none() {
                self.stale = false;
                self.market.set_live(&header, &mut self.updates);
            }
        }
        if verdict.missing.is_some() && !self.stale {
            self.stale = true;
            self.market.set_stale(&header, &mut self.updates);
        }
        self.ended |= accepted.is_end_of_session();
        let mut apply = Apply {
            market: &mut self.market,
            updates: &mut self.updates,
            observer: &mut self.observer,
            session: self.channel.session(),
        };
        self.channel.deliver(&accepted, ts_recv, &mut apply);
        Ok(())
    }

    /// Takes one message of a BinaryFILE.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it is malformed: counted, not applied.
    pub fn handle_file_message(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        if self.channel.starts_file_session(message) {
            let header = Header {
                instrument_id: u32::from(self.market.channel()) << 16,
                ..Header::default()
            };
            self.market.apply(&header, &Event::Clear, &mut self.updates);
        }
        let mut apply = Apply {
            market: &mut self.market,
            updates: &mut self.updates,
            observer: &mut self.observer,
            session: self.channel.session(),
        };
        self.channel.handle_file_message(message, &mut apply)
    }

    /// Copies the counters to where other threads read them.
    pub fn copy_status(&self, status: &ChannelStatus) {
        status.store(self.channel.counters());
        status.store_faults(
            self.market
                .counters()
                .iter()
                .map(|(name, _, value)| (name, value)),
        );
    }
}

impl<O: Observer> Shard<Publisher, O> {
    /// Answers snapshot requests that wait, in band, and wakes the reactor if there is something for it.
    ///
    /// Not more than the ring has room for, and not many at once: the packets that come meanwhile wait in the
    /// kernel.  The rest of the requests is answered in the next rounds.
    pub fn handle_requests(&mut self) {
        for _ in 0..SNAPSHOTS_PER_ROUND_MAX {
            if !self.updates.has_room() {
                break;
            }
            let Some(request) = self.updates.poll_request() else {
                break;
            };
            if request.instrument_id & 0xffff == 0 {
                self.tell_channel();
            } else {
                let what = if request.what & link::ORDERS != 0 {
                    BookKind::ByOrder
                } else {
                    BookKind::ByPrice
                };
                self.market
                    .snapshot(request.instrument_id, what, &mut self.updates);
            }
        }
        self.updates.flush();
    }

    /// Tells again what isn't of a book: every definition and status, and whether a gap is open.
    fn tell_channel(&mut self) {
        let number = u32::from(self.market.channel()) << 16;
        let header = *self.market.last();
        let mut tell = |instrument_id, kind| {
            self.updates.update(&Update {
                header: Header {
                    instrument_id,
                    ..header
                },
                flags: flags::SNAPSHOT | flags::LAST,
                kind,
            });
        };
        for (id, definition) in self.market.instruments() {
            tell(id, UpdateKind::Definition(*definition));
            if let Some(status) = self.market.status(id) {
                tell(id, UpdateKind::Status(*status));
            }
        }
        if let Some(status) = self.market.status(number) {
            tell(number, UpdateKind::Status(*status));
        }
        tell(
            number,
            if self.stale {
                UpdateKind::Stale
            } else {
                UpdateKind::Live
            },
        );
    }

    /// Whether the reactor is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.updates.is_abandoned()
    }
}
