//! Events that wait for each other and are applied in blocks do what they do one by one.

mod common;

use common::{CHANNEL, Choices, INSTRUMENTS, Ids, Seeded, definition, events, id};
use tickcast_book::{Applied, BestChange, BookKind, Limits, Market, Mic, Update, UpdateSink};
use tickcast_codecs::event::{Event, Header, OrderEvent};
use tickcast_codecs::types::{Price, Side};

/// Keeps all that is told.
#[derive(Default, Debug, PartialEq)]
struct Told {
    updates: Vec<Update>,
    best: Vec<BestChange>,
}

impl UpdateSink for Told {
    fn update(&mut self, update: &Update) {
        self.updates.push(*update);
    }

    fn best(&mut self, change: &BestChange) {
        self.best.push(*change);
    }
}

/// A market, what it told, and what became of each event.
struct Follower {
    market: Market,
    told: Told,
    applied: Vec<Applied>,
}

impl Follower {
    fn new(limits: &Limits) -> Self {
        Self {
            market: Market::new(Mic::from_padded(b"TEST"), CHANNEL, limits),
            told: Told::default(),
            applied: Vec::new(),
        }
    }

    fn apply(&mut self, header: &Header, event: &Event) {
        let one = self.market.apply(header, event, &mut self.told);
        self.applied.push(one);
    }

    fn apply_waiting(&mut self) {
        let applied = &mut self.applied;
        self.market
            .apply_waiting(&mut self.told, |_, _, one| applied.push(*one));
    }
}

/// Both ways, compared after each block.
fn compare(events: &[(u32, Event)], limits: &Limits, choices: &mut impl Choices) -> Market {
    let mut single = Follower::new(limits);
    let mut blocks = Follower::new(limits);
    let mut left = 0;
    for (sequence, (instrument_id, event)) in (1..).zip(events) {
        let header = Header {
            instrument_id: *instrument_id,
            sequence,
            ts_event: sequence,
            ts_recv: sequence + 1,
        };
        single.apply(&header, event);
        let may_wait = match OrderEvent::from_event(&header, event) {
            Some(order) => blocks.market.wait(&order),
            None => {
                blocks.apply_waiting();
                blocks.apply(&header, event);
                false
            }
        };
        if !may_wait || left == 0 {
            blocks.apply_waiting();
            // Mostly short ones, else as long as there may be.
            left = choices.byte().map_or(0, |byte| byte % 80);
            assert_eq!(blocks.told, single.told, "up to event {sequence}");
            assert_eq!(blocks.applied, single.applied, "up to event {sequence}");
            assert_eq!(blocks.market.last(), single.market.last());
            single.told = Told::default();
            blocks.told = Told::default();
            single.applied.clear();
            blocks.applied.clear();
            if sequence.is_multiple_of(101) {
                compare_books(&single.market, &blocks.market);
            }
        }
        left = left.saturating_sub(1);
    }
    blocks.apply_waiting();
    assert_eq!(blocks.told, single.told);
    compare_books(&single.market, &blocks.market);
    blocks.market
}

fn compare_books(single: &Market, blocks: &Market) {
    assert!(single.counters().iter().eq(blocks.counters().iter()));
    assert_eq!(single.order_count(), blocks.order_count());
    for instrument in (0..=INSTRUMENTS).map(id) {
        assert_eq!(
            single.book_snapshot(instrument, usize::MAX),
            blocks.book_snapshot(instrument, usize::MAX)
        );
        for side in [Side::Bid, Side::Ask] {
            let (one, other) = (single.book(instrument), blocks.book(instrument));
            assert!(one.orders(side).eq(other.orders(side)));
        }
    }
}

const SMALL: Limits = Limits {
    orders_max: 30,
    levels_max: 1000,
    side_levels_max: 6,
};

#[test]
fn any_events_in_blocks_do_what_they_do_one_by_one() {
    for (seed, ids) in (1..).zip(Ids::SHAPES) {
        for (live, limits) in [
            (20, Limits::default()),
            (2000, Limits::default()),
            (100, SMALL),
        ] {
            println!("seed {seed}, {ids:?}, {live} live, {limits:?}");
            let mut choices = Seeded(seed);
            let events = events(BookKind::ByOrder, 40_000, live, ids, &mut choices);
            let market = compare(&events, &limits, &mut choices);
            assert!(market.counters().faults() > 500);
        }
    }
}

/// Events of a few ids, without a look at what lives: in each block ids come, go, come again, are doubled and
/// take each other's place.
fn of_few_ids(
    choices: &mut impl Choices,
    spread: u64,
    first: u64,
    count: usize,
) -> Vec<(u32, Event)> {
    let mut events: Vec<(u32, Event)> = (1..INSTRUMENTS)
        .map(|number| (id(number), definition()))
        .collect();
    let mut from = first;
    while let (Some(what), Some(one), Some(other), Some(odd)) = (
        choices.byte(),
        choices.byte(),
        choices.byte(),
        choices.byte(),
    ) && events.len() < count
    {
        // The ids go on, so that pages are made, emptied and given back amid a block.
        if what == 255 {
            from = from.wrapping_add(u64::from(one) * spread * 4);
        }
        let [order_id, new_order_id] =
            [one, other].map(|one| from.wrapping_add(u64::from(one % 48) * spread));
        let side = if odd & 1 == 0 { Side::Bid } else { Side::Ask };
        let wide = i64::from(odd >> 1 == 0);
        let px = Price(i64::from(1 + odd % 40) * 100_000 + wide);
        let size = u32::from(other % 3);
        let event = match what % 8 {
            0..3 => Event::Add {
                order_id,
                side,
                px,
                size: size + u32::from(odd > 9),
            },
            3 => Event::Delete { order_id },
            4 => Event::Cancel { order_id, size },
            5 => Event::Execute {
                order_id,
                size,
                px: (odd & 2 != 0).then_some(px),
                trade_id: 1,
                printable: odd & 4 != 0,
                conditions: 0,
            },
            _ => Event::Replace {
                order_id,
                new_order_id,
                px,
                size: size + 1,
            },
        };
        let instrument = if odd == 255 { 2 } else { 1 };
        events.push((id(instrument), event));
        if what == 254 && one < 8 {
            events.push((id(u32::from(one & 1)), Event::Clear));
        }
    }
    events
}

#[test]
fn ids_that_come_and_go_within_a_block_do_what_they_do_one_by_one() {
    for (seed, (spread, first)) in (100..).zip([
        (1, 1),
        (1, u64::MAX - 20),
        (1, 1 << 32),
        (30, 7),
        (1 << 10, 1),
        (1 << 26, 1),
        ((1 << 32) - 1, 0),
    ]) {
        println!("seed {seed}, ids by {spread} from {first}");
        let mut choices = Seeded(seed);
        let events = of_few_ids(&mut choices, spread, first, 100_000);
        let market = compare(&events, &Limits::default(), &mut choices);
        let counters = market.counters();
        assert!(counters.unknown_order > 1000 && counters.duplicate_order > 1000);
    }
}

#[test]
fn an_id_doubled_at_the_end_of_the_numbers_is_refused_in_a_block_too() {
    // The first say that numbers begin at 0 and come densely; the others fill the last page, of which one has no number.
    let end = 1_u64 << 32;
    let ids = (1..=2000).chain(end - 1024..end).chain(end - 3..end);
    let events: Vec<(u32, Event)> = [(id(1), definition())]
        .into_iter()
        .chain(ids.map(|order_id| {
            let event = Event::Add {
                order_id,
                side: Side::Bid,
                px: Price(100_000),
                size: 1,
            };
            (id(1), event)
        }))
        .collect();
    let market = compare(&events, &Limits::default(), &mut Seeded(1));
    assert_eq!(market.order_count(), 3024);
    assert_eq!(market.counters().duplicate_order, 3);
}

#[test]
fn an_order_that_moved_is_found_again_by_its_id() {
    let mut market = Market::new(Mic::from_padded(b"TEST"), CHANNEL, &Limits::default());
    let mut out = Told::default();
    let mut apply = |event: &Event| {
        let header = Header {
            instrument_id: id(1),
            ..Header::default()
        };
        market.apply(&header, event, &mut out);
    };
    apply(&definition());
    // Enough for a page, and the first number of the next.
    for order_id in 1..=3000 {
        apply(&Event::Add {
            order_id,
            side: Side::Bid,
            px: Price(100_000),
            size: 1,
        });
    }
    for order_id in 1..=3000 {
        apply(&Event::Modify {
            order_id,
            px: Price(200_000),
            size: 2,
            keeps_priority: false,
        });
        apply(&Event::Delete { order_id });
    }
    assert_eq!(market.order_count(), 0);
    assert_eq!(market.counters().faults(), 0);
}
