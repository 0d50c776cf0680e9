//! What can be wrong with a feed of orders, case by case (B1 to B10 of the catalogue of faults): each is counted by
//! exactly one counter, told, and repaired by nothing but a `Clear`.

// Clippy knows only functions with `#[test]` as tests.
#![allow(clippy::expect_used)]

use tickcast_book::{
    BookKind, BookSnapshot, BookState, Counters, Fault, Level, Limits, Market, Mic, NoUpdates,
    OrderAction, Update, UpdateKind, flags,
};
use tickcast_codecs::event::{Definition, Event, Header, Status, StatusAction, Trade, TradeKind};
use tickcast_codecs::types::{Price, Side, Symbol, Text};

const A: u32 = 1;
const B: u32 = 2;

/// A market with two defined instruments, and the number of its last message.
struct Feed {
    market: Market,
    sequence: u64,
}

impl Feed {
    fn new() -> Self {
        Self::with(&Limits::default())
    }

    fn with(limits: &Limits) -> Self {
        let mut feed = Self {
            market: Market::new(Mic::from_padded(b"TEST"), 0, limits),
            sequence: 0,
        };
        for instrument in [A, B] {
            feed.tells(instrument, defined("TEST"));
        }
        feed
    }

    fn header(&self, instrument_id: u32) -> Header {
        Header {
            instrument_id,
            sequence: self.sequence,
            ts_event: self.sequence * 10,
            ts_recv: self.sequence * 10 + 1,
        }
    }

    /// Applies one event and gives its updates.
    fn tells(&mut self, instrument_id: u32, event: Event) -> Vec<Update> {
        self.sequence += 1;
        let mut updates = Vec::new();
        let header = self.header(instrument_id);
        self.market.apply(&header, &event, &mut updates);
        updates
    }

    /// Applies an event that is at fault: exactly the named counter moves, and the book is stale.
    fn faults(&mut self, instrument_id: u32, event: Event) -> (Fault, Vec<Update>) {
        let before = *self.market.counters();
        self.sequence += 1;
        let mut updates = Vec::new();
        let header = self.header(instrument_id);
        let applied = self.market.apply(&header, &event, &mut updates);
        let error = applied.fault.expect("a fault");
        assert_eq!(
            (error.instrument_id, error.sequence),
            (instrument_id, self.sequence)
        );
        assert_eq!(
            moved(&before, self.market.counters()),
            [error.fault.counter()]
        );
        assert_eq!(self.market.state(instrument_id), BookState::Stale);
        assert!(updates.iter().all(Update::maybe_bad_book));
        (error.fault, updates)
    }

    fn book(&self, instrument_id: u32) -> BookSnapshot {
        self.market.book_snapshot(instrument_id, 10)
    }
}

/// The fault counters that differ.
fn moved(before: &Counters, after: &Counters) -> Vec<&'static str> {
    let flow = [
        "events",
        "book_events",
        "refused_events",
        "crossed",
        "crossed_now",
        "faulty_now",
    ];
    let both = before.iter().zip(after.iter());
    let moved = both.filter(|(before, after)| before.2 != after.2);
    let names = moved.map(|(_, (name, ..))| name);
    names.filter(|name| !flow.contains(name)).collect()
}

fn defined(symbol: &str) -> Event {
    Event::Definition(Definition {
        symbol: Symbol::from_padded(symbol.as_bytes()),
        round_lot_size: 100,
        is_test: false,
        is_etp: false,
    })
}

fn add(order_id: u64, side: Side, px: i64, size: u32) -> Event {
    Event::Add {
        order_id,
        side,
        px: Price(px),
        size,
    }
}

fn execute(order_id: u64, size: u32) -> Event {
    Event::Execute {
        order_id,
        size,
        px: None,
        trade_id: 77,
        printable: true,
        conditions: 0,
    }
}

fn level(px: i64, size: u64, count: u32) -> Level {
    Level {
        px: Price(px),
        size,
        count,
    }
}

fn kinds(updates: &[Update]) -> Vec<UpdateKind> {
    updates.iter().map(|update| update.kind).collect()
}

#[test]
fn b1_an_unknown_order_is_counted_and_changes_nothing_but_the_state() {
    for event in [
        execute(9, 1),
        Event::Cancel {
            order_id: 9,
            size: 1,
        },
        Event::Delete { order_id: 9 },
        Event::Replace {
            order_id: 9,
            new_order_id: 10,
            px: Price(5),
            size: 5,
        },
        Event::Modify {
            order_id: 9,
            px: Price(5),
            size: 5,
            keeps_priority: true,
        },
    ] {
        let mut feed = Feed::new();
        feed.tells(A, add(1, Side::Bid, 100, 5));
        let before = feed.book(A);
        let (fault, updates) = feed.faults(A, event);
        assert_eq!(fault, Fault::UnknownOrder { order_id: 9 });
        assert_eq!(kinds(&updates), [UpdateKind::Stale]);
        assert!(updates[0].is_last());
        let after = feed.book(A);
        assert_eq!((after.bids, after.asks), (before.bids, before.asks));
        assert_eq!(after.book_sequence, before.book_sequence);
        assert_eq!(feed.market.state(B), BookState::Live);
    }
}

#[test]
fn b2_the_first_of_two_orders_with_one_id_is_kept() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Bid, 100, 5));
    let (fault, _) = feed.faults(A, add(1, Side::Ask, 200, 7));
    let owner = 1;
    assert_eq!(fault, Fault::DuplicateOrder { order_id: 1, owner });
    assert_eq!(feed.book(A).bids, [level(100, 5, 1)]);
    assert_eq!(feed.book(A).asks, []);
}

#[test]
fn b2_a_duplicate_throws_a_doubt_on_the_owner_of_the_first_too() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Bid, 100, 5));
    let (_, updates) = feed.faults(B, add(1, Side::Bid, 100, 5));
    assert_eq!(feed.market.state(A), BookState::Stale);
    let told: Vec<_> = updates
        .iter()
        .map(|u| (u.header.instrument_id, u.kind))
        .collect();
    assert_eq!(told, [(A, UpdateKind::Stale), (B, UpdateKind::Stale)]);
    assert!(updates.iter().all(Update::is_last));
}

#[test]
fn b2_a_replacement_onto_a_live_id_takes_the_old_order_and_keeps_the_live_one() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Bid, 100, 5));
    feed.tells(A, add(2, Side::Bid, 101, 6));
    let (fault, updates) = feed.faults(
        A,
        Event::Replace {
            order_id: 1,
            new_order_id: 2,
            px: Price(102),
            size: 7,
        },
    );
    assert_eq!(fault.counter(), "duplicate_order");
    assert_eq!(feed.book(A).bids, [level(101, 6, 1)]);
    assert!(updates.last().is_some_and(Update::is_last));
}

#[test]
fn b3_more_than_remains_takes_what_remains_and_never_wraps() {
    for event in [
        execute(1, u32::MAX),
        Event::Cancel {
            order_id: 1,
            size: 6,
        },
    ] {
        let mut feed = Feed::new();
        feed.tells(A, add(1, Side::Bid, 100, 5));
        feed.tells(A, add(2, Side::Bid, 100, 3));
        let (fault, updates) = feed.faults(A, event);
        assert_eq!(fault.counter(), "over_reduced");
        assert_eq!(feed.book(A).bids, [level(100, 3, 1)]);
        let taken = updates.iter().find_map(|update| match update.kind {
            UpdateKind::Order(order) => Some(order.size),
            _ => None,
        });
        assert_eq!(taken, Some(5));
    }
}

#[test]
fn b3_no_shares_and_no_price_are_refused_and_the_highest_price_is_not() {
    let mut feed = Feed::new();
    assert_eq!(
        feed.faults(A, add(1, Side::Bid, 100, 0)).0.counter(),
        "zero_size"
    );
    assert_eq!(
        feed.faults(A, add(1, Side::Bid, 0, 1)).0.counter(),
        "bad_price"
    );
    assert_eq!(
        feed.faults(A, add(1, Side::Ask, i64::MIN, 1)).0.counter(),
        "bad_price"
    );
    assert!(feed.market.book(A).is_empty());
    feed.tells(A, add(1, Side::Ask, i64::MAX, u32::MAX));
    feed.tells(A, add(2, Side::Ask, i64::MAX, u32::MAX));
    assert_eq!(
        feed.book(A).asks,
        [level(i64::MAX, 2 * u64::from(u32::MAX), 2)]
    );
    for event in [
        execute(1, 0),
        Event::Cancel {
            order_id: 1,
            size: 0,
        },
    ] {
        assert_eq!(feed.faults(A, event).0, Fault::ZeroSize { order_id: 1 });
    }
    assert_eq!(
        feed.book(A).asks,
        [level(i64::MAX, 2 * u64::from(u32::MAX), 2)]
    );
}

#[test]
fn b3_a_print_without_a_price_is_no_trade_but_takes_the_shares() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Bid, 100, 5));
    let (_, updates) = feed.faults(
        A,
        Event::Execute {
            order_id: 1,
            size: 2,
            px: Some(Price(0)),
            trade_id: 1,
            printable: true,
            conditions: 0,
        },
    );
    assert_eq!(feed.book(A).bids, [level(100, 3, 1)]);
    assert!(
        !updates
            .iter()
            .any(|u| matches!(u.kind, UpdateKind::Trade(_)))
    );
}

#[test]
fn an_order_of_another_instrument_is_left_alone_and_both_books_are_in_doubt() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Bid, 100, 5));
    let (fault, _) = feed.faults(B, Event::Delete { order_id: 1 });
    let owner = 1;
    assert_eq!(fault, Fault::OtherInstrument { order_id: 1, owner });
    assert_eq!(feed.book(A).bids, [level(100, 5, 1)]);
    assert_eq!(feed.market.state(A), BookState::Stale);
    assert_eq!(feed.market.counters().faulty_now, 2);
}

#[test]
fn b4_a_crossed_book_is_counted_with_its_message_and_a_locked_one_is_valid() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Bid, 100, 5));
    feed.tells(A, add(2, Side::Ask, 100, 5));
    assert_eq!(feed.market.counters().crossed, 0, "locked");
    feed.sequence += 1;
    let header = feed.header(A);
    let crossing = add(3, Side::Bid, 101, 5);
    let applied = feed.market.apply(&header, &crossing, &mut NoUpdates);
    assert!(applied.crossed && applied.book_changed && applied.fault.is_none());
    assert_eq!(feed.market.integrity(A).crossed_at, Some(header.sequence));
    assert_eq!(feed.market.state(A), BookState::Live);
    // Deeper still is the same crossing; back at the lock it is over.
    feed.tells(A, add(4, Side::Bid, 102, 5));
    assert_eq!(feed.market.counters().crossed, 1);
    assert_eq!(feed.market.counters().crossed_now, 1);
    feed.tells(A, Event::Delete { order_id: 4 });
    feed.tells(A, Event::Delete { order_id: 3 });
    assert_eq!(feed.market.counters().crossed_now, 0);
    assert_eq!(feed.market.integrity(A).crossed_at, None);
    assert_eq!(
        feed.book(A).bids,
        [level(100, 5, 1)],
        "nothing was repaired"
    );
}

#[test]
fn b4_a_level_book_is_judged_only_when_the_venue_says_it_is_complete() {
    let mut feed = Feed::new();
    let set = |side, px, size, complete| Event::LevelSet {
        side,
        px: Price(px),
        size,
        complete,
    };
    feed.tells(A, set(Side::Bid, 100, 5, true));
    let first = feed.tells(A, set(Side::Ask, 99, 5, false));
    assert!(!first[0].is_last());
    assert_eq!(feed.market.counters().crossed, 0);
    let second = feed.tells(A, set(Side::Bid, 100, 0, true));
    assert!(second[0].is_last());
    assert_eq!(feed.market.counters().crossed, 0);
    assert_eq!(feed.book(A).asks, [level(99, 5, 0)]);
}

#[test]
fn b5_a_hundred_thousand_levels_and_as_many_orders_at_one_price_are_exact() {
    let mut feed = Feed::new();
    let count = 100_000;
    for n in 1..=count {
        feed.tells(A, add(n, Side::Bid, i64::try_from(n).expect("small"), 1));
        feed.tells(B, add(count + n, Side::Ask, 5, 2));
    }
    assert_eq!(feed.market.book(A).level_count(Side::Bid), 100_000);
    assert_eq!(feed.book(B).asks, [level(5, 200_000, 100_000)]);
    let queue = feed.market.book(B).orders_at(Side::Ask, Price(5));
    assert!(queue.map(|order| order.order_id).eq(count + 1..=2 * count));
    for n in 1..=count {
        feed.tells(
            A,
            Event::Delete {
                order_id: count + 1 - n,
            },
        );
        feed.tells(
            B,
            Event::Delete {
                order_id: count + n,
            },
        );
    }
    assert!(feed.market.book(A).is_empty() && feed.market.book(B).is_empty());
    assert_eq!(feed.market.order_count(), 0);
    assert_eq!(feed.market.counters().faults(), 0);
}

#[test]
fn b5_what_exceeds_a_limit_is_refused_and_counted() {
    let limits = Limits {
        orders_max: 3,
        levels_max: 2,
        side_levels_max: 2,
    };
    let mut feed = Feed::with(&limits);
    feed.tells(A, add(1, Side::Bid, 101, 1));
    feed.tells(A, add(2, Side::Bid, 102, 1));
    let (fault, _) = feed.faults(A, add(3, Side::Bid, 103, 1));
    assert_eq!(fault, Fault::LevelsFull { px: Price(103) });
    feed.tells(A, add(3, Side::Bid, 102, 1));
    let (fault, _) = feed.faults(A, add(4, Side::Ask, 110, 1));
    assert_eq!(fault, Fault::OrdersFull { order_id: 4 });
    // An order alone at its level may still move, since its level makes room.
    feed.tells(
        A,
        Event::Modify {
            order_id: 1,
            px: Price(99),
            size: 1,
            keeps_priority: false,
        },
    );
    assert_eq!(feed.book(A).bids, [level(102, 2, 2), level(99, 1, 1)]);
}

#[test]
fn b10_the_status_of_instrument_and_channel_is_shown() {
    let status = |action, code| {
        Event::Status(Status {
            action,
            code,
            reason: Text::default(),
        })
    };
    let mut feed = Feed::new();
    feed.tells(A, status(StatusAction::Trading, b'T'));
    feed.tells(A, status(StatusAction::Halt, b'H'));
    feed.tells(A, status(StatusAction::ShortSaleRestriction, b'1'));
    feed.tells(0, status(StatusAction::EndOfMessages, b'C'));
    let action = |id| feed.market.status(id).map(|status| status.action);
    assert_eq!(action(A), Some(StatusAction::Halt));
    assert_eq!(action(B), None);
    assert_eq!(action(0), Some(StatusAction::EndOfMessages));
    assert_eq!(feed.market.counters().faults(), 0);
}

#[test]
fn b10_an_instrument_without_definition_has_a_book_in_doubt() {
    let mut feed = Feed::new();
    let (fault, updates) = feed.faults(7, add(1, Side::Bid, 100, 5));
    assert_eq!(fault, Fault::UnknownInstrument);
    assert_eq!(updates[0].kind, UpdateKind::Stale);
    assert_eq!(feed.book(7).bids, [level(100, 5, 1)]);
    // A trade of it is counted, but says nothing of a book.
    let trade = Event::Trade(Trade {
        kind: TradeKind::Hidden,
        side: None,
        px: Price(1),
        size: 1,
        trade_id: 1,
        printable: true,
        conditions: 0,
    });
    feed.tells(8, trade);
    assert_eq!(feed.market.counters().unknown_instrument, 2);
    assert_eq!(feed.market.state(8), BookState::Live);
}

#[test]
fn an_instrument_of_another_channel_and_an_order_of_none_are_counted_and_told_nobody() {
    let mut feed = Feed::new();
    for instrument in [0, 1 << 16 | A] {
        let before = *feed.market.counters();
        let updates = feed.tells(instrument, add(1, Side::Bid, 100, 5));
        assert_eq!(moved(&before, feed.market.counters()), ["bad_instrument"]);
        assert_eq!(updates, []);
    }
    assert!(feed.market.book(A).is_empty());
    assert_eq!(feed.market.state(A), BookState::Live);
}

#[test]
fn books_of_the_other_kind_are_refused() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Bid, 100, 5));
    let quote = Event::Quote {
        bid_px: Price(1),
        bid_size: 1,
        ask_px: Price(2),
        ask_size: 1,
    };
    assert_eq!(feed.faults(A, quote).0, Fault::OtherKind);
    assert_eq!(feed.book(A).bids, [level(100, 5, 1)]);
}

#[test]
fn the_flag_stays_until_the_book_is_cleared() {
    let mut feed = Feed::new();
    feed.faults(A, Event::Delete { order_id: 9 });
    let later = feed.tells(A, add(1, Side::Bid, 100, 5));
    assert!(later.iter().all(Update::maybe_bad_book));
    let other = feed.tells(B, add(2, Side::Bid, 100, 5));
    assert!(!other.iter().any(Update::maybe_bad_book));
    let clear = feed.tells(A, Event::Clear);
    assert_eq!(kinds(&clear), [UpdateKind::Clear]);
    assert_eq!(clear[0].flags, flags::LAST);
    assert_eq!(feed.market.state(A), BookState::Live);
    assert_eq!(feed.market.integrity(A).first_fault, None);
    assert_eq!(feed.market.order_count(), 1, "the order of the other book");
}

#[test]
fn a_gap_makes_every_book_stale_and_its_repair_leaves_the_faulty_ones() {
    let mut feed = Feed::new();
    feed.faults(A, Event::Delete { order_id: 9 });
    let mut updates = Vec::new();
    let header = feed.header(0);
    feed.market.set_stale(&header, &mut updates);
    assert_eq!(feed.market.state(B), BookState::Stale);
    let during = feed.tells(B, add(1, Side::Bid, 100, 5));
    assert!(during.iter().all(Update::maybe_bad_book));
    feed.market.set_live(&header, &mut updates);
    assert_eq!(kinds(&updates), [UpdateKind::Stale, UpdateKind::Live]);
    assert_eq!(feed.market.state(A), BookState::Stale);
    assert_eq!(feed.market.state(B), BookState::Live);
    assert_eq!(feed.market.counters().gaps, 1);
}

#[test]
fn an_execution_tells_the_trade_then_the_order_then_the_level() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Ask, 100, 5));
    let updates = feed.tells(A, execute(1, 2));
    let [trade, order, level] = updates.as_slice() else {
        panic!("three updates: {updates:?}");
    };
    let UpdateKind::Trade(trade) = trade.kind else {
        panic!("a trade first");
    };
    assert_eq!(trade.kind, TradeKind::Displayed);
    assert_eq!(
        (trade.side, trade.px, trade.size),
        (Some(Side::Ask), Price(100), 2)
    );
    let UpdateKind::Order(filled) = order.kind else {
        panic!("an order second");
    };
    assert_eq!(
        (filled.action, filled.order_id, filled.size),
        (OrderAction::Fill, 1, 2)
    );
    assert_eq!(
        level.kind,
        UpdateKind::Level {
            side: Side::Ask,
            level: self::level(100, 3, 1)
        }
    );
    assert!(level.is_last() && !order.is_last());
}

#[test]
fn an_execution_that_is_not_printable_is_no_trade() {
    let mut feed = Feed::new();
    feed.tells(A, add(1, Side::Ask, 100, 5));
    let updates = feed.tells(
        A,
        Event::Execute {
            order_id: 1,
            size: 5,
            px: Some(Price(101)),
            trade_id: 1,
            printable: false,
            conditions: 0,
        },
    );
    assert!(
        !updates
            .iter()
            .any(|u| matches!(u.kind, UpdateKind::Trade(_)))
    );
    assert!(feed.market.book(A).is_empty());
}

#[test]
fn a_modified_order_keeps_its_place_only_at_its_price_and_with_priority() {
    let modify = |order_id, px, size, keeps_priority| Event::Modify {
        order_id,
        px: Price(px),
        size,
        keeps_priority,
    };
    let mut feed = Feed::new();
    for order_id in 1..=3 {
        feed.tells(A, add(order_id, Side::Bid, 100, 5));
    }
    let queue = |feed: &Feed, px| -> Vec<u64> {
        let book = feed.market.book(A);
        book.orders_at(Side::Bid, Price(px))
            .map(|o| o.order_id)
            .collect()
    };
    feed.tells(A, modify(1, 100, 9, true));
    feed.tells(A, modify(2, 100, 1, true));
    assert_eq!(queue(&feed, 100), [1, 2, 3]);
    assert_eq!(feed.book(A).bids, [level(100, 15, 3)]);
    feed.tells(A, modify(1, 100, 1, false));
    assert_eq!(queue(&feed, 100), [2, 3, 1]);
    feed.tells(A, add(4, Side::Bid, 101, 5));
    feed.tells(A, modify(2, 101, 5, true));
    assert_eq!(queue(&feed, 101), [4, 2]);
    feed.tells(A, modify(4, 101, 0, true));
    assert_eq!(feed.book(A).bids, [level(101, 5, 1), level(100, 6, 2)]);
}

#[test]
fn a_quote_replaces_whatever_was_there() {
    let quote = |bid_px, bid_size, ask_px, ask_size| Event::Quote {
        bid_px: Price(bid_px),
        bid_size,
        ask_px: Price(ask_px),
        ask_size,
    };
    let mut feed = Feed::new();
    feed.tells(A, quote(100, 5, 101, 6));
    let updates = feed.tells(A, quote(99, 7, 0, 0));
    let told = [
        (Side::Bid, level(100, 0, 0)),
        (Side::Bid, level(99, 7, 0)),
        (Side::Ask, level(101, 0, 0)),
    ];
    assert_eq!(
        kinds(&updates),
        told.map(|(side, level)| UpdateKind::Level { side, level })
    );
    let last: Vec<_> = updates.iter().map(Update::is_last).collect();
    assert_eq!(last, [false, false, true]);
    assert_eq!(feed.book(A).bids, [level(99, 7, 0)]);
    assert_eq!(feed.book(A).asks, []);
}

#[test]
fn a_snapshot_of_orders_is_refused_where_books_are_by_price() {
    let mut feed = Feed::new();
    feed.tells(
        A,
        Event::LevelSet {
            side: Side::Bid,
            px: Price(100),
            size: 5,
            complete: true,
        },
    );
    let mut updates: Vec<Update> = Vec::new();
    assert!(!feed.market.snapshot(A, BookKind::ByOrder, &mut updates));
    assert!(updates.is_empty());
    assert!(feed.market.snapshot(A, BookKind::ByPrice, &mut updates));
    let definition = updates.get(1).map(|update| update.kind);
    assert!(matches!(definition, Some(UpdateKind::Definition(_))));
    assert_eq!(feed.book(A).checksum(), feed.market.book(A).checksum());
}
