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
use crate::level::Order;
use crate::limits::{DENSE_ORDERS, PAGES_MIN, SLOTS_PER_ORDER};

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

impl SlotIndex {
    pub(crate) const NONE: Self = Self(usize::MAX);
}

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

/// The bits are mixed, for venues count in strides: the finalizer of SplitMix64, of which every output bit
/// depends on every input bit.  No secret goes in: the same input gives the same run.
#[inline]
const fn hash(order_id: u64) -> u64 {
    let id = (order_id ^ (order_id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
}

/// Why an order can't be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotStored {
    /// The id is live.
    Duplicate {
        /// The number of the instrument that it belongs to.
        owner: u16,
    },
    /// `orders_max` orders are live.
    Full,
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

    /// The slot of an order's number, whether or not it lives, and whether it can't be anywhere else;
    /// [`SlotIndex::NONE`] if there is no page for it.
    #[inline(always)]
    pub(crate) fn slot_of(&self, order_id: u64) -> (SlotIndex, bool) {
        let from_first = order_id.wrapping_sub(self.base);
        let at = (from_first as usize) & (PAGE_SLOTS - 1);
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
        let mut place = self.oldest;
        while let Some(page) = self.pages.get(place as usize) {
            self.each_of_page(place, |order_id, number, slot| {
                if slot.instrument == instrument {
                    orders.push((Rank { number, late: 0 }, slot.resting().order(order_id)));
                }
            });
            place = page.newer;
        }
        for one in &self.table {
            if one.instrument == instrument {
                orders.push((one.rank(), one.resting().order(one.order_id)));
            }
        }
        orders
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

    /// Begins to gather the orders of some instruments, by bits; what was begun before is dropped.
    pub(crate) fn gather(&mut self, wanted: Box<Wanted>) {
        let mut gathering = Gathering {
            wanted,
            next: 0,
            found: Vec::new(),
        };
        for one in &self.table {
            gathering.note(one.instrument, one.order_id);
        }
        self.gathering = Some(gathering);
    }

    /// Looks at so many more pages.  When all were looked at, gives what there is: see [`Gathered`].
    pub(crate) fn continue_gathering(&mut self, pages: usize) -> Option<Gathered> {
        let mut gathering = self.gathering.take()?;
        let until = (gathering.next as usize + pages).min(self.pages.len());
        while (gathering.next as usize) < until {
            let place = gathering.next;
            gathering.next += 1;
            if self.pages[place as usize].live > 0 {
                self.each_of_page(place, |order_id, _, slot| {
                    gathering.note(slot.instrument, order_id);
                });
            }
        }
        if (gathering.next as usize) < self.pages.len() {
            self.gathering = Some(gathering);
            return None;
        }
        let mut gathered: Vec<(u16, Rank, Order)> = gathering
            .found
            .into_iter()
            .filter_map(|(instrument, order_id)| {
                let (at, resting) = self.find(order_id)?;
                (resting.instrument == instrument)
                    .then(|| (instrument, self.rank(at, order_id), resting.order(order_id)))
            })
            .collect();
        gathered.sort_unstable_by_key(|(instrument, rank, _)| (*instrument, *rank));
        // An order that moved meanwhile was met twice.
        gathered.dedup_by_key(|(_, _, order)| order.order_id);
        Some(Gathered(gathered))
    }
}

/// Instruments, a bit each.
pub(crate) type Wanted = [u64; 1 << 10];

/// The orders of some instruments, as far as they were found.
#[derive(Debug)]
struct Gathering {
    wanted: Box<Wanted>,
    /// The page that is looked at next.
    next: u32,
    /// Instrument and order.  An order that is added or moved meanwhile is noted at once, so each that lives at the
    /// end is here; others may be as well.
    found: Vec<(u16, u64)>,
}

impl Gathering {
    #[inline]
    fn note(&mut self, instrument: u16, order_id: u64) {
        if self.wanted[usize::from(instrument / 64)] >> (instrument % 64) & 1 != 0 {
            self.found.push((instrument, order_id));
        }
    }
}

/// All orders of the instruments that were asked for, by instrument and place in the queue.
#[derive(Debug)]
pub(crate) struct Gathered(Vec<(u16, Rank, Order)>);

impl Gathered {
    /// Those of one instrument, earlier before later at each level; levels are mixed.
    pub(crate) fn of(&self, instrument: u16) -> impl Iterator<Item = Order> + '_ {
        let from = self.0.partition_point(|one| one.0 < instrument);
        self.0[from..]
            .iter()
            .take_while(move |one| one.0 == instrument)
            .map(|one| one.2)
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
