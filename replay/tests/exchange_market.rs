//! The invented market: what its messages say is what its books are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};

use reference::{Reference, locate_of};
use tickcast_codecs::itch50::Message;
use tickcast_codecs::{Price, Side};
use tickcast_replay::exchange::{Market, MarketConfig};

#[path = "support/reference.rs"]
mod reference;

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
