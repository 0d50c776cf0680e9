//! The books against a naive reference, with replicas that know nothing but the updates.
//!
//! `TICKCAST_SEEDS=100 cargo test --test reference` runs that many seeds of a million events of each kind.

mod common;

use common::{Ids, Run, Seeded, run, run_bytes};
use proptest::prelude::*;
use tickcast_book::{BookKind, Limits};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_leave_books_and_replicas_equal_to_the_reference(
        bytes in prop::collection::vec(any::<u8>(), 0..3000)
    ) {
        run_bytes(&bytes);
    }
}

#[test]
fn a_first_event_of_the_other_kind_decides_how_the_books_are_kept() {
    // Found by the property above: a run of orders that begins with a level.
    run_bytes(&[8, 255, 10, 0, 0, 0, 90]);
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=std::env::var("TICKCAST_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}

fn how(kind: BookKind, ids: Ids) -> Run {
    Run {
        kind,
        limits: Limits::default(),
        events_max: 1_000_000,
        compare_every: 1009,
        compare_touched: false,
        join_every: 997,
        live_orders_max: 3000,
        ids,
    }
}

#[test]
fn a_million_events_of_each_kind_and_seed_leave_everything_equal() {
    for seed in seeds() {
        for kind in [BookKind::ByOrder, BookKind::ByPrice] {
            println!("seed {seed}, {kind:?}");
            let how = how(kind, Ids::COUNTED);
            let summary = run(how, &mut Seeded(seed));
            println!("{summary:?}");
            assert_eq!(summary.events, how.events_max);
            // B9 wants 1,000 snapshots.
            assert!(summary.joins >= 1000 && summary.compared > 990);
            assert!(summary.faults > 10_000 && summary.crossed > 100);
        }
    }
}

#[test]
fn orders_are_kept_in_order_however_their_ids_are_counted() {
    for seed in seeds() {
        for ids in Ids::SHAPES {
            println!("seed {seed}, {ids:?}");
            let how = Run {
                events_max: 100_000,
                ..how(BookKind::ByOrder, ids)
            };
            let summary = run(how, &mut Seeded(seed));
            println!("{summary:?}");
            assert_eq!(summary.events, how.events_max);
            assert!(summary.faults > 1000 && summary.compared > 90);
        }
    }
}
