//! How fast the simulated market makes messages: `cargo run --release -p tickcast-replay --example
//! market_rate`.
//!
//! Where the system tells it (Linux), the time is that on the core, so that other programs don't count.

use std::time::{Duration, Instant};

use tickcast_replay::exchange::{Market, MarketConfig};

const MESSAGES: u32 = 5_000_000;

/// Time that this thread was on a core, or else time that passed.
fn busy(began: Instant) -> Duration {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .map_or_else(|| began.elapsed(), Duration::from_nanos)
}

fn main() {
    let began = Instant::now();
    for (name, config) in [
        ("24 instruments", MarketConfig::default()),
        (
            "2,000 instruments",
            MarketConfig {
                instruments: 2_000,
                ..MarketConfig::default()
            },
        ),
        ("full size", MarketConfig::full_size()),
        ("one hot instrument", MarketConfig::single_hot()),
        ("deep books", MarketConfig::deep()),
        ("one order a level", MarketConfig::one_order_a_level()),
        ("one level", MarketConfig::one_level()),
    ] {
        if std::env::args().nth(1).is_some_and(|only| only != name) {
            continue;
        }
        let mut market = Market::new(config);
        let mut out = Vec::with_capacity(64);
        while !market.is_open() {
            out.clear();
            market.next(&mut out);
        }
        let opened = busy(began);
        for _ in 0..MESSAGES {
            out.clear();
            market.next(&mut out);
        }
        let ended = busy(began);
        let rate = |messages: u32, seconds: f64| f64::from(messages) / seconds / 1e6;
        let orders: usize = (1..=market.instruments())
            .map(|locate| market.displayed_orders(locate))
            .sum();
        println!(
            "{name}: {:.1} million messages/s in trading, with {orders} orders displayed",
            rate(MESSAGES, (ended - opened).as_secs_f64()),
        );
    }
}
