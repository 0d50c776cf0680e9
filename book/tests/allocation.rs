//! After warm-up no event allocates, valid or not.  In a file of its own, because it takes the allocator.

mod common;

use common::{CHANNEL, INSTRUMENTS, Ids, Seeded, events};
use tickcast_book::{BookKind, Limits, Market, Mic, Update, UpdateSink};
use tickcast_codecs::event::{Event, Header};

/// Reads every update, and keeps none.
#[derive(Default)]
struct Counted {
    updates: u64,
    last: u64,
}

impl UpdateSink for Counted {
    fn update(&mut self, update: &Update) {
        self.updates += 1;
        self.last += u64::from(update.is_last());
    }
}

fn allocations_after_warm_up(kind: BookKind) {
    let seed = 5;
    println!("seed {seed}, {kind:?}");
    let live_orders_max = 2000;
    let mut choices = Seeded(seed);
    let events = events(kind, 200_000, live_orders_max, Ids::COUNTED, &mut choices);
    let mut market = Market::new(Mic::from_padded(b"TEST"), CHANNEL, &Limits::default());
    let instruments = INSTRUMENTS as usize + 1;
    market.reserve(live_orders_max, instruments);
    let mut sink = Counted::default();
    let mut apply = |events: &[(u32, Event)]| {
        for (instrument_id, event) in events {
            let header = Header {
                instrument_id: *instrument_id,
                ..Header::default()
            };
            market.apply(&header, event, &mut sink);
        }
    };
    // Each ladder grows to its deepest once; a cleared book keeps its memory.
    apply(&events);
    let channel = u32::from(CHANNEL) << 16;
    let info = allocation_counter::measure(|| {
        apply(&[(channel, Event::Clear)]);
        apply(&events);
    });
    assert_eq!((info.count_total, info.bytes_total), (0, 0));
    // The measurement measures.
    let info = allocation_counter::measure(|| drop(vec![0_u8; 100]));
    assert_eq!(info.count_total, 1);
    assert!(sink.updates > 300_000 && sink.last > 100_000);
    assert!(market.counters().faults() > 1000);
}

#[test]
fn no_event_of_an_order_book_allocates_after_warm_up() {
    allocations_after_warm_up(BookKind::ByOrder);
}

#[test]
fn no_event_of_a_level_book_allocates_after_warm_up() {
    allocations_after_warm_up(BookKind::ByPrice);
}
