//! The books of one channel: [`OrderBooks`] by order, [`LevelBooks`] by price, and [`Book`], the view of one.
//!
//! An operation either does what it says, or gives a [`Fault`] and has changed nothing; the two operations
//! that may do the one and report the other say so.  Books don't know what is plausible between messages:
//! that is [`Market`](crate::Market)'s business.
//!
//! Instruments are named by their whole `instrument_id`, but only its lower half, the number within the
//! channel, counts: one value holds one channel.

use tickcast_codecs::types::{Price, Side};

use crate::book_side::{self, BookSide};
use crate::channel_books::Sides;
use crate::checksum::checksum;
use crate::error::Fault;
use crate::ladder::{Ladder, Ladders, Rung};
use crate::level::{Level, Order};
use crate::limits::{INSTRUMENTS_MAX, Limits};
use crate::orders::{NotStored, OrderStore};
use crate::pages::Pages;

/// The instrument's number within its channel.
#[inline]
#[must_use]
pub(crate) const fn local(instrument_id: u32) -> u16 {
    (instrument_id & 0xffff) as u16
}

/// A level that an operation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// The level as it is now; size 0 = gone.
    pub level: Level,
    /// Whether it is, or was, the best of its side.
    pub at_best: bool,
}

/// An order lost shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduced {
    /// The order as it stood before.
    pub order: Order,
    /// Shares taken: less than asked for if fewer remained.
    pub taken: u32,
    /// Its level.
    pub touched: Touched,
}

/// An order was modified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modified {
    /// The new size is 0: it is gone.
    Removed(Reduced),
    /// Same price; it keeps its place.
    InPlace {
        /// The order as it stood before.
        before: Order,
        /// Its level.
        touched: Touched,
    },
    /// It is now the last of the queue at its new price, which may be the old one.
    Moved {
        /// The order as it stood before.
        before: Order,
        /// The level that it left.  If the price is the same, this is the level after the whole operation.
        left: Touched,
        /// The level that it joined.
        joined: Touched,
    },
}

/// Books of all instruments of a channel, by number, grown as needed.
#[derive(Debug, Clone, Default)]
struct Table(Vec<Ladders>);

static EMPTY: Ladders = Ladders::EMPTY;

impl Table {
    #[inline]
    fn get(&self, instrument: u16) -> &Ladders {
        self.0.get(usize::from(instrument)).unwrap_or(&EMPTY)
    }

    #[inline]
    fn get_mut(&mut self, instrument: u16) -> &mut Ladders {
        let at = usize::from(instrument);
        if at >= self.0.len() {
            self.grow(at);
        }
        &mut self.0[at]
    }

    #[cold]
    fn grow(&mut self, at: usize) {
        debug_assert!(at < INSTRUMENTS_MAX);
        self.0.resize_with(at + 1, || Ladders::EMPTY);
    }

    fn clear(&mut self) {
        for ladders in &mut self.0 {
            ladders.clear();
        }
    }
}

/// All by-order books of a channel.
#[derive(Debug, Clone)]
pub struct OrderBooks {
    table: Table,
    store: OrderStore,
    side_levels_max: usize,
}

impl Default for OrderBooks {
    fn default() -> Self {
        Self::new(&Limits::default())
    }
}

impl OrderBooks {
    /// Empty books.  Allocates nothing yet: see [`reserve`](Self::reserve).
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            table: Table::default(),
            store: OrderStore::new(limits.orders_max),
            side_levels_max: limits.side_levels_max,
        }
    }

    /// Makes room for so many live orders, and for the numbers up to `instruments`.
    pub fn reserve(&mut self, orders: usize, instruments: usize) {
        self.store.reserve(orders);
        let instruments = instruments.min(INSTRUMENTS_MAX);
        if instruments > self.table.0.len() {
            self.table.0.resize_with(instruments, || Ladders::EMPTY);
        }
    }

    /// Live orders of all books.
    #[must_use]
    pub fn order_count(&self) -> usize {
        self.store.len()
    }

    /// One book; empty if there never was an order of it.
    #[inline]
    #[must_use]
    pub fn book(&self, instrument_id: u32) -> Book<'_> {
        let instrument = local(instrument_id);
        Book::linked(instrument, self.table.get(instrument), Some(&self.store))
    }

    /// A new order joins the end of its level's queue.
    ///
    /// # Errors
    ///
    /// `ZeroSize`, `BadPrice` (0 or less), `DuplicateOrder`, `OrdersFull`, `LevelsFull`: nothing changed.
    #[inline]
    pub fn add(&mut self, instrument_id: u32, order: Order) -> Result<Touched, Fault> {
        check_new(order)?;
        let instrument = local(instrument_id);
        let ladder = self.table.get_mut(instrument).side_mut(order.side);
        let found = ladder.find(order.px);
        if found.is_err() && ladder.len() >= self.side_levels_max {
            // A duplicate is the worse of two faults.
            self.store
                .check(order.order_id)
                .map_err(|e| not_stored(e, order.order_id))?;
            return Err(Fault::LevelsFull { px: order.px });
        }
        let at = self
            .store
            .insert(instrument, order)
            .map_err(|e| not_stored(e, order.order_id))?;
        Ok(join(&mut self.store, ladder, found, order.px, at))
    }

    /// Takes shares off an order, which keeps its place; at 0 it is gone.  For executions and cancels.
    ///
    /// If fewer shares remain than asked for, the order is removed and `taken` says how many there were.
    ///
    /// # Errors
    ///
    /// `UnknownOrder`, `OtherInstrument`, `ZeroSize`: nothing changed.
    #[inline]
    pub fn reduce(
        &mut self,
        instrument_id: u32,
        order_id: u64,
        size: u32,
    ) -> Result<Reduced, Fault> {
        let at = self.find(instrument_id, order_id)?;
        if size == 0 {
            return Err(Fault::ZeroSize { order_id });
        }
        let slot = self.store.slot_mut(at);
        let order = slot.order();
        if size >= order.size {
            return Ok(self.take_out(instrument_id, at));
        }
        slot.size -= size;
        let ladder = self
            .table
            .get_mut(local(instrument_id))
            .side_mut(order.side);
        let place = place(ladder, order.px);
        ladder.rung_mut(place).size -= u64::from(size);
        Ok(Reduced {
            order,
            taken: size,
            touched: touched(ladder, place, order.px),
        })
    }

    /// Removes an order.
    ///
    /// # Errors
    ///
    /// `UnknownOrder`, `OtherInstrument`: nothing changed.
    #[inline]
    pub fn delete(&mut self, instrument_id: u32, order_id: u64) -> Result<Reduced, Fault> {
        let at = self.find(instrument_id, order_id)?;
        Ok(self.take_out(instrument_id, at))
    }

    /// Sets an order's price and size; size 0 removes it.
    ///
    /// With `keeps_priority` and the same price it keeps its place, whether it gets larger or smaller.  At
    /// another price there is no place to keep: it joins the end of that level's queue, as it does without
    /// `keeps_priority`.
    ///
    /// # Errors
    ///
    /// `UnknownOrder`, `OtherInstrument`, `BadPrice`, `LevelsFull`: nothing changed.
    #[inline]
    pub fn modify(
        &mut self,
        instrument_id: u32,
        order_id: u64,
        px: Price,
        size: u32,
        keeps_priority: bool,
    ) -> Result<Modified, Fault> {
        let at = self.find(instrument_id, order_id)?;
        if size == 0 {
            return Ok(Modified::Removed(self.take_out(instrument_id, at)));
        }
        if px.0 <= 0 {
            return Err(Fault::BadPrice { px });
        }
        let before = self.store.slot(at).order();
        let ladder = self
            .table
            .get_mut(local(instrument_id))
            .side_mut(before.side);
        let old = place(ladder, before.px);
        if px == before.px && keeps_priority {
            self.store.slot_mut(at).size = size;
            let rung = ladder.rung_mut(old);
            rung.size = rung.size - u64::from(before.size) + u64::from(size);
            return Ok(Modified::InPlace {
                before,
                touched: touched(ladder, old, px),
            });
        }
        // A level that the order leaves empty makes room for the one that it joins.
        let joins_new_level = ladder.find(px).is_err() && ladder.rung(old).count > 1;
        if joins_new_level && ladder.len() >= self.side_levels_max {
            return Err(Fault::LevelsFull { px });
        }
        let mut left = leave(&mut self.store, ladder, old, before.px, at);
        let slot = self.store.slot_mut(at);
        slot.px = px;
        slot.size = size;
        let found = ladder.find(px);
        let joined = join(&mut self.store, ladder, found, px, at);
        if px == before.px {
            left = joined;
        }
        Ok(Modified::Moved {
            before,
            left,
            joined,
        })
    }

    /// Removes all orders of an instrument.
    pub fn clear(&mut self, instrument_id: u32) {
        let ladders = self.table.get_mut(local(instrument_id));
        for side in [Side::Bid, Side::Ask] {
            for rung in ladders.side(side).rungs() {
                self.store.remove_queue(rung);
            }
        }
        ladders.clear();
    }

    /// Removes all orders of all instruments.
    pub fn clear_all(&mut self) {
        self.table.clear();
        self.store.clear();
    }

    #[inline]
    fn find(&self, instrument_id: u32, order_id: u64) -> Result<u32, Fault> {
        let at = self
            .store
            .find(order_id)
            .ok_or(Fault::UnknownOrder { order_id })?;
        let owner = self.store.slot(at).instrument;
        if owner == local(instrument_id) {
            Ok(at)
        } else {
            Err(Fault::OtherInstrument { order_id, owner })
        }
    }

    /// Removes a live order of this instrument.
    #[inline]
    fn take_out(&mut self, instrument_id: u32, at: u32) -> Reduced {
        let order = self.store.slot(at).order();
        let ladder = self
            .table
            .get_mut(local(instrument_id))
            .side_mut(order.side);
        let place = place(ladder, order.px);
        let touched = leave(&mut self.store, ladder, place, order.px, at);
        self.store.remove(at);
        Reduced {
            order,
            taken: order.size,
            touched,
        }
    }
}

#[inline]
pub(crate) fn check_new(order: Order) -> Result<(), Fault> {
    let Order {
        order_id, px, size, ..
    } = order;
    if size == 0 {
        Err(Fault::ZeroSize { order_id })
    } else if px.0 <= 0 {
        Err(Fault::BadPrice { px })
    } else {
        Ok(())
    }
}

#[cold]
pub(crate) fn not_stored(why: NotStored, order_id: u64) -> Fault {
    match why {
        NotStored::Duplicate { owner } => Fault::DuplicateOrder { order_id, owner },
        NotStored::Full => Fault::OrdersFull { order_id },
    }
}

/// Where the level of a live order is.
#[inline]
fn place(ladder: &Ladder, px: Price) -> usize {
    let found = ladder.find(px);
    // An order is linked into its level for as long as it lives, and only an empty level is removed: were
    // there none, memory would be corrupt, and every further word of the book a guess.
    assert!(found.is_ok(), "a live order has a level");
    found.unwrap_or_default()
}

#[inline]
fn touched(ladder: &Ladder, at: usize, px: Price) -> Touched {
    let rung = ladder.rung(at);
    Touched {
        level: Level {
            px,
            size: rung.size,
            count: rung.count,
        },
        at_best: ladder.is_best(at),
    }
}

/// Links a stored order in at the end of the level's queue; `found` is what the ladder finds for its price.
#[inline]
fn join(
    store: &mut OrderStore,
    ladder: &mut Ladder,
    found: Result<usize, usize>,
    px: Price,
    at: u32,
) -> Touched {
    let (place, rung): (usize, &mut Rung) = match found {
        Ok(place) => (place, ladder.rung_mut(place)),
        Err(place) => (place, ladder.insert(place, px)),
    };
    store.push_back(rung, at);
    touched(ladder, place, px)
}

/// Links an order out of its level's queue, and removes the level if it was the last.
#[inline]
fn leave(store: &mut OrderStore, ladder: &mut Ladder, place: usize, px: Price, at: u32) -> Touched {
    store.unlink(ladder.rung_mut(place), at);
    let touched = touched(ladder, place, px);
    if touched.level.count == 0 {
        debug_assert_eq!(touched.level.size, 0);
        ladder.remove(place);
    }
    touched
}

/// All by-price books of a channel.
#[derive(Debug, Clone)]
pub struct LevelBooks {
    table: Table,
    levels: usize,
    levels_max: usize,
    side_levels_max: usize,
}

impl Default for LevelBooks {
    fn default() -> Self {
        Self::new(&Limits::default())
    }
}

impl LevelBooks {
    /// Empty books.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            table: Table::default(),
            levels: 0,
            levels_max: limits.levels_max,
            side_levels_max: limits.side_levels_max,
        }
    }

    /// Makes room for the numbers up to `instruments`.
    pub fn reserve(&mut self, instruments: usize) {
        let instruments = instruments.min(INSTRUMENTS_MAX);
        if instruments > self.table.0.len() {
            self.table.0.resize_with(instruments, || Ladders::EMPTY);
        }
    }

    /// Levels of all books.
    #[must_use]
    pub fn level_count(&self) -> usize {
        self.levels
    }

    /// One book; empty if there never was a level of it.
    #[inline]
    #[must_use]
    pub fn book(&self, instrument_id: u32) -> Book<'_> {
        let instrument = local(instrument_id);
        Book::linked(instrument, self.table.get(instrument), None)
    }

    /// A level is now this; size 0 removes it, which is no fault if it isn't there.
    ///
    /// # Errors
    ///
    /// `BadPrice` (0 or less), `LevelsFull`: nothing changed.
    #[inline]
    pub fn set(&mut self, instrument_id: u32, side: Side, level: Level) -> Result<Touched, Fault> {
        let Level { px, size, count } = level;
        if px.0 <= 0 {
            return Err(Fault::BadPrice { px });
        }
        let ladder = self.table.get_mut(local(instrument_id)).side_mut(side);
        let at_best = match ladder.find(px) {
            Ok(at) => {
                let at_best = ladder.is_best(at);
                if size == 0 {
                    ladder.remove(at);
                    self.levels -= 1;
                } else {
                    let rung = ladder.rung_mut(at);
                    rung.size = size;
                    rung.count = count;
                }
                at_best
            }
            Err(_) if size == 0 => false,
            Err(at) => {
                if ladder.len() >= self.side_levels_max || self.levels >= self.levels_max {
                    return Err(Fault::LevelsFull { px });
                }
                let rung = ladder.insert(at, px);
                rung.size = size;
                rung.count = count;
                self.levels += 1;
                ladder.is_best(at)
            }
        };
        let level = if size == 0 {
            Level {
                px,
                ..Level::default()
            }
        } else {
            level
        };
        Ok(Touched { level, at_best })
    }

    /// The book is now these two levels and nothing else; a level of size 0 is none.
    ///
    /// # Errors
    ///
    /// `BadPrice` (0 or less, of a level that is one), `LevelsFull`: nothing changed.
    #[inline]
    pub fn quote(&mut self, instrument_id: u32, bid: Level, ask: Level) -> Result<(), Fault> {
        self.check_quote(instrument_id, bid, ask)?;
        self.put_quote(instrument_id, bid, ask);
        Ok(())
    }

    /// What [`quote`](Self::quote) refuses.
    #[inline]
    pub(crate) fn check_quote(
        &self,
        instrument_id: u32,
        bid: Level,
        ask: Level,
    ) -> Result<(), Fault> {
        let quoted = [bid, ask].into_iter().filter(|level| level.size > 0);
        if let Some(Level { px, .. }) = quoted.clone().find(|level| level.px.0 <= 0) {
            return Err(Fault::BadPrice { px });
        }
        let others = self.levels - self.table.get(local(instrument_id)).level_count();
        match quoted.clone().next() {
            Some(Level { px, .. }) if others + quoted.count() > self.levels_max => {
                Err(Fault::LevelsFull { px })
            }
            _ => Ok(()),
        }
    }

    /// What [`quote`](Self::quote) does, once it is checked.
    #[inline]
    pub(crate) fn put_quote(&mut self, instrument_id: u32, bid: Level, ask: Level) {
        let ladders = self.table.get_mut(local(instrument_id));
        self.levels -= ladders.level_count();
        for (side, level) in [(Side::Bid, bid), (Side::Ask, ask)] {
            let ladder = ladders.side_mut(side);
            ladder.clear();
            if level.size > 0 {
                let rung = ladder.insert(0, level.px);
                rung.size = level.size;
                rung.count = level.count;
            }
        }
        self.levels += ladders.level_count();
    }

    /// Removes all levels of an instrument.
    pub fn clear(&mut self, instrument_id: u32) {
        let ladders = self.table.get_mut(local(instrument_id));
        self.levels -= ladders.level_count();
        ladders.clear();
    }

    /// Removes all levels of all instruments.
    pub fn clear_all(&mut self) {
        self.table.clear();
        self.levels = 0;
    }
}

/// A view of one instrument's book.
#[derive(Debug, Clone, Copy)]
pub struct Book<'a> {
    instrument: u16,
    kept: Kept<'a>,
}

/// How it is kept.
#[derive(Debug, Clone, Copy)]
enum Kept<'a> {
    /// By a shard, by order.
    Paged(&'a Sides, &'a Pages),
    /// By order, queues linked; or by price, without a store.
    Linked(&'a Ladders, Option<&'a OrderStore>),
}

/// Levels of one side, best first.
#[derive(Debug, Clone)]
pub struct Levels<'a>(LevelsOf<'a>);

#[derive(Debug, Clone)]
enum LevelsOf<'a> {
    Paged {
        side: Side,
        levels: &'a BookSide,
        top: usize,
        ranks: core::ops::Range<usize>,
    },
    Linked(&'a Ladder, core::iter::Rev<core::slice::Iter<'a, Rung>>),
}

impl Iterator for Levels<'_> {
    type Item = Level;

    #[inline]
    fn next(&mut self) -> Option<Level> {
        match &mut self.0 {
            LevelsOf::Paged {
                side,
                levels,
                top,
                ranks,
            } => levels.level_behind(*side, *top, ranks.next()?),
            LevelsOf::Linked(ladder, rungs) => rungs.next().map(|rung| ladder.level_of(rung)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            LevelsOf::Paged { ranks, .. } => ranks.len(),
            LevelsOf::Linked(_, rungs) => rungs.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Levels<'_> {}

impl<'a> Book<'a> {
    pub(crate) fn paged(instrument: u16, sides: &'a Sides, pages: &'a Pages) -> Self {
        Self {
            instrument,
            kept: Kept::Paged(sides, pages),
        }
    }

    fn linked(instrument: u16, ladders: &'a Ladders, store: Option<&'a OrderStore>) -> Self {
        Self {
            instrument,
            kept: Kept::Linked(ladders, store),
        }
    }

    /// Levels of the bid side, best first.
    #[must_use]
    pub fn bids(&self) -> Levels<'a> {
        self.levels(Side::Bid)
    }

    /// Levels of the ask side, best first.
    #[must_use]
    pub fn asks(&self) -> Levels<'a> {
        self.levels(Side::Ask)
    }

    /// Levels of one side, best first.
    #[must_use]
    pub fn levels(&self, side: Side) -> Levels<'a> {
        Levels(match self.kept {
            Kept::Paged(sides, _) => {
                let levels = &sides[side as usize];
                LevelsOf::Paged {
                    side,
                    levels,
                    top: levels.top_len(),
                    ranks: 0..levels.len(),
                }
            }
            Kept::Linked(ladders, _) => {
                let ladder = ladders.side(side);
                LevelsOf::Linked(ladder, ladder.rungs())
            }
        })
    }

    /// The best level of one side.
    #[inline]
    #[must_use]
    pub fn best(&self, side: Side) -> Option<Level> {
        match self.kept {
            Kept::Paged(sides, _) => sides[side as usize].best(side),
            Kept::Linked(ladders, _) => ladders.side(side).best(),
        }
    }

    /// The level at a price.
    #[must_use]
    pub fn level(&self, side: Side, px: Price) -> Option<Level> {
        match self.kept {
            Kept::Paged(sides, _) => sides[side as usize].level_at(side, px),
            Kept::Linked(ladders, _) => ladders.side(side).level(px),
        }
    }

    /// How many levels one side has.
    #[must_use]
    pub fn level_count(&self, side: Side) -> usize {
        match self.kept {
            Kept::Paged(sides, _) => sides[side as usize].len(),
            Kept::Linked(ladders, _) => ladders.side(side).len(),
        }
    }

    /// Whether neither side has a level.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.best(Side::Bid).is_none() && self.best(Side::Ask).is_none()
    }

    /// Whether the best bid is above the best ask.  (At the same price the book is locked, which is valid.)
    #[inline]
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        match (self.best(Side::Bid), self.best(Side::Ask)) {
            (Some(bid), Some(ask)) => bid.px > ask.px,
            _ => false,
        }
    }

    /// Orders of one side: the best level first, in queue order.  None in a book by price.
    ///
    /// Of a [`Market`](crate::Market)'s book this looks at the orders of all instruments, a few milliseconds
    /// where there are a million: its queues are in no list.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = Order> + 'a {
        let (linked, paged) = match self.kept {
            Kept::Paged(_, pages) => (None, paged_orders(pages, self.instrument, side)),
            Kept::Linked(ladders, store) => (store.map(|store| (ladders, store)), Vec::new()),
        };
        let linked = linked.into_iter().flat_map(move |(ladders, store)| {
            let rungs = ladders.side(side).rungs();
            rungs.flat_map(move |rung| store.queue(rung))
        });
        linked.chain(paged)
    }

    /// Orders of one level in queue order.  None in a book by price.  Costs what [`orders`](Self::orders) does.
    pub fn orders_at(&self, side: Side, px: Price) -> impl Iterator<Item = Order> + 'a {
        self.orders(side).filter(move |order| order.px == px)
    }

    /// A live order of this book.  None in a book by price.
    #[must_use]
    pub fn order(&self, order_id: u64) -> Option<Order> {
        match self.kept {
            Kept::Paged(_, pages) => {
                let (_, resting) = pages.find(order_id)?;
                (resting.instrument == self.instrument).then(|| resting.order(order_id))
            }
            Kept::Linked(_, store) => {
                let store = store?;
                let slot = store.slot(store.find(order_id)?);
                (slot.instrument == self.instrument).then(|| slot.order())
            }
        }
    }

    /// The checksum of the ten best levels: see [`checksum`].
    #[must_use]
    pub fn checksum(&self) -> u32 {
        checksum(self.bids(), self.asks())
    }
}

/// Best level first, then in queue order.
fn paged_orders(pages: &Pages, instrument: u16, side: Side) -> Vec<Order> {
    let mut orders = pages.orders_of(instrument);
    orders.retain(|(_, order)| order.side == side);
    orders.sort_unstable_by_key(|(rank, order)| {
        (
            core::cmp::Reverse(book_side::deep_key(side, order.px)),
            *rank,
        )
    });
    orders.into_iter().map(|(_, order)| order).collect()
}
