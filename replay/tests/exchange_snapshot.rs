//! Snapshots and hashes: the market's books are the books of who reads its messages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tickcast_book::{Market as Books, NoUpdates};
use tickcast_codecs::event::{Event, Header, Normalizer as _, Origin};
use tickcast_codecs::itch50::{Message, Normalizer};
use tickcast_codecs::types::Text;
use tickcast_codecs::{Price, Side};
use tickcast_replay::exchange::compare::{Differs, books_hash, first_difference};
use tickcast_replay::exchange::{Market, MarketConfig};
use tickcast_replay::random::Random;

const SECOND: u64 = 1_000_000_000;

/// A reader of ITCH messages.
struct Receiver {
    normalizer: Normalizer,
    books: Books,
    events: Vec<(Header, Event)>,
}

impl Receiver {
    fn new() -> Self {
        Self {
            normalizer: Normalizer::new(3),
            books: Books::new(
                Text::from_padded(b"XNAS"),
                3,
                &tickcast_book::Limits::default(),
            ),
            events: Vec::new(),
        }
    }

    fn apply(&mut self, sequence: u64, message: &[u8]) {
        let origin = Origin {
            sequence,
            ts_recv: 0,
        };
        self.normalizer
            .message(message, origin, &mut self.events)
            .unwrap();
        for (header, event) in self.events.drain(..) {
            let applied = self.books.apply(&header, &event, &mut NoUpdates);
            assert_eq!(applied.fault, None, "message {sequence}: {event:?}");
        }
    }

    fn load(market: &Market) -> Self {
        let mut receiver = Self::new();
        market.snapshot(&mut |message| receiver.apply(0, message));
        receiver
    }
}

fn assert_same(market: &Market, receiver: &Receiver, n: u64) {
    if let Some(difference) = first_difference(market, &receiver.books, |_| true) {
        panic!("after message {n}: {difference}");
    }
    assert_eq!(market.state_hash(), books_hash(&receiver.books));
}

/// A day whose books are compared after each phase and at random numbers: who loaded a snapshot there and
/// applied what followed has the books of who was there from the start.
#[test]
fn books_from_a_snapshot_and_what_follows_are_the_books_from_the_start() {
    let seed = 77;
    println!("seed {seed}");
    let config = MarketConfig {
        seed,
        instruments: 30,
        messages_per_second: 10_000,
        orders_per_instrument_max: 100,
        ..MarketConfig::compressed_day(20 * SECOND)
    };
    let mut random = Random::new(seed);
    let mut market = Market::new(config);
    let mut from_start = Receiver::new();
    let mut late: Vec<Receiver> = Vec::new();
    let mut loads = 0;
    let mut message = Vec::new();
    let mut event = None;
    for n in 1.. {
        message.clear();
        market.next(&mut message);
        if message.is_empty() {
            break;
        }
        from_start.apply(n, &message);
        for receiver in &mut late {
            receiver.apply(n, &message);
        }
        if market.system_event() != event || random.one_in(900) {
            event = market.system_event();
            loads += 1;
            assert_same(&market, &from_start, n);
            for receiver in &late {
                assert_same(&market, receiver, n);
            }
            if late.len() >= 8 {
                late.remove(random.index(8));
            }
            late.push(Receiver::load(&market));
            assert_same(&market, late.last().unwrap(), n);
        }
    }
    println!("{loads} snapshots");
    assert!(loads > 100);
    assert!(
        late.iter()
            .all(|receiver| receiver.books.order_count() == 0)
    );
}

#[test]
fn a_snapshot_tells_the_states_that_were_told_last() {
    let mut market = Market::new(MarketConfig {
        seed: 5,
        instruments: 8,
        messages_per_second: 500,
        ..MarketConfig::default()
    });
    let mut from_start = Receiver::new();
    let mut message = Vec::new();
    let mut halted = 0;
    for n in 1..400_000 {
        message.clear();
        market.next(&mut message);
        from_start.apply(n, &message);
        let told = Message::parse(&message).unwrap();
        if market.is_open() && matches!(told, Message::StockTradingAction(_)) {
            halted += 1;
            let loaded = Receiver::load(&market);
            for locate in 0..=8 {
                let id = 3 << 16 | locate;
                assert_eq!(
                    from_start
                        .books
                        .status(id)
                        .map(|status| (status.action, status.code)),
                    loaded
                        .books
                        .status(id)
                        .map(|status| (status.action, status.code)),
                );
                assert_eq!(from_start.books.definition(id), loaded.books.definition(id));
            }
        }
    }
    assert!(halted > 20);
}

#[test]
fn a_snapshot_has_directory_states_event_and_orders_in_this_order() {
    let mut market = Market::new(MarketConfig::default());
    let mut message = Vec::new();
    while !market.is_open() {
        market.next(&mut message);
    }
    let mut types = String::new();
    market.snapshot(&mut |message| {
        assert_eq!(Message::length_of(message[0]), Some(message.len()));
        let message_type = match message[0] {
            b'F' => 'A',
            other => char::from(other),
        };
        if !types.ends_with(message_type) {
            types.push(message_type);
        }
    });
    assert_eq!(types, "RHYSA");
}

#[test]
fn before_the_first_message_a_snapshot_is_empty() {
    let market = Market::new(MarketConfig::default());
    market.snapshot(&mut |message| panic!("{message:?}"));
    assert_eq!(market.state_hash(), 0);
}

#[test]
fn a_difference_is_told_in_words() {
    let mut market = Market::new(MarketConfig::default());
    let mut receiver = Receiver::new();
    let mut message = Vec::new();
    let mut n = 0;
    while !market.is_open() {
        n += 1;
        message.clear();
        market.next(&mut message);
        receiver.apply(n, &message);
    }
    assert_same(&market, &receiver, n);
    // One more order at the best bid of instrument 2, by the receiver alone.
    let best = market.levels(2, Side::Bid, 1).next().unwrap();
    let add = Event::Add {
        order_id: u64::MAX,
        side: Side::Bid,
        px: best.px,
        size: 7,
    };
    let header = Header {
        instrument_id: 3 << 16 | 2,
        ..Header::default()
    };
    receiver.books.apply(&header, &add, &mut NoUpdates);
    let difference = first_difference(&market, &receiver.books, |_| true).unwrap();
    assert_eq!((difference.stock_locate, difference.side), (2, Side::Bid));
    assert!(matches!(difference.what, Differs::Level { depth: 0, .. }));
    let words = difference.to_string();
    println!("{words}");
    assert!(words.starts_with("instrument 2 (TCAA), bid level 0: the exchange has "));
    assert_ne!(market.state_hash(), books_hash(&receiver.books));
    assert_eq!(
        first_difference(&market, &receiver.books, |locate| locate != 2),
        None
    );
}

#[test]
fn queue_order_is_compared_where_levels_are_equal() {
    let mut market = Market::new(MarketConfig::default());
    let mut message = Vec::new();
    while !market.is_open() {
        message.clear();
        market.next(&mut message);
    }
    let mut messages: Vec<Vec<u8>> = Vec::new();
    market.snapshot(&mut |message| messages.push(message.to_vec()));
    // The first two orders of one price change places.
    let key = |message: &[u8]| {
        (message[0] == b'A').then(|| {
            (
                message[1..3].to_vec(),
                message[19],
                message[32..36].to_vec(),
            )
        })
    };
    let at = (1..messages.len())
        .find(|&at| key(&messages[at]).is_some() && key(&messages[at]) == key(&messages[at - 1]))
        .unwrap();
    messages.swap(at - 1, at);
    let mut receiver = Receiver::new();
    for message in &messages {
        receiver.apply(0, message);
    }
    assert_eq!(market.state_hash(), books_hash(&receiver.books));
    let difference = first_difference(&market, &receiver.books, |_| true).unwrap();
    assert!(matches!(difference.what, Differs::Order { .. }));
    assert!(difference.to_string().contains(" order "));
}

#[test]
fn equal_levels_of_other_instruments_or_sides_have_other_hashes() {
    let hash_of = |locate: u32, side| {
        let mut receiver = Receiver::new();
        let add = Event::Add {
            order_id: 1,
            side,
            px: Price::from_4_decimals(10_000),
            size: 100,
        };
        let header = Header {
            instrument_id: 3 << 16 | locate,
            ..Header::default()
        };
        receiver.books.apply(&header, &add, &mut NoUpdates);
        books_hash(&receiver.books)
    };
    let hashes = [
        hash_of(1, Side::Bid),
        hash_of(1, Side::Ask),
        hash_of(2, Side::Bid),
        0,
    ];
    for (at, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..at].contains(hash));
    }
}
