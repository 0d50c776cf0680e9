//! The invented market: what its messages say is what its books are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};

use tickcast_codecs::itch50::Message;
use tickcast_codecs::{Level, Price, Side};
use tickcast_replay::exchange::{Market, MarketConfig};

/// The books that a reader of the messages has: slow, obvious, and strict.
#[derive(Default)]
struct Reference {
    orders: HashMap<u64, Displayed>,
    /// By stock locate and side: price (in wire units) to its order ids, in time priority.
    books: HashMap<(u16, Side), BTreeMap<u32, Vec<u64>>>,
    last_order: u64,
    last_match: u64,
    halted: HashMap<u16, u8>,
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
    fn apply(&mut self, message: &Message<'_>) {
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
            Message::OrderExecuted(m) => self.execute(
                m.order_reference_number.get(),
                m.stock_locate.get(),
                m.executed_shares.get(),
                m.match_number.get(),
            ),
            Message::OrderExecutedWithPrice(m) => {
                let order = self.orders[&m.order_reference_number.get()];
                let price = m.execution_price.0.get();
                match order.side {
                    Side::Bid => assert!(price > order.price),
                    Side::Ask => assert!(price < order.price),
                }
                self.execute(
                    m.order_reference_number.get(),
                    m.stock_locate.get(),
                    m.executed_shares.get(),
                    m.match_number.get(),
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
            Message::Noii(m) => assert_eq!(self.halted[&m.stock_locate.get()], b'Q'),
            Message::BrokenTrade(m) => {
                let match_number = m.match_number.get();
                assert!(match_number >= 1 && match_number <= self.last_match);
                assert!(!self.broken.contains(&match_number), "broken twice");
                self.broken.push(match_number);
            }
            Message::SystemEvent(_)
            | Message::StockDirectory(_)
            | Message::RegShoRestriction(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn add(&mut self, id: u64, locate: u16, side: Side, price: u32, shares: u32) {
        assert!(id > self.last_order, "order reference numbers rise");
        self.last_order = id;
        assert!(shares > 0 && price > 0);
        assert_ne!(self.halted[&locate], b'H', "no order is accepted in a halt");
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

    /// An execution is against the first order of the best price, and not in a halt.
    fn execute(&mut self, id: u64, locate: u16, shares: u32, match_number: u64) {
        self.print(locate, match_number);
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
        assert!(match_number > self.last_match, "match numbers rise");
        self.last_match = match_number;
        self.printed += 1;
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

    fn best(&self, locate: u16, side: Side) -> Option<u32> {
        let book = self.books.get(&(locate, side))?;
        match side {
            Side::Bid => book.last_key_value(),
            Side::Ask => book.first_key_value(),
        }
        .map(|(&price, _)| price)
    }

    fn levels(&self, locate: u16, side: Side) -> Vec<Level> {
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

fn locate_of(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[1], message[2]])
}

/// FNV-1a of the next messages with their times.
fn fingerprint(market: &mut Market, messages: usize) -> u64 {
    let mut out = Vec::new();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for _ in 0..messages {
        out.clear();
        let step = market.next(&mut out);
        for &byte in step.offset_ns.to_le_bytes().iter().chain(&out) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    hash
}

#[test]
fn one_seed_is_one_sequence_of_bytes() {
    let of_seed = |seed| {
        let config = MarketConfig {
            seed,
            ..MarketConfig::default()
        };
        fingerprint(&mut Market::new(config), 100_000)
    };
    assert_eq!(of_seed(1), of_seed(1));
    assert_ne!(of_seed(1), of_seed(2));
}

#[test]
fn a_million_messages_are_valid_and_rebuild_the_true_books_never_locked_or_crossed() {
    let config = MarketConfig {
        seed: 20_261_123,
        messages_per_second: 5_000,
        ..MarketConfig::default()
    };
    println!("seed {}", config.seed);
    let mut market = Market::new(config);
    let mut reference = Reference::default();
    let mut out = Vec::with_capacity(64);
    let mut seen: BTreeMap<char, u64> = BTreeMap::new();
    let mut last = 0;
    let mut least_levels = usize::MAX;
    let mut most_levels = 0;
    for n in 0..1_000_000 {
        out.clear();
        let step = market.next(&mut out);
        assert!(step.offset_ns >= last, "time goes back");
        last = step.offset_ns;
        let message = Message::parse(&out).unwrap();
        assert_eq!(Some(out.len()), Message::length_of(out[0]), "{message:?}");
        let timestamp = u64::from_be_bytes([0, 0, out[5], out[6], out[7], out[8], out[9], out[10]]);
        assert_eq!(timestamp, config.open_ns + step.offset_ns);
        *seen.entry(char::from(out[0])).or_default() += 1;
        reference.apply(&message);

        let locate = locate_of(&out);
        if let (Some(bid), Some(ask)) = (
            reference.best(locate, Side::Bid),
            reference.best(locate, Side::Ask),
        ) {
            assert!(bid < ask, "message {n}: {bid} against {ask} of {locate}");
        }
        if n % 97 == 0 {
            for side in [Side::Bid, Side::Ask] {
                let truth: Vec<_> = market.levels(locate, side, usize::MAX).collect();
                assert_eq!(truth, reference.levels(locate, side), "message {n}");
                if market.is_open() && locate > 0 {
                    least_levels = least_levels.min(truth.len());
                    most_levels = most_levels.max(truth.len());
                }
            }
        }
    }
    for locate in 1..=market.instruments() {
        for side in [Side::Bid, Side::Ask] {
            let truth: Vec<_> = market.levels(locate, side, usize::MAX).collect();
            assert_eq!(truth, reference.levels(locate, side));
        }
    }
    println!(
        "{seen:?}, levels {least_levels} to {most_levels}, {} s",
        last / 1_000_000_000
    );
    for wanted in "SRHYAFECXDUPBI".chars() {
        assert!(seen.contains_key(&wanted), "no {wanted} in {seen:?}");
    }
    assert!(least_levels >= 12 && most_levels <= 41);
    let executed = seen[&'E'] + seen[&'C'];
    assert!((30_000..200_000).contains(&executed));
}

#[test]
fn the_day_begins_with_events_directory_and_states_in_their_order() {
    let mut market = Market::new(MarketConfig {
        instruments: 40,
        ..MarketConfig::default()
    });
    let mut symbols = Vec::new();
    let mut types = String::new();
    let mut out = Vec::new();
    while !market.is_open() {
        out.clear();
        market.next(&mut out);
        match Message::parse(&out).unwrap() {
            Message::SystemEvent(m) => types.push(char::from(m.event_code.0).to_ascii_lowercase()),
            Message::StockDirectory(m) => {
                assert_eq!(usize::from(m.stock_locate.get()), symbols.len() + 1);
                symbols.push(m.stock.text::<8>().to_string());
                assert_eq!(market.symbol(m.stock_locate.get()), Some(&m.stock.0));
            }
            _ => {}
        }
        let message_type = char::from(out[0]);
        if message_type != 'S' && !types.ends_with(message_type) {
            types.push(message_type);
        }
    }
    assert_eq!(symbols[..3], ["DEMO", "TCAA", "TCAB"]);
    symbols.sort();
    symbols.dedup();
    assert_eq!(symbols.len(), 40);
    let orders = types.trim_start_matches(['o', 'R', 'H', 'Y']);
    assert!(
        types.starts_with("oRHYRHY") && orders.starts_with('s'),
        "{types}"
    );
    assert!(
        orders[1..orders.len() - 1]
            .chars()
            .all(|c| "AF".contains(c))
    );
    assert!(orders.ends_with('q'));
}

#[test]
fn displayed_orders_stay_below_the_cap_for_ever() {
    let config = MarketConfig {
        seed: 7,
        instruments: 3,
        orders_per_instrument_max: 100,
        ..MarketConfig::default()
    };
    let mut market = Market::new(config);
    let mut out = Vec::with_capacity(64);
    let mut most = 0;
    for _ in 0..600_000 {
        out.clear();
        market.next(&mut out);
        assert!(out.len() <= 50);
        let locate = locate_of(&out);
        most = most.max(market.displayed_orders(locate));
    }
    println!("most displayed orders: {most}");
    assert!((50..=100).contains(&most));
}

#[test]
fn activity_follows_zipf_and_the_rate_is_the_configured_one() {
    let config = MarketConfig {
        seed: 11,
        instruments: 50,
        messages_per_second: 10_000,
        ..MarketConfig::default()
    };
    let mut market = Market::new(config);
    let mut out = Vec::new();
    while !market.is_open() {
        market.next(&mut out);
    }
    let mut count = [0_u32; 51];
    out.clear();
    let began = market.next(&mut out).offset_ns;
    let mut ended = began;
    for _ in 0..500_000 {
        out.clear();
        ended = market.next(&mut out).offset_ns;
        count[usize::from(locate_of(&out))] += 1;
    }
    let seconds = (ended - began) / 1_000_000;
    println!("{count:?} in {seconds} ms");
    assert!((46_000..54_000).contains(&seconds), "{seconds} ms");
    // 1 / H(50) = 22 % for the first, a half of that for the second.
    assert!((90_000..140_000).contains(&count[1]));
    assert!((40_000..75_000).contains(&count[2]));
    assert!(count[50] > 500);
}

#[test]
fn prices_wander_but_never_run_away() {
    let config = MarketConfig {
        seed: 5,
        instruments: 1,
        ..MarketConfig::default()
    };
    let mut market = Market::new(config);
    let mut out = Vec::new();
    let (mut low, mut high) = (i64::MAX, 0);
    for _ in 0..1_000_000 {
        out.clear();
        market.next(&mut out);
        if let Some(best) = market.levels(1, Side::Bid, 1).next() {
            low = low.min(best.px.0);
            high = high.max(best.px.0);
        }
    }
    println!("DEMO from {} to {}", Price(low), Price(high));
    // The anchor is 100; fair stays within 4, and orders near fair.
    assert!(low > 95 * Price::SCALE && high < 105 * Price::SCALE);
    assert!(high - low > Price::SCALE / 4, "prices move");
}

#[test]
fn lifetimes_have_a_heavy_tail() {
    let mut market = Market::new(MarketConfig {
        instruments: 1,
        ..MarketConfig::default()
    });
    let mut out = Vec::new();
    let mut born: HashMap<u64, u32> = HashMap::new();
    let mut lives = Vec::new();
    for n in 0..300_000 {
        out.clear();
        market.next(&mut out);
        match Message::parse(&out).unwrap() {
            Message::AddOrder(m) => drop(born.insert(m.order_reference_number.get(), n)),
            Message::OrderDelete(m) => {
                lives.extend(
                    born.remove(&m.order_reference_number.get())
                        .map(|at| n - at),
                );
            }
            _ => {}
        }
    }
    lives.sort_unstable();
    let median = lives[lives.len() / 2];
    let late = lives[lives.len() * 99 / 100];
    println!("median {median}, 99th percentile {late} messages");
    // An exponential law has 6.6.
    assert!(late > 12 * median);
}
