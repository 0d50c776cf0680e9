//! Whole days: each phase has its messages, in its order, and the books end empty.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};

use reference::{Reference, locate_of};
use tickcast_codecs::Side;
use tickcast_codecs::itch50::Message;
use tickcast_replay::exchange::{Day, Market, MarketConfig, Schedule};

#[path = "support/reference.rs"]
mod reference;

const SECOND: u64 = 1_000_000_000;

fn config(seed: u64) -> MarketConfig {
    MarketConfig {
        seed,
        instruments: 40,
        messages_per_second: 20_000,
        ..MarketConfig::compressed_day(20 * SECOND)
    }
}

/// What a day told.
#[derive(Default)]
struct Told {
    /// Events and message types in the order of their first appearance after each event.
    story: String,
    /// By phase (the last event's code) and type.
    seen: BTreeMap<(char, char), u64>,
    /// By cross type and instrument.
    crosses: HashMap<(u8, u16), u32>,
    messages: u64,
    most_orders: usize,
    ended_ns: u64,
    /// Non-printable executions.
    crossed_orders: u64,
}

/// Runs a day, checking each message against a strict reader and the books now and then.
fn run(config: MarketConfig) -> Told {
    let mut market = Market::new(config);
    let mut reference = Reference::default();
    let mut told = Told::default();
    let mut phase = ' ';
    let mut out = Vec::new();
    loop {
        out.clear();
        let step = market.next(&mut out);
        assert!(step.offset_ns >= told.ended_ns, "time goes back");
        if out.is_empty() {
            assert!(market.is_over());
            break;
        }
        told.ended_ns = step.offset_ns;
        told.messages += 1;
        let message = Message::parse(&out).unwrap();
        assert_eq!(Some(out.len()), Message::length_of(out[0]));
        let timestamp = u64::from_be_bytes([0, 0, out[5], out[6], out[7], out[8], out[9], out[10]]);
        assert_eq!(timestamp, config.open_ns + step.offset_ns);
        reference.apply(&message);
        let message_type = char::from(out[0]);
        match message {
            Message::SystemEvent(m) => {
                phase = char::from(m.event_code.0);
                told.story.push(phase);
            }
            Message::CrossTrade(m) => {
                *told
                    .crosses
                    .entry((m.cross_type.0, m.stock_locate.get()))
                    .or_default() += 1;
            }
            Message::OrderExecutedWithPrice(m) if m.printable.0 == b'N' => told.crossed_orders += 1,
            _ => {}
        }
        *told.seen.entry((phase, message_type)).or_default() += 1;
        told.most_orders = told.most_orders.max(reference.order_count());
        let locate = locate_of(&out);
        if let (Some(bid), Some(ask)) = (
            reference.best(locate, Side::Bid),
            reference.best(locate, Side::Ask),
        ) {
            assert!(bid < ask, "{bid} against {ask} of {locate}: {message:?}");
        }
        if told.messages.is_multiple_of(101) {
            for side in [Side::Bid, Side::Ask] {
                let truth: Vec<_> = market.levels(locate, side, usize::MAX).collect();
                assert_eq!(truth, reference.levels(locate, side));
            }
        }
    }
    assert_eq!(reference.order_count(), 0, "orders are left over");
    assert_eq!(market.next(&mut out).offset_ns, told.ended_ns);
    assert!(out.is_empty(), "after the end nothing comes");
    told
}

#[test]
fn a_day_has_each_phase_with_its_messages_and_ends_with_empty_books() {
    for seed in 1..=3 {
        println!("seed {seed}");
        let told = run(config(seed));
        println!(
            "{} messages, {} orders at the height, {} orders crossed, {:?}",
            told.messages, told.most_orders, told.crossed_orders, told.seen
        );
        assert_eq!(told.story, "OSQMEC");
        let types = |phase| -> String {
            let of_phase = told.seen.keys().filter(|key| key.0 == phase);
            of_phase.map(|key| key.1).collect()
        };
        assert_eq!(types('O'), "HLRSVY");
        assert_eq!(types('C'), "S");
        assert_eq!(types('E'), "DS");
        for (phase, wanted) in [('S', "AFDUXEI"), ('Q', "AFDUXECPQIH"), ('M', "AFDUXEQ")] {
            for message_type in wanted.chars() {
                assert!(
                    told.seen.contains_key(&(phase, message_type)),
                    "no {message_type} after {phase}"
                );
            }
        }
        assert!(told.crossed_orders > 20);
        for locate in 1..=40 {
            for cross_type in [b'O', b'C'] {
                assert_eq!(told.crosses.get(&(cross_type, locate)), Some(&1));
            }
        }
        assert!(told.ended_ns.abs_diff(20 * SECOND) < SECOND / 100);
    }
}

#[test]
fn phases_begin_at_their_times() {
    let schedule = Schedule::compressed(20 * SECOND);
    let mut market = Market::new(config(4));
    let mut out = Vec::new();
    while !market.is_over() {
        out.clear();
        let offset = market.next(&mut out).offset_ns;
        let Message::SystemEvent(m) = Message::parse(&out).unwrap() else {
            continue;
        };
        let planned = match m.event_code.0 {
            b'O' => 0,
            b'S' => schedule.system_hours_ns,
            b'Q' => schedule.market_hours_ns,
            b'M' => schedule.market_close_ns,
            b'E' => schedule.system_close_ns,
            _ => schedule.end_ns,
        };
        let late = offset.checked_sub(planned).expect("too early");
        assert!(late < SECOND / 1_000, "{m:?} is {late} ns late");
    }
}

#[test]
fn imbalances_come_at_the_schedules_pace_and_faster_towards_the_cross() {
    let schedule = Schedule {
        opening_noii_ns: 10 * SECOND,
        market_hours_ns: 30 * SECOND,
        noii_each_ns: 4 * SECOND,
        noii_fast_ns: SECOND,
        opening_fast_for_ns: 8 * SECOND,
        ..Schedule::compressed(100 * SECOND)
    };
    let mut market = Market::new(MarketConfig {
        instruments: 10,
        day: Day::Whole(schedule),
        ..MarketConfig::default()
    });
    let (mut slow, mut fast) = (0, 0);
    let mut out = Vec::new();
    while market.system_event() != Some(b'Q') {
        out.clear();
        let offset = market.next(&mut out).offset_ns;
        if let Message::Noii(m) = Message::parse(&out).unwrap() {
            assert_eq!(m.cross_type.0, b'O');
            assert!(offset >= 10 * SECOND);
            if offset < 22 * SECOND {
                slow += 1;
            } else {
                fast += 1;
            }
        }
    }
    assert_eq!((slow, fast), (30, 80));
}

/// News, pauses and operational halts, each told in its order.
#[test]
fn halts_go_through_their_stages() {
    let mut market = Market::new(MarketConfig {
        seed: 3,
        instruments: 12,
        messages_per_second: 500,
        ..MarketConfig::default()
    });
    let mut stories: HashMap<u16, String> = HashMap::new();
    let mut ended: BTreeMap<String, u32> = BTreeMap::new();
    let mut out = Vec::new();
    for _ in 0..1_000_000 {
        out.clear();
        market.next(&mut out);
        if !market.is_open() {
            continue;
        }
        let locate = locate_of(&out);
        let word = match Message::parse(&out).unwrap() {
            Message::StockTradingAction(m) => char::from(m.trading_state.0),
            Message::LuldAuctionCollar(_) => 'J',
            Message::Noii(_) => 'I',
            Message::CrossTrade(_) => 'X',
            Message::OperationalHalt(m) => char::from(m.operational_halt_action.0 + 32),
            _ => continue,
        };
        let story = stories.entry(locate).or_default();
        story.push(word);
        if matches!(word, 'T' | 't') {
            *ended.entry(core::mem::take(story)).or_default() += 1;
        }
    }
    println!("{ended:?}");
    let known = ["HQIIIIIXT", "PJQIIIIIXT", "ht"];
    for story in known {
        assert!(ended.remove(story).is_some(), "no {story}");
    }
    assert!(ended.is_empty(), "{ended:?}");
    assert!(!stories.contains_key(&1), "the first is never halted");
}

#[test]
fn a_day_without_time_still_tells_everything_in_order() {
    let nothing = Schedule {
        system_hours_ns: 0,
        opening_noii_ns: 0,
        market_hours_ns: 0,
        closing_noii_ns: 0,
        market_close_ns: 0,
        system_close_ns: 0,
        end_ns: 0,
        noii_each_ns: 0,
        noii_fast_ns: 0,
        opening_fast_for_ns: 0,
        closing_fast_for_ns: 0,
        halt_mean_ns: 0,
        halted_ns: 0,
    };
    let told = run(MarketConfig {
        day: Day::Whole(nothing),
        ..MarketConfig::default()
    });
    assert_eq!(told.story, "OSQMEC");
}

#[test]
fn the_real_day_has_nasdaqs_times() {
    let config = MarketConfig {
        messages_per_second: 2,
        instruments: 5,
        ..MarketConfig::real_day()
    };
    let mut market = Market::new(config);
    let mut out = Vec::new();
    let mut times = Vec::new();
    while !market.is_over() {
        out.clear();
        let offset = market.next(&mut out).offset_ns;
        if let Message::SystemEvent(_) = Message::parse(&out).unwrap() {
            let minutes = (config.open_ns + offset) / (60 * SECOND);
            times.push(format!("{}:{:02}", minutes / 60, minutes % 60));
        }
    }
    assert_eq!(times, ["3:00", "4:00", "9:30", "16:00", "20:00", "20:05"]);
}
