//! What can be configured of the market: its mix, the form of its books, its size, its activity.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use reference::{Reference, locate_of};
use tickcast_codecs::Side;
use tickcast_codecs::itch50::Message;
use tickcast_replay::exchange::{Market, MarketConfig, Mix, Pace, Shape};

#[path = "support/reference.rs"]
mod reference;

fn opened(config: MarketConfig) -> Market {
    let mut market = Market::new(config);
    let mut out = Vec::new();
    while !market.is_open() {
        out.clear();
        market.next(&mut out);
    }
    market
}

/// Percent of the next `count` messages: adds, deletes, replaces, executes, cancels, trades.
fn shares(market: &mut Market, count: u32) -> [f64; 6] {
    let mut seen = [0_u32; 6];
    let mut out = Vec::new();
    for _ in 0..count {
        out.clear();
        market.next(&mut out);
        let kind = match out[0] {
            b'A' | b'F' => 0,
            b'D' => 1,
            b'U' => 2,
            b'E' | b'C' => 3,
            b'X' => 4,
            b'P' => 5,
            _ => continue,
        };
        seen[kind] += 1;
    }
    seen.map(|n| f64::from(n) * 100.0 / f64::from(count))
}

#[test]
fn of_a_million_messages_each_kind_has_its_measured_share() {
    let few = MarketConfig::default();
    let many = MarketConfig {
        instruments: 2_000,
        depth_by_activity: true,
        ..few
    };
    for config in [few, many, MarketConfig { seed: 99, ..few }] {
        let shares = shares(&mut opened(config), 1_000_000);
        println!(
            "seed {}, {} instruments: {shares:.2?}",
            config.seed, config.instruments
        );
        for (share, wanted) in shares.iter().zip([43.0, 41.0, 9.0, 4.0, 2.0, 0.7]) {
            assert!((share - wanted).abs() < 1.0, "{share} of {wanted}");
        }
    }
}

#[test]
fn another_mix_comes_out_as_well() {
    let config = MarketConfig {
        mix: Mix {
            replaces: 3_000,
            executes: 1_000,
            cancels: 500,
            hidden_trades: 300,
        },
        ..MarketConfig::default()
    };
    let shares = shares(&mut opened(config), 500_000);
    println!("{shares:.2?}");
    for (share, wanted) in shares[2..].iter().zip([30.0, 10.0, 5.0, 3.0]) {
        assert!((share - wanted).abs() < 1.0, "{share} of {wanted}");
    }
}

/// Runs a shape against a strict reader, and gives the levels of a side, and orders, of instrument 1.
fn levels_and_orders(config: MarketConfig, messages: u32) -> (usize, usize) {
    let mut market = Market::new(config);
    let mut reference = Reference::default();
    let mut out = Vec::new();
    let mut left = messages;
    while left > 0 {
        out.clear();
        market.next(&mut out);
        reference.apply(&Message::parse(&out).unwrap());
        left -= u32::from(market.is_open());
        let locate = locate_of(&out);
        if let (Some(bid), Some(ask)) = (
            reference.best(locate, Side::Bid),
            reference.best(locate, Side::Ask),
        ) {
            assert!(bid < ask, "{bid} against {ask}");
        }
    }
    for locate in 1..=market.instruments() {
        for side in [Side::Bid, Side::Ask] {
            let truth: Vec<_> = market.levels(locate, side, usize::MAX).collect();
            assert_eq!(truth, reference.levels(locate, side));
            let most = config.shape.orders_per_level_max;
            let full = truth.iter().position(|level| level.count > most);
            assert_eq!(
                full,
                None,
                "{locate} {side:?} {:?}",
                truth.get(full.unwrap_or(0))
            );
        }
    }
    let levels = market.levels(1, Side::Bid, usize::MAX).count();
    (levels, market.displayed_orders(1))
}

#[test]
fn deep_books_have_thousands_of_levels() {
    let (levels, orders) = levels_and_orders(MarketConfig::deep(), 100_000);
    println!("{levels} levels, {orders} orders");
    assert!((1_500..=4_001).contains(&levels));
    assert!((15_000..=40_000).contains(&orders));
}

#[test]
fn each_order_may_have_a_level_to_itself() {
    let (levels, orders) = levels_and_orders(MarketConfig::one_order_a_level(), 200_000);
    println!("{levels} levels, {orders} orders");
    assert!((375..=1_001).contains(&levels));
    assert!(orders.abs_diff(2 * levels) < levels);
}

#[test]
fn all_orders_may_queue_at_one_level() {
    let (levels, orders) = levels_and_orders(MarketConfig::one_level(), 50_000);
    println!("{levels} levels, {orders} orders");
    assert_eq!(levels, 1);
    assert!((15_000..=40_000).contains(&orders));
}

#[test]
fn a_single_hot_instrument_gets_everything() {
    let mut market = opened(MarketConfig::single_hot());
    let mut out = Vec::new();
    for _ in 0..10_000 {
        out.clear();
        market.next(&mut out);
        assert_eq!(locate_of(&out), 1);
    }
}

#[test]
fn the_full_size_has_eight_thousand_instruments_and_more_than_a_million_orders() {
    let mut market = opened(MarketConfig::full_size());
    let mut out = Vec::new();
    for _ in 0..1_000_000 {
        out.clear();
        market.next(&mut out);
    }
    let orders: Vec<usize> = (1..=8_000)
        .map(|locate| market.displayed_orders(locate))
        .collect();
    let all: usize = orders.iter().sum();
    println!("{all} orders, {} of the first", orders[0]);
    assert!((1_200_000..2_000_000).contains(&all));
    assert!(orders[0] > 20 * orders[7_999]);
    assert!(orders[7_999] >= 32);
    assert_eq!(market.symbol(8_000).map(|symbol| symbol.len()), Some(8));
}

#[test]
fn zipfs_exponent_is_the_configured_one() {
    for (zipf_percent, expected) in [(0, 1.0), (50, 3.16), (100, 10.0), (150, 31.6)] {
        let mut market = opened(MarketConfig {
            instruments: 100,
            zipf_percent,
            pace: Pace::Constant,
            ..MarketConfig::default()
        });
        let mut seen = HashMap::new();
        let mut out = Vec::new();
        for _ in 0..300_000 {
            out.clear();
            market.next(&mut out);
            *seen.entry(locate_of(&out)).or_insert(0_u32) += 1;
        }
        let ratio = f64::from(seen[&1]) / f64::from(seen[&10]);
        println!("exponent {zipf_percent} %: {ratio}");
        assert!((0.85..1.15).contains(&(ratio / expected)));
    }
}

/// Lifetimes in messages of a single instrument.  Of an exponential law the quantiles 25, 50, 90, 99, 99.9 %
/// are as 0.4 : 1 : 3.3 : 6.6 : 10.
#[test]
fn quantiles_of_lifetimes_are_those_of_a_heavy_tail() {
    let mut market = opened(MarketConfig {
        orders_per_instrument_max: 1_000,
        ..MarketConfig::single_hot()
    });
    let mut born: HashMap<u64, u32> = HashMap::new();
    let mut lives = Vec::new();
    let mut out = Vec::new();
    for n in 0..1_000_000 {
        out.clear();
        market.next(&mut out);
        match Message::parse(&out).unwrap() {
            Message::AddOrder(m) => drop(born.insert(m.order_reference_number.get(), n)),
            Message::OrderDelete(m) => {
                let born = born.remove(&m.order_reference_number.get());
                lives.extend(born.map(|born| n - born));
            }
            _ => {}
        }
    }
    lives.sort_unstable();
    let quantile = |per_mille: usize| f64::from(lives[lives.len() * per_mille / 1_000]);
    let median = quantile(500);
    let ratios = [250, 900, 990, 999].map(|per_mille| quantile(per_mille) / median);
    println!("median {median}, ratios {ratios:.2?}");
    assert!(ratios[0] < 0.3 && ratios[1] > 8.0 && ratios[2] > 30.0 && ratios[3] > 60.0);
}

#[test]
fn values_out_of_range_are_taken_as_the_nearest() {
    let config = MarketConfig {
        instruments: 0,
        messages_per_second: 0,
        orders_per_instrument_max: 0,
        zipf_percent: u32::MAX,
        shape: Shape {
            levels: 0,
            orders_per_level_max: 0,
        },
        mix: Mix {
            replaces: u32::MAX,
            executes: u32::MAX,
            cancels: u32::MAX,
            hidden_trades: u32::MAX,
        },
        pace: Pace::Bursts {
            every_ns: 0,
            for_ns: u64::MAX,
            times: 0,
        },
        ..MarketConfig::default()
    };
    let mut market = Market::new(config);
    let mut reference = Reference::default();
    let mut out = Vec::new();
    for _ in 0..20_000 {
        out.clear();
        market.next(&mut out);
        reference.apply(&Message::parse(&out).unwrap());
    }
    assert_eq!(market.instruments(), 1);
}
