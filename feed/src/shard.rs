//! A channel, its market, and what it tells: packets in, books kept, updates out.
//!
//! A machine without I/O: the same code runs behind sockets, behind a capture file, in the simulation and in
//! tests.  It is generic over where its updates go and over an observer that sees every change of a book, so
//! that both cost nothing where nobody listens.
//!
//! Invariant: updates say `Stale` of the channel from the declaration of a gap until all of it was delivered
//! or a snapshot took the place of the books; no half-loaded book is ever visible.

use tickcast_book::limits::SNAPSHOT_REQUESTS_MAX;
use tickcast_book::link::{self, Publisher};
use tickcast_book::market::Mic;
use tickcast_book::report::Report;
use tickcast_book::{BookKind, BookState, Limits, Market, Update, UpdateKind, UpdateSink, flags};
use tickcast_codecs::event::{Event, Header, OrderEvent, Origin, Sink};
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::{DecodeError, SessionId};

use crate::arbiter::{ArbiterConfig, Source, canary};
use crate::channel::{Channel, ChannelSink};
use crate::counters::{self, ChannelCounters};
use crate::limits::SNAPSHOTS_PER_ROUND_MAX;
use crate::recovery::RecoveryConfig;
use crate::session::{Missing, Start};
use crate::snapshot::{LoadRequest, Loaded, Share};

/// What a shard receives and keeps.
#[derive(Debug, Clone, Copy)]
pub struct ShardConfig {
    /// The protocol.
    pub protocol: Protocol,
    /// The channel's number: the upper half of its instrument ids.
    pub number: u16,
    /// The market identifier code.
    pub venue: Mic,
    /// Its instruments.
    pub share: Share,
    /// How to arbitrate.
    pub arbiter: ArbiterConfig,
    /// How to recover.
    pub recovery: RecoveryConfig,
}

impl ShardConfig {
    /// All instruments of one line of a network, without recovery.
    #[must_use]
    pub fn new(protocol: Protocol, number: u16, venue: &str) -> Self {
        Self {
            protocol,
            number,
            venue: Mic::from_padded(venue.as_bytes()),
            share: Share::WHOLE,
            arbiter: ArbiterConfig::default(),
            recovery: RecoveryConfig::default(),
        }
    }

    /// The same for a recording: what it doesn't contain won't come, and time without packets means nothing.
    #[must_use]
    pub fn recording(protocol: Protocol, number: u16, venue: &str) -> Self {
        let mut config = Self::new(protocol, number, venue);
        config.arbiter.live = false;
        config
    }
}

/// Sees what a shard does, in order.  What isn't looked at costs nothing.
pub trait Observer {
    /// A message was accepted by a book.
    #[inline]
    fn book_changed(&mut self, _market: &Market, _session: SessionId, _header: &Header) {}
    /// A session starts, its books are empty.
    fn session_started(&mut self, _start: Start, _session: SessionId) {}
    /// A message was delivered.  It is applied when what brought it is dealt with: the messages of a packet are
    /// applied in blocks.
    #[inline]
    fn message(&mut self, _message: &[u8], _origin: Origin) {}
    /// These numbers will not be applied.
    fn skipped(&mut self, _missing: Missing) {}
    /// Whether the books can be trusted from here on.
    fn trust_changed(&mut self, _live: bool) {}
}

/// Sees nothing.
impl Observer for () {}

/// A channel and its market.  Only tests set `CANARY`.
#[derive(Debug)]
pub struct Shard<U, O = (), const CANARY: u8 = { canary::NONE }> {
    channel: Channel<CANARY>,
    market: Market,
    share: Share,
    queues: Queues,
    updates: U,
    observer: O,
}

/// Snapshots by order that somebody waits for.
#[derive(Debug, Default)]
struct Queues {
    /// Instruments whose orders are to be gathered next.
    wanted: Vec<u32>,
    /// Those whose orders are gathered now, and told when that is done.
    gathered: Vec<u32>,
}

impl Queues {
    fn want(&mut self, instrument_id: u32) {
        if !self.wanted.contains(&instrument_id) {
            self.wanted.push(instrument_id);
        }
    }

    /// Further requests wait where they are.
    fn is_full(&self) -> bool {
        self.wanted.len() >= SNAPSHOT_REQUESTS_MAX
    }
}

/// Events into the market, its updates out, its changes shown.
struct Apply<'a, U, O> {
    market: &'a mut Market,
    updates: &'a mut U,
    observer: &'a mut O,
    share: Share,
    session: SessionId,
    ts_recv: u64,
}

impl<U: UpdateSink, O: Observer> Sink for Apply<'_, U, O> {
    #[inline]
    fn event(&mut self, header: &Header, event: &Event) {
        if !self.share.holds(header.instrument_id) {
            return;
        }
        self.flush();
        let applied = self.market.apply(header, event, self.updates);
        if applied.book_changed {
            self.observer
                .book_changed(self.market, self.session, header);
        }
    }

    #[inline(always)]
    fn order(&mut self, order: &OrderEvent) {
        if !self.share.holds(order.instrument_id) {
            return;
        }
        if !self.market.wait(order) {
            self.flush();
        }
    }
}

impl<U: UpdateSink, O: Observer> Apply<'_, U, O> {
    /// Applies what waits.
    #[inline]
    fn flush(&mut self) {
        let (observer, session) = (&mut *self.observer, self.session);
        self.market
            .apply_waiting(self.updates, |market, order, applied| {
                if applied.book_changed {
                    observer.book_changed(market, session, &order.header());
                }
            });
    }

    /// The channel itself is number 0; what is told of it carries the place of the last message.
    fn header(&self) -> Header {
        Header {
            instrument_id: u32::from(self.market.channel()) << 16,
            ts_recv: self.ts_recv,
            ..*self.market.last()
        }
    }
}

impl<U: UpdateSink, O: Observer> ChannelSink for Apply<'_, U, O> {
    fn start(&mut self, start: Start, session: SessionId) {
        self.flush();
        self.session = session;
        self.observer.session_started(start, session);
        let header = self.header();
        self.market.apply(&header, &Event::Clear, self.updates);
    }

    #[inline]
    fn message(&mut self, message: &[u8], origin: Origin) {
        self.observer.message(message, origin);
    }

    fn skip(&mut self, missing: Missing) {
        self.flush();
        self.observer.skipped(missing);
    }

    fn trust(&mut self, live: bool) {
        self.flush();
        self.observer.trust_changed(live);
        let header = self.header();
        if live {
            self.market.set_live(&header, self.updates);
        } else {
            self.market.set_stale(&header, self.updates);
        }
    }
}

impl<U: UpdateSink, O: Observer> Shard<U, O> {
    /// A shard that has received nothing.
    #[must_use]
    pub fn new(config: &ShardConfig, updates: U, observer: O, now: u64) -> Self {
        Self::with_canary(config, updates, observer, now)
    }
}

impl<U: UpdateSink, O: Observer, const CANARY: u8> Shard<U, O, CANARY> {
    /// A shard with one of the errors of [`canary`].
    #[must_use]
    pub fn with_canary(config: &ShardConfig, updates: U, observer: O, now: u64) -> Self {
        let channel = Channel::new(
            config.protocol,
            config.number,
            config.arbiter,
            config.recovery,
            now,
        );
        let mut shard = Self {
            channel,
            market: Market::new(config.venue, config.number, &Limits::default()),
            share: config.share,
            queues: Queues::default(),
            updates,
            observer,
        };
        if config.arbiter.live {
            // An empty book of a venue that isn't heard yet is no book.
            shard.market.begin_stale(&mut shard.updates);
        }
        shard
    }

    /// Makes room for so many live orders, and for the instruments' numbers below `instruments`, and touches the
    /// memory.
    pub fn reserve(&mut self, orders: usize, instruments: usize) {
        self.market.reserve(orders, instruments);
    }

    /// The channel's machine.
    #[must_use]
    pub fn channel(&self) -> &Channel<CANARY> {
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

    /// Where the updates go.
    #[must_use]
    pub fn updates_mut(&mut self) -> &mut U {
        &mut self.updates
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

    /// What was counted on the wire, all lines together.
    #[must_use]
    pub fn counters(&self) -> ChannelCounters {
        self.channel.counters()
    }

    /// Whether the venue said that the session is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.channel.arbiter().is_ended()
    }

    /// Whether the channel's books can be trusted.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.channel.arbiter().is_live()
    }

    /// Takes other timers and servers from now on.
    pub fn reconfigure(&mut self, recovery: RecoveryConfig) {
        self.channel.reconfigure(recovery);
    }

    /// Gives the channel's machine what it needs to deliver.
    #[inline]
    fn with<R>(
        &mut self,
        ts_recv: u64,
        run: impl FnOnce(&mut Channel<CANARY>, &mut Apply<'_, U, O>) -> R,
    ) -> R {
        let session = self.channel.session();
        let mut apply = Apply {
            market: &mut self.market,
            updates: &mut self.updates,
            observer: &mut self.observer,
            share: self.share,
            session,
            ts_recv,
        };
        let done = run(&mut self.channel, &mut apply);
        apply.flush();
        done
    }

    /// Takes one UDP payload that reached us at `ts_recv` (ns since the Unix epoch).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it is malformed: counted, nothing of it was applied.
    #[inline]
    pub fn handle_packet(
        &mut self,
        now: u64,
        source: Source,
        payload: &[u8],
        ts_recv: u64,
    ) -> Result<(), DecodeError> {
        self.with(ts_recv, |channel, apply| {
            channel.handle_packet(now, source, payload, ts_recv, apply)
        })
    }

    /// Takes UDP payloads that came together, each with the time at which it reached us.  All is applied when this
    /// returns; until then messages of one packet may wait for those of the next.
    #[inline]
    pub fn handle_packets<'a>(
        &mut self,
        now: u64,
        source: Source,
        packets: impl Iterator<Item = (&'a [u8], u64)>,
    ) {
        self.with(0, |channel, apply| {
            for (payload, ts_recv) in packets {
                apply.ts_recv = ts_recv;
                // A malformed packet was counted.
                let _ = channel.handle_packet(now, source, payload, ts_recv, apply);
            }
        });
    }

    /// The kernel dropped datagrams of a line.
    pub fn handle_kernel_drops(&mut self, line: u8, lost: u64) {
        self.channel.handle_kernel_drops(line, lost);
    }

    /// Time passes.  Cheap where nothing is due: call it in each turn of a loop.
    #[inline]
    pub fn handle_timeout(&mut self, now: u64) {
        let ts_recv = self.market.last().ts_recv;
        self.with(ts_recv, |channel, apply| channel.handle_timeout(now, apply));
    }

    /// When [`Shard::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.channel.poll_timeout()
    }

    /// Writes the next request that is due into `packet`, in place of what it held, and gives the index of the
    /// server that it is for.
    pub fn poll_request(&mut self, now: u64, packet: &mut Vec<u8>) -> Option<u8> {
        self.channel.poll_request(now, packet)
    }

    /// A snapshot that is wanted; one that was asked for before is not wanted any more.
    pub fn poll_load(&mut self) -> Option<LoadRequest> {
        self.channel.poll_load()
    }

    /// A snapshot is there.  If it is of use it takes the place of the books; given back is what is to be
    /// dropped, elsewhere if that takes long.
    #[must_use]
    pub fn handle_loaded(&mut self, now: u64, mut loaded: Box<Loaded>) -> Box<Loaded> {
        let (id, sequence) = (loaded.id, loaded.sequence);
        match self.channel.arbiter().check_load(id, sequence) {
            Ok(()) => {}
            Err(None) => return loaded,
            Err(Some(_)) => {
                self.handle_load_failed(now, id);
                return loaded;
            }
        }
        self.channel.swap_normalizer(&mut loaded.normalizer);
        self.market.replace_books(
            &mut loaded.market,
            sequence.saturating_sub(1),
            &mut self.updates,
        );
        let ts_recv = self.market.last().ts_recv;
        self.with(ts_recv, |channel, apply| {
            channel.handle_loaded(now, sequence, apply);
        });
        loaded
    }

    /// The snapshot that was asked for under this number failed.
    pub fn handle_load_failed(&mut self, now: u64, id: u64) {
        let ts_recv = self.market.last().ts_recv;
        self.with(ts_recv, |channel, apply| {
            channel.handle_load_failed(now, id, apply);
        });
    }

    /// Writes down how the channel is.
    pub fn report(&self, report: &mut Report) {
        counters::report(&self.channel, &self.market, report);
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
        self.with(0, |channel, apply| {
            channel.handle_file_message(message, apply)
        })
    }
}

impl<U: UpdateSink, O: Observer, const CANARY: u8> Shard<U, O, CANARY> {
    /// Takes the whole messages that the bytes of a BinaryFILE begin with, up to the mark of a session's end, and
    /// says how many bytes they were.  Messages are applied in blocks; what is malformed is counted, not applied.
    ///
    /// Give it much at once: what comes some KiB later is asked for beforehand.
    pub fn handle_file(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(next) = bytes.get(taken..)
            && let Some((length, rest)) = next.split_first_chunk::<2>()
            && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
            && !message.is_empty()
        {
            if matches!(message, [b'S', .., b'O']) {
                // It may begin another day, before which nothing may wait.
                let _ = self.handle_file_message(message);
                taken += 2 + message.len();
                continue;
            }
            taken += self.handle_file_day(next);
        }
        taken
    }

    /// The same up to a start of messages, if that isn't the first.
    fn handle_file_day(&mut self, bytes: &[u8]) -> usize {
        self.with(0, |channel, apply| channel.handle_file(bytes, apply))
    }
}

impl<O: Observer, const CANARY: u8> Shard<Publisher, O, CANARY> {
    /// Answers snapshot requests that wait, in band, and wakes the reactor if there is something for it.
    ///
    /// Not more than the ring has room for, and not many at once: the packets that come meanwhile wait in the
    /// kernel.  The rest of the requests is answered in the next rounds.
    pub fn handle_requests(&mut self) {
        for _ in 0..SNAPSHOTS_PER_ROUND_MAX {
            if !self.updates.has_room() || self.queues.is_full() {
                break;
            }
            let Some(request) = self.updates.poll_request() else {
                break;
            };
            if request.instrument_id & 0xffff == 0 {
                self.tell_channel();
            } else if request.what & link::ORDERS != 0 {
                self.queues.want(request.instrument_id);
            } else {
                self.market
                    .snapshot(request.instrument_id, BookKind::ByPrice, &mut self.updates);
            }
        }
        self.tell_queues();
        self.updates.flush();
    }

    /// Goes on with the snapshots by order.
    fn tell_queues(&mut self) {
        let Queues { wanted, gathered } = &mut self.queues;
        if gathered.is_empty() {
            if wanted.is_empty() {
                return;
            }
            core::mem::swap(wanted, gathered);
            self.market.gather(gathered);
        }
        if !self.market.continue_gathering() {
            return;
        }
        for _ in 0..SNAPSHOTS_PER_ROUND_MAX {
            if !self.updates.has_room() {
                return;
            }
            let Some(instrument_id) = gathered.pop() else {
                return;
            };
            self.market
                .snapshot_gathered(instrument_id, &mut self.updates);
        }
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
            if self.market.state(number) == BookState::Stale {
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
