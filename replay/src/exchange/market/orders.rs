//! The exchange's own books: every displayed order, in price and time priority.
//!
//! Plain and complete rather than fast: queues are lists through one slab of orders, a side is a
//! sorted `Vec` of queues with the best at its end (where nearly all of the changes are).  Memory
//! stops growing once the caps of the market's configuration are reached.
//!
//! Invariant: a queue is never empty, its `shares` and `count` are the sums over its orders, and every
//! order is in exactly one queue and once in its instrument's `live`.  The end of `live` is where new
//! orders come in, and one from the end takes the place of each that goes: the nearer to the end, the
//! younger on the whole.

use tickcast_codecs::Side;

/// "No order": the end of a list.
const NONE: u32 = u32::MAX;

/// One displayed order.
#[derive(Debug, Clone)]
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

/// Slots for the orders of all books.
#[derive(Debug, Default)]
pub(super) struct Orders {
    slots: Vec<Order>,
    free: Option<u32>,
}

/// One instrument's book.
#[derive(Debug, Default)]
pub(super) struct Book {
    bids: Vec<Queue>,
    asks: Vec<Queue>,
    live: Vec<u32>,
}

/// Ascending towards the best.
fn rank(side: Side, tick: u32) -> u32 {
    match side {
        Side::Bid => tick,
        Side::Ask => u32::MAX - tick,
    }
}

impl Orders {
    /// How many slots there are, used or free.
    #[cfg(test)]
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn order(&self, slot: u32) -> &Order {
        &self.slots[slot as usize]
    }

    fn insert(&mut self, order: Order) -> u32 {
        if let Some(slot) = self.free {
            let next = self.slots[slot as usize].next;
            self.free = (next != NONE).then_some(next);
            self.slots[slot as usize] = order;
            return slot;
        }
        // Caps keep the count of orders far below 2^32.
        let slot = u32::try_from(self.slots.len()).unwrap_or(NONE);
        self.slots.push(order);
        slot
    }

    fn release(&mut self, slot: u32) {
        self.slots[slot as usize].next = self.free.unwrap_or(NONE);
        self.free = Some(slot);
    }
}

impl Book {
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
        self.queues(side)
            .binary_search_by_key(&rank(side, tick), |queue| rank(side, queue.tick))
    }

    /// How many orders queue at a price.
    pub(super) fn count_at(&self, side: Side, tick: u32) -> u32 {
        self.find(side, tick)
            .map_or(0, |at| self.queues(side)[at].count)
    }

    /// The orders of a side in priority: best price first, then oldest first.
    pub(super) fn orders<'a>(
        &'a self,
        orders: &'a Orders,
        side: Side,
    ) -> impl Iterator<Item = &'a Order> {
        self.queues(side).iter().rev().flat_map(|queue| {
            core::iter::successors(orders.slots.get(queue.head as usize), |order| {
                orders.slots.get(order.next as usize)
            })
        })
    }

    /// Puts a new order at the end of its price's queue.
    pub(super) fn add(&mut self, orders: &mut Orders, new: New) -> u32 {
        let New {
            id,
            side,
            tick,
            shares,
            mpid,
        } = new;
        let live_at = u32::try_from(self.live.len()).unwrap_or(NONE);
        let slot = orders.insert(Order {
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
                orders.slots[queue.tail as usize].next = slot;
                orders.slots[slot as usize].previous = queue.tail;
                queue.tail = slot;
                queue.count += 1;
                queue.shares += u64::from(shares);
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
    pub(super) fn reduce(&mut self, orders: &mut Orders, slot: u32, shares: u32) {
        let order = &mut orders.slots[slot as usize];
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
        match order.previous {
            NONE => queue.head = order.next,
            previous => orders.slots[previous as usize].next = order.next,
        }
        match order.next {
            NONE => queue.tail = order.previous,
            next => orders.slots[next as usize].previous = order.previous,
        }
        if queue.count == 0 {
            queues.remove(at);
        }
        self.live.swap_remove(order.live_at as usize);
        if let Some(&moved) = self.live.get(order.live_at as usize) {
            orders.slots[moved as usize].live_at = order.live_at;
        }
        orders.release(slot);
    }

    /// Takes an order off the book.
    pub(super) fn remove(&mut self, orders: &mut Orders, slot: u32) {
        self.reduce(orders, slot, u32::MAX);
    }
}
