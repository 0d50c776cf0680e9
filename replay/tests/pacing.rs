//! When packets are due.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;
use tickcast_replay::pacing::{BACKWARDS_NS_MAX, Factor, Pacer, Speed};

const S: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * S;

#[test]
fn speed_is_a_decimal_or_max() {
    for (text, millionths) in [
        ("1", 1_000_000),
        ("0.5", 500_000),
        (".5", 500_000),
        ("10", 10_000_000),
        ("2.000001", 2_000_001),
        ("0.000001", 1),
        ("1000000", 1_000_000_000_000),
    ] {
        let speed: Speed = text.parse().unwrap();
        assert_eq!(
            speed,
            Speed::Factor(Factor::from_millionths(millionths).unwrap())
        );
        assert_eq!(speed.to_string().parse(), Ok(speed));
    }
    assert_eq!("max".parse(), Ok(Speed::Max));
    assert_eq!("MAX".parse(), Ok(Speed::Max));
    assert_eq!("1".parse(), Ok(Speed::REAL_TIME));
    assert_eq!(Speed::Max.to_string(), "max");
    assert_eq!("0.50".parse::<Speed>().unwrap().to_string(), "0.5");
    for text in [
        "",
        ".",
        "0",
        "0.0",
        "-1",
        "+1",
        "1.",
        "1e3",
        "10x",
        "0.0000001",
        "1000000.1",
        "fast",
        " 1",
        "1,5",
        "1.2.3",
        "99999999999999999999",
        "inf",
        "NaN",
        "٣",
    ] {
        let error = text.parse::<Speed>().unwrap_err().to_string();
        assert!(error.contains("such as 1, 0.5 or 10"), "{error}");
        assert!(error.contains(&format!("{text:?}")), "{error}");
    }
}

#[test]
fn first_packet_is_due_at_once_and_the_rest_keep_their_spacing() {
    for (speed, scale) in [("1", 1.0), ("10", 0.1), ("0.5", 2.0)] {
        let mut pacer = Pacer::new(speed.parse().unwrap());
        assert_eq!(pacer.wait_ns(START, 77), 0);
        assert_eq!(pacer.wait_ns(START + S, 77) as f64, S as f64 * scale);
        // A second later by the caller's clock, however that came about.
        let now = 77 + (S as f64 * scale) as u64;
        assert_eq!(pacer.wait_ns(START + S, now), 0);
        assert_eq!(
            pacer.wait_ns(START + 3 * S, now) as f64,
            2.0 * S as f64 * scale
        );
        assert_eq!(pacer.behind_ns(now), 0);
    }
}

#[test]
fn max_never_waits() {
    let mut pacer = Pacer::new(Speed::Max);
    for ts in [START, START + 1000 * S, 0, u64::MAX] {
        assert_eq!(pacer.wait_ns(ts, 5), 0);
    }
}

#[test]
fn caller_that_is_late_catches_up_without_waiting() {
    let mut pacer = Pacer::new(Speed::REAL_TIME);
    pacer.wait_ns(START, 0);
    assert_eq!(pacer.wait_ns(START + S, 5 * S), 0);
    assert_eq!(pacer.behind_ns(5 * S), 4 * S);
    assert_eq!(pacer.wait_ns(START + 4 * S, 5 * S), 0);
    assert_eq!(pacer.wait_ns(START + 7 * S, 5 * S), 2 * S);
    assert_eq!(pacer.behind_ns(5 * S), 0);
}

#[test]
fn rounding_does_not_add_up() {
    let mut pacer = Pacer::new("3".parse().unwrap());
    pacer.wait_ns(START, 0);
    for n in 1..=3_000_000 {
        pacer.wait_ns(START + n, 0);
    }
    assert_eq!(pacer.wait_ns(START + 3_000_000, 0), 1_000_000);
}

#[test]
fn long_pause_is_shortened_and_spacing_goes_on_after_it() {
    let mut pacer = Pacer::new("2".parse().unwrap()).with_idle_max(S);
    pacer.wait_ns(START, 0);
    assert_eq!(pacer.wait_ns(START + 2 * S, 0), S, "as long as allowed");
    assert_eq!(pacer.wait_ns(START + 3600 * S, S), S);
    assert_eq!(pacer.wait_ns(START + 3601 * S, 2 * S), S / 2);
    assert_eq!(pacer.wait_ns(START + 9999 * S, 2 * S), S / 2 + S);
}

#[test]
fn time_that_goes_back_a_little_is_due_with_the_packet_before() {
    let mut pacer = Pacer::new(Speed::REAL_TIME);
    pacer.wait_ns(START, 0);
    assert_eq!(pacer.wait_ns(START + 100, 0), 100);
    assert_eq!(pacer.wait_ns(START + 90, 0), 100);
    assert_eq!(pacer.wait_ns(START + 110, 0), 110);
    assert_eq!(pacer.wait_ns(START + 110 - BACKWARDS_NS_MAX, 0), 110);
    assert_eq!(pacer.wait_ns(START + 120, 0), 120);
    assert_eq!(pacer.backwards(), 2);
}

#[test]
fn time_that_goes_back_far_is_another_recording_and_follows_without_a_pause() {
    let mut pacer = Pacer::new(Speed::REAL_TIME);
    pacer.wait_ns(START, 0);
    assert_eq!(pacer.wait_ns(START + 10 * S, 0), 10 * S);
    assert_eq!(pacer.wait_ns(START - 1000 * S, 0), 10 * S);
    assert_eq!(pacer.wait_ns(START - 999 * S, 0), 11 * S);
    assert_eq!(pacer.backwards(), 1);
}

proptest! {
    #[test]
    fn no_times_make_it_panic_or_let_a_packet_overtake(
        times in proptest::collection::vec((any::<u64>(), 0_u64..1 << 40), 1..50),
        millionths in 1_u64..=1_000_000_000_000,
        idle_max in any::<u64>(),
    ) {
        let mut pacer = Pacer::new(Speed::Factor(Factor::from_millionths(millionths).unwrap()))
            .with_idle_max(idle_max);
        let (mut now, mut due) = (0_u64, 0_u64);
        for (ts, step) in times {
            now += step;
            let next = now.saturating_add(pacer.wait_ns(ts, now));
            prop_assert!(next >= due.min(now));
            if next > now {
                prop_assert!(next >= due);
            }
            due = next;
        }
    }
}
