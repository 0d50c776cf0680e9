//! The order store: order id -> order, for all instruments of a channel.
//!
//! Orders are slots of one array that are used again after a delete, the last freed first, so memory
//! follows the live orders, and after warm-up nothing is allocated.  Orders of one level form a queue: a
//! doubly linked list through the slots, whose ends the level keeps.  The index holds slot numbers only and
//! reads the id in the slot, which is needed next anyway.
//!
//! Invariant: an id is in the index if and only if its slot is live, and a live slot is in exactly one queue.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tickcast_codecs::types::{Price, Side};

use crate::ladder::Rung;
use crate::level::Order;

/// No slot.
pub(crate) const NIL: u32 = u32::MAX;

/// A live order, or a free slot (then only `next` means something: the next free slot).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) order_id: u64,
    pub(crate) px: Price,
    pub(crate) size: u32,
    prev: u32,
    next: u32,
    /// The instrument's number in its channel.
    pub(crate) instrument: u16,
    pub(crate) side: Side,
}

// An order shall cost at most 64 bytes with its share of the index, a level 32.
const _: () = assert!(size_of::<Slot>() == 32);
const _: () = assert!(size_of::<Rung>() == 32);

impl Slot {
    pub(crate) fn order(&self) -> Order {
        Order {
            order_id: self.order_id,
            side: self.side,
            px: self.px,
            size: self.size,
        }
    }
}

/// Why an order wasn't stored.
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

/// All live orders of a channel.
#[derive(Debug, Clone)]
pub(crate) struct OrderStore {
    slots: Vec<Slot>,
    /// Slot numbers, by the hash of the order's id.
    index: HashTable<u32>,
    /// The slot that was freed last, or [`NIL`].
    free: u32,
    orders_max: usize,
}

/// Venues count order ids up, often in strides; the index takes the low bits and the top seven.  So the bits
/// are mixed (the finalizer of SplitMix64, of which every output bit depends on every input bit).
/// No secret goes in: the same input gives the same run.
#[inline]
pub(crate) const fn hash(order_id: u64) -> u64 {
    let id = (order_id ^ (order_id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
}

impl OrderStore {
    pub(crate) fn new(orders_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            index: HashTable::new(),
            free: NIL,
            // A slot number must never be `NIL`.
            orders_max: orders_max.min(NIL as usize),
        }
    }

    /// Makes room for so many live orders: until there are more, nothing is allocated.
    pub(crate) fn reserve(&mut self, orders: usize) {
        let orders = orders.min(self.orders_max);
        self.slots.reserve(orders.saturating_sub(self.slots.len()));
        // An index that is less than half full cleans up in place what deletes left behind; a fuller one
        // would grow.
        let entries = orders.saturating_mul(2);
        let slots = &self.slots;
        self.index
            .reserve(entries.saturating_sub(self.index.len()), |&at| {
                hash(slots[at as usize].order_id)
            });
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(crate) fn find(&self, order_id: u64) -> Option<u32> {
        self.index
            .find(hash(order_id), |&at| {
                self.slots[at as usize].order_id == order_id
            })
            .copied()
    }

    /// The order at a slot that [`find`](Self::find) or [`insert`](Self::insert) gave, until it is removed.
    #[inline]
    pub(crate) fn slot(&self, at: u32) -> &Slot {
        &self.slots[at as usize]
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    /// Whether an order of this id could be stored.
    pub(crate) fn check(&self, order_id: u64) -> Result<(), NotStored> {
        if let Some(at) = self.find(order_id) {
            let owner = self.slot(at).instrument;
            Err(NotStored::Duplicate { owner })
        } else if self.len() >= self.orders_max {
            Err(NotStored::Full)
        } else {
            Ok(())
        }
    }

    /// Stores an order that is in no queue yet.
    #[inline]
    pub(crate) fn insert(&mut self, instrument: u16, order: Order) -> Result<u32, NotStored> {
        let live = self.index.len();
        let slots = &self.slots;
        let entry = self.index.entry(
            hash(order.order_id),
            |&at| slots[at as usize].order_id == order.order_id,
            |&at| hash(slots[at as usize].order_id),
        );
        let entry = match entry {
            Entry::Vacant(entry) => entry,
            Entry::Occupied(live) => {
                let owner = slots[*live.get() as usize].instrument;
                return Err(NotStored::Duplicate { owner });
            }
        };
        if live >= self.orders_max {
            return Err(NotStored::Full);
        }
        let slot = Slot {
            order_id: order.order_id,
            px: order.px,
            size: order.size,
            prev: NIL,
            next: NIL,
            instrument,
            side: order.side,
        };
        let at = if self.free == NIL {
            let Ok(at) = u32::try_from(self.slots.len()) else {
                return Err(NotStored::Full);
            };
            entry.insert(at);
            self.slots.push(slot);
            at
        } else {
            let at = self.free;
            entry.insert(at);
            let place = &mut self.slots[at as usize];
            self.free = place.next;
            *place = slot;
            at
        };
        Ok(at)
    }

    /// Frees the slot of an order that is in no queue any more.
    #[inline]
    pub(crate) fn remove(&mut self, at: u32) {
        let order_id = self.slots[at as usize].order_id;
        if let Ok(entry) = self.index.find_entry(hash(order_id), |&found| found == at) {
            entry.remove();
        }
        self.slots[at as usize].next = self.free;
        self.free = at;
    }

    /// Frees all; keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.index.clear();
        self.free = NIL;
    }

    /// Puts the order at the end of the level's queue, and counts it in.
    #[inline]
    pub(crate) fn push_back(&mut self, level: &mut Rung, at: u32) {
        let last = level.tail;
        let slot = &mut self.slots[at as usize];
        slot.prev = last;
        slot.next = NIL;
        level.size += u64::from(slot.size);
        level.count += 1;
        level.tail = at;
        if last == NIL {
            level.head = at;
        } else {
            self.slots[last as usize].next = at;
        }
    }

    /// Takes the order out of the level's queue, and out of its sums.
    #[inline]
    pub(crate) fn unlink(&mut self, level: &mut Rung, at: u32) {
        let Slot {
            prev, next, size, ..
        } = self.slots[at as usize];
        if prev == NIL {
            level.head = next;
        } else {
            self.slots[prev as usize].next = next;
        }
        if next == NIL {
            level.tail = prev;
        } else {
            self.slots[next as usize].prev = prev;
        }
        level.size -= u64::from(size);
        level.count -= 1;
    }

    /// Frees all orders of a level's queue; the level itself goes with it.
    pub(crate) fn remove_queue(&mut self, level: &Rung) {
        let mut at = level.head;
        while at != NIL {
            let next = self.slots[at as usize].next;
            self.remove(at);
            at = next;
        }
    }

    /// The orders of a level, first in the queue first.
    pub(crate) fn queue(&self, level: &Rung) -> Queue<'_> {
        Queue {
            store: self,
            next: level.head,
        }
    }
}

/// The orders of a level, first in the queue first.
#[derive(Debug, Clone)]
pub(crate) struct Queue<'a> {
    store: &'a OrderStore,
    next: u32,
}

impl Iterator for Queue<'_> {
    type Item = Order;

    fn next(&mut self) -> Option<Order> {
        if self.next == NIL {
            return None;
        }
        let slot = self.store.slot(self.next);
        self.next = slot.next;
        Some(slot.order())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order_id: u64) -> Order {
        Order {
            order_id,
            side: Side::Bid,
            px: Price(1),
            size: 1,
        }
    }

    #[test]
    fn freed_slots_are_used_again_before_new_ones() {
        let mut store = OrderStore::new(100);
        for round in 0..1000 {
            let slots: Vec<_> = (0..10)
                .map(|n| store.insert(1, order(round * 10 + n)).expect("room"))
                .collect();
            for at in slots {
                store.remove(at);
            }
        }
        assert_eq!(store.len(), 0);
        assert_eq!(store.slots.len(), 10);
    }

    #[test]
    fn a_full_store_refuses_and_takes_again_after_a_delete() {
        let mut store = OrderStore::new(2);
        let first = store.insert(1, order(1)).expect("room");
        store.insert(1, order(2)).expect("room");
        assert_eq!(store.insert(1, order(3)), Err(NotStored::Full));
        let duplicate = NotStored::Duplicate { owner: 1 };
        assert_eq!(store.insert(2, order(2)), Err(duplicate));
        assert_eq!(store.find(3), None);
        store.remove(first);
        assert!(store.insert(1, order(3)).is_ok());
    }

    #[test]
    fn strides_of_order_ids_spread_over_the_index() {
        // B6: an index of 2^16 buckets sees about as many different low bits as random ids would show
        // (1 - 1/e of them), whatever the stride.
        for shift in [0, 1, 4, 16, 20, 32, 40, 44, 48] {
            let mut seen = vec![false; 1 << 16];
            for n in 0..1_u64 << 16 {
                seen[usize::try_from(hash(n << shift) & 0xffff).expect("16 bits")] = true;
            }
            let buckets = seen.iter().filter(|&&seen| seen).count();
            assert!(
                buckets > 35_000,
                "stride 2^{shift}: {buckets} buckets of 65,536"
            );
        }
    }
}
