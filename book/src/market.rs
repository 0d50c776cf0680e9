//! One channel's market: events in, books kept, updates out.
//!
//! [`Market::apply`] is the one way in.  It decides what is plausible: an event that doesn't fit its book is
//! counted by exactly one counter, told by a `Stale` update, and never repaired by a guess.  Whatever the
//! events are, there is no panic, and no work beyond what the event itself costs.
//!
//! It doesn't know about gaps: who arbitrates the lines says so with [`Market::set_stale`] and
//! [`Market::set_live`], and sends a `Clear` where a snapshot starts the books anew.

use tickcast_codecs::event::{
    Definition, Event, Header, OrderEvent, OrderKind, Status, Trade, TradeKind,
};
use tickcast_codecs::types::{Price, Side, Text};

use crate::book_side::Changed;
use crate::books::{Book, LevelBooks, local};
use crate::channel_books::{ChannelBooks, Hint, Memory, Modified, Reduced, prefetch_instrument};
use crate::error::{BookError, Fault};
use crate::integrity::{BookState, Counters, Integrity};
use crate::level::{BookKind, Level, Order};
use crate::limits::{INSTRUMENTS_MAX, Limits, PAGES_PER_TURN, WAITING_MAX};
use crate::snapshot::BookSnapshot;
use crate::update::{BestChange, OrderAction, Update, UpdateKind, UpdateSink, flags, order_update};

/// A venue's market identifier code (ISO 10383): `XNAS`, `IEXG`.
pub type Mic = Text<4>;

/// An order's event that isn't applied yet.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    order: OrderEvent,
    hint: Hint,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The event's instrument.
    pub instrument_id: u32,
    /// Whether a book accepted it.  Also true if the book is the same after: a level set to its own size.
    pub book_changed: bool,
    /// What was wrong with it.  With `book_changed` it was applied all the same.
    pub fault: Option<BookError>,
    /// Whether it is the message that made the book crossed.
    pub crossed: bool,
}

/// What is known of one instrument beside its book.
#[derive(Debug, Clone, Copy, Default)]
struct Instrument {
    definition: Option<Definition>,
    status: Option<Status>,
    first_fault: Option<BookError>,
    crossed_at: Option<u64>,
}

/// What each message of an instrument asks and changes, of [`Instrument`] in short.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    book_sequence: u64,
    /// There is a definition.
    defined: bool,
    /// There is a first fault.
    faulty: bool,
    crossed: bool,
}

/// All books of one channel of one venue.
#[derive(Debug)]
pub struct Market {
    venue: Mic,
    channel: u16,
    /// Not known before the first book event.
    kind: Option<BookKind>,
    orders: ChannelBooks,
    levels: LevelBooks,
    /// By number within the channel; number 0 is the channel itself.
    instruments: Vec<Instrument>,
    /// As long as that.
    standings: Vec<Standing>,
    waiting: Vec<Waiting>,
    /// Instruments whose orders are gathered.
    gathering: Vec<u32>,
    /// Whether a gap is open.
    stale: bool,
    /// The header of the last event applied.
    last: Header,
    counters: Counters,
}

/// Puts one event's updates out.
struct Tell<'a, U> {
    out: &'a mut U,
    header: Header,
    flags: u8,
    /// Whether changes of the book are of interest.
    wanted: bool,
    /// [`flags::LAST`], or 0 while the venue says that the book isn't consistent.
    last: u8,
}

impl<U: UpdateSink> Tell<'_, U> {
    #[inline]
    fn with(&mut self, kind: UpdateKind, more: u8) {
        self.out.update(&Update {
            header: self.header,
            flags: self.flags | more,
            kind,
        });
    }

    /// Others follow.
    #[inline(always)]
    fn more(&mut self, kind: UpdateKind) {
        if self.wanted {
            self.with(kind, 0);
        }
    }

    /// Others follow; of interest to more than those who follow the book.
    #[inline(always)]
    fn always(&mut self, kind: UpdateKind) {
        let last = if self.wanted { 0 } else { self.last };
        self.with(kind, last);
    }

    /// The last one.
    #[inline(always)]
    fn last(&mut self, kind: UpdateKind) {
        if self.wanted {
            self.with(kind, self.last);
        }
    }
}

#[inline]
fn order_told(action: OrderAction, order: Order, size: u32) -> UpdateKind {
    UpdateKind::Order(order_update(action, order, size))
}

#[inline]
fn level(side: Side, changed: Changed) -> UpdateKind {
    UpdateKind::Level {
        side,
        level: changed.level,
    }
}

fn gone(side: Side, px: Price) -> UpdateKind {
    UpdateKind::Level {
        side,
        level: Level {
            px,
            ..Level::default()
        },
    }
}

impl Market {
    /// An empty market.  `channel` is the upper half of the `instrument_id` of all its events.
    #[must_use]
    pub fn new(venue: Mic, channel: u16, limits: &Limits) -> Self {
        Self {
            venue,
            channel,
            kind: None,
            orders: ChannelBooks::new(limits),
            levels: LevelBooks::new(limits),
            instruments: Vec::new(),
            standings: Vec::new(),
            waiting: Vec::with_capacity(WAITING_MAX),
            gathering: Vec::new(),
            stale: false,
            last: Header::default(),
            counters: Counters::default(),
        }
    }

    /// Makes room for so many live orders, and for the numbers up to `instruments`.
    pub fn reserve(&mut self, orders: usize, instruments: usize) {
        let instruments = instruments.min(INSTRUMENTS_MAX);
        self.orders.reserve(orders, instruments);
        self.levels.reserve(instruments);
        if instruments > self.instruments.len() {
            self.grow(instruments);
        }
    }

    fn grow(&mut self, instruments: usize) {
        self.instruments.resize(instruments, Instrument::default());
        self.standings.resize(instruments, Standing::default());
    }

    /// The venue.
    #[must_use]
    pub fn venue(&self) -> Mic {
        self.venue
    }

    /// The channel's number.
    #[must_use]
    pub fn channel(&self) -> u16 {
        self.channel
    }

    /// How the books are kept; not known before the first book event.
    #[must_use]
    pub fn kind(&self) -> Option<BookKind> {
        self.kind
    }

    /// One book; empty if nothing is known of it, or if it isn't of this channel.
    #[inline]
    #[must_use]
    pub fn book(&self, instrument_id: u32) -> Book<'_> {
        // Number 0 never has a book.
        let instrument_id = if self.is_own(instrument_id) {
            instrument_id
        } else {
            0
        };
        match self.kind {
            Some(BookKind::ByPrice) => self.levels.book(instrument_id),
            _ => self.orders.book(instrument_id),
        }
    }

    /// Whether the book can be trusted.  Of number 0: whether the channel has no open gap.
    #[must_use]
    pub fn state(&self, instrument_id: u32) -> BookState {
        if self.stale || self.is_faulty(instrument_id) {
            BookState::Stale
        } else {
            BookState::Live
        }
    }

    fn is_faulty(&self, instrument_id: u32) -> bool {
        self.standing(instrument_id).faulty
    }

    /// What is known of the book's trustworthiness.
    #[must_use]
    pub fn integrity(&self, instrument_id: u32) -> Integrity {
        let known = self.instrument(instrument_id);
        Integrity {
            state: self.state(instrument_id),
            first_fault: known.and_then(|instrument| instrument.first_fault),
            crossed_at: known.and_then(|instrument| instrument.crossed_at),
        }
    }

    /// What the venue told of the instrument.
    #[must_use]
    pub fn definition(&self, instrument_id: u32) -> Option<&Definition> {
        self.instrument(instrument_id)?.definition.as_ref()
    }

    /// The last status that says in which phase of trading the instrument is, or the channel (number 0).
    ///
    /// Statuses of other kinds (short-sale restrictions, circuit breaker levels, …) don't replace it.
    #[must_use]
    pub fn status(&self, instrument_id: u32) -> Option<&Status> {
        self.instrument(instrument_id)?.status.as_ref()
    }

    /// How many messages changed this book so far.
    #[must_use]
    pub fn book_sequence(&self, instrument_id: u32) -> u64 {
        self.standing(instrument_id).book_sequence
    }

    /// All instruments that have a definition, by number.
    pub fn instruments(&self) -> impl Iterator<Item = (u32, &Definition)> {
        (0..).zip(&self.instruments).filter_map(|(number, known)| {
            let definition = known.definition.as_ref()?;
            Some((u32::from(self.channel) << 16 | number, definition))
        })
    }

    /// The header of the last event that was applied.
    #[must_use]
    pub fn last(&self) -> &Header {
        &self.last
    }

    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// All orders of all books, each with its instrument: by instrument, bids before asks, the best level first, in
    /// queue order.  One look at every order: for who wants them of many books, [`Book::orders`] is the dearer way.
    pub fn orders(&self) -> impl Iterator<Item = (u32, Order)> {
        let channel = u32::from(self.channel) << 16;
        self.orders
            .orders()
            .map(move |(number, order)| (channel | u32::from(number), order))
    }

    /// What the by-order books take.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.orders.memory()
    }

    /// Live orders of all books.
    #[must_use]
    pub fn order_count(&self) -> usize {
        self.orders.order_count()
    }

    /// The best levels of a book, as of the last event that was applied.
    #[must_use]
    pub fn book_snapshot(&self, instrument_id: u32, depth: usize) -> BookSnapshot {
        let book = self.book(instrument_id);
        BookSnapshot {
            instrument_id,
            sequence: self.last.sequence,
            book_sequence: self.book_sequence(instrument_id),
            ts_event: self.last.ts_event,
            state: self.state(instrument_id),
            bids: book.bids().take(depth).collect(),
            asks: book.asks().take(depth).collect(),
        }
    }

    /// Tells a whole book as updates, as of the last event that was applied: `SnapshotBegin`; then what is
    /// known of definition and status, and `Stale` if it has a fault of its own; then each level, or each order in queue
    /// order, bids before asks and the best first; then `SnapshotEnd`, which alone carries `LAST`.
    ///
    /// Gives false, and tells nothing, if orders are wanted of books that are kept by price, or if the
    /// instrument isn't one of this channel.
    ///
    /// Orders of a book that isn't gathered (see [`gather`](Self::gather)) take a look at those of all instruments.
    pub fn snapshot<U: UpdateSink>(&self, instrument_id: u32, what: BookKind, out: &mut U) -> bool {
        self.tell_book(instrument_id, what, out, |tell| {
            let book = self.book(instrument_id);
            for side in [Side::Bid, Side::Ask] {
                match what {
                    BookKind::ByPrice => {
                        for level in book.levels(side) {
                            tell.more(UpdateKind::Level { side, level });
                        }
                    }
                    BookKind::ByOrder => {
                        for resting in book.orders(side) {
                            tell.more(order_told(OrderAction::Add, resting, resting.size));
                        }
                    }
                }
            }
        })
    }

    /// What is around the rows of a snapshot.
    fn tell_book<U: UpdateSink>(
        &self,
        instrument_id: u32,
        what: BookKind,
        out: &mut U,
        rows: impl FnOnce(&mut Tell<'_, U>),
    ) -> bool {
        if (what == BookKind::ByOrder && self.kind == Some(BookKind::ByPrice))
            || !self.is_own(instrument_id)
            || local(instrument_id) == 0
        {
            return false;
        }
        let state = self.state(instrument_id);
        let mut tell = Tell {
            out,
            header: Header {
                instrument_id,
                ..self.last
            },
            flags: flags::SNAPSHOT | bad(state),
            wanted: true,
            last: flags::LAST,
        };
        tell.more(UpdateKind::SnapshotBegin);
        if let Some(definition) = self.definition(instrument_id) {
            tell.more(UpdateKind::Definition(*definition));
        }
        if let Some(status) = self.status(instrument_id) {
            tell.more(UpdateKind::Status(*status));
        }
        // Only a fault of its own: an open gap is the channel's, and ends with the channel's `Live`.
        if self.is_faulty(instrument_id) {
            tell.more(UpdateKind::Stale);
        }
        rows(&mut tell);
        tell.last(UpdateKind::SnapshotEnd);
        true
    }

    /// Begins to gather the orders of these instruments, so that [`snapshot_gathered`](Self::snapshot_gathered) can tell
    /// them; what was begun before is dropped.  For a thread that must not be away for the milliseconds that
    /// [`snapshot`](Self::snapshot) takes where there are many orders.
    pub fn gather(&mut self, instrument_ids: &[u32]) {
        self.gathering.clear();
        self.gathering.extend_from_slice(instrument_ids);
        self.orders.gather(instrument_ids);
    }

    /// Goes on with it for some microseconds; whether it is done.
    pub fn continue_gathering(&mut self) -> bool {
        self.orders.continue_gathering(PAGES_PER_TURN)
    }

    /// As [`snapshot`](Self::snapshot) by order, of an instrument whose orders were gathered.
    pub fn snapshot_gathered<U: UpdateSink>(&mut self, instrument_id: u32, out: &mut U) -> bool {
        if self.kind != Some(BookKind::ByOrder) {
            return self.snapshot(instrument_id, BookKind::ByOrder, out);
        }
        self.gathering.retain(|&id| id != instrument_id);
        let orders: Vec<Order> = self.orders.take_gathered(instrument_id).collect();
        self.tell_book(instrument_id, BookKind::ByOrder, out, |tell| {
            for resting in orders {
                tell.more(order_told(OrderAction::Add, resting, resting.size));
            }
        })
    }

    /// Exchanges all books, definitions and statuses with those of a market that was loaded from a snapshot, and
    /// tells it by a `Resync`.  `sequence` is the last message that the snapshot contains.
    ///
    /// What was counted stays, and so does the word whether a gap is open; what was wrong with single books is
    /// over.
    pub fn replace_books<U: UpdateSink>(&mut self, other: &mut Self, sequence: u64, out: &mut U) {
        core::mem::swap(&mut self.kind, &mut other.kind);
        core::mem::swap(&mut self.orders, &mut other.orders);
        core::mem::swap(&mut self.levels, &mut other.levels);
        core::mem::swap(&mut self.instruments, &mut other.instruments);
        core::mem::swap(&mut self.standings, &mut other.standings);
        if self.instruments.len() < other.instruments.len() {
            self.grow(other.instruments.len());
        }
        for (new, old) in self.instruments.iter_mut().zip(&other.instruments) {
            new.definition = new.definition.or(old.definition);
            new.status = new.status.or(old.status);
        }
        for (new, old) in self.standings.iter_mut().zip(&other.standings) {
            new.defined |= old.defined;
            new.book_sequence = old.book_sequence + 1;
        }
        let count =
            |is: fn(&Standing) -> bool| self.standings.iter().filter(|one| is(one)).count() as u64;
        self.counters.faulty_now = count(|one| one.faulty);
        self.counters.crossed_now = count(|one| one.crossed);
        self.last.sequence = sequence;
        self.last.ts_event = self.last.ts_event.max(other.last.ts_event);
        if !self.gathering.is_empty() {
            self.orders.gather(&self.gathering);
        }
        for Waiting { order, hint } in &mut self.waiting {
            *hint = self.orders.look_up(order);
        }
        let header = self.last;
        self.tell_channel(header, UpdateKind::Resync, out);
    }

    /// Nothing was received yet: no book of the channel can be trusted until [`set_live`](Self::set_live).
    pub fn begin_stale<U: UpdateSink>(&mut self, out: &mut U) {
        self.stale = true;
        let header = self.last;
        self.tell_channel(header, UpdateKind::Stale, out);
    }

    /// A gap was declared: no book of the channel can be trusted until [`set_live`](Self::set_live).
    ///
    /// Of the header only sequence and times count.
    pub fn set_stale<U: UpdateSink>(&mut self, header: &Header, out: &mut U) {
        if !self.stale {
            self.counters.gaps += 1;
        }
        self.stale = true;
        self.tell_channel(*header, UpdateKind::Stale, out);
    }

    /// The gap is repaired.  Books with a fault of their own stay stale.
    ///
    /// Of the header only sequence and times count.
    pub fn set_live<U: UpdateSink>(&mut self, header: &Header, out: &mut U) {
        self.stale = false;
        self.tell_channel(*header, UpdateKind::Live, out);
    }

    fn tell_channel<U: UpdateSink>(&self, header: Header, kind: UpdateKind, out: &mut U) {
        let header = Header {
            instrument_id: u32::from(self.channel) << 16,
            ..header
        };
        out.update(&Update {
            header,
            flags: flags::LAST | bad(self.state(header.instrument_id)),
            kind,
        });
    }

    /// Applies one event, and tells what changed.
    #[inline]
    pub fn apply<U: UpdateSink>(&mut self, header: &Header, event: &Event, out: &mut U) -> Applied {
        let header = *header;
        if let Some(order) = OrderEvent::from_event(&header, event) {
            return self.apply_order(&order, out);
        }
        self.counters.events += 1;
        let number = local(header.instrument_id);
        if !self.is_own(header.instrument_id) || (number == 0 && needs_instrument(event)) {
            return self.refuse(header, Fault::BadInstrument, flags::LAST, out);
        }
        self.last = header;
        match *event {
            Event::Modify {
                order_id,
                px,
                size,
                keeps_priority,
            } => self.modify(header, order_id, px, size, keeps_priority, out),
            Event::LevelSet {
                side,
                px,
                size,
                complete,
            } => {
                let new = Level {
                    px,
                    size: u64::from(size),
                    count: 0,
                };
                self.set_level(header, side, new, complete, out)
            }
            Event::Quote {
                bid_px,
                bid_size,
                ask_px,
                ask_size,
            } => {
                let quoted = |px, size| Level {
                    px,
                    size: u64::from(size),
                    count: 0,
                };
                let (bid, ask) = (quoted(bid_px, bid_size), quoted(ask_px, ask_size));
                self.quote(header, bid, ask, out)
            }
            Event::Trade(trade) => self.pass(header, UpdateKind::Trade(trade), out),
            Event::TradeBreak { trade_id, px, size } => {
                self.pass(header, UpdateKind::TradeBreak { trade_id, px, size }, out)
            }
            Event::Status(status) => {
                if status.action.is_phase() {
                    self.instrument_mut(number).status = Some(status);
                }
                self.pass(header, UpdateKind::Status(status), out)
            }
            Event::Imbalance(imbalance) => self.pass(header, UpdateKind::Imbalance(imbalance), out),
            Event::Definition(definition) => {
                self.instrument_mut(number).definition = Some(definition);
                self.standing_mut(number).defined = true;
                self.pass(header, UpdateKind::Definition(definition), out)
            }
            Event::Clear => self.clear(header, out),
            // Taken above.
            Event::Add { .. }
            | Event::Execute { .. }
            | Event::Cancel { .. }
            | Event::Delete { .. }
            | Event::Replace { .. } => unreachable!("an order's event is applied as a record"),
        }
    }

    /// Takes an order's event that [`apply_waiting`](Self::apply_waiting) applies; false = it must be called now,
    /// since no more can wait.
    ///
    /// The memory that events need is asked for before the first is applied: some thirty together cost a third of
    /// what they do one by one.
    #[inline(always)]
    pub fn wait(&mut self, order: &OrderEvent) -> bool {
        let hint = self.orders.look_up(order);
        prefetch_instrument(&self.standings, order.instrument_id);
        self.waiting.push(Waiting {
            order: *order,
            hint,
        });
        self.waiting.len() < WAITING_MAX
    }

    /// Applies the events that wait, in their order, and tells what changed; `applied` is called after each.
    #[inline]
    pub fn apply_waiting<U: UpdateSink>(
        &mut self,
        out: &mut U,
        mut applied: impl FnMut(&Self, &OrderEvent, &Applied),
    ) {
        let mut waiting = core::mem::take(&mut self.waiting);
        for Waiting { order, hint } in &mut waiting {
            self.orders.look_at_order(order, hint);
        }
        for Waiting { order, hint } in &mut waiting {
            self.orders.look_at_levels(order, hint);
        }
        for Waiting { order, hint } in &waiting {
            let one = self.apply_hinted(order, hint, out);
            applied(self, order, &one);
        }
        waiting.clear();
        self.waiting = waiting;
    }

    /// Applies one order's event, and tells what changed.
    pub fn apply_order<U: UpdateSink>(&mut self, order: &OrderEvent, out: &mut U) -> Applied {
        let hint = self.orders.look_up(order);
        self.apply_hinted(order, &hint, out)
    }

    #[inline(always)]
    fn apply_hinted<U: UpdateSink>(
        &mut self,
        order: &OrderEvent,
        hint: &Hint,
        out: &mut U,
    ) -> Applied {
        self.counters.events += 1;
        let header = order.header();
        if !self.is_own(header.instrument_id) || local(header.instrument_id) == 0 {
            return self.refuse(header, Fault::BadInstrument, flags::LAST, out);
        }
        self.last.instrument_id = order.instrument_id;
        self.last.sequence = order.sequence;
        self.last.ts_event = order.ts_event;
        self.last.ts_recv = order.ts_recv;
        if !self.is_kind(BookKind::ByOrder) {
            return self.refuse(header, Fault::OtherKind, flags::LAST, out);
        }
        match order.kind {
            OrderKind::Add => self.add(header, order, hint, out),
            OrderKind::Delete => self.delete(header, order.order_id, hint, out),
            OrderKind::Replace => self.replace(header, order, hint, out),
            OrderKind::Cancel => self.cancel(header, order, hint, out),
            OrderKind::Execute | OrderKind::ExecuteAt => self.execute(header, order, hint, out),
        }
    }

    #[inline(always)]
    fn add<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        hint: &Hint,
        out: &mut U,
    ) -> Applied {
        let new = Order {
            order_id: order.order_id,
            side: order.side,
            px: order.px,
            size: order.size,
        };
        match self.orders.add_to_slot(header.instrument_id, &new, hint) {
            Some(changed) => self.added(header, &new, changed, out),
            None => self.add_anywhere(header, new, out),
        }
    }

    #[inline(never)]
    fn add_anywhere<U: UpdateSink>(&mut self, header: Header, new: Order, out: &mut U) -> Applied {
        match self.orders.add(header.instrument_id, new) {
            Ok(changed) => self.added(header, &new, changed, out),
            Err(fault) => self.refuse(header, fault, flags::LAST, out),
        }
    }

    #[inline(always)]
    fn added<U: UpdateSink>(
        &mut self,
        header: Header,
        new: &Order,
        changed: Changed,
        out: &mut U,
    ) -> Applied {
        let (mut applied, mut tell) = self.accept(header, None, flags::LAST, out);
        tell.more(order_told(OrderAction::Add, *new, new.size));
        tell.last(level(new.side, changed));
        applied.crossed = self.finish(header, new.side, changed, out);
        applied
    }

    /// What an order's event ends with: the best level is told if it changed, and whether both sides cross is
    /// looked at if its price did.  Whether this message crossed them.
    #[inline(always)]
    fn finish<U: UpdateSink>(
        &mut self,
        header: Header,
        side: Side,
        changed: Changed,
        out: &mut U,
    ) -> bool {
        if changed.at_best {
            self.tell_best(header, side, out);
        }
        changed.best_moved && self.check_crossed(header)
    }

    #[inline(always)]
    fn tell_best<U: UpdateSink>(&self, header: Header, side: Side, out: &mut U) {
        let best = if self.kind == Some(BookKind::ByOrder) {
            self.orders.best(header.instrument_id, side)
        } else {
            self.levels.book(header.instrument_id).best(side)
        };
        out.best(&BestChange { header, side, best });
    }

    #[inline(always)]
    fn execute<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        hint: &Hint,
        out: &mut U,
    ) -> Applied {
        let &OrderEvent { order_id, size, .. } = order;
        match self
            .orders
            .reduce_in_slot(header.instrument_id, order_id, Some(size), hint)
        {
            Some(reduced) => self.executed(header, order, reduced, out),
            None => self.execute_anywhere(header, order, out),
        }
    }

    #[inline(never)]
    fn execute_anywhere<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        out: &mut U,
    ) -> Applied {
        let reduced = self
            .orders
            .reduce(header.instrument_id, order.order_id, order.size);
        match reduced {
            Ok(reduced) => self.executed(header, order, reduced, out),
            Err(fault) => self.refuse(header, fault, flags::LAST, out),
        }
    }

    #[inline(always)]
    fn executed<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        reduced: Reduced,
        out: &mut U,
    ) -> Applied {
        let size = order.size;
        let at = (order.kind == OrderKind::ExecuteAt).then_some(order.px);
        // A print at no price is no trade, though the order has lost its shares.
        let bad_px = at.filter(|px| px.0 <= 0);
        let fault = over(&reduced, size).or(bad_px.map(|px| Fault::BadPrice { px }));
        let Reduced {
            order: resting,
            taken,
            changed,
        } = reduced;
        let (mut applied, mut tell) = self.accept(header, fault, flags::LAST, out);
        if order.printable && bad_px.is_none() {
            tell.always(UpdateKind::Trade(Trade {
                kind: TradeKind::Displayed,
                side: Some(resting.side),
                px: at.unwrap_or(resting.px),
                size: u64::from(size),
                trade_id: order.other_id,
                printable: true,
                conditions: order.conditions,
            }));
        }
        tell.more(order_told(OrderAction::Fill, resting, taken));
        tell.last(level(resting.side, changed));
        applied.crossed = self.finish(header, resting.side, changed, out);
        applied
    }

    #[inline(always)]
    fn delete<U: UpdateSink>(
        &mut self,
        header: Header,
        order_id: u64,
        hint: &Hint,
        out: &mut U,
    ) -> Applied {
        match self
            .orders
            .reduce_in_slot(header.instrument_id, order_id, None, hint)
        {
            Some(reduced) => self.cancelled(header, reduced, None, out),
            None => self.cancel_anywhere(header, order_id, None, out),
        }
    }

    #[inline(always)]
    fn cancel<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        hint: &Hint,
        out: &mut U,
    ) -> Applied {
        let &OrderEvent { order_id, size, .. } = order;
        match self
            .orders
            .reduce_in_slot(header.instrument_id, order_id, Some(size), hint)
        {
            Some(reduced) => self.cancelled(header, reduced, None, out),
            None => self.cancel_anywhere(header, order_id, Some(size), out),
        }
    }

    /// Without `size`: all that remains.
    #[inline(never)]
    fn cancel_anywhere<U: UpdateSink>(
        &mut self,
        header: Header,
        order_id: u64,
        size: Option<u32>,
        out: &mut U,
    ) -> Applied {
        let reduced = match size {
            Some(size) => self.orders.reduce(header.instrument_id, order_id, size),
            None => self.orders.delete(header.instrument_id, order_id),
        };
        match reduced {
            Ok(reduced) => {
                let fault = size.and_then(|size| over(&reduced, size));
                self.cancelled(header, reduced, fault, out)
            }
            Err(fault) => self.refuse(header, fault, flags::LAST, out),
        }
    }

    #[inline(always)]
    fn cancelled<U: UpdateSink>(
        &mut self,
        header: Header,
        reduced: Reduced,
        fault: Option<Fault>,
        out: &mut U,
    ) -> Applied {
        let resting = reduced.order;
        let (mut applied, mut tell) = self.accept(header, fault, flags::LAST, out);
        tell.more(order_told(OrderAction::Cancel, resting, reduced.taken));
        tell.last(level(resting.side, reduced.changed));
        applied.crossed = self.finish(header, resting.side, reduced.changed, out);
        applied
    }

    #[inline(always)]
    fn replace<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        hint: &Hint,
        out: &mut U,
    ) -> Applied {
        let &OrderEvent { order_id, .. } = order;
        let Some(old) = self
            .orders
            .reduce_in_slot(header.instrument_id, order_id, None, hint)
        else {
            return self.replace_anywhere(header, order, out);
        };
        let new = new_order(order, &old);
        let new_hint = self.orders.look_up_new(order.other_id, hint);
        match self
            .orders
            .add_to_slot(header.instrument_id, &new, &new_hint)
        {
            Some(joined) => self.replaced(header, order, old, Ok(joined), out),
            None => self.replace_rest(header, order, old, out),
        }
    }

    #[inline(never)]
    fn replace_anywhere<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        out: &mut U,
    ) -> Applied {
        match self.orders.delete(header.instrument_id, order.order_id) {
            Ok(old) => self.replace_rest(header, order, old, out),
            Err(fault) => self.refuse(header, fault, flags::LAST, out),
        }
    }

    /// The old order is gone.
    #[inline(never)]
    fn replace_rest<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        old: Reduced,
        out: &mut U,
    ) -> Applied {
        let new = new_order(order, &old);
        let joined = self.orders.add(header.instrument_id, new);
        self.replaced(header, order, old, joined, out)
    }

    /// If the new order can't be added, the old one is gone all the same: that much of the message is certain.
    #[inline(always)]
    fn replaced<U: UpdateSink>(
        &mut self,
        header: Header,
        order: &OrderEvent,
        old: Reduced,
        joined: Result<Changed, Fault>,
        out: &mut U,
    ) -> Applied {
        let &OrderEvent { px, size, .. } = order;
        let (mut applied, mut tell) = self.accept(header, joined.err(), flags::LAST, out);
        tell.more(order_told(OrderAction::Cancel, old.order, old.taken));
        let mut changed = old.changed;
        match joined {
            Ok(joined) => {
                let new = new_order(order, &old);
                tell.more(order_told(OrderAction::Add, new, size));
                if old.order.px != px {
                    tell.more(level(old.order.side, old.changed));
                }
                tell.last(level(old.order.side, joined));
                changed.at_best |= joined.at_best;
                changed.best_moved |= joined.best_moved;
                // Out and in again at the same price, with as many shares.
                changed.at_best &= old.order.px != px || old.order.size != size;
            }
            Err(_) => tell.last(level(old.order.side, old.changed)),
        }
        applied.crossed = self.finish(header, old.order.side, changed, out);
        applied
    }

    #[inline]
    fn modify<U: UpdateSink>(
        &mut self,
        header: Header,
        order_id: u64,
        px: Price,
        size: u32,
        keeps_priority: bool,
        out: &mut U,
    ) -> Applied {
        if !self.is_kind(BookKind::ByOrder) {
            return self.refuse(header, Fault::OtherKind, flags::LAST, out);
        }
        let result = self
            .orders
            .modify(header.instrument_id, order_id, px, size, keeps_priority);
        let modified = match result {
            Ok(modified) => modified,
            Err(fault) => return self.refuse(header, fault, flags::LAST, out),
        };
        let (mut applied, mut tell) = self.accept(header, None, flags::LAST, out);
        let (side, changed) = match modified {
            Modified::Removed(reduced) => {
                tell.more(order_told(
                    OrderAction::Cancel,
                    reduced.order,
                    reduced.taken,
                ));
                tell.last(level(reduced.order.side, reduced.changed));
                (reduced.order.side, reduced.changed)
            }
            Modified::InPlace { before, changed } => {
                tell.more(order_told(OrderAction::Modify, before, size));
                tell.last(level(before.side, changed));
                let at_best = changed.at_best && before.size != size;
                (before.side, Changed { at_best, ..changed })
            }
            Modified::Moved {
                before,
                left,
                joined,
            } => {
                let after = Order { px, size, ..before };
                if keeps_priority {
                    tell.more(order_told(OrderAction::Modify, after, size));
                } else {
                    tell.more(order_told(OrderAction::Cancel, before, before.size));
                    tell.more(order_told(OrderAction::Add, after, size));
                }
                if before.px != px {
                    tell.more(level(before.side, left));
                }
                tell.last(level(before.side, joined));
                let both = Changed {
                    at_best: left.at_best || joined.at_best,
                    best_moved: left.best_moved || joined.best_moved,
                    ..joined
                };
                (before.side, both)
            }
        };
        applied.crossed = self.finish(header, side, changed, out);
        applied
    }

    #[inline]
    fn set_level<U: UpdateSink>(
        &mut self,
        header: Header,
        side: Side,
        new: Level,
        complete: bool,
        out: &mut U,
    ) -> Applied {
        let last = if complete { flags::LAST } else { 0 };
        if !self.is_kind(BookKind::ByPrice) {
            return self.refuse(header, Fault::OtherKind, last, out);
        }
        let touched = match self.levels.set(header.instrument_id, side, new) {
            Ok(touched) => touched,
            Err(fault) => return self.refuse(header, fault, last, out),
        };
        let (mut applied, mut tell) = self.accept(header, None, last, out);
        tell.last(UpdateKind::Level {
            side,
            level: touched.level,
        });
        if touched.at_best {
            self.tell_best(header, side, out);
        }
        // Of the levels of one event, any may have been the best: look once, at its end.
        applied.crossed = complete && self.check_crossed(header);
        applied
    }

    #[inline]
    fn quote<U: UpdateSink>(
        &mut self,
        header: Header,
        bid: Level,
        ask: Level,
        out: &mut U,
    ) -> Applied {
        if !self.is_kind(BookKind::ByPrice) {
            return self.refuse(header, Fault::OtherKind, flags::LAST, out);
        }
        if let Err(fault) = self.levels.check_quote(header.instrument_id, bid, ask) {
            return self.refuse(header, fault, flags::LAST, out);
        }
        let (mut applied, mut tell, first) = self.accept_untold(header, None, flags::LAST, out);
        // Which update is the last is known one update later.
        let mut held = first.then_some(UpdateKind::Stale);
        let book = self.levels.book(header.instrument_id);
        for (side, new) in [(Side::Bid, bid), (Side::Ask, ask)] {
            let left = book
                .levels(side)
                .filter(|old| new.size == 0 || old.px != new.px)
                .map(|old| gone(side, old.px));
            let set = (new.size > 0).then_some(UpdateKind::Level { side, level: new });
            for kind in left.chain(set) {
                if let Some(earlier) = held.replace(kind) {
                    tell.more(earlier);
                }
            }
        }
        if let Some(kind) = held {
            tell.last(kind);
        }
        let before = [Side::Bid, Side::Ask].map(|side| (side, book.best(side)));
        self.levels.put_quote(header.instrument_id, bid, ask);
        for (side, best) in before {
            if self.levels.book(header.instrument_id).best(side) != best {
                self.tell_best(header, side, out);
            }
        }
        applied.crossed = self.check_crossed(header);
        applied
    }

    #[cold]
    fn clear<U: UpdateSink>(&mut self, header: Header, out: &mut U) -> Applied {
        let number = local(header.instrument_id);
        if number == 0 {
            self.orders.clear_all();
            self.levels.clear_all();
            self.counters.crossed_now = 0;
            self.counters.faulty_now = 0;
            for instrument in &mut self.instruments {
                instrument.first_fault = None;
                instrument.crossed_at = None;
            }
            for standing in &mut self.standings {
                standing.faulty = false;
                standing.crossed = false;
                standing.book_sequence += 1;
            }
        } else {
            self.orders.clear(header.instrument_id);
            self.levels.clear(header.instrument_id);
            let instrument = self.instrument_mut(number);
            instrument.first_fault = None;
            instrument.crossed_at = None;
            let standing = self.standing_mut(number);
            standing.book_sequence += 1;
            let was_crossed = core::mem::take(&mut standing.crossed);
            let was_faulty = core::mem::take(&mut standing.faulty);
            self.counters.crossed_now -= u64::from(was_crossed);
            self.counters.faulty_now -= u64::from(was_faulty);
        }
        self.counters.book_events += 1;
        out.update(&Update {
            header,
            flags: flags::LAST | bad(self.state(header.instrument_id)),
            kind: UpdateKind::Clear,
        });
        Applied {
            instrument_id: header.instrument_id,
            book_changed: true,
            fault: None,
            crossed: false,
        }
    }

    /// An event that concerns no book.
    #[inline]
    fn pass<U: UpdateSink>(&mut self, header: Header, kind: UpdateKind, out: &mut U) -> Applied {
        let number = local(header.instrument_id);
        let undefined = number != 0 && !self.standing_mut(number).defined;
        let fault = undefined.then_some(Fault::UnknownInstrument);
        if let Some(fault) = &fault {
            // Its book isn't touched, so it isn't any staler than it was.
            self.counters.count(fault);
        }
        out.update(&Update {
            header,
            flags: flags::LAST | bad(self.state(header.instrument_id)),
            kind,
        });
        Applied {
            instrument_id: header.instrument_id,
            book_changed: false,
            fault: fault.map(|fault| error(header, fault)),
            crossed: false,
        }
    }

    /// The books took the event, perhaps with a fault; if it is the book's first, that is told.
    #[inline(always)]
    fn accept<'a, U: UpdateSink>(
        &mut self,
        header: Header,
        fault: Option<Fault>,
        last: u8,
        out: &'a mut U,
    ) -> (Applied, Tell<'a, U>) {
        let (applied, mut tell, first) = self.accept_untold(header, fault, last, out);
        if first {
            tell.always(UpdateKind::Stale);
        }
        (applied, tell)
    }

    /// As [`accept`](Self::accept), but who calls tells `Stale` if the third value is true.
    #[inline(always)]
    fn accept_untold<'a, U: UpdateSink>(
        &mut self,
        header: Header,
        fault: Option<Fault>,
        last: u8,
        out: &'a mut U,
    ) -> (Applied, Tell<'a, U>, bool) {
        self.counters.book_events += 1;
        let standing = self.standing_mut(local(header.instrument_id));
        standing.book_sequence += 1;
        let Standing {
            defined, faulty, ..
        } = *standing;
        let mut applied = Applied {
            instrument_id: header.instrument_id,
            book_changed: true,
            fault: None,
            crossed: false,
        };
        let mut first = false;
        let mut state = if self.stale | faulty {
            BookState::Stale
        } else {
            BookState::Live
        };
        if fault.is_some() | !defined {
            let fault = fault.unwrap_or(Fault::UnknownInstrument);
            self.note(header, fault, out);
            applied.fault = Some(error(header, fault));
            first = !faulty;
            state = BookState::Stale;
        }
        let tell = Tell {
            wanted: out.wants(header.instrument_id),
            out,
            header,
            flags: bad(state),
            last,
        };
        (applied, tell, first)
    }

    /// Nothing changed but the book's state.
    #[cold]
    fn refuse<U: UpdateSink>(
        &mut self,
        header: Header,
        fault: Fault,
        last: u8,
        out: &mut U,
    ) -> Applied {
        self.counters.refused_events += 1;
        self.note(header, fault, out);
        // There is nobody to tell of a message without an instrument.
        if fault != Fault::BadInstrument {
            out.update(&Update {
                header,
                flags: last | flags::MAYBE_BAD_BOOK,
                kind: UpdateKind::Stale,
            });
        }
        Applied {
            instrument_id: header.instrument_id,
            book_changed: false,
            fault: Some(error(header, fault)),
            crossed: false,
        }
    }

    /// Counts a fault, and makes the books stale that it throws a doubt on: the message's, which the caller
    /// tells, and another that owns the order, which is told here as an event of its own.
    #[cold]
    fn note<U: UpdateSink>(&mut self, header: Header, fault: Fault, out: &mut U) {
        self.counters.count(&fault);
        if fault == Fault::BadInstrument {
            return;
        }
        let error = error(header, fault);
        self.mark(local(header.instrument_id), error);
        let (Fault::OtherInstrument { owner, .. } | Fault::DuplicateOrder { owner, .. }) = fault
        else {
            return;
        };
        if self.mark(owner, error) {
            let instrument_id = u32::from(self.channel) << 16 | u32::from(owner);
            out.update(&Update {
                header: Header {
                    instrument_id,
                    ..header
                },
                flags: flags::LAST | flags::MAYBE_BAD_BOOK,
                kind: UpdateKind::Stale,
            });
        }
    }

    /// Whether this is the first fault of the book.
    fn mark(&mut self, number: u16, error: BookError) -> bool {
        let first = !self.standing_mut(number).faulty;
        if first {
            self.standing_mut(number).faulty = true;
            self.instrument_mut(number).first_fault = Some(error);
            self.counters.faulty_now += 1;
        }
        first
    }

    /// Compares the best of both sides; whether this message crossed them.
    #[inline]
    fn check_crossed(&mut self, header: Header) -> bool {
        let crossed = self.book(header.instrument_id).is_crossed();
        let standing = self.standing_mut(local(header.instrument_id));
        if crossed != standing.crossed {
            standing.crossed = crossed;
            self.note_crossed(header, crossed);
            return crossed;
        }
        false
    }

    #[cold]
    fn note_crossed(&mut self, header: Header, crossed: bool) {
        let instrument = self.instrument_mut(local(header.instrument_id));
        if crossed {
            instrument.crossed_at = Some(header.sequence);
            self.counters.crossed += 1;
            self.counters.crossed_now += 1;
        } else {
            instrument.crossed_at = None;
            self.counters.crossed_now -= 1;
        }
    }

    /// Whether the instrument is of this channel, or is the channel itself.
    #[inline]
    fn is_own(&self, instrument_id: u32) -> bool {
        instrument_id >> 16 == u32::from(self.channel)
    }

    /// A channel has books of one kind; the first book event says which.
    #[inline]
    fn is_kind(&mut self, kind: BookKind) -> bool {
        *self.kind.get_or_insert(kind) == kind
    }

    #[inline]
    fn instrument(&self, instrument_id: u32) -> Option<&Instrument> {
        if !self.is_own(instrument_id) {
            return None;
        }
        self.instruments.get(usize::from(local(instrument_id)))
    }

    #[inline]
    fn instrument_mut(&mut self, number: u16) -> &mut Instrument {
        let at = usize::from(number);
        if at >= self.instruments.len() {
            self.grow(at + 1);
        }
        &mut self.instruments[at]
    }

    #[inline(always)]
    fn standing(&self, instrument_id: u32) -> Standing {
        if !self.is_own(instrument_id) {
            return Standing::default();
        }
        let standing = self.standings.get(usize::from(local(instrument_id)));
        standing.copied().unwrap_or_default()
    }

    #[inline(always)]
    fn standing_mut(&mut self, number: u16) -> &mut Standing {
        let at = usize::from(number);
        if at >= self.standings.len() {
            self.grow(at + 1);
        }
        &mut self.standings[at]
    }
}

/// The order that takes another's place.
#[inline(always)]
fn new_order(order: &OrderEvent, old: &Reduced) -> Order {
    Order {
        order_id: order.other_id,
        side: old.order.side,
        px: order.px,
        size: order.size,
    }
}

#[inline]
fn error(header: Header, fault: Fault) -> BookError {
    BookError {
        fault,
        instrument_id: header.instrument_id,
        sequence: header.sequence,
    }
}

#[inline]
fn over(reduced: &Reduced, size: u32) -> Option<Fault> {
    (size > reduced.taken).then_some(Fault::OverReduced {
        order_id: reduced.order.order_id,
        size,
        remained: reduced.taken,
    })
}

#[inline]
const fn bad(state: BookState) -> u8 {
    match state {
        BookState::Live => 0,
        BookState::Stale => flags::MAYBE_BAD_BOOK,
    }
}

/// Whether an event makes no sense for the channel as such.
#[inline]
const fn needs_instrument(event: &Event) -> bool {
    matches!(
        event,
        Event::Add { .. }
            | Event::Execute { .. }
            | Event::Cancel { .. }
            | Event::Delete { .. }
            | Event::Replace { .. }
            | Event::Modify { .. }
            | Event::LevelSet { .. }
            | Event::Quote { .. }
            | Event::Definition(_)
    )
}
