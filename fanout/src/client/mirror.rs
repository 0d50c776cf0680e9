//! The client's copies of books: by price, and by order.

use std::collections::{BTreeMap, HashMap};

use tickcast_codecs::checksum::book_checksum;
use tickcast_codecs::outbound::{OrderAction, OrderUpdate};
use tickcast_codecs::{Level, Price, Side};

use super::{OrderFault, RestingOrder, Violation};

/// A price as a number that rises from best to worst.
const fn rank(side: Side, px: Price) -> i64 {
    match side {
        // The complement reverses the order of all integers, the smallest included.
        Side::Bid => !px.0,
        Side::Ask => px.0,
    }
}

/// A book by price, each side best first.
#[derive(Debug, Default)]
pub(super) struct Levels {
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
}

impl Levels {
    pub(super) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    pub(super) fn replace(&mut self, bids: &[Level], asks: &[Level]) {
        self.clear();
        self.bids.extend_from_slice(bids);
        self.asks.extend_from_slice(asks);
    }

    pub(super) fn apply(&mut self, bids: &[Level], asks: &[Level]) {
        for (side, changes) in [(Side::Bid, bids), (Side::Ask, asks)] {
            let levels = match side {
                Side::Bid => &mut self.bids,
                Side::Ask => &mut self.asks,
            };
            for &change in changes {
                let place = levels
                    .binary_search_by_key(&rank(side, change.px), |level| rank(side, level.px));
                match (place, change.size) {
                    (Ok(place), 0) => {
                        levels.remove(place);
                    }
                    (Ok(place), _) => {
                        if let Some(level) = levels.get_mut(place) {
                            *level = change;
                        }
                    }
                    // Came and went between two conflated messages.
                    (Err(_), 0) => {}
                    (Err(place), _) => levels.insert(place, change),
                }
            }
        }
    }

    /// Whether each side is sorted, without empty levels, and no deeper than `depth`.
    pub(super) fn check(&self, depth: usize, faults: &mut Vec<Violation>) {
        for (side, levels) in [(Side::Bid, &self.bids), (Side::Ask, &self.asks)] {
            let sorted = levels.is_sorted_by(|a, b| rank(side, a.px) < rank(side, b.px));
            if !sorted || levels.iter().any(|level| level.size == 0) {
                faults.push(Violation::LevelOrder { side });
            }
            if levels.len() > depth {
                faults.push(Violation::Depth {
                    side,
                    depth,
                    levels: levels.len(),
                });
            }
        }
    }

    pub(super) fn checksum(&self) -> u32 {
        let pairs = |level: &Level| (level.px.0, level.size);
        book_checksum(self.bids.iter().map(pairs), self.asks.iter().map(pairs))
    }
}

/// A book by order: per level the orders in the order of their queue.
#[derive(Debug, Default)]
pub(super) struct Orders {
    places: HashMap<u64, (Side, Price)>,
    queues: BTreeMap<(Side, i64), Vec<RestingOrder>>,
}

impl Orders {
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.queues.clear();
    }

    /// Best level first, each in the order of its queue.
    pub(super) fn side(&self, side: Side) -> impl Iterator<Item = &RestingOrder> {
        self.queues
            .range((side, i64::MIN)..=(side, i64::MAX))
            .flat_map(|(_, queue)| queue)
    }

    pub(super) fn apply(&mut self, update: &OrderUpdate) -> Result<(), OrderFault> {
        if update.action == OrderAction::Add {
            return self.add(update);
        }
        let &(side, px) = self
            .places
            .get(&update.order_id)
            .ok_or(OrderFault::Unknown)?;
        if side != update.side {
            return Err(OrderFault::Side);
        }
        let resting = self
            .queues
            .get_mut(&(side, rank(side, px)))
            .and_then(|queue| queue.iter_mut().find(|o| o.order_id == update.order_id))
            .ok_or(OrderFault::Unknown)?;
        if update.action == OrderAction::Modify {
            if update.size > 0 && update.px == px {
                resting.size = update.size;
                return Ok(());
            }
            self.remove(update.order_id);
            return self.add(update);
        }
        match resting.size.checked_sub(update.size) {
            Some(0) => self.remove(update.order_id),
            Some(left) => resting.size = left,
            None => {
                self.remove(update.order_id);
                return Err(OrderFault::Oversize);
            }
        }
        Ok(())
    }

    pub(super) fn add(&mut self, update: &OrderUpdate) -> Result<(), OrderFault> {
        let &OrderUpdate {
            order_id,
            side,
            px,
            size,
            ..
        } = update;
        if size == 0 {
            return Err(OrderFault::Empty);
        }
        if self.places.contains_key(&order_id) {
            return Err(OrderFault::Duplicate);
        }
        self.places.insert(order_id, (side, px));
        let queue = self.queues.entry((side, rank(side, px))).or_default();
        queue.push(RestingOrder { order_id, px, size });
        Ok(())
    }

    fn remove(&mut self, order_id: u64) {
        if let Some((side, px)) = self.places.remove(&order_id) {
            let key = (side, rank(side, px));
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.retain(|order| order.order_id != order_id);
                if queue.is_empty() {
                    self.queues.remove(&key);
                }
            }
        }
    }
}
