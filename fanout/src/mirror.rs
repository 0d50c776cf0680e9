//! Mirrors: the hub's own copies of the books that somebody is interested in, one [`Mirrors`] for a channel.
//!
//! A mirror begins empty and unknown: the shard is asked for a snapshot, which it answers in band, and until the
//! snapshot is complete every other update of the book is ignored.  From then on updates apply one by one.
//!
//! A mirror is by price until somebody needs orders; then it is by order, which gives the levels as well.  It
//! stays so until nobody is interested any more.
//!
//! Invariants: a mirror that is [live](Mirrors::is_live) and not [mid-event](Mirrors::is_consistent) is equal to
//! the market's book as of the last update; its `seq` rises with every state, across interruptions too.
//!
//! Not here: who is interested, and what is sent to them.

use rustc_hash::{FxHashMap, FxHashSet};
use tickcast_book::{Book, BookKind, Limits as BookLimits, Replica, Update, UpdateKind};
use tickcast_codecs::event::Header;
use tickcast_codecs::outbound;
use tickcast_codecs::types::{Price, Side};

/// What an update did to a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing, or nothing yet.
    None,
    /// Nobody is interested, or the snapshot hasn't begun.
    Ignored,
    /// An event is complete: the book is in its next state.
    Event,
    /// The book was emptied: it is in its next state, and nothing of the one before holds.
    Cleared,
    /// The snapshot is complete.  `told` says that all who follow the mirror know its state already.
    Rebuilt {
        /// Whether the state is the one before.
        told: bool,
    },
    /// The update doesn't fit: something was lost, and a snapshot is needed.
    Broken,
}

/// One book.
#[derive(Debug)]
struct Mirror {
    /// What is wanted of the book.
    want: BookKind,
    /// By what it is kept at present; `None` before the first snapshot and after a loss.
    live: Option<BookKind>,
    /// The updates of a snapshot that has begun.
    staged: Option<Vec<Update>>,
    /// Prices that changed since the last state.
    touched: Vec<(Side, Price)>,
    /// Order updates since the last state.
    orders: Vec<outbound::OrderUpdate>,
    /// The header of the last update applied.
    header: Header,
    /// Streams and queries that use it.
    users: usize,
    /// When the last of them left.
    idle_since: u64,
}

/// All mirrors of a channel.
#[derive(Debug)]
pub(crate) struct Mirrors {
    by_order: bool,
    levels: Replica,
    orders: Replica,
    mirrors: FxHashMap<u32, Mirror>,
    /// The number of each book's state: kept when the mirror is dropped, so that it never falls.
    seqs: FxHashMap<u32, u64>,
    /// Mirrors of books that were replaced, and of which the new state isn't known yet.
    awaited: FxHashSet<u32>,
}

impl Mirrors {
    pub(crate) fn new(by_order: bool) -> Self {
        let limits = BookLimits::default();
        Self {
            by_order,
            levels: Replica::new(BookKind::ByPrice, &limits),
            orders: Replica::new(BookKind::ByOrder, &limits),
            mirrors: FxHashMap::default(),
            seqs: FxHashMap::default(),
            awaited: FxHashSet::default(),
        }
    }

    /// One more user.  Says whether the shard is to be asked: for a new interest, with a snapshot.
    pub(crate) fn acquire(&mut self, id: u32, kind: BookKind) -> bool {
        let kind = if self.by_order {
            kind
        } else {
            BookKind::ByPrice
        };
        let mut ask = false;
        let mirror = self.mirrors.entry(id).or_insert_with(|| {
            ask = true;
            Mirror {
                want: kind,
                live: None,
                staged: None,
                touched: Vec::new(),
                orders: Vec::new(),
                header: Header::default(),
                users: 0,
                idle_since: 0,
            }
        });
        mirror.users += 1;
        if kind == BookKind::ByOrder && mirror.want == BookKind::ByPrice {
            mirror.want = BookKind::ByOrder;
            ask = true;
        }
        ask
    }

    /// One user less.  Says whether it was the last.
    pub(crate) fn release(&mut self, id: u32, now: u64) -> bool {
        let Some(mirror) = self.mirrors.get_mut(&id) else {
            return false;
        };
        mirror.users = mirror.users.saturating_sub(1);
        mirror.idle_since = now;
        mirror.users == 0
    }

    /// Drops the mirror if nobody has used it since `idle_until`.  Says whether it did.
    pub(crate) fn expire(&mut self, id: u32, idle_until: u64) -> bool {
        let idle = |mirror: &Mirror| mirror.users == 0 && mirror.idle_since <= idle_until;
        if !self.mirrors.get(&id).is_some_and(idle) {
            return false;
        }
        self.mirrors.remove(&id);
        self.awaited.remove(&id);
        self.empty(id, BookKind::ByPrice);
        self.empty(id, BookKind::ByOrder);
        true
    }

    /// What is wanted of a book.
    pub(crate) fn wanted(&self, id: u32) -> Option<BookKind> {
        self.mirrors.get(&id).map(|mirror| mirror.want)
    }

    /// Updates were lost: no mirror holds any more.  Gives those that a snapshot is needed for.
    pub(crate) fn lost(&mut self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.mirrors.keys().copied().collect();
        ids.sort_unstable();
        for mirror in self.mirrors.values_mut() {
            mirror.lose();
        }
        ids
    }

    /// All books were replaced: no mirror holds any more, and until each is known again, [`is_awaiting`](Self::is_awaiting).
    pub(crate) fn replaced(&mut self) -> Vec<u32> {
        let ids = self.lost();
        self.awaited.extend(&ids);
        ids
    }

    /// Whether books that were replaced aren't all known yet.
    pub(crate) fn is_awaiting(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// The books that are mirrored, in order.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.mirrors.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// How many books are mirrored.
    pub(crate) fn len(&self) -> usize {
        self.mirrors.len()
    }

    /// Whether the book is known, and by what it is kept.
    pub(crate) fn is_live(&self, id: u32) -> Option<BookKind> {
        self.mirrors.get(&id).and_then(|mirror| mirror.live)
    }

    /// Whether the book is known, in the needed kind, and not amid an event.
    pub(crate) fn is_consistent(&self, id: u32, kind: BookKind) -> bool {
        self.mirrors.get(&id).is_some_and(|mirror| {
            mirror.touched.is_empty()
                && match mirror.live {
                    None => false,
                    Some(BookKind::ByPrice) => kind == BookKind::ByPrice,
                    Some(BookKind::ByOrder) => true,
                }
        })
    }

    /// The number of the book's state.
    pub(crate) fn seq(&self, id: u32) -> u64 {
        self.seqs.get(&id).copied().unwrap_or_default()
    }

    /// The book; empty if it isn't known.
    pub(crate) fn book(&self, id: u32) -> Book<'_> {
        match self.is_live(id) {
            Some(BookKind::ByOrder) => self.orders.book(id),
            _ => self.levels.book(id),
        }
    }

    /// The header of the last update applied.
    pub(crate) fn header(&self, id: u32) -> Header {
        self.mirrors
            .get(&id)
            .map(|mirror| mirror.header)
            .unwrap_or_default()
    }

    /// What the event that was completed last did: prices touched, and order updates.
    pub(crate) fn event(&self, id: u32) -> (&[(Side, Price)], &[outbound::OrderUpdate]) {
        self.mirrors
            .get(&id)
            .map_or((&[], &[]), |mirror| (&mirror.touched, &mirror.orders))
    }

    /// The event that was completed last was told to everybody.
    pub(crate) fn event_told(&mut self, id: u32) {
        if let Some(mirror) = self.mirrors.get_mut(&id) {
            mirror.touched.clear();
            mirror.orders.clear();
        }
    }

    fn empty(&mut self, id: u32, kind: BookKind) {
        let clear = Update {
            header: Header {
                instrument_id: id,
                ..Header::default()
            },
            flags: 0,
            kind: UpdateKind::Clear,
        };
        // A clear always fits; and number 0, which would clear all, is no book.
        if id & 0xffff != 0 {
            let _ = match kind {
                BookKind::ByPrice => self.levels.apply(&clear),
                BookKind::ByOrder => self.orders.apply(&clear),
            };
        }
    }

    fn next_state(&mut self, id: u32) {
        let seq = self.seqs.entry(id).or_default();
        *seq = seq.saturating_add(1);
    }

    /// Empties one book, as the venue said.
    pub(crate) fn clear(&mut self, header: &Header) -> Change {
        let id = header.instrument_id;
        let Some(mirror) = self.mirrors.get_mut(&id) else {
            return Change::Ignored;
        };
        let Some(kind) = mirror.live else {
            return Change::Ignored;
        };
        mirror.header = *header;
        mirror.touched.clear();
        mirror.orders.clear();
        self.empty(id, kind);
        self.next_state(id);
        Change::Cleared
    }

    /// Takes an update of a book: a level, an order, or a snapshot's begin or end.
    ///
    /// After [`Change::Event`] the caller reads [`event`](Self::event) and calls [`event_told`](Self::event_told).
    pub(crate) fn handle(&mut self, update: &Update) -> Change {
        let id = update.header.instrument_id;
        let Some(mirror) = self.mirrors.get_mut(&id) else {
            return Change::Ignored;
        };
        match update.kind {
            UpdateKind::SnapshotBegin => {
                mirror.staged = Some(Vec::new());
                Change::None
            }
            UpdateKind::SnapshotEnd => match mirror.staged.take() {
                Some(staged) => self.rebuild(update, &staged),
                None => Change::Ignored,
            },
            UpdateKind::Level { .. } | UpdateKind::Order(_) if update.is_snapshot() => {
                match &mut mirror.staged {
                    Some(staged) => {
                        staged.push(*update);
                        Change::None
                    }
                    None => Change::Ignored,
                }
            }
            UpdateKind::Level { .. } | UpdateKind::Order(_) => self.apply(update),
            _ => Change::None,
        }
    }

    fn apply(&mut self, update: &Update) -> Change {
        let id = update.header.instrument_id;
        let Some(mirror) = self.mirrors.get_mut(&id) else {
            return Change::Ignored;
        };
        let applied = match (mirror.live, update.kind) {
            (None, _) => return Change::Ignored,
            (Some(BookKind::ByPrice), UpdateKind::Level { side, level }) => {
                mirror.touched.push((side, level.px));
                self.levels.apply(update)
            }
            (Some(BookKind::ByOrder), UpdateKind::Order(order)) => {
                // A modification may move the order: the price that it leaves changes too.
                if order.action == tickcast_book::OrderAction::Modify {
                    let before = self.orders.book(id).order(order.order_id);
                    mirror
                        .touched
                        .extend(before.map(|before| (before.side, before.px)));
                }
                mirror.touched.push((order.side, order.px));
                mirror.orders.push(order);
                self.orders.apply(update)
            }
            // The other view of the same change: only its end of the event counts.
            _ => Ok(()),
        };
        mirror.header = update.header;
        if applied.is_err() {
            mirror.lose();
            return Change::Broken;
        }
        if !update.is_last() || mirror.touched.is_empty() {
            return Change::None;
        }
        self.next_state(id);
        Change::Event
    }

    /// Whether a snapshot, best first as it is told, is what the mirror holds.
    fn equals(&self, id: u32, kind: BookKind, staged: &[Update]) -> bool {
        let sides = [Side::Bid, Side::Ask].into_iter();
        match kind {
            BookKind::ByPrice => {
                let book = self.levels.book(id);
                let told = staged.iter().filter_map(|update| match update.kind {
                    UpdateKind::Level { side, level } => Some((side, level)),
                    _ => None,
                });
                told.eq(sides.flat_map(|side| book.levels(side).map(move |level| (side, level))))
            }
            BookKind::ByOrder => {
                let book = self.orders.book(id);
                let told = staged.iter().filter_map(|update| match update.kind {
                    UpdateKind::Order(order) => {
                        Some((order.order_id, order.side, order.px, order.size))
                    }
                    _ => None,
                });
                let held = sides.flat_map(|side| book.orders(side));
                told.eq(held.map(|order| (order.order_id, order.side, order.px, order.size)))
            }
        }
    }

    fn rebuild(&mut self, end: &Update, staged: &[Update]) -> Change {
        let id = end.header.instrument_id;
        let Some(mirror) = self.mirrors.get(&id) else {
            return Change::Ignored;
        };
        let (want, before) = (mirror.want, mirror.live);
        // A snapshot by the other view was asked for by another hub.  (An empty one is right for both.)
        let fits = |update: &Update| match update.kind {
            UpdateKind::Level { .. } => want == BookKind::ByPrice,
            UpdateKind::Order(_) => want == BookKind::ByOrder,
            _ => true,
        };
        if !staged.iter().all(fits) {
            return Change::None;
        }
        // One that says what is known already changes nothing.
        if before == Some(want) && self.equals(id, want, staged) {
            return Change::None;
        }
        let Some(mirror) = self.mirrors.get_mut(&id) else {
            return Change::Ignored;
        };
        mirror.header = end.header;
        mirror.touched.clear();
        mirror.orders.clear();
        mirror.live = Some(want);
        self.empty(id, want);
        for update in staged {
            let applied = match want {
                BookKind::ByPrice => self.levels.apply(update),
                BookKind::ByOrder => self.orders.apply(update),
            };
            if applied.is_err() {
                if let Some(mirror) = self.mirrors.get_mut(&id) {
                    mirror.lose();
                }
                return Change::Broken;
            }
        }
        self.awaited.remove(&id);
        // From levels to orders: the levels are the same, or else something was lost.
        let told = before == Some(BookKind::ByPrice) && want == BookKind::ByOrder && {
            let (old, new) = (self.levels.book(id), self.orders.book(id));
            [Side::Bid, Side::Ask]
                .into_iter()
                .all(|side| old.levels(side).eq(new.levels(side)))
        };
        if want == BookKind::ByOrder {
            self.empty(id, BookKind::ByPrice);
        }
        if !told {
            self.next_state(id);
        }
        Change::Rebuilt { told }
    }
}

impl Mirror {
    /// What is held doesn't count any more.
    fn lose(&mut self) {
        self.live = None;
        self.staged = None;
        self.touched.clear();
        self.orders.clear();
    }
}
