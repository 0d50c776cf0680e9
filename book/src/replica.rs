//! A book rebuilt from updates alone: what a subscriber does, and so the proof of what updates mean.
//!
//! A replica follows one of the two views that updates give (see [`crate::update`]): levels or orders.  It
//! starts from a snapshot or from the beginning, and is equal to the market's book after every update that
//! carries `LAST`.
//!
//! Behind a `Resync` it knows no book until that one's next snapshot (or `Clear`): updates of the others are passed
//! over, and [`is_known`](Replica::is_known) says so.

use hashbrown::HashSet;

use crate::books::{Book, LevelBooks, OrderBooks};
use crate::error::{BookError, Fault};
use crate::level::{BookKind, Order};
use crate::limits::Limits;
use crate::update::{OrderAction, OrderUpdate, Update, UpdateKind, UpdateSink};

/// Books of one channel, rebuilt from updates.
#[derive(Debug, Clone)]
pub struct Replica {
    what: BookKind,
    orders: OrderBooks,
    levels: LevelBooks,
    /// The books told anew since a `Resync`, the only ones that are known; `None` = all are.
    anew: Option<HashSet<u32>>,
    first_fault: Option<BookError>,
}

impl Replica {
    /// Empty books that follow one view.
    #[must_use]
    pub fn new(what: BookKind, limits: &Limits) -> Self {
        Self {
            what,
            orders: OrderBooks::new(limits),
            levels: LevelBooks::new(limits),
            anew: None,
            first_fault: None,
        }
    }

    /// The view that it follows.
    #[must_use]
    pub fn what(&self) -> BookKind {
        self.what
    }

    /// One book; empty if nothing is known of it.
    #[must_use]
    pub fn book(&self, instrument_id: u32) -> Book<'_> {
        match self.what {
            BookKind::ByPrice => self.levels.book(instrument_id),
            BookKind::ByOrder => self.orders.book(instrument_id),
        }
    }

    /// Whether the book is known: false between a `Resync` and the book's next snapshot.
    #[must_use]
    pub fn is_known(&self, instrument_id: u32) -> bool {
        self.anew
            .as_ref()
            .is_none_or(|anew| anew.contains(&instrument_id))
    }

    /// The first update that didn't fit, as taken by [`UpdateSink`].
    #[must_use]
    pub fn first_fault(&self) -> Option<BookError> {
        self.first_fault
    }

    /// Applies one update.  Updates of the other view, and those that change no book, do nothing.
    ///
    /// # Errors
    ///
    /// The update doesn't fit: some are missing, and the replica needs a snapshot.
    #[inline]
    pub fn apply(&mut self, update: &Update) -> Result<(), BookError> {
        let id = update.header.instrument_id;
        let result = match update.kind {
            UpdateKind::Level { .. } | UpdateKind::Order(_) if !self.is_known(id) => Ok(()),
            UpdateKind::Level { side, level } if self.what == BookKind::ByPrice => {
                self.levels.set(id, side, level).map(drop)
            }
            UpdateKind::Order(change) if self.what == BookKind::ByOrder => self.order(id, change),
            UpdateKind::Clear | UpdateKind::SnapshotBegin => {
                if id & 0xffff == 0 {
                    self.clear_all();
                    self.anew = None;
                } else {
                    self.orders.clear(id);
                    self.levels.clear(id);
                    if let Some(anew) = &mut self.anew {
                        anew.insert(id);
                    }
                }
                Ok(())
            }
            UpdateKind::Resync => {
                self.clear_all();
                self.anew = Some(HashSet::new());
                Ok(())
            }
            _ => Ok(()),
        };
        result.map_err(|fault| BookError {
            fault,
            instrument_id: id,
            sequence: update.header.sequence,
        })
    }

    fn clear_all(&mut self) {
        self.orders.clear_all();
        self.levels.clear_all();
    }

    fn order(&mut self, id: u32, change: OrderUpdate) -> Result<(), Fault> {
        let OrderUpdate {
            action,
            order_id,
            side,
            px,
            size,
        } = change;
        match action {
            OrderAction::Add => {
                let order = Order {
                    order_id,
                    side,
                    px,
                    size,
                };
                self.orders.add(id, order).map(drop)
            }
            OrderAction::Cancel | OrderAction::Fill => {
                let reduced = self.orders.reduce(id, order_id, size)?;
                if reduced.taken == size {
                    Ok(())
                } else {
                    Err(Fault::OverReduced {
                        order_id,
                        size,
                        remained: reduced.taken,
                    })
                }
            }
            OrderAction::Modify => self.orders.modify(id, order_id, px, size, true).map(drop),
        }
    }
}

/// Remembers the first update that didn't fit.
impl UpdateSink for Replica {
    fn update(&mut self, update: &Update) {
        if let Err(error) = self.apply(update) {
            self.first_fault.get_or_insert(error);
        }
    }
}
