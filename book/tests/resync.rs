//! What a `Resync` means to who rebuilds books from updates, and what a snapshot says amid a gap.

// Clippy knows only functions with `#[test]` as tests.
#![allow(clippy::expect_used)]

use tickcast_book::link::{Item, WhenFull, link};
use tickcast_book::{
    BookKind, Limits, Market, Mic, NoUpdates, Replica, Update, UpdateKind, UpdateSink, flags,
};
use tickcast_codecs::event::{Definition, Event, Header};
use tickcast_codecs::types::{Price, Side, Symbol};

const A: u32 = 1;
const B: u32 = 2;

fn header(instrument_id: u32, sequence: u64) -> Header {
    Header {
        instrument_id,
        sequence,
        ts_event: 0,
        ts_recv: 0,
    }
}

fn resync() -> Update {
    Update {
        header: header(0, 9),
        flags: flags::LAST,
        kind: UpdateKind::Resync,
    }
}

fn market() -> Market {
    let mut market = Market::new(Mic::from_padded(b"TEST"), 0, &Limits::default());
    for id in [A, B] {
        let definition = Definition {
            symbol: Symbol::from_padded(b"TEST"),
            round_lot_size: 100,
            is_test: false,
            is_etp: false,
        };
        market.apply(
            &header(id, 0),
            &Event::Definition(definition),
            &mut NoUpdates,
        );
    }
    market
}

fn add(order_id: u64) -> Event {
    Event::Add {
        order_id,
        side: Side::Bid,
        px: Price(100),
        size: 5,
    }
}

#[test]
fn a_replica_knows_no_book_behind_a_resync_until_that_ones_snapshot() {
    for what in [BookKind::ByOrder, BookKind::ByPrice] {
        let mut replica = Replica::new(what, &Limits::default());
        let mut old = market();
        old.apply(&header(A, 1), &add(1), &mut replica);
        old.apply(&header(B, 2), &add(2), &mut replica);
        assert!(replica.is_known(A));
        // The new books are others: what they tell doesn't fit the old ones.
        let mut new = market();
        for (sequence, order_id) in [(1, 1), (2, 3), (3, 4)] {
            new.apply(&header(A, sequence), &add(order_id), &mut NoUpdates);
        }
        replica.update(&resync());
        assert!(!replica.is_known(A) && !replica.is_known(B));
        assert_eq!(replica.book(A).bids().count(), 0);
        new.apply(&header(A, 4), &Event::Delete { order_id: 3 }, &mut replica);
        assert_eq!(replica.first_fault(), None, "{what:?}: it was passed over");
        assert!(new.snapshot(A, what, &mut replica));
        assert!(replica.is_known(A) && !replica.is_known(B));
        new.apply(&header(A, 5), &Event::Delete { order_id: 4 }, &mut replica);
        let levels = |book: tickcast_book::Book<'_>| book.bids().collect::<Vec<_>>();
        assert_eq!(levels(replica.book(A)), levels(new.book(A)));
        assert_eq!(replica.first_fault(), None);
        new.apply(&header(0, 6), &Event::Clear, &mut replica);
        assert!(
            replica.is_known(B),
            "a new session's books are known: empty"
        );
    }
}

#[test]
fn a_resync_reaches_a_reactor_that_is_interested_in_nothing_at_its_place() {
    let (mut publisher, mut subscription) = link(16, WhenFull::Overrun);
    let mut market = market();
    market.apply(&header(A, 1), &add(1), &mut publisher);
    market.set_stale(&header(0, 1), &mut publisher);
    publisher.update(&resync());
    market.set_live(&header(0, 9), &mut publisher);
    publisher.flush();
    let kinds: Vec<_> = std::iter::from_fn(|| subscription.poll())
        .filter_map(|item| match item {
            Item::Update(update) => Some(update.kind),
            Item::Overrun { .. } => None,
        })
        .collect();
    assert_eq!(
        kinds,
        [UpdateKind::Stale, UpdateKind::Resync, UpdateKind::Live]
    );
}

#[test]
fn a_snapshot_amid_a_gap_is_flagged_and_calls_only_a_faulty_book_stale() {
    let mut market = market();
    market.apply(&header(A, 1), &add(1), &mut NoUpdates);
    market.apply(
        &header(B, 2),
        &Event::Delete { order_id: 9 },
        &mut NoUpdates,
    );
    market.set_stale(&header(0, 2), &mut NoUpdates);
    for (id, stale) in [(A, 0), (B, 1)] {
        let mut told: Vec<Update> = Vec::new();
        market.snapshot(id, BookKind::ByPrice, &mut told);
        assert!(told.iter().all(Update::maybe_bad_book));
        let count = told
            .iter()
            .filter(|update| update.kind == UpdateKind::Stale)
            .count();
        assert_eq!(count, stale, "of {id}");
    }
}
