//! The exchange's own books: every displayed order, in price and time priority.
//!
//! Queues are lists through the book's slots of orders, a side is a sorted `Vec` of queues with the best at
//! its end (where nearly all of the changes are).  A book has its memory to itself and in one place: with
//! thousands of books every access is a cache miss, and the fewer pages the better.  It is taken at the
//! start, for the caps of the market's configuration.
//!
//! Invariant: a queue is never empty, its `shares` and `count` are the sums over its orders, and every
//! order is in exactly one queue and once in its instrument's `live`.  The end of `live` is where new
//! orders come in, and one from the end takes the place of each that goes: the nearer to the end, the
//! younger on the whole.

use core::cmp::Ordering;

use tickcast_codecs::Side;

/// "No order": the end of a list.
const NONE: u32 = u32::MAX;

/// One displayed order: half a cache line, and never in two.
#[derive(Debug, Clone)]
#[repr(align(32))]
pub(super) struct Order {
    /// The order reference number.
    pub(super) id: u64,
    pub(super) tick: u32,
    pub(super) shares: u32,
    pub(super) side: Side,
    /// Who it is attributed to: 0 is nobody, n the nth of the market's participants.
    pub(super) mpid: u8,
    /// Neighbours in its queue; `next` also links the free slots.
    previous: u32,
    next: u32,
    /// Where it is in its book's `live`.
    live_at: u32,
}

/// An order before it has its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    pub(super) id: u64,
    pub(super) side: Side,
    pub(super) tick: u32,
    pub(super) shares: u32,
    pub(super) mpid: u8,
}

/// The orders of one price, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) tick: u32,
    pub(super) shares: u64,
    pub(super) count: u32,
    head: u32,
    tail: u32,
}

/// One instrument's book.
#[derive(Debug, Clone)]
pub(super) struct Book {
    bids: Vec<Queue>,
    asks: Vec<Queue>,
    live: Vec<u32>,
    slots: Vec<Order>,
    /// The first of the free slots; [`NONE`] if there is none.
    free: u32,
}

/// Ascending towards the best.
fn rank(side: Side, tick: u32) -> u32 {
    match side {
        Side::Bid => tick,
        Side::Ask => u32::MAX - tick,
    }
}

/// So many levels from the best on are looked through one by one.
const NEAR_LEVELS: usize = 12;

impl Book {
    /// An empty book with room for so much.
    pub(super) fn new(orders_max: usize, levels_max: usize) -> Self {
        let levels = levels_max.min(orders_max);
        Self {
            bids: Vec::with_capacity(levels + 2),
            asks: Vec::with_capacity(levels + 2),
            live: Vec::with_capacity(orders_max + 1),
            slots: Vec::with_capacity(orders_max + 1),
            free: NONE,
        }
    }

    /// How many slots there are, used or free.
    #[cfg(test)]
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn order(&self, slot: u32) -> &Order {
        &self.slots[slot as usize]
    }

    fn insert(&mut self, order: Order) -> u32 {
        if self.free != NONE {
            let slot = self.free;
            let free = &mut self.slots[slot as usize];
            self.free = free.next;
            *free = order;
            return slot;
        }
        // Caps keep the count of orders far below 2^32.
        let slot = u32::try_from(self.slots.len()).unwrap_or(NONE);
        self.slots.push(order);
        slot
    }

    fn release(&mut self, slot: u32) {
        self.slots[slot as usize].next = self.free;
        self.free = slot;
    }

    fn queues_mut(&mut self, side: Side) -> &mut Vec<Queue> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// The queues of one side, the best last.
    pub(super) fn queues(&self, side: Side) -> &[Queue] {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    /// The slots of all displayed orders, roughly by age.
    pub(super) fn live(&self) -> &[u32] {
        &self.live
    }

    /// How many orders there are, and at how many prices.
    pub(super) fn size(&self) -> (u32, u32) {
        // Caps keep both far below 2^32.
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let levels = self.bids.len() + self.asks.len();
        (count(self.live.len()), count(levels))
    }

    pub(super) fn best_tick(&self, side: Side) -> Option<u32> {
        self.queues(side).last().map(|queue| queue.tick)
    }

    pub(super) fn worst_tick(&self, side: Side) -> Option<u32> {
        self.queues(side).first().map(|queue| queue.tick)
    }

    pub(super) fn has_level(&self, side: Side, tick: u32) -> bool {
        self.find(side, tick).is_ok()
    }

    /// The order that is next to be executed on a side.
    pub(super) fn head(&self, side: Side) -> Option<u32> {
        self.queues(side).last().map(|queue| queue.head)
    }

    /// The oldest order of the worst price of a side.
    pub(super) fn worst_head(&self, side: Side) -> Option<u32> {
        self.queues(side).first().map(|queue| queue.head)
    }

    fn find(&self, side: Side, tick: u32) -> Result<usize, usize> {
        let queues = self.queues(side);
        let wanted = rank(side, tick);
        let far = queues.len().saturating_sub(NEAR_LEVELS);
        for (at, queue) in queues.iter().enumerate().skip(far).rev() {
            match rank(side, queue.tick).cmp(&wanted) {
                Ordering::Greater => {}
                Ordering::Equal => return Ok(at),
                Ordering::Less => return Err(at + 1),
            }
        }
        queues[..far].binary_search_by_key(&wanted, |queue| rank(side, queue.tick))
    }

    /// The first price from here on, away from the best, at which fewer than `most` orders queue.
    pub(super) fn free_tick(&self, side: Side, tick: u32, most: u32) -> u32 {
        let Ok(at) = self.find(side, tick) else {
            return tick;
        };
        let mut free = tick;
        for queue in self.queues(side)[..=at].iter().rev() {
            if queue.tick != free || queue.count < most {
                break;
            }
            // Prices begin far above 0, and books don't reach that far.
            free = match side {
                Side::Bid => free.saturating_sub(1).max(1),
                Side::Ask => free + 1,
            };
        }
        free
    }

    /// The orders of a side in priority: best price first, then oldest first.
    pub(super) fn orders(&self, side: Side) -> impl Iterator<Item = &Order> {
        self.queues(side).iter().rev().flat_map(|queue| {
            core::iter::successors(self.slots.get(queue.head as usize), |order| {
                self.slots.get(order.next as usize)
            })
        })
    }

    /// Puts a new order at the end of its price's queue.
    pub(super) fn add(&mut self, new: New) -> u32 {
        let New {
            id,
            side,
            tick,
            shares,
            mpid,
        } = new;
        let live_at = u32::try_from(self.live.len()).unwrap_or(NONE);
        let slot = self.insert(Order {
            id,
            tick,
            shares,
            side,
            mpid,
            previous: NONE,
            next: NONE,
            live_at,
        });
        self.live.push(slot);
        match self.find(side, tick) {
            Ok(at) => {
                let queue = &mut self.queues_mut(side)[at];
                let tail = core::mem::replace(&mut queue.tail, slot);
                queue.count += 1;
                queue.shares += u64::from(shares);
                self.slots[tail as usize].next = slot;
                self.slots[slot as usize].previous = tail;
            }
            Err(at) => self.queues_mut(side).insert(
                at,
                Queue {
                    tick,
                    shares: u64::from(shares),
                    count: 1,
                    head: slot,
                    tail: slot,
                },
            ),
        }
        slot
    }

    /// Takes shares off an order; without a share left it is gone.
    pub(super) fn reduce(&mut self, slot: u32, shares: u32) {
        let order = &mut self.slots[slot as usize];
        let taken = shares.min(order.shares);
        order.shares -= taken;
        let order = order.clone();
        let Ok(at) = self.find(order.side, order.tick) else {
            unreachable!("an order is in the queue of its price")
        };
        let queues = self.queues_mut(order.side);
        let queue = &mut queues[at];
        queue.shares -= u64::from(taken);
        if order.shares > 0 {
            return;
        }
        queue.count -= 1;
        if order.previous == NONE {
            queue.head = order.next;
        }
        if order.next == NONE {
            queue.tail = order.previous;
        }
        if queue.count == 0 {
            queues.remove(at);
        }
        if let Some(previous) = self.slots.get_mut(order.previous as usize) {
            previous.next = order.next;
        }
        if let Some(next) = self.slots.get_mut(order.next as usize) {
            next.previous = order.previous;
        }
        self.live.swap_remove(order.live_at as usize);
        if let Some(&moved) = self.live.get(order.live_at as usize) {
            self.slots[moved as usize].live_at = order.live_at;
        }
        self.release(slot);
    }

    /// Takes an order off the book.
    pub(super) fn remove(&mut self, slot: u32) {
        self.reduce(slot, u32::MAX);
    }
}
