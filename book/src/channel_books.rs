//! The books of one channel by order, for all of its instruments: what a shard keeps.
//!
//! Made for the memory that a message touches: the order's slot by its number ([`pages`](crate::pages)), and the
//! arrays of one side of a book by the instrument's ([`book_side`](crate::book_side)).  Both addresses are known
//! before the message is applied, so they are asked for a block of messages ahead.  Queues aren't linked: an
//! order's place follows from its number, and is looked up when somebody asks for the queue.
//!
//! An operation either does what it says, or gives a [`Fault`] and has changed nothing.  Books don't know what is
//! plausible between messages: that is [`Market`](crate::Market)'s business.

use tickcast_codecs::event::{OrderEvent, OrderKind};
use tickcast_codecs::prefetch::prefetch;
use tickcast_codecs::types::{Price, Side};

use crate::book_side::{self, BookSide, Changed, Full};
use crate::books::{Book, check_new, local, not_stored};
use crate::error::Fault;
use crate::level::{Level, Order};
use crate::limits::{INSTRUMENTS_MAX, Limits};
use crate::pages::{At, Pages, Resting, Slot, SlotIndex};

/// An order lost shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reduced {
    /// The order as it stood before.
    pub(crate) order: Order,
    /// Shares taken: less than asked for if fewer remained.
    pub(crate) taken: u32,
    pub(crate) changed: Changed,
}

/// An order was modified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Modified {
    /// The new size is 0: it is gone.
    Removed(Reduced),
    /// Same price; it keeps its place.
    InPlace { before: Order, changed: Changed },
    /// It is now the last of the queue at its new price, which may be the old one.
    Moved {
        before: Order,
        /// The level that it left.  If the price is the same, this is the level after the whole operation.
        left: Changed,
        joined: Changed,
    },
}

/// Where an order's event will lead, as far as can be seen before those before it are applied: to be looked at
/// first, not to be relied on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hint {
    slot: SlotIndex,
    epoch: u32,
    /// The order can't be anywhere but in the slot.
    sole: bool,
    adds: bool,
    side: Side,
    /// The price of the level that it leaves; of an addition, that it joins.
    ticks: u32,
    /// The price of the level that it joins; 0 = none, or the price has no key.
    new_ticks: u32,
    /// That level's place, and that of the level which it joins.
    near: usize,
    near_new: usize,
}

/// What by-order books take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Live orders.
    pub orders: usize,
    /// For them: the pages in use, the table, and what leads to both.
    pub order_bytes: usize,
    /// Levels.
    pub levels: usize,
    /// For them: arrays of both sides of every instrument, and the levels below their top.
    pub level_bytes: usize,
}

/// Both sides of a book.
pub(crate) type Sides = [BookSide; 2];

pub(crate) static EMPTY: Sides = [BookSide::EMPTY, BookSide::EMPTY];

/// All by-order books of a channel.
#[derive(Debug)]
pub(crate) struct ChannelBooks {
    /// By instrument, by side.
    sides: Vec<Sides>,
    pages: Pages,
    side_levels_max: usize,
}

impl ChannelBooks {
    /// Empty books.  Allocates nothing yet.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            sides: Vec::new(),
            pages: Pages::new(limits.orders_max),
            side_levels_max: limits.side_levels_max,
        }
    }

    /// Makes room for so many live orders, and for the numbers up to `instruments`.
    pub(crate) fn reserve(&mut self, orders: usize, instruments: usize) {
        self.pages.reserve(orders);
        let instruments = instruments.min(INSTRUMENTS_MAX);
        if instruments > self.sides.len() {
            self.sides.resize_with(instruments, || EMPTY.clone());
        }
    }

    /// Live orders of all books.
    pub(crate) fn order_count(&self) -> usize {
        self.pages.len()
    }

    /// Levels of all books.
    pub(crate) fn level_count(&self) -> usize {
        self.sides.iter().flatten().map(BookSide::len).sum()
    }

    /// What the books take.
    pub(crate) fn memory(&self) -> Memory {
        let deep: usize = self.sides.iter().flatten().map(BookSide::heap_bytes).sum();
        Memory {
            orders: self.order_count(),
            order_bytes: self.pages.bytes(),
            levels: self.level_count(),
            level_bytes: self.sides.capacity() * size_of::<Sides>() + deep,
        }
    }

    /// One book; empty if there never was an order of it.
    #[inline]
    pub(crate) fn book(&self, instrument_id: u32) -> Book<'_> {
        let instrument = local(instrument_id);
        let sides = self.sides.get(usize::from(instrument)).unwrap_or(&EMPTY);
        Book::paged(instrument, sides, &self.pages)
    }

    /// The best level of one side.
    #[inline(always)]
    pub(crate) fn best(&self, instrument_id: u32, side: Side) -> Option<Level> {
        let sides = self.sides.get(usize::from(local(instrument_id)))?;
        sides[side as usize].best(side)
    }

    /// First step towards an order's event: asks for its order.
    #[inline(always)]
    pub(crate) fn look_up(&self, order: &OrderEvent) -> Hint {
        let (slot, sole) = self.pages.slot_of(order.order_id);
        self.pages.prefetch_slot(slot);
        Hint {
            slot,
            sole,
            epoch: self.pages.epoch(),
            near: 0,
            near_new: 0,
            adds: order.kind == OrderKind::Add,
            side: Side::Bid,
            ticks: 0,
            new_ticks: book_side::ticks(order.px).unwrap_or_default(),
        }
    }

    /// Second step: asks for the side of a book that it concerns.
    #[inline(always)]
    pub(crate) fn look_at_order(&self, order: &OrderEvent, hint: &mut Hint) {
        let slot = self.pages.slot_or_empty(hint.slot);
        // By selection, not by branches: whether it adds can't be foreseen.
        hint.side = core::hint::select_unpredictable(hint.adds, order.side, slot.side());
        hint.ticks = core::hint::select_unpredictable(hint.adds, hint.new_ticks, slot.ticks);
        if let Some(sides) = self.sides.get(usize::from(local(order.instrument_id))) {
            sides[hint.side as usize].prefetch();
        }
    }

    /// Third step: asks for the levels that it concerns.
    #[inline(always)]
    pub(crate) fn look_at_levels(&self, order: &OrderEvent, hint: &mut Hint) {
        let Some(sides) = self.sides.get(usize::from(local(order.instrument_id))) else {
            return;
        };
        let side = &sides[hint.side as usize];
        hint.near = side.prefetch_level(hint.side, hint.ticks);
        hint.near_new = hint.near;
        if order.kind == OrderKind::Replace {
            hint.near_new = side.prefetch_other_level(hint.side, hint.new_ticks);
        }
    }

    /// The slot that was looked up, if it still is where it was.
    #[inline(always)]
    fn hinted(&self, order_id: u64, hint: &Hint) -> SlotIndex {
        if hint.epoch == self.pages.epoch() {
            hint.slot
        } else {
            self.pages.slot_of(order_id).0
        }
    }

    #[inline(always)]
    fn side_mut(&mut self, instrument_id: u32, side: Side) -> &mut BookSide {
        let at = usize::from(local(instrument_id));
        if at >= self.sides.len() {
            self.grow(at);
        }
        &mut self.sides[at][side as usize]
    }

    #[cold]
    fn grow(&mut self, at: usize) {
        debug_assert!(at < INSTRUMENTS_MAX);
        self.sides.resize_with(at + 1, || EMPTY.clone());
    }

    /// As [`add`](Self::add), for nearly all orders: those that their slot takes.  Otherwise nothing changed.
    #[inline(always)]
    pub(crate) fn add_to_slot(
        &mut self,
        instrument_id: u32,
        order: &Order,
        hint: &Hint,
    ) -> Option<Changed> {
        let &Order {
            order_id,
            side,
            size,
            ..
        } = order;
        let ticks = hint.new_ticks;
        let fits = hint.sole
            & (ticks != 0)
            & (hint.epoch == self.pages.epoch())
            & (size != 0)
            & self.pages.has_room()
            & self.pages.is_free(hint.slot);
        if !fits {
            return None;
        }
        let number = self.pages.number(order_id);
        let levels_max = self.side_levels_max;
        let joined = self.side_mut(instrument_id, side).join_near(
            hint.near_new,
            side,
            ticks,
            size,
            number,
            levels_max,
        )?;
        let instrument = local(instrument_id);
        if number > joined.last {
            self.pages
                .fill_slot(hint.slot, order_id, instrument, side, ticks, size);
        } else {
            self.pages
                .put(instrument, *order, Some(ticks), number, joined.last);
        }
        Some(joined.changed)
    }

    /// A new order joins the end of its level's queue.
    ///
    /// # Errors
    ///
    /// `ZeroSize`, `BadPrice` (0 or less), `DuplicateOrder`, `OrdersFull`, `LevelsFull`: nothing changed.
    #[inline(never)]
    pub(crate) fn add(&mut self, instrument_id: u32, order: Order) -> Result<Changed, Fault> {
        check_new(order)?;
        self.pages.prepare(order.order_id);
        self.pages
            .check(order.order_id)
            .map_err(|e| not_stored(e, order.order_id))?;
        let ticks = book_side::ticks(order.px);
        let number = self.pages.number(order.order_id);
        self.join(instrument_id, order, ticks, number)
    }

    /// An order that can be stored joins its level; `number` is 0 if it can't be placed by its own.
    #[inline(always)]
    fn join(
        &mut self,
        instrument_id: u32,
        order: Order,
        ticks: Option<u32>,
        number: u32,
    ) -> Result<Changed, Fault> {
        let levels_max = self.side_levels_max;
        let side = self.side_mut(instrument_id, order.side);
        let joined = side
            .join(order.side, order.px, ticks, order.size, number, levels_max)
            .map_err(|Full| Fault::LevelsFull { px: order.px })?;
        self.pages
            .put(local(instrument_id), order, ticks, number, joined.last);
        Ok(joined.changed)
    }

    /// As [`reduce`](Self::reduce), for nearly all orders: those in their slot, of no more shares than they have.
    /// Without `size`: all of it.
    #[inline(always)]
    pub(crate) fn reduce_in_slot(
        &mut self,
        instrument_id: u32,
        order_id: u64,
        size: Option<u32>,
        hint: &Hint,
    ) -> Option<Reduced> {
        let at = self.hinted(order_id, hint);
        let slot = self.pages.live_slot(at)?;
        let size = size.unwrap_or(slot.size);
        let fits = (slot.instrument == local(instrument_id)) & (size != 0) & (size <= slot.size);
        if !fits {
            return None;
        }
        Some(self.reduce_slot(instrument_id, order_id, size, at, &slot, hint))
    }

    /// Takes shares off the live order of a slot; not more than it has.
    #[inline(always)]
    fn reduce_slot(
        &mut self,
        instrument_id: u32,
        order_id: u64,
        size: u32,
        at: SlotIndex,
        slot: &Slot,
        hint: &Hint,
    ) -> Reduced {
        let gone = size == slot.size;
        let taken = size;
        if gone {
            self.pages.empty_slot(at);
        } else {
            self.pages.set_slot_size(at, slot.size - taken);
        }
        let side = slot.side();
        let changed = self.side_mut(instrument_id, side).reduce_near(
            hint.near,
            side,
            slot.ticks,
            taken,
            u32::from(gone),
        );
        let order = Order {
            order_id,
            side,
            px: book_side::px(slot.ticks),
            size: slot.size,
        };
        Reduced {
            order,
            taken,
            changed,
        }
    }

    /// Takes shares off an order, which keeps its place; at 0 it is gone.  For executions and cancels.
    ///
    /// If fewer shares remain than asked for, the order is removed and `taken` says how many there were.
    ///
    /// # Errors
    ///
    /// `UnknownOrder`, `OtherInstrument`, `ZeroSize`: nothing changed.
    #[inline(never)]
    pub(crate) fn reduce(
        &mut self,
        instrument_id: u32,
        order_id: u64,
        size: u32,
    ) -> Result<Reduced, Fault> {
        let (at, resting) = self.find(instrument_id, order_id)?;
        if size == 0 {
            return Err(Fault::ZeroSize { order_id });
        }
        if size >= resting.size {
            return Ok(self.take_out(instrument_id, order_id, at, &resting));
        }
        self.pages.set_size(at, order_id, resting.size - size);
        let Resting {
            side, px, ticks, ..
        } = resting;
        let changed = self
            .side_mut(instrument_id, side)
            .reduce(side, px, ticks, size, 0);
        Ok(Reduced {
            order: resting.order(order_id),
            taken: size,
            changed,
        })
    }

    /// Removes an order.
    ///
    /// # Errors
    ///
    /// `UnknownOrder`, `OtherInstrument`: nothing changed.
    #[inline(never)]
    pub(crate) fn delete(&mut self, instrument_id: u32, order_id: u64) -> Result<Reduced, Fault> {
        let (at, resting) = self.find(instrument_id, order_id)?;
        Ok(self.take_out(instrument_id, order_id, at, &resting))
    }

    /// Where an order that takes another's place will be.
    #[inline(always)]
    pub(crate) fn look_up_new(&self, new_order_id: u64, hint: &Hint) -> Hint {
        let (slot, sole) = self.pages.slot_of(new_order_id);
        Hint {
            slot,
            sole,
            epoch: self.pages.epoch(),
            ..*hint
        }
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
    pub(crate) fn modify(
        &mut self,
        instrument_id: u32,
        order_id: u64,
        px: Price,
        size: u32,
        keeps_priority: bool,
    ) -> Result<Modified, Fault> {
        let (at, resting) = self.find(instrument_id, order_id)?;
        if size == 0 {
            let reduced = self.take_out(instrument_id, order_id, at, &resting);
            return Ok(Modified::Removed(reduced));
        }
        if px.0 <= 0 {
            return Err(Fault::BadPrice { px });
        }
        let before = resting.order(order_id);
        let levels_max = self.side_levels_max;
        let side = self.side_mut(instrument_id, before.side);
        if px == before.px && keeps_priority {
            let changed = side.resize(before.side, px, resting.ticks, before.size, size);
            self.pages.set_size(at, order_id, size);
            return Ok(Modified::InPlace { before, changed });
        }
        // A level that the order leaves empty makes room for the one that it joins.
        let joins_new_level = side.orders_at(before.side, px).is_none()
            && side
                .orders_at(before.side, before.px)
                .is_some_and(|orders| orders > 1);
        if joins_new_level && side.len() >= levels_max {
            return Err(Fault::LevelsFull { px });
        }
        let mut left = self.take_out(instrument_id, order_id, at, &resting).changed;
        let after = Order { px, size, ..before };
        // Its number says when it was new, not when it came here.
        let joined = self.join(instrument_id, after, book_side::ticks(px), 0)?;
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
    pub(crate) fn clear(&mut self, instrument_id: u32) {
        let Some(sides) = self.sides.get_mut(usize::from(local(instrument_id))) else {
            return;
        };
        if sides.iter().all(|side| side.len() == 0) {
            return;
        }
        for side in sides {
            side.clear();
        }
        self.pages.remove_instrument(local(instrument_id));
    }

    /// Removes all orders of all instruments.
    pub(crate) fn clear_all(&mut self) {
        for side in self.sides.iter_mut().flatten() {
            side.clear();
        }
        self.pages.clear();
    }

    /// All orders of all books: by instrument, bids before asks, the best level first, in queue order.
    pub(crate) fn orders(&self) -> impl Iterator<Item = (u16, Order)> {
        let mut orders = self.pages.orders();
        orders.sort_unstable_by_key(|(instrument, rank, order)| {
            let key = book_side::deep_key(order.side, order.px);
            (*instrument, order.side, core::cmp::Reverse(key), *rank)
        });
        orders
            .into_iter()
            .map(|(instrument, _, order)| (instrument, order))
    }

    /// See [`Pages::gather`].
    pub(crate) fn gather(&mut self, instrument_ids: &[u32]) {
        self.pages
            .gather(instrument_ids.iter().map(|&id| local(id)));
    }

    /// See [`Pages::continue_gathering`].
    pub(crate) fn continue_gathering(&mut self, pages: usize) -> bool {
        self.pages.continue_gathering(pages)
    }

    /// The orders of a book that was gathered: bids before asks, the best level first, in queue order.
    pub(crate) fn take_gathered(&mut self, instrument_id: u32) -> impl Iterator<Item = Order> {
        let mut orders = self.pages.take_gathered(local(instrument_id));
        orders.sort_unstable_by_key(|(rank, order)| {
            let key = book_side::deep_key(order.side, order.px);
            (order.side, core::cmp::Reverse(key), *rank)
        });
        orders.into_iter().map(|(_, order)| order)
    }

    #[inline(always)]
    fn find(&self, instrument_id: u32, order_id: u64) -> Result<(At, Resting), Fault> {
        let found = self
            .pages
            .find(order_id)
            .ok_or(Fault::UnknownOrder { order_id })?;
        let owner = found.1.instrument;
        if owner == local(instrument_id) {
            Ok(found)
        } else {
            Err(Fault::OtherInstrument { order_id, owner })
        }
    }

    /// Removes a live order of this instrument.
    #[inline(always)]
    fn take_out(
        &mut self,
        instrument_id: u32,
        order_id: u64,
        at: At,
        resting: &Resting,
    ) -> Reduced {
        let Resting {
            side,
            px,
            ticks,
            size,
            ..
        } = *resting;
        self.pages.remove(at, order_id);
        let changed = self
            .side_mut(instrument_id, side)
            .reduce(side, px, ticks, size, 1);
        Reduced {
            order: resting.order(order_id),
            taken: size,
            changed,
        }
    }
}

/// Asks for the place of an instrument in an array by instrument.
#[inline(always)]
pub(crate) fn prefetch_instrument<T>(all: &[T], instrument_id: u32) {
    if let Some(one) = all.get(usize::from(local(instrument_id))) {
        prefetch(one);
    }
}
