//! The orders of a channel by reference number: pages of slots for the numbers that came last, a hash table for
//! what outlives them.
//!
//! Venues count their order reference numbers up, and most orders live shortly.  So a number is an address: its
//! upper bits name a page of [`PAGE_SLOTS`] slots of 16 bytes, its lower bits the slot.  A page is given back as
//! soon as no order of it lives, and the oldest is emptied into the table when there are more pages than
//! [`SLOTS_PER_ORDER`] slots for each live order: memory follows the live orders, whatever the numbers are.
//! Numbers that don't come densely (a channel's share, a recording of one instrument, an adversary) get no pages
//! but stay in the table.
//!
//! An order that a page can't hold is in the table from the start: of a price without a key (see
//! [`book_side`](crate::book_side)), or with a number that isn't behind those of its level, so that its place in
//! the queue doesn't follow from it.  Place in a queue is a [`Rank`]: the number, or for those that number's
//! place at which they came, and the count of them.
//!
//! Pages are of one mapping, for which huge pages are asked; what was never used of it takes no memory.
//!
//! Invariants: an order is in one place only; a slot whose size is 0 is free, and all slots of a free page are;
//! the directory's mark of a page says whether the table may hold an order of its numbers.

use hashbrown::HashTable;
use memmap2::{MmapMut, MmapOptions};
use tickcast_codecs::prefetch::prefetch_at;
use tickcast_codecs::types::{Price, Side};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::book_side;
use crate::gathering::Gathering;
use crate::level::Order;
use crate::limits::{DENSE_ORDERS, PAGES_MIN, SLOTS_PER_ORDER};
use crate::orders::{NotStored, hash};

/// Slots of a page: 16 KiB.
pub(crate) const PAGE_SLOTS: usize = 1 << PAGE_BITS;
const PAGE_BITS: u32 = 10;

/// Pages that are made at a time: 2 MiB.
const CHUNK_PAGES: usize = 1 << 7;

/// Pages that a directory has an entry for: the numbers from the first one on, as many as 32 bits count.
const DIRECTORY_PAGES: usize = 1 << (32 - PAGE_BITS);

/// Pages below that of the first number that comes: a venue's engines don't count in step.
const PAGES_BEFORE: u64 = 1 << 12;

/// Of a directory's entry: the table may hold an order of this page's numbers.
const SPILLED: u32 = 1 << 31;
/// Of a directory's entry: one more than the page's place, or 0.
const PLACE: u32 = SPILLED - 1;

/// Pages of which numbers are counted before they are made.
const CANDIDATES: usize = 8;

/// No page.
const NIL: u32 = u32::MAX;

/// An order in a page; size 0 = there is none.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) ticks: u32,
    pub(crate) size: u32,
    pub(crate) instrument: u16,
    /// 0 bid, 1 ask.
    side: u16,
    spare: u32,
}

/// Where a slot is, as long as the pages stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotIndex(usize);

const SLOT_BYTES: usize = size_of::<Slot>();
const _: () = assert!(SLOT_BYTES == 16);

/// Where an order stands in its level's queue: lower is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// The number by which it is placed: see [`Pages::number`].
    number: u32,
    /// Among those that came at the same place, in the order of their coming; 0 for the number's own.
    late: u64,
}

/// An order in the table.
#[derive(Debug, Clone, Copy)]
struct Listed {
    order_id: u64,
    px: Price,
    late: u64,
    number: u32,
    size: u32,
    instrument: u16,
    side: Side,
}

/// A live order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resting {
    pub(crate) instrument: u16,
    pub(crate) side: Side,
    pub(crate) px: Price,
    /// As the top of a book keeps the price, if it can.
    pub(crate) ticks: Option<u32>,
    pub(crate) size: u32,
}

/// Where a live order is, until the next one is added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// A slot: the page's place, and the slot within it.
    Slot(u32, usize),
    /// In the table.
    Listed,
}

/// What is known of a page beside its slots.
#[derive(Debug, Clone, Copy)]
struct Page {
    /// Its place in the directory.
    entry: u32,
    live: u16,
    /// Orders that it ever took.
    taken: u16,
    /// The page that was made before it, and the one after; of a free page the next free one.
    older: u32,
    newer: u32,
}

/// All live orders of a channel.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The number that the directory begins with.
    base: u64,
    directory: Box<[u32]>,
    /// Slots of all pages there can be: addresses only, until they are used.
    slots: Option<MmapMut>,
    pages: Vec<Page>,
    free: u32,
    oldest: u32,
    newest: u32,
    in_use: usize,
    table: HashTable<Listed>,
    live: usize,
    orders_max: usize,
    /// Orders that weren't placed by their number.
    late: u64,
    /// Pages that aren't there and of whose numbers some came: the directory's entry, and how many.
    candidates: [(u32, u32); CANDIDATES],
    /// Directory entries from here on were never touched.
    touched: usize,
    gathering: Option<Gathering>,
    /// Whether pages are worth their memory: if not, only where many numbers of one come.
    dense: bool,
    /// Changes when a directory's entry does: until then what was found by one holds.
    epoch: u32,
}

impl Pages {
    pub(crate) fn new(orders_max: usize) -> Self {
        Self {
            base: 0,
            directory: Box::default(),
            slots: None,
            pages: Vec::new(),
            free: NIL,
            oldest: NIL,
            newest: NIL,
            in_use: 0,
            table: HashTable::new(),
            live: 0,
            orders_max,
            late: 0,
            candidates: [(NIL, 0); CANDIDATES],
            touched: 0,
            gathering: None,
            dense: false,
            epoch: 0,
        }
    }

    /// Makes all the memory that so many live orders need, and touches it.
    pub(crate) fn reserve(&mut self, orders: usize) {
        let orders = orders.min(self.orders_max);
        if self.directory.is_empty() {
            self.directory = directory();
        }
        let pages = pages_for(orders);
        while self.pages.len() < pages && self.make_pages() {}
        let made = self.pages.len() * PAGE_SLOTS;
        for slot in self.slots_mut().iter_mut().take(made).step_by(256) {
            slot.spare = 0;
        }
        // A table that is less than half full cleans up in place what deletes left behind.
        let listed = (orders / 4).saturating_sub(self.table.len());
        self.table.reserve(listed, |one| hash(one.order_id));
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Bytes of pages in use, of the table, and of what leads to both.
    pub(crate) fn bytes(&self) -> usize {
        self.in_use * PAGE_SLOTS * SLOT_BYTES
            + self.table.allocation_size()
            + self.touched * size_of::<u32>()
            + self.pages.capacity() * size_of::<Page>()
    }

    /// The order's number as queues count them: from 1; 0 if it is too far from the first that came.
    #[inline(always)]
    pub(crate) fn number(&self, order_id: u64) -> u32 {
        match u32::try_from(order_id.wrapping_sub(self.base)) {
            Ok(number) => number.wrapping_add(1),
            Err(_) => 0,
        }
    }

    /// The directory's entry and the slot of a number that isn't 0.
    #[inline(always)]
    const fn address(number: u32) -> (usize, usize) {
        let from_first = number - 1;
        (
            (from_first >> PAGE_BITS) as usize,
            (from_first as usize) & (PAGE_SLOTS - 1),
        )
    }

    /// The place of a page that is there.
    #[inline(always)]
    fn place(&self, entry: usize) -> Option<u32> {
        let place = self.directory.get(entry)? & PLACE;
        place.checked_sub(1)
    }

    #[inline(always)]
    fn slots(&self) -> &[Slot] {
        let bytes = self.slots.as_deref().unwrap_or_default();
        <[Slot]>::ref_from_bytes(bytes).unwrap_or_default()
    }

    #[inline(always)]
    fn slots_mut(&mut self) -> &mut [Slot] {
        let bytes = self.slots.as_deref_mut().unwrap_or_default();
        <[Slot]>::mut_from_bytes(bytes).unwrap_or_default()
    }

    #[inline(always)]
    fn slot(&self, place: u32, at: usize) -> &Slot {
        &self.slots()[((place as usize) << PAGE_BITS) | at]
    }

    #[inline(always)]
    fn slot_mut(&mut self, place: u32, at: usize) -> &mut Slot {
        &mut self.slots_mut()[((place as usize) << PAGE_BITS) | at]
    }

    /// A live order.
    #[inline(always)]
    pub(crate) fn find(&self, order_id: u64) -> Option<(At, Resting)> {
        let number = self.number(order_id);
        if number != 0 {
            let (entry, at) = Self::address(number);
            let entry = *self.directory.get(entry)?;
            if let Some(place) = (entry & PLACE).checked_sub(1) {
                let slot = self.slot(place, at);
                if slot.size != 0 {
                    return Some((At::Slot(place, at), slot.resting()));
                }
            }
            if entry & SPILLED == 0 {
                return None;
            }
        }
        self.find_listed(order_id)
    }

    /// See [`Pages`]'s field.
    #[inline(always)]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The slot of an order's number, whether or not it lives, and whether it can't be anywhere else.  Where there is no
    /// page for it, that is no slot.
    #[inline(always)]
    pub(crate) fn slot_of(&self, order_id: u64) -> (SlotIndex, bool) {
        let from_first = order_id.wrapping_sub(self.base);
        #[allow(clippy::cast_possible_truncation, reason = "less than a page's slots")]
        let at = (from_first & (PAGE_SLOTS as u64 - 1)) as usize;
        // A number too far off has no entry.
        let entry = usize::try_from(from_first >> PAGE_BITS).unwrap_or(usize::MAX);
        let entry = self.directory.get(entry).copied().unwrap_or_default();
        // 0 becomes a place that no mapping has.
        let place = (entry & PLACE).wrapping_sub(1) as usize;
        let slot = SlotIndex((place << PAGE_BITS) | at);
        // The directory's last slot has no number: see [`number`](Self::number).
        let numbered = from_first != u64::from(u32::MAX);
        (slot, (entry & SPILLED == 0) & (entry != 0) & numbered)
    }

    /// The slot's order, if one lives there.
    #[inline(always)]
    pub(crate) fn live_slot(&self, at: SlotIndex) -> Option<Slot> {
        let slot = *self.slots().get(at.0)?;
        (slot.size != 0).then_some(slot)
    }

    /// Whether the slot is one and no order lives there.
    #[inline(always)]
    pub(crate) fn is_free(&self, at: SlotIndex) -> bool {
        self.slots().get(at.0).is_some_and(|slot| slot.size == 0)
    }

    /// The slot, or an empty one if there is none.
    #[inline(always)]
    pub(crate) fn slot_or_empty(&self, at: SlotIndex) -> Slot {
        self.slots().get(at.0).copied().unwrap_or(Slot {
            ticks: 0,
            size: 0,
            instrument: 0,
            side: 0,
            spare: 0,
        })
    }

    /// Asks for a slot.
    #[inline(always)]
    pub(crate) fn prefetch_slot(&self, at: SlotIndex) {
        prefetch_at(self.slots(), at.0);
    }

    /// Another order may be stored.
    #[inline(always)]
    pub(crate) fn has_room(&self) -> bool {
        self.live < self.orders_max
    }

    /// Puts an order into its free slot.
    #[inline(always)]
    pub(crate) fn fill_slot(
        &mut self,
        at: SlotIndex,
        order_id: u64,
        instrument: u16,
        side: Side,
        ticks: u32,
        size: u32,
    ) {
        self.slots_mut()[at.0] = Slot {
            ticks,
            size,
            instrument,
            side: u16::from(side as u8),
            spare: 0,
        };
        let page = &mut self.pages[at.0 >> PAGE_BITS];
        page.live += 1;
        page.taken = page.taken.saturating_add(1);
        self.live += 1;
        if let Some(gathering) = &mut self.gathering {
            gathering.note(instrument, order_id);
        }
    }

    /// Sets the shares of the order in a slot; not to 0.
    #[inline(always)]
    pub(crate) fn set_slot_size(&mut self, at: SlotIndex, size: u32) {
        self.slots_mut()[at.0].size = size;
    }

    /// The order in a slot lives no more.
    #[inline(always)]
    pub(crate) fn empty_slot(&mut self, at: SlotIndex) {
        self.slots_mut()[at.0].size = 0;
        self.live -= 1;
        let place = at.0 >> PAGE_BITS;
        let page = &mut self.pages[place];
        page.live -= 1;
        // The newest page isn't done with: the next number may be of it.
        if page.live == 0 && place != self.newest as usize {
            #[allow(clippy::cast_possible_truncation, reason = "2^22 pages at most")]
            self.free_page(place as u32);
        }
    }

    #[inline(never)]
    fn find_listed(&self, order_id: u64) -> Option<(At, Resting)> {
        let listed = self
            .table
            .find(hash(order_id), |one| one.order_id == order_id)?;
        Some((At::Listed, listed.resting()))
    }

    /// Whether an order of this id could be stored.
    #[inline(always)]
    pub(crate) fn check(&self, order_id: u64) -> Result<(), NotStored> {
        if let Some((_, resting)) = self.find(order_id) {
            let owner = resting.instrument;
            Err(NotStored::Duplicate { owner })
        } else if self.live >= self.orders_max {
            Err(NotStored::Full)
        } else {
            Ok(())
        }
    }

    /// The first order says where the directory begins.
    #[inline(always)]
    pub(crate) fn prepare(&mut self, order_id: u64) {
        if self.live == 0 {
            self.begin(order_id);
        }
    }

    #[cold]
    fn begin(&mut self, order_id: u64) {
        if self.directory.is_empty() {
            self.directory = directory();
        } else if self.number(order_id) != 0 {
            return;
        }
        self.clear();
        let page = (order_id >> PAGE_BITS).saturating_sub(PAGES_BEFORE);
        self.base = page << PAGE_BITS;
    }

    /// Stores an order that isn't live.  `last` is how far the numbers of its level had got.
    #[inline(always)]
    pub(crate) fn put(
        &mut self,
        instrument: u16,
        order: Order,
        ticks: Option<u32>,
        number: u32,
        last: u32,
    ) {
        let by_number = number > last;
        if let (Some(ticks), true) = (ticks, by_number) {
            let (entry, at) = Self::address(number);
            if let Some(place) = self.place(entry) {
                let slot = SlotIndex(((place as usize) << PAGE_BITS) | at);
                let Order {
                    order_id,
                    side,
                    size,
                    ..
                } = order;
                self.fill_slot(slot, order_id, instrument, side, ticks, size);
                return;
            }
        }
        self.put_elsewhere(instrument, order, ticks, number, last);
    }

    /// The same where there is no page for it, or none would do.
    #[inline(never)]
    fn put_elsewhere(
        &mut self,
        instrument: u16,
        order: Order,
        ticks: Option<u32>,
        number: u32,
        last: u32,
    ) {
        let by_number = number > last;
        if ticks.is_some() && by_number && self.make_room(number) {
            self.put(instrument, order, ticks, number, last);
            return;
        }
        self.live += 1;
        let late = if by_number {
            0
        } else {
            self.late += 1;
            self.late
        };
        // By its own number, even if it isn't placed by that.
        let own = self.number(order.order_id);
        if own != 0 {
            self.mark(Self::address(own).0, SPILLED);
        }
        self.list(Listed {
            order_id: order.order_id,
            px: order.px,
            late,
            number: if by_number { number } else { last },
            size: order.size,
            instrument,
            side: order.side,
        });
    }

    fn mark(&mut self, entry: usize, mark: u32) {
        if self.directory[entry] & mark != mark {
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.directory[entry] |= mark;
        self.touched = self.touched.max(entry + 1);
    }

    fn list(&mut self, listed: Listed) {
        if let Some(gathering) = &mut self.gathering {
            gathering.note(listed.instrument, listed.order_id);
        }
        self.table
            .insert_unique(hash(listed.order_id), listed, |one| hash(one.order_id));
    }

    /// Makes a page for a number, if that is worth it.
    fn make_room(&mut self, number: u32) -> bool {
        let (entry, _) = Self::address(number);
        #[allow(clippy::cast_possible_truncation, reason = "a number has 32 bits")]
        let entry = entry as u32;
        if !self.dense {
            let candidate = &mut self.candidates[entry as usize % CANDIDATES];
            if candidate.0 != entry {
                *candidate = (entry, 0);
            }
            candidate.1 += 1;
            if candidate.1 < DENSE_ORDERS {
                return false;
            }
            self.dense = true;
        }
        if self.in_use >= pages_for(self.live) {
            let oldest = self.oldest;
            // Numbers that come so thinly aren't worth a page each.
            self.dense = u32::from(self.pages[oldest as usize].taken) >= DENSE_ORDERS;
            self.empty_page(oldest);
            // Fewer orders live than did: another, so that the pages become fewer too.
            if self.in_use >= pages_for(self.live) {
                self.empty_page(self.oldest);
            }
            if !self.dense {
                return false;
            }
        }
        if self.free == NIL && !self.make_pages() {
            return false;
        }
        if let Some(newest) = self.pages.get(self.newest as usize)
            && newest.live == 0
        {
            self.free_page(self.newest);
        }
        let place = self.free;
        let page = &mut self.pages[place as usize];
        self.free = page.newer;
        *page = Page {
            entry,
            live: 0,
            taken: 0,
            older: self.newest,
            newer: NIL,
        };
        match self.pages.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
        self.epoch = self.epoch.wrapping_add(1);
        self.in_use += 1;
        self.mark(entry as usize, place + 1);
        true
    }

    /// Maps more memory; whether there is some.
    fn make_pages(&mut self) -> bool {
        if self.slots.is_none() {
            self.slots = map_slots(pages_for(self.orders_max).next_multiple_of(CHUNK_PAGES));
        }
        let most = self.slots().len() / PAGE_SLOTS;
        if self.pages.len() + CHUNK_PAGES > most {
            return false;
        }
        let Ok(first) = u32::try_from(self.pages.len()) else {
            return false;
        };
        // In ascending order: memory that was never used is touched last.
        let next = |place: usize| first + u32::try_from(place).unwrap_or(NIL) + 1;
        let mut places: Vec<Page> = (0..CHUNK_PAGES)
            .map(|place| Page {
                entry: 0,
                live: 0,
                taken: 0,
                older: NIL,
                newer: next(place),
            })
            .collect();
        if let Some(last) = places.last_mut() {
            last.newer = self.free;
        }
        self.pages.append(&mut places);
        self.free = first;
        true
    }

    /// Moves what lives in a page into the table, and gives the page back.
    #[cold]
    fn empty_page(&mut self, place: u32) {
        let entry = self.pages[place as usize].entry;
        for (at, from_first) in (0..PAGE_SLOTS).zip(entry << PAGE_BITS..=u32::MAX) {
            let number = from_first.wrapping_add(1);
            let slot = *self.slot(place, at);
            if slot.size == 0 {
                continue;
            }
            let resting = slot.resting();
            self.list(Listed {
                order_id: self.base.wrapping_add(u64::from(from_first)),
                px: resting.px,
                late: 0,
                number,
                size: resting.size,
                instrument: resting.instrument,
                side: resting.side,
            });
            self.slot_mut(place, at).size = 0;
        }
        self.mark(entry as usize, SPILLED);
        self.free_page(place);
    }

    /// Gives back a page of which no order lives.
    #[cold]
    fn free_page(&mut self, place: u32) {
        let Page {
            entry,
            older,
            newer,
            ..
        } = self.pages[place as usize];
        self.directory[entry as usize] &= SPILLED;
        match self.pages.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.pages.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        self.pages[place as usize].newer = self.free;
        self.free = place;
        self.epoch = self.epoch.wrapping_add(1);
        self.in_use -= 1;
    }

    /// An order that [`find`](Self::find) gave has so many shares now; not 0.
    #[inline(always)]
    pub(crate) fn set_size(&mut self, at: At, order_id: u64, size: u32) {
        match at {
            At::Slot(place, at) => self.slot_mut(place, at).size = size,
            At::Listed => {
                let listed = self
                    .table
                    .find_mut(hash(order_id), |one| one.order_id == order_id);
                if let Some(listed) = listed {
                    listed.size = size;
                }
            }
        }
    }

    /// An order that [`find`](Self::find) gave lives no more.
    #[inline(always)]
    pub(crate) fn remove(&mut self, at: At, order_id: u64) {
        match at {
            At::Slot(place, at) => {
                self.empty_slot(SlotIndex(((place as usize) << PAGE_BITS) | at));
            }
            At::Listed => {
                let entry = self
                    .table
                    .find_entry(hash(order_id), |one| one.order_id == order_id);
                if let Ok(entry) = entry {
                    entry.remove();
                    self.live -= 1;
                }
            }
        }
    }

    /// Removes all; what memory there is, the next orders use.
    pub(crate) fn clear(&mut self) {
        while self.oldest != NIL {
            let place = self.oldest;
            for at in 0..PAGE_SLOTS {
                self.slot_mut(place, at).size = 0;
            }
            self.pages[place as usize].live = 0;
            self.free_page(place);
        }
        self.directory[..self.touched].fill(0);
        self.touched = 0;
        self.table.clear();
        self.live = 0;
        self.late = 0;
        self.dense = false;
        self.candidates = [(NIL, 0); CANDIDATES];
    }

    /// The orders of an instrument, each with its place in its level's queue, in no order.  Looks at every page:
    /// for many instruments, or on a thread that must not stay away, there is [`gather`](Self::gather).
    pub(crate) fn orders_of(&self, instrument: u16) -> Vec<(Rank, Order)> {
        let mut orders = Vec::new();
        self.each(|owner, rank, order| {
            if owner == instrument {
                orders.push((rank, order));
            }
        });
        orders
    }

    /// All orders, each with its instrument and its place in its level's queue, in no order.
    pub(crate) fn orders(&self) -> Vec<(u16, Rank, Order)> {
        let mut orders = Vec::with_capacity(self.live);
        self.each(|owner, rank, order| orders.push((owner, rank, order)));
        orders
    }

    /// Instrument, place in the queue and order of each that lives.
    fn each(&self, mut each: impl FnMut(u16, Rank, Order)) {
        let mut place = self.oldest;
        while let Some(page) = self.pages.get(place as usize) {
            self.each_of_page(place, |order_id, number, slot| {
                let rank = Rank { number, late: 0 };
                each(slot.instrument, rank, slot.resting().order(order_id));
            });
            place = page.newer;
        }
        for one in &self.table {
            each(
                one.instrument,
                one.rank(),
                one.resting().order(one.order_id),
            );
        }
    }

    /// Removes all orders of an instrument.  Looks at every page.
    pub(crate) fn remove_instrument(&mut self, instrument: u16) {
        let mut place = self.oldest;
        while let Some(&Page { newer, .. }) = self.pages.get(place as usize) {
            for at in 0..PAGE_SLOTS {
                let slot = self.slot(place, at);
                if slot.size != 0 && slot.instrument == instrument {
                    self.remove(At::Slot(place, at), 0);
                }
            }
            place = newer;
        }
        let before = self.table.len();
        self.table.retain(|one| one.instrument != instrument);
        self.live -= before - self.table.len();
    }

    /// Order id, number and slot of each order of a page.
    fn each_of_page(&self, place: u32, mut each: impl FnMut(u64, u32, &Slot)) {
        let entry = self.pages[place as usize].entry;
        for (at, from_first) in (0..PAGE_SLOTS).zip(entry << PAGE_BITS..=u32::MAX) {
            let number = from_first.wrapping_add(1);
            let slot = self.slot(place, at);
            if slot.size != 0 {
                let order_id = self.base.wrapping_add(u64::from(from_first));
                each(order_id, number, slot);
            }
        }
    }

    /// A live order's place in its level's queue.
    fn rank(&self, at: At, order_id: u64) -> Rank {
        let listed = match at {
            At::Slot(..) => None,
            At::Listed => self
                .table
                .find(hash(order_id), |one| one.order_id == order_id),
        };
        listed.map_or(
            Rank {
                number: self.number(order_id),
                late: 0,
            },
            Listed::rank,
        )
    }

    /// Begins to gather the orders of some instruments; what was begun before is dropped.
    pub(crate) fn gather(&mut self, instruments: impl Iterator<Item = u16>) {
        self.begin_gathering(Gathering::new(instruments));
    }

    fn begin_gathering(&mut self, mut gathering: Gathering) {
        for one in &self.table {
            gathering.note(one.instrument, one.order_id);
        }
        self.gathering = Some(gathering);
    }

    /// Looks at so many more pages; whether all were looked at.
    pub(crate) fn continue_gathering(&mut self, pages: usize) -> bool {
        let Some(mut gathering) = self.gathering.take() else {
            return true;
        };
        if gathering.is_stale(self.live) {
            self.begin_gathering(gathering.again());
            return false;
        }
        let mut left = pages;
        // Pages without orders cost next to nothing.
        let until = (gathering.next + pages * 64).min(self.pages.len());
        while gathering.next < until && left > 0 {
            let place = gathering.next;
            gathering.next += 1;
            if self.pages[place].live > 0 {
                left -= 1;
                #[allow(clippy::cast_possible_truncation, reason = "2^22 pages at most")]
                self.each_of_page(place as u32, |order_id, _, slot| {
                    gathering.note(slot.instrument, order_id);
                });
            }
        }
        let all = gathering.next == self.pages.len();
        self.gathering = Some(gathering);
        all
    }

    /// The orders of an instrument that was gathered, each with its place in its level's queue, in no order.
    pub(crate) fn take_gathered(&mut self, instrument: u16) -> Vec<(Rank, Order)> {
        let Some(mut gathering) = self.gathering.take() else {
            return self.orders_of(instrument);
        };
        let orders = gathering
            .take(instrument)
            .into_iter()
            .filter_map(|order_id| {
                let (at, resting) = self.find(order_id)?;
                (resting.instrument == instrument)
                    .then(|| (self.rank(at, order_id), resting.order(order_id)))
            })
            .collect();
        if !gathering.is_over() {
            self.gathering = Some(gathering);
        }
        orders
    }
}

impl Slot {
    #[inline(always)]
    pub(crate) fn side(&self) -> Side {
        if self.side == 0 { Side::Bid } else { Side::Ask }
    }

    #[inline(always)]
    fn resting(&self) -> Resting {
        Resting {
            instrument: self.instrument,
            side: self.side(),
            px: book_side::px(self.ticks),
            ticks: Some(self.ticks),
            size: self.size,
        }
    }
}

impl Listed {
    fn rank(&self) -> Rank {
        Rank {
            number: self.number,
            late: self.late,
        }
    }

    fn resting(&self) -> Resting {
        Resting {
            instrument: self.instrument,
            side: self.side,
            px: self.px,
            ticks: book_side::ticks(self.px),
            size: self.size,
        }
    }
}

impl Resting {
    pub(crate) fn order(&self, order_id: u64) -> Order {
        Order {
            order_id,
            side: self.side,
            px: self.px,
            size: self.size,
        }
    }
}

/// Zeroes of which the system makes memory when they are first written.
fn directory() -> Box<[u32]> {
    vec![0; DIRECTORY_PAGES].into_boxed_slice()
}

/// Addresses for the slots of so many pages, or for as many as the system gives.
fn map_slots(pages: usize) -> Option<MmapMut> {
    let mut pages = pages.min(DIRECTORY_PAGES);
    while pages >= CHUNK_PAGES {
        let bytes = pages * PAGE_SLOTS * SLOT_BYTES;
        if let Ok(slots) = MmapOptions::new().len(bytes).no_reserve_swap().map_anon() {
            // Fewer misses of address translation, where the system has huge pages to give.
            #[cfg(all(target_os = "linux", not(miri)))]
            let _ = slots.advise(memmap2::Advice::HugePage);
            return Some(slots);
        }
        pages /= 2;
    }
    None
}

/// How many pages so many live orders may have.
const fn pages_for(live: usize) -> usize {
    let pages = live.saturating_mul(SLOTS_PER_ORDER) / PAGE_SLOTS;
    if pages < PAGES_MIN { PAGES_MIN } else { pages }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "random numbers below a small bound"
)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::channel_books::{ChannelBooks, Memory};
    use crate::limits::Limits;

    const STEPS: u64 = if cfg!(miri) { 300 } else { 60_000 };
    const ORDERS_MAX: usize = 1 << 20;

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            hash(self.0)
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(self.next() % (end as u64)).unwrap_or(0)
        }
    }

    type Place = (u16, Side, i64);

    /// Pages, and the same orders in a map and in queues.
    struct Both {
        pages: Pages,
        orders: HashMap<u64, (u16, Order)>,
        /// Live ids, to choose from.
        ids: Vec<u64>,
        queues: HashMap<Place, Vec<u64>>,
        /// How far the numbers of a level had got.
        last: HashMap<Place, u32>,
        most_pages: usize,
        most_listed: usize,
        most_live: usize,
    }

    impl Both {
        fn new() -> Self {
            Self {
                pages: Pages::new(ORDERS_MAX),
                orders: HashMap::new(),
                ids: Vec::new(),
                queues: HashMap::new(),
                last: HashMap::new(),
                most_pages: 0,
                most_listed: 0,
                most_live: 0,
            }
        }

        /// As a book adds: false if the id is live.
        fn add(&mut self, random: &mut Random, order_id: u64) -> bool {
            // Some prices have no key.
            let odd = i64::from(random.below(50) == 0);
            let px = 100_000 * i64::from(1 + random.below(4) as u8) + odd;
            self.add_at(random, order_id, px, true)
        }

        fn add_at(&mut self, random: &mut Random, order_id: u64, px: i64, new: bool) -> bool {
            let instrument = 1 + random.below(3) as u16;
            let side = [Side::Bid, Side::Ask][random.below(2)];
            let order = Order {
                order_id,
                side,
                px: Price(px),
                size: 1 + random.below(1000) as u32,
            };
            self.pages.prepare(order_id);
            let known = self.orders.get(&order_id);
            let expected = known.map_or(Ok(()), |(owner, _)| {
                Err(NotStored::Duplicate { owner: *owner })
            });
            assert_eq!(self.pages.check(order_id), expected);
            // What is foreseen for a block of messages says the same.
            let (slot, sole) = self.pages.slot_of(order_id);
            if expected.is_err() {
                assert!(!(sole && self.pages.is_free(slot)), "{order_id}");
                return false;
            }
            assert_eq!(self.pages.live_slot(slot).map(|slot| slot.size), None);
            let number = if new { self.pages.number(order_id) } else { 0 };
            let last = self.last.entry((instrument, side, px)).or_default();
            let ticks = book_side::ticks(order.px);
            self.pages.put(instrument, order, ticks, number, *last);
            *last = number.max(*last);
            self.orders.insert(order_id, (instrument, order));
            self.ids.push(order_id);
            let queue = self.queues.entry((instrument, side, px)).or_default();
            queue.push(order_id);
            self.most_pages = self.most_pages.max(self.pages.in_use);
            self.most_listed = self.most_listed.max(self.pages.table.len());
            self.most_live = self.most_live.max(self.pages.live);
            assert!(self.pages.in_use <= pages_for(self.most_live));
            true
        }

        fn find(&self, order_id: u64) -> At {
            let (at, resting) = self.pages.find(order_id).expect("it is live");
            let (instrument, order) = self.orders[&order_id];
            assert_eq!(
                (resting.instrument, resting.order(order_id)),
                (instrument, order)
            );
            assert_eq!(resting.ticks, book_side::ticks(order.px));
            at
        }

        fn remove_at(&mut self, place: usize) {
            let order_id = self.ids.swap_remove(place);
            let at = self.find(order_id);
            self.pages.remove(at, order_id);
            let (instrument, order) = self.orders.remove(&order_id).expect("it is live");
            let place = (instrument, order.side, order.px.0);
            let queue = self.queues.get_mut(&place).expect("it is queued");
            queue.retain(|one| *one != order_id);
            if queue.is_empty() {
                // A level without orders is removed, and with it how far it had got.
                self.queues.remove(&place);
                self.last.remove(&place);
            }
            assert_eq!(self.pages.find(order_id), None);
        }

        fn remove_any(&mut self, random: &mut Random) {
            if !self.ids.is_empty() {
                let place = random.below(self.ids.len());
                self.remove_at(place);
            }
        }

        fn resize_any(&mut self, random: &mut Random) {
            if self.ids.is_empty() {
                return;
            }
            let order_id = self.ids[random.below(self.ids.len())];
            let size = 1 + random.below(1 << 20) as u32;
            let at = self.find(order_id);
            self.pages.set_size(at, order_id, size);
            self.orders.get_mut(&order_id).expect("it is live").1.size = size;
        }

        /// Takes an order out, and in again at another price: no longer placed by its number.
        fn move_any(&mut self, random: &mut Random) {
            if !self.ids.is_empty() {
                let place = random.below(self.ids.len());
                let order_id = self.ids[place];
                self.remove_at(place);
                self.add_at(random, order_id, 300_000, false);
            }
        }

        fn check(&self) {
            let pages = &self.pages;
            assert_eq!(pages.len(), self.orders.len());
            for &order_id in self.orders.keys() {
                self.find(order_id);
            }
            let mut gathered = 0;
            for instrument in 0..5 {
                let mut orders = pages.orders_of(instrument);
                orders.sort_by_key(|(rank, _)| *rank);
                gathered += orders.len();
                self.check_queues(instrument, orders.into_iter().map(|(_, order)| order));
            }
            assert_eq!(gathered, self.orders.len());
            self.check_pages();
        }

        fn check_queues(&self, instrument: u16, orders: impl Iterator<Item = Order>) {
            let mut queues: HashMap<Place, Vec<u64>> = HashMap::new();
            for order in orders {
                assert_eq!(self.orders.get(&order.order_id), Some(&(instrument, order)));
                let place = (instrument, order.side, order.px.0);
                queues.entry(place).or_default().push(order.order_id);
            }
            let expected: HashMap<Place, Vec<u64>> = self
                .queues
                .iter()
                .filter(|(place, _)| place.0 == instrument)
                .map(|(place, queue)| (*place, queue.clone()))
                .collect();
            assert_eq!(queues, expected);
        }

        /// The invariants of lists, counts and directory.
        fn check_pages(&self) {
            let pages = &self.pages;
            let (mut in_use, mut live, mut older) = (0, 0, NIL);
            let mut place = pages.oldest;
            while let Some(page) = pages.pages.get(place as usize) {
                assert_eq!(page.older, older);
                assert_eq!(pages.place(page.entry as usize), Some(place));
                let slots = (0..PAGE_SLOTS).filter(|at| pages.slot(place, *at).size != 0);
                let of_page = slots.count();
                assert_eq!(usize::from(page.live), of_page);
                assert!(
                    of_page > 0 || place == pages.newest,
                    "an empty page is given back"
                );
                in_use += 1;
                live += of_page;
                older = place;
                place = page.newer;
            }
            assert_eq!(pages.newest, older);
            assert_eq!(pages.in_use, in_use);
            assert_eq!(pages.live, live + pages.table.len());
            let mut free = 0;
            let mut place = pages.free;
            while let Some(page) = pages.pages.get(place as usize) {
                assert!((0..PAGE_SLOTS).all(|at| pages.slot(place, at).size == 0));
                free += 1;
                place = page.newer;
            }
            assert_eq!(in_use + free, pages.pages.len());
            let directed = &pages.directory[..pages.touched];
            let directed = directed.iter().filter(|entry| **entry & PLACE != 0);
            assert_eq!(directed.count(), in_use);
        }
    }

    /// How ids are drawn: of each run, the number of its step gives the next one.
    type Ids = (&'static str, fn(u64, &mut Random) -> u64);

    /// Those of which pages are made.
    const DENSE: [Ids; 4] = [
        ("counted", |step, _| step),
        ("ten to a hundred", |step, _| (1 << 40) + step * 10),
        ("four engines", |step, _| (step % 4) * 1_000_000 + step / 4),
        ("around the end", |step, _| {
            (u64::MAX - STEPS / 2).wrapping_add(step)
        }),
    ];

    /// Those that stay in the table, mostly.
    const THIN: [Ids; 5] = [
        // Behind those of their levels, so they aren't placed by them.
        ("again and again", |_, random| random.below(3000) as u64),
        ("falling", |step, _| (1 << 50) - step),
        ("one a page", |step, _| step * 1030),
        ("anywhere", |_, random| random.next()),
        ("sixteen a page", |step, _| 77 + step * 64),
    ];

    fn run(ids: Ids, seed: u64, live: usize) -> Both {
        println!("{}, seed {seed}, {live} live", ids.0);
        let mut random = Random(seed);
        let mut both = Both::new();
        for step in 0..STEPS {
            let wanted = random.below(100);
            if both.ids.len() < live || wanted < 45 {
                let order_id = (ids.1)(step, &mut random);
                both.add(&mut random, order_id);
            }
            match random.below(16) {
                0 => both.resize_any(&mut random),
                1 => both.move_any(&mut random),
                _ if both.ids.len() >= live => both.remove_any(&mut random),
                _ => {}
            }
            if step.is_multiple_of(STEPS / 12) {
                both.check();
            }
        }
        both.check();
        while !both.ids.is_empty() {
            both.remove_any(&mut random);
        }
        both.check();
        assert!(both.pages.in_use <= 1, "only the newest page is kept");
        both
    }

    #[test]
    fn orders_are_found_and_in_order_whatever_their_ids_are() {
        for (seed, ids) in (1..).zip(DENSE) {
            let both = run(ids, seed, 2000);
            assert!(cfg!(miri) || (both.most_pages > 1 && both.most_listed > 10));
        }
        for (seed, ids) in (20..).zip(THIN) {
            let both = run(ids, seed, 2000);
            assert!(both.most_pages <= 3 && (cfg!(miri) || both.most_listed > 1000));
        }
    }

    #[test]
    fn a_book_that_empties_again_and_again_begins_anew() {
        for ids in DENSE.into_iter().chain(THIN) {
            println!("{}", ids.0);
            let mut random = Random(7);
            let mut both = Both::new();
            for step in 0..STEPS / 20 {
                both.add(&mut random, (ids.1)(step, &mut random_of(step)));
                if random.below(3) == 0 {
                    while !both.ids.is_empty() {
                        both.remove_any(&mut random);
                    }
                    both.check_pages();
                }
            }
            both.check();
        }
    }

    fn random_of(step: u64) -> Random {
        Random(step)
    }

    #[test]
    fn numbers_at_the_end_of_the_directory_are_as_good_as_others() {
        let mut random = Random(3);
        let mut both = Both::new();
        // The first says where numbers begin: at 0.
        assert!(both.add(&mut random, 5));
        let end = 1_u64 << 32;
        for order_id in end - 3000..end + 3000 {
            assert!(both.add(&mut random, order_id));
            // The second of an id is one, on whichever side of the end.
            assert!(!both.add(&mut random, order_id));
        }
        assert!(both.most_pages > 1);
        both.check();
        let oldest = both.pages.newest;
        both.pages.empty_page(oldest);
        both.check();
    }

    #[test]
    fn memory_stays_while_numbers_rise_for_ever_and_few_orders_survive() {
        let mut random = Random(9);
        let mut both = Both::new();
        let numbers = if cfg!(miri) { 3000 } else { 3_000_000 };
        // All but the directory: four bytes for each 1,024 numbers, 16 MiB at most.
        let held = |pages: &Pages| pages.bytes() - pages.touched * size_of::<u32>();
        let mut flat = 0;
        for order_id in 1..=numbers {
            both.add(&mut random, order_id);
            // One of 997 stays, until there are too many of them.
            let place = both.ids.len() - 1;
            if order_id % 997 != 0 {
                both.remove_at(place);
            } else if both.ids.len() > 1000 {
                both.remove_at(0);
            }
            assert!(both.pages.in_use <= PAGES_MIN);
            if order_id == numbers / 2 {
                both.check();
                flat = held(&both.pages);
            }
        }
        both.check();
        assert_eq!(held(&both.pages), flat);
        assert!(
            cfg!(miri) || both.most_listed > 500,
            "the oldest were emptied"
        );
    }

    #[test]
    fn pages_become_fewer_when_fewer_orders_live() {
        let many = if cfg!(miri) { 1024 } else { 300_000 };
        let mut random = Random(4);
        let mut both = Both::new();
        for order_id in 0..many {
            both.add_at(&mut random, order_id * 10, 100_000, true);
        }
        let most = both.pages.in_use;
        assert!(cfg!(miri) || most > 2000);
        // One of each page lives on.
        let stays = |order_id: u64| (order_id / 10).is_multiple_of(103);
        for order_id in (0..many).map(|order_id| order_id * 10) {
            if !stays(order_id) {
                let at = both.find(order_id);
                both.pages.remove(at, order_id);
                both.orders.remove(&order_id);
            }
        }
        for order_id in 0..many {
            let order_id = (many + order_id) * 10;
            let order = Order {
                order_id,
                side: Side::Bid,
                px: Price(100_000),
                size: 1,
            };
            let number = both.pages.number(order_id);
            both.pages.put(1, order, Some(1), number, 0);
            let (at, _) = both.pages.find(order_id).expect("it is live");
            both.pages.remove(at, order_id);
        }
        assert!(both.pages.in_use <= pages_for(both.pages.len()));
        both.check_pages();
    }

    #[test]
    fn what_is_reserved_is_enough() {
        let orders = if cfg!(miri) { 2000 } else { 200_000 };
        let mut pages = Pages::new(ORDERS_MAX);
        pages.reserve(orders);
        let made = (pages.pages.len(), pages.pages.capacity());
        let table = pages.table.allocation_size();
        let mut random = Random(2);
        for order_id in 0..3 * orders as u64 {
            // As many as were asked for, of which some live long.
            if pages.len() == orders || (order_id > 1000 && random.below(400) != 0) {
                let gone = order_id - 1 - random.below(900) as u64;
                if let Some((at, _)) = pages.find(gone) {
                    pages.remove(at, gone);
                }
            }
            if !pages.has_room() || pages.len() == orders {
                continue;
            }
            pages.prepare(order_id);
            let order = Order {
                order_id,
                side: Side::Ask,
                px: Price(100_000),
                size: 1,
            };
            let number = pages.number(order_id);
            pages.put(1, order, Some(1), number, 0);
        }
        assert_eq!((pages.pages.len(), pages.pages.capacity()), made);
        assert_eq!(pages.table.allocation_size(), table);
        pages.clear();
        assert_eq!((pages.len(), pages.in_use), (0, 0));
        assert!(pages.orders_of(1).is_empty());
        assert_eq!(pages.pages.len(), made.0);
    }

    #[test]
    fn an_instrument_is_removed_without_the_others() {
        for (seed, ids) in (50..).zip(DENSE) {
            println!("{}, seed {seed}", ids.0);
            let mut random = Random(seed);
            let mut both = Both::new();
            for step in 0..STEPS / 10 {
                both.add(&mut random, (ids.1)(step, &mut random_of(step)));
            }
            both.pages.remove_instrument(2);
            both.orders.retain(|_, (owner, _)| *owner != 2);
            both.queues.retain(|place, _| place.0 != 2);
            both.check();
        }
    }

    #[test]
    fn gathered_orders_are_those_that_live_at_the_end_whatever_came_between() {
        for (seed, ids) in (70..).zip(DENSE.into_iter().chain(THIN)) {
            println!("{}, seed {seed}", ids.0);
            let mut random = Random(seed);
            let mut both = Both::new();
            let mut gathered = 0;
            for step in 0..STEPS {
                let order_id = (ids.1)(step, &mut random);
                both.add(&mut random, order_id);
                while both.ids.len() > 3000 || random.below(3) == 0 && !both.ids.is_empty() {
                    both.remove_any(&mut random);
                }
                match random.below(64) {
                    0 => both.move_any(&mut random),
                    1 if both.pages.gathering.is_none() => both.pages.gather([1, 3].into_iter()),
                    // Pages are taken from some, as if there were too many.
                    2 if both.pages.in_use > 1 => {
                        let place = both.pages.oldest;
                        both.pages.empty_page(place);
                    }
                    3 if random.below(1000) == 0 => {
                        both.pages.clear();
                        both.orders.clear();
                        both.ids.clear();
                        both.queues.clear();
                        both.last.clear();
                    }
                    _ => {}
                }
                if step.is_multiple_of(16)
                    && let Some(first) = both.pages.gathering.as_ref().map(Gathering::wants)
                    && both.pages.continue_gathering(1 + random.below(9))
                {
                    gathered += 1;
                    // One now, and the other after more has come between.
                    let instrument = if first.contains(&1) { 1 } else { 3 };
                    let mut orders = both.pages.take_gathered(instrument);
                    orders.sort_unstable_by_key(|(rank, _)| *rank);
                    both.check_queues(instrument, orders.into_iter().map(|(_, order)| order));
                }
            }
            assert!(cfg!(miri) || gathered > 20, "{gathered}");
            both.check();
        }
    }

    #[test]
    fn an_order_takes_less_than_192_bytes_and_a_level_what_is_stated() {
        let live: usize = if cfg!(miri) { 1000 } else { 150_000 };
        for (thinned, stride) in [(1, 1), (5, 1), (1, 3), (1, 1000)] {
            println!("one of {thinned} stays, ids by {stride}");
            let mut books = ChannelBooks::new(&Limits::default());
            for number in 0..(live * thinned) as u64 {
                let instrument = 1 + (number / 7 % 500) as u32;
                let order = Order {
                    order_id: 1 + number * stride,
                    side: Side::Bid,
                    px: Price(100_000 * (1 + i64::try_from(number % 53).unwrap_or(0))),
                    size: 100,
                };
                assert!(books.add(instrument, order).is_ok());
                if !number.is_multiple_of(thinned as u64) {
                    assert!(books.delete(instrument, order.order_id).is_ok());
                }
            }
            assert_eq!(books.order_count(), live);
            let Memory {
                order_bytes: orders,
                level_bytes: levels,
                ..
            } = books.memory();
            println!(
                "{orders} bytes of orders, {levels} of {} levels",
                books.level_count()
            );
            // Slots or table, whatever holds it.
            assert!(orders <= live.max(PAGES_MIN * PAGE_SLOTS / SLOTS_PER_ORDER) * 192);
            // Two sides of 512 bytes for each instrument, and 24 for each level below the top, doubled at most.
            let bound = 2 * 501 * 1024 + 2 * 24 * books.level_count();
            assert!(levels <= bound, "{levels} > {bound}");
        }
    }
}
