//! The books that a strict reader of ITCH messages has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::collections::{BTreeMap, HashMap};

use tickcast_codecs::itch50::Message;
use tickcast_codecs::{Level, Price, Side};

/// The books that a reader of the messages has: slow, obvious, and strict.
#[derive(Default)]
pub(crate) struct Reference {
    orders: HashMap<u64, Displayed>,
    /// By stock locate and side: price (in wire units) to its order ids, in time priority.
    books: HashMap<(u16, Side), BTreeMap<u32, Vec<u64>>>,
    /// By stock locate: the engines of the exchange count each by itself.
    last_order: HashMap<u16, u64>,
    last_match: u64,
    halted: HashMap<u16, u8>,
    operational: HashMap<u16, u8>,
    /// Non-printable executions of a cross under way: shares and price.
    crossing: HashMap<u16, (u64, u32)>,
    printed: u64,
    broken: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Displayed {
    locate: u16,
    side: Side,
    price: u32,
    shares: u32,
}

impl Reference {
    /// Applies a message, and panics if it isn't valid at this place.
    pub(crate) fn apply(&mut self, message: &Message<'_>) {
        match message {
            Message::AddOrder(m) => self.add(
                m.order_reference_number.get(),
                m.stock_locate.get(),
                side(m.buy_sell_indicator.0),
                m.price.0.get(),
                m.shares.get(),
            ),
            Message::AddOrderWithMpid(m) => self.add(
                m.order_reference_number.get(),
                m.stock_locate.get(),
                side(m.buy_sell_indicator.0),
                m.price.0.get(),
                m.shares.get(),
            ),
            Message::OrderExecuted(m) => {
                self.print(m.stock_locate.get(), m.match_number.get());
                self.execute(
                    m.order_reference_number.get(),
                    m.stock_locate.get(),
                    m.executed_shares.get(),
                );
            }
            Message::OrderExecutedWithPrice(m) => {
                let order = self.orders[&m.order_reference_number.get()];
                let price = m.execution_price.0.get();
                let locate = m.stock_locate.get();
                if m.printable.0 == b'Y' {
                    match order.side {
                        Side::Bid => assert!(price > order.price),
                        Side::Ask => assert!(price < order.price),
                    }
                    self.print(locate, m.match_number.get());
                } else {
                    // In a cross nobody gets a worse price than the order's.
                    match order.side {
                        Side::Bid => assert!(price <= order.price),
                        Side::Ask => assert!(price >= order.price),
                    }
                    self.number(m.match_number.get());
                    let so_far = self.crossing.entry(locate).or_insert((0, price));
                    assert_eq!(so_far.1, price, "a cross has one price");
                    so_far.0 += u64::from(m.executed_shares.get());
                }
                self.execute(
                    m.order_reference_number.get(),
                    locate,
                    m.executed_shares.get(),
                );
            }
            Message::OrderCancel(m) => {
                let id = m.order_reference_number.get();
                assert!(m.canceled_shares.get() < self.orders[&id].shares);
                self.reduce(id, m.stock_locate.get(), m.canceled_shares.get());
            }
            Message::OrderDelete(m) => {
                self.reduce(
                    m.order_reference_number.get(),
                    m.stock_locate.get(),
                    u32::MAX,
                );
            }
            Message::OrderReplace(m) => {
                let original = m.original_order_reference_number.get();
                let side = self.orders[&original].side;
                self.reduce(original, m.stock_locate.get(), u32::MAX);
                self.add(
                    m.new_order_reference_number.get(),
                    m.stock_locate.get(),
                    side,
                    m.price.0.get(),
                    m.shares.get(),
                );
            }
            Message::Trade(m) => {
                assert!(m.price.0.get() > 0 && m.shares.get() > 0);
                self.print(m.stock_locate.get(), m.match_number.get());
            }
            Message::StockTradingAction(m) => {
                self.halted.insert(m.stock_locate.get(), m.trading_state.0);
            }
            Message::Noii(m) => {
                let state = self.halted[&m.stock_locate.get()];
                match m.cross_type.0 {
                    b'H' => assert_eq!(state, b'Q'),
                    _ => assert_eq!(state, b'T'),
                }
                assert_eq!(
                    m.imbalance_shares.get() == 0,
                    m.imbalance_direction.0 == b'N'
                );
            }
            Message::CrossTrade(m) => {
                self.number(m.match_number.get());
                let state = self.halted[&m.stock_locate.get()];
                assert_eq!(state == b'Q', m.cross_type.0 == b'H');
                let price = m.cross_price.0.get();
                assert_eq!(price == 0, m.shares.get() == 0);
                if let Some((shares, told)) = self.crossing.remove(&m.stock_locate.get()) {
                    assert_eq!(told, price);
                    assert!(shares <= m.shares.get(), "the bulk print has all shares");
                }
            }
            Message::LuldAuctionCollar(m) => {
                assert_eq!(self.halted[&m.stock_locate.get()], b'P');
                let reference = m.auction_collar_reference_price.0.get();
                assert!(m.lower_auction_collar_price.0.get() < reference);
                assert!(m.upper_auction_collar_price.0.get() > reference);
            }
            Message::OperationalHalt(m) => {
                let action = m.operational_halt_action.0;
                let before = self.operational.insert(m.stock_locate.get(), action);
                assert_eq!(before == Some(b'H'), action == b'T');
            }
            Message::BrokenTrade(m) => {
                let match_number = m.match_number.get();
                assert!(match_number >= 1 && match_number <= self.last_match);
                assert!(!self.broken.contains(&match_number), "broken twice");
                self.broken.push(match_number);
            }
            Message::SystemEvent(_)
            | Message::StockDirectory(_)
            | Message::RegShoRestriction(_)
            | Message::MarketParticipantPosition(_)
            | Message::MwcbDeclineLevel(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn add(&mut self, id: u64, locate: u16, side: Side, price: u32, shares: u32) {
        let last = self.last_order.insert(locate, id).unwrap_or(0);
        assert!(id > last, "a security's order reference numbers rise");
        assert!(shares > 0 && price > 0);
        assert!(
            !matches!(self.halted[&locate], b'H' | b'P'),
            "no order is accepted in a halt"
        );
        assert_ne!(self.operational.get(&locate), Some(&b'H'));
        let order = Displayed {
            locate,
            side,
            price,
            shares,
        };
        self.orders.insert(id, order);
        self.books
            .entry((locate, side))
            .or_default()
            .entry(price)
            .or_default()
            .push(id);
    }

    /// An execution is against the first order of the best price.
    fn execute(&mut self, id: u64, locate: u16, shares: u32) {
        let order = self.orders[&id];
        let book = &self.books[&(locate, order.side)];
        let best = match order.side {
            Side::Bid => book.last_key_value(),
            Side::Ask => book.first_key_value(),
        };
        assert_eq!(best.unwrap().1[0], id, "price and time priority");
        assert!(shares > 0 && shares <= order.shares);
        self.reduce(id, locate, shares);
    }

    fn print(&mut self, locate: u16, match_number: u64) {
        assert_eq!(
            self.halted[&locate], b'T',
            "trading only where trading is on"
        );
        assert_ne!(self.operational.get(&locate), Some(&b'H'));
        assert!(
            !self.crossing.contains_key(&locate),
            "a cross isn't interrupted"
        );
        self.number(match_number);
        self.printed += 1;
    }

    fn number(&mut self, match_number: u64) {
        assert!(match_number > self.last_match, "match numbers rise");
        self.last_match = match_number;
    }

    /// How many orders are displayed.
    pub(crate) fn order_count(&self) -> usize {
        self.orders.len()
    }

    /// The state of a security, if it was told.
    pub(crate) fn state(&self, locate: u16) -> Option<u8> {
        self.halted.get(&locate).copied()
    }

    fn reduce(&mut self, id: u64, locate: u16, shares: u32) {
        let order = self.orders.get_mut(&id).expect("the order is displayed");
        assert_eq!(order.locate, locate);
        order.shares = order.shares.saturating_sub(shares);
        if order.shares > 0 {
            return;
        }
        let order = self.orders.remove(&id).unwrap();
        let book = self.books.get_mut(&(locate, order.side)).unwrap();
        let queue = book.get_mut(&order.price).unwrap();
        queue.retain(|&other| other != id);
        if queue.is_empty() {
            book.remove(&order.price);
        }
    }

    /// The best price of a side, in wire units.
    pub(crate) fn best(&self, locate: u16, side: Side) -> Option<u32> {
        let book = self.books.get(&(locate, side))?;
        match side {
            Side::Bid => book.last_key_value(),
            Side::Ask => book.first_key_value(),
        }
        .map(|(&price, _)| price)
    }

    /// All levels of a side, best first.
    pub(crate) fn levels(&self, locate: u16, side: Side) -> Vec<Level> {
        let Some(book) = self.books.get(&(locate, side)) else {
            return Vec::new();
        };
        let mut levels: Vec<_> = book
            .iter()
            .map(|(&price, queue)| Level {
                px: Price::from_4_decimals(i64::from(price)),
                size: queue
                    .iter()
                    .map(|id| u64::from(self.orders[id].shares))
                    .sum(),
                count: queue.len().try_into().unwrap(),
            })
            .collect();
        if side == Side::Bid {
            levels.reverse();
        }
        levels
    }
}

fn side(wire: u8) -> Side {
    match wire {
        b'B' => Side::Bid,
        b'S' => Side::Ask,
        other => panic!("side {other}"),
    }
}

/// Where a message's stock locate is.
pub(crate) fn locate_of(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[1], message[2]])
}
