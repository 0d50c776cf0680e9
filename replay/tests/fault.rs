//! The fault injector: every packet is accounted for, and each fault is what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use proptest::prelude::*;
use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::PacketBuilder;
use tickcast_replay::fault::{
    Burst, BurstLength, Corruption, Count, Fate, Fault, FaultPlan, Flap, Interval, Reorder,
    Repeated, corrupt, moldudp64_messages,
};
use tickcast_replay::random::Random;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// The number of a packet, and the messages that it is said to carry.
fn packet(number: u64, messages: u8) -> Vec<u8> {
    let mut packet = number.to_be_bytes().to_vec();
    packet.push(messages);
    packet
}

fn messages_in(packet: &[u8]) -> u64 {
    u64::from(packet[8])
}

fn number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(packet[..8].try_into().unwrap())
}

/// Sends `count` packets of one message, one each `gap_ns` from 0 on, and gives what comes out, when.
fn send(plan: FaultPlan, count: u64, gap_ns: u64) -> (Vec<(u64, u64)>, Fault) {
    let mut fault = Fault::new(plan, 42, messages_in);
    let mut out = Vec::new();
    let mut bytes = Vec::new();
    for n in 0..count {
        let now = n * gap_ns;
        fault.handle_packet(now, &packet(n, 1));
        drain(&mut fault, now, &mut bytes, &mut out);
    }
    drain(&mut fault, u64::MAX, &mut bytes, &mut out);
    (out, fault)
}

/// Takes what is due up to `now`, at the times when it is.
fn drain(fault: &mut Fault, now: u64, bytes: &mut Vec<u8>, out: &mut Vec<(u64, u64)>) {
    while let Some(due) = fault.poll_timeout().filter(|&due| due <= now) {
        assert!(fault.poll_transmit(due, bytes));
        out.push((due, number(bytes)));
    }
    assert!(!fault.poll_transmit(now, bytes));
}

fn assert_adds_up(fault: &Fault) {
    let c = fault.counters();
    let held = fault.held();
    for pick in [
        |count: &Count| count.packets,
        |count: &Count| count.messages,
    ] {
        assert_eq!(
            pick(&c.handled) + pick(&c.duplicated) + pick(&c.replayed),
            pick(&c.passed)
                + pick(&c.dead)
                + pick(&c.burst_lost)
                + pick(&c.lost)
                + pick(&c.overflowed)
                + pick(&held),
            "{c:?}, held {held:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The identity holds after every call, for any drawn plan; and the fates that were told add up too.
    #[test]
    fn every_packet_and_message_is_accounted_for(
        seed in any::<u64>(),
        gaps in prop::collection::vec((0..400 * MILLISECOND, 0..200_u8), 1..600),
    ) {
        let plan = FaultPlan::draw(&mut Random::new(seed));
        let mut fault = Fault::new(plan, seed, messages_in);
        let (mut now, mut out) = (0, Vec::new());
        let mut fates: HashMap<Fate, u64> = HashMap::new();
        for (n, (gap, messages)) in (0..).zip(gaps) {
            now += gap / 8;
            *fates.entry(fault.handle_packet(now, &packet(n, messages))).or_default() += 1;
            assert_adds_up(&fault);
            while fault.poll_transmit(now, &mut out) {
                assert_adds_up(&fault);
            }
            prop_assert!(fault.poll_timeout().is_none_or(|due| due > now));
        }
        while let Some(due) = fault.poll_timeout() {
            prop_assert!(fault.poll_transmit(due, &mut out));
        }
        assert_adds_up(&fault);
        prop_assert_eq!(fault.held(), Count::default());
        let c = fault.counters();
        let fate = |fate| fates.get(&fate).copied().unwrap_or(0);
        prop_assert_eq!(fate(Fate::Dead), c.dead.packets);
        prop_assert_eq!(fate(Fate::BurstLost), c.burst_lost.packets);
        prop_assert_eq!(fate(Fate::Lost), c.lost.packets);
        prop_assert_eq!(fate(Fate::Corrupted), c.corrupted.packets);
    }

    #[test]
    fn one_seed_is_one_run(seed in any::<u64>()) {
        let run = || {
            let plan = FaultPlan::draw(&mut Random::new(seed));
            let mut fault = Fault::new(plan, seed, |_| 1);
            let (mut log, mut out) = (Vec::new(), Vec::new());
            for n in 0..2_000 {
                let now = n * 10 * MILLISECOND;
                log.push((now, vec![fault.handle_packet(now, &packet(n, 1)) as u8]));
                while let Some(due) = fault.poll_timeout().filter(|&due| due <= now) {
                    fault.poll_transmit(due, &mut out);
                    log.push((due, out.clone()));
                }
            }
            log
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn corruption_always_changes_something(seed in any::<u64>(), length in 1..64_usize) {
        let mut random = Random::new(seed);
        let original = vec![7; length];
        for kind in [Corruption::BitFlip, Corruption::Bytes, Corruption::Truncation, Corruption::Extra] {
            let mut bytes = original.clone();
            corrupt(&mut bytes, kind, &mut random);
            prop_assert_ne!(&bytes, &original);
            match kind {
                Corruption::BitFlip | Corruption::Bytes => prop_assert_eq!(bytes.len(), length),
                Corruption::Truncation => prop_assert!(bytes.len() < length),
                Corruption::Extra => prop_assert!(bytes.len() > length),
            }
        }
    }
}

#[test]
fn without_faults_everything_passes_at_once_in_order() {
    let (out, fault) = send(FaultPlan::none(), 1_000, 10);
    let expected: Vec<_> = (0..1_000).map(|n| (n * 10, n)).collect();
    assert_eq!(out, expected);
    assert_eq!(fault.counters().passed, fault.counters().handled);
}

#[test]
fn independent_loss_has_its_chance() {
    let plan = FaultPlan {
        loss_ppm: 50_000,
        ..FaultPlan::none()
    };
    let (out, fault) = send(plan, 100_000, 1);
    let lost = fault.counters().lost.packets;
    assert!((4_600..5_400).contains(&lost), "{lost}");
    assert_eq!(out.len() as u64, 100_000 - lost);
}

#[test]
fn a_burst_loses_so_many_packets_in_a_row() {
    let burst = Burst {
        at_ns: 5_000,
        length: BurstLength::Packets(70),
    };
    let plan = FaultPlan {
        bursts: vec![burst],
        ..FaultPlan::none()
    };
    let (out, fault) = send(plan, 1_000, 10);
    let passed: Vec<u64> = out.iter().map(|&(_, n)| n).collect();
    let expected: Vec<u64> = (0..500).chain(570..1_000).collect();
    assert_eq!(passed, expected);
    assert_eq!(fault.counters().burst_lost.packets, 70);
}

#[test]
fn a_burst_of_messages_ends_with_the_packet_that_completes_it() {
    let burst = Burst {
        at_ns: 0,
        length: BurstLength::Messages(100),
    };
    let plan = FaultPlan {
        bursts: vec![burst],
        ..FaultPlan::none()
    };
    let mut fault = Fault::new(plan, 1, messages_in);
    let fates: Vec<Fate> = (0..6)
        .map(|n| fault.handle_packet(n, &packet(n, 30)))
        .collect();
    assert_eq!(fates[..4], [Fate::BurstLost; 4]);
    assert_eq!(fates[4..], [Fate::Passes; 2]);
    assert_eq!(fault.counters().burst_lost.messages, 120);
}

#[test]
fn a_repeated_burst_begins_each_period_and_never_takes_packets_without_messages() {
    let plan = FaultPlan {
        repeated: Some(Repeated {
            every_ns: 100,
            length: BurstLength::Messages(50),
        }),
        ..FaultPlan::none()
    };
    let mut fault = Fault::new(plan, 1, messages_in);
    let mut lost_at = Vec::new();
    for now in (0..330).step_by(10) {
        if fault.handle_packet(now, &packet(now, 0)) != Fate::Passes {
            lost_at.push((now, 0));
        }
        if fault.handle_packet(now, &packet(now, 30)) != Fate::Passes {
            lost_at.push((now, 30));
        }
    }
    let twice = |at| [(at, 30), (at + 10, 30)];
    assert_eq!(lost_at, [twice(100), twice(200), twice(300)].concat());
    assert_eq!(fault.counters().burst_lost.messages, 6 * 30);
}

#[test]
fn jitter_is_up_to_so_much_and_keeps_the_order() {
    let plan = FaultPlan {
        delay_ns: 1_000,
        jitter_ns: 500,
        ..FaultPlan::none()
    };
    let mut fault = Fault::new(plan, 1, messages_in);
    let (mut out, mut late) = (Vec::new(), Vec::new());
    let mut buffer = Vec::new();
    for now in 0..100_000_u64 {
        if now % 100 == 0 {
            fault.handle_packet(now, &packet(now, 1));
        }
        while fault.poll_transmit(now, &mut buffer) {
            let sent = out.len() as u64 * 100;
            assert_eq!(buffer, packet(sent, 1));
            out.push(now);
            late.push(now - sent);
        }
    }
    assert!(out.len() > 900);
    let (least, most) = (late.iter().min().unwrap(), late.iter().max().unwrap());
    assert!((1_000..1_050).contains(least) && (1_450..1_500).contains(most));
}

#[test]
fn duplicates_follow_soon_and_replays_late() {
    let plan = FaultPlan {
        duplicate_ppm: 200_000,
        duplicate_delay_ns_max: 50,
        replay_ppm: 10_000,
        replay_age_ns_max: 60 * SECOND,
        ..FaultPlan::none()
    };
    let (out, fault) = send(plan, 50_000, 100);
    let c = fault.counters();
    assert!((9_500..10_500).contains(&c.duplicated.packets));
    assert!((400..600).contains(&c.replayed.packets));
    assert_eq!(
        out.len() as u64,
        50_000 + c.duplicated.packets + c.replayed.packets
    );
    let late = out
        .iter()
        .map(|&(due, n)| due - n * 100)
        .filter(|&late| late > 50);
    let ages: Vec<u64> = late.collect();
    assert_eq!(ages.len() as u64, c.replayed.packets);
    assert!(ages.iter().all(|&age| age <= 60 * SECOND));
    assert!(ages.iter().max().unwrap() > &(50 * SECOND));
}

#[test]
fn displaced_packets_come_after_so_many_others_and_not_later() {
    let plan = FaultPlan {
        reorder_ppm: 20_000,
        reorder: Reorder::Displacement {
            packets_max: 64,
            wait_ns_max: 5 * MILLISECOND,
        },
        ..FaultPlan::none()
    };
    let (out, fault) = send(plan, 50_000, 1_000);
    assert_eq!(out.len(), 50_000);
    let mut displacements: Vec<u64> = Vec::new();
    let mut newest = 0;
    for &(due, n) in &out {
        // What is displaced at the very end has nothing to come after.
        if n < newest && n < 50_000 - 64 {
            let displacement = due / 1_000 - n;
            assert!(newest - n <= displacement, "out with the last that came");
            displacements.push(displacement);
        }
        newest = newest.max(n);
    }
    // Who is displaced by the same as its neighbour isn't overtaken by it, so this is nearly exact.
    let reordered = usize::try_from(fault.counters().reordered.packets).unwrap();
    assert!(displacements.len().abs_diff(reordered) <= reordered / 10);
    assert_eq!(displacements.iter().max(), Some(&64));
    assert_eq!(displacements.iter().min(), Some(&1));
}

#[test]
fn where_nothing_follows_a_displaced_packet_comes_after_its_wait() {
    let plan = FaultPlan {
        reorder_ppm: 1_000_000,
        reorder: Reorder::Displacement {
            packets_max: 64,
            wait_ns_max: 5 * MILLISECOND,
        },
        ..FaultPlan::none()
    };
    let (out, _) = send(plan, 1, 1);
    assert_eq!(out, [(5 * MILLISECOND, 0)]);
}

#[test]
fn delayed_packets_are_late_by_an_exponential_time() {
    let plan = FaultPlan {
        reorder_ppm: 1_000_000,
        reorder: Reorder::Delay {
            mean_ns: MILLISECOND,
        },
        ..FaultPlan::none()
    };
    let (out, _) = send(plan, 20_000, 1_000);
    let delays: Vec<u64> = out.iter().map(|&(due, n)| due - n * 1_000).collect();
    let mean = delays.iter().sum::<u64>() / 20_000;
    assert!((950_000..1_050_000).contains(&mean), "{mean}");
    assert!(delays.iter().all(|&delay| delay <= 10 * MILLISECOND));
}

#[test]
fn a_lagging_path_keeps_the_order() {
    let plan = FaultPlan {
        delay_ns: 50 * MILLISECOND,
        ..FaultPlan::none()
    };
    let (out, fault) = send(plan, 1_000, 100_000);
    let expected: Vec<_> = (0..1_000)
        .map(|n| (n * 100_000 + 50 * MILLISECOND, n))
        .collect();
    assert_eq!(out, expected);
    assert_eq!(fault.counters().delayed.packets, 1_000);
}

#[test]
fn nothing_passes_a_dead_or_flapping_path() {
    let plan = FaultPlan {
        dead: vec![Interval {
            from_ns: 100,
            until_ns: 200,
        }],
        flap: Some(Flap {
            from_ns: 500,
            up_ns: 30,
            down_ns: 20,
        }),
        ..FaultPlan::none()
    };
    let (out, fault) = send(plan, 700, 1);
    let expected: Vec<u64> = (0..100)
        .chain(200..530)
        .chain((530..700).filter(|n| (n - 500) % 50 < 30))
        .collect();
    assert_eq!(out.iter().map(|&(_, n)| n).collect::<Vec<_>>(), expected);
    assert_eq!(fault.counters().dead.packets, 700 - expected.len() as u64);
}

#[test]
fn a_clog_lets_everything_out_at_its_end_in_order() {
    let plan = FaultPlan {
        clogs: vec![Interval {
            from_ns: SECOND,
            until_ns: 6 * SECOND,
        }],
        ..FaultPlan::none()
    };
    let (out, fault) = send(plan, 1_000, 10 * MILLISECOND);
    assert!(out.is_sorted_by_key(|&(_, n)| n));
    let at_end = out.iter().filter(|&&(due, _)| due == 6 * SECOND).count();
    // The 500 of the clog, and the one that comes at its end.
    assert_eq!(at_end, 501);
    assert_eq!(fault.counters().clogged.packets, 500);
}

#[test]
fn corrupted_packets_are_counted_as_they_came() {
    let plan = FaultPlan {
        corrupt_ppm: 100_000,
        ..FaultPlan::none()
    };
    let mut fault = Fault::new(plan, 9, |_| 3);
    let mut bytes = Vec::new();
    let mut changed = 0;
    for n in 0..10_000 {
        let sent = [5; 100];
        let fate = fault.handle_packet(n, &sent);
        assert!(fault.poll_transmit(n, &mut bytes));
        assert_eq!(fate == Fate::Corrupted, bytes != sent);
        changed += u64::from(bytes != sent);
    }
    assert!((850..1_150).contains(&changed), "{changed}");
    assert_eq!(fault.counters().corrupted.packets, changed);
    assert_eq!(fault.counters().passed.messages, 30_000);
}

#[test]
fn what_exceeds_the_bounds_is_lost_and_counted() {
    let plan = FaultPlan {
        delay_ns: SECOND,
        ..FaultPlan::none()
    };
    let mut fault = Fault::new(plan.clone(), 1, messages_in);
    for n in 0..70_000 {
        let fate = fault.handle_packet(0, &packet(n, 1));
        assert_eq!(fate == Fate::Overflowed, n >= 65_536);
    }
    assert_eq!(fault.counters().overflowed.packets, 70_000 - 65_536);
    assert_adds_up(&fault);
    let mut fault = Fault::new(plan, 1, |_| 1);
    for n in 0..1_025 {
        let fate = fault.handle_packet(0, &[0; 65_536]);
        assert_eq!(fate == Fate::Overflowed, n >= 1_024);
    }
    assert_adds_up(&fault);
}

#[test]
fn after_their_end_there_are_no_faults() {
    let plan = FaultPlan {
        loss_ppm: 1_000_000,
        until_ns: 500,
        ..FaultPlan::none()
    };
    let (out, _) = send(plan, 1_000, 1);
    assert_eq!(out.first(), Some(&(500, 500)));
    assert_eq!(out.len(), 500);
}

#[test]
fn drawn_plans_have_each_fault_now_and_then_within_its_bounds() {
    let plans: Vec<FaultPlan> = (0..200)
        .map(|seed| FaultPlan::draw(&mut Random::new(seed)))
        .collect();
    let some = |pick: fn(&FaultPlan) -> bool| plans.iter().filter(|plan| pick(plan)).count();
    for (name, count) in [
        ("loss", some(|p| p.loss_ppm > 0)),
        ("heavy loss", some(|p| p.loss_ppm > 100_000)),
        ("duplicates", some(|p| p.duplicate_ppm > 0)),
        ("replays", some(|p| p.replay_ppm > 0)),
        ("reordering", some(|p| p.reorder_ppm > 0)),
        ("delay", some(|p| p.delay_ns > 0)),
        ("corruption", some(|p| p.corrupt_ppm > 0)),
        ("dead", some(|p| !p.dead.is_empty())),
        ("flapping", some(|p| p.flap.is_some())),
        ("clogs", some(|p| !p.clogs.is_empty())),
        ("bursts", some(|p| !p.bursts.is_empty())),
    ] {
        println!("{name}: {count}");
        assert!((5..195).contains(&count), "{name}: {count} of 200");
    }
    for plan in &plans {
        assert!(plan.loss_ppm <= 300_000 && plan.duplicate_ppm <= 500_000);
        assert!(plan.corrupt_ppm <= 10_000);
        assert!(
            plan.dead
                .iter()
                .chain(&plan.clogs)
                .all(|i| i.until_ns <= plan.until_ns)
        );
    }
}

#[test]
fn messages_are_counted_by_the_header() {
    let mut bytes = Vec::new();
    let session = SessionId::from_padded(b"S");
    let mut builder = PacketBuilder::new(&mut bytes, session, 5, 1_400);
    for _ in 0..3 {
        builder.push(b"D").unwrap();
    }
    assert_eq!(moldudp64_messages(&bytes), 3);
    assert_eq!(moldudp64_messages(&bytes[..20]), 0);
    assert_eq!(moldudp64_messages(b""), 0);
}
