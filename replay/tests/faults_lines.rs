//! Faults of lines, sessions and packets, through the simulation: F1 to F14, F20 and F21 of the catalogue in
//! `docs/recovery.md`.  Each run is checked by the simulation's own invariants; what is asserted here is what
//! the catalogue adds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use faults::{
    MS, SECOND, assert_filled, assert_untroubled, kill, lose, of_line, one_message_a_packet,
    reading, scenario, sound,
};
use tickcast_book::{Level, NoUpdates};
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::types::Side;
use tickcast_feed::limits::REQUEST_MESSAGES_MAX;
use tickcast_feed::{Shard, ShardConfig, Share, Source};
use tickcast_replay::exchange::{
    Day, Lines, Market, Pace, RequestServer, RequestServerConfig, Schedule, Store,
};
use tickcast_replay::fault::{Flap, Reorder};
use tickcast_replay::random::Random;
use tickcast_replay::sim::{Outcome, Roll, Scenario};

#[test]
fn f1_what_both_lines_lose_by_chance_is_asked_for_and_nothing_else() {
    // Parts of a million, messages a second, seconds.
    for (ppm, rate, seconds) in [
        (100, 20_000, 20),
        (1_000, 20_000, 20),
        (10_000, 20_000, 20),
        (50_000, 10_000, 10),
        (200_000, 4_000, 10),
        (300_000, 4_000, 10),
    ] {
        let mut scenario = scenario(u64::from(ppm), rate, seconds * SECOND);
        for line in &mut scenario.lines {
            line.plan.loss_ppm = ppm;
        }
        let outcome = sound(&scenario);
        let missing = reading(&outcome, "messages_missing");
        println!(
            "{ppm} ppm of {}: {} lost on both, {missing} missing, {} gaps, {} requests, repaired after {} us",
            outcome.published,
            outcome.lost_on_all,
            reading(&outcome, "gaps_declared"),
            reading(&outcome, "requests_sent"),
            outcome.repaired_after_ns / 1_000
        );
        assert_eq!(missing, outcome.lost_on_all);
        assert_eq!(reading(&outcome, "filled_by_request"), missing);
        assert_filled(&outcome);
        // n p² of the messages sent while there were faults, within 20 %; where that is less than a message or
        // some tens, within the eight messages of a few packets.
        let expected = f64::from(rate) * seconds as f64 * (f64::from(ppm) / 1e6).powi(2);
        let slack = (expected * 0.2).max(8.0);
        assert!((missing as f64 - expected).abs() <= slack);
    }
}

/// A run in which both lines lose so many messages in a row.
fn burst(messages: u64, rate: u32) -> Outcome {
    let lasts_ns = messages * SECOND / u64::from(rate);
    let mut scenario = scenario(messages, rate, 200 * MS + lasts_ns);
    scenario.end_ns = scenario.faults_until_ns + SECOND;
    one_message_a_packet(&mut scenario);
    lose(&mut scenario, 100 * MS, messages);
    let outcome = sound(&scenario);
    println!(
        "{messages} in a row: {} requests, repaired after {} us, stale for {} us",
        reading(&outcome, "requests_sent"),
        outcome.repaired_after_ns / 1_000,
        outcome.stale_ns_max / 1_000
    );
    assert_eq!(outcome.lost_on_all, messages);
    assert_eq!(outcome.stales, 1);
    assert_eq!(reading(&outcome, "gaps_declared"), 1);
    assert_eq!(reading(&outcome, "messages_missing"), messages);
    outcome
}

#[test]
fn f2_a_burst_lost_on_both_lines_is_one_chain_of_requests_up_to_65_534_messages() {
    for messages in [1, 10, 100, 1_000, REQUEST_MESSAGES_MAX] {
        let outcome = burst(messages, 100_000);
        assert_filled(&outcome);
        assert_eq!(reading(&outcome, "filled_by_request"), messages);
        assert_eq!(reading(&outcome, "requests_timed_out"), 0);
        // One request finds out how much an answer holds; the rest are as many as that takes, in order.
        let sent = reading(&outcome, "requests_sent");
        assert!(sent <= 1 + messages.div_ceil(20), "{sent} requests");
    }
}

#[test]
fn f2_a_longer_burst_is_a_snapshots_business() {
    for (messages, rate) in [(65_535, 100_000), (1_000_000, 400_000)] {
        let outcome = burst(messages, rate);
        assert_eq!(reading(&outcome, "requests_sent"), 0);
        assert_eq!(reading(&outcome, "snapshots_loaded"), 1);
        assert_eq!(reading(&outcome, "filled_by_snapshot"), messages);
        assert_eq!(reading(&outcome, "messages_lost"), 0);
        assert!(outcome.repaired_after_ns <= 2 * SECOND);
    }
}

#[test]
fn f3_duplicates_and_replays_of_a_minute_ago_are_counted_exactly_and_change_nothing() {
    for ppm in [0, 10_000, 100_000, 500_000] {
        let mut scenario = scenario(3, 1_000, 72 * SECOND);
        for line in &mut scenario.lines {
            let plan = &mut line.plan;
            plan.duplicate_ppm = ppm;
            plan.duplicate_delay_ns_max = 2 * MS;
            plan.replay_ppm = 20_000;
            plan.replay_age_ns_max = 60 * SECOND;
            // Then all replays have come before the end.
            plan.until_ns = 10 * SECOND;
        }
        let outcome = sound(&scenario);
        let injected: u64 = outcome
            .paths
            .iter()
            .map(|path| path.duplicated.messages + path.replayed.messages)
            .sum();
        println!("{ppm} ppm: {injected} messages again");
        assert!(injected > 0);
        // Every message comes once more anyhow, on the other line.
        let duplicates = reading(&outcome, "messages_duplicate");
        assert_eq!(duplicates, outcome.published + injected);
        assert_untroubled(&outcome);
    }
}

#[test]
fn f4_what_is_displaced_within_a_millisecond_is_no_gap() {
    // Packets come each 10 us: 64 of them take 0.64 ms.  Ten times the mean is the longest delay.
    let displaced = [1, 8, 64].map(|packets_max| Reorder::Displacement {
        packets_max,
        wait_ns_max: 900_000,
    });
    let delayed = [10_000, 99_000].map(|mean_ns| Reorder::Delay { mean_ns });
    for reorder in displaced.into_iter().chain(delayed) {
        let mut scenario = scenario(4, 100_000, SECOND);
        scenario.end_ns = 2 * SECOND;
        one_message_a_packet(&mut scenario);
        for line in &mut scenario.lines {
            line.plan.reorder_ppm = 200_000;
            line.plan.reorder = reorder;
        }
        let outcome = sound(&scenario);
        assert!(outcome.paths.iter().all(|p| p.reordered.messages > 10_000));
        assert_untroubled(&outcome);
        assert!(outcome.latency_ns_max <= MS);
    }
}

#[test]
fn f4_what_is_later_than_a_millisecond_is_a_gap_that_a_line_or_a_server_fills() {
    let reorder = Reorder::Delay { mean_ns: 500_000 };
    let mut scenario = scenario(4, 20_000, 2 * SECOND);
    one_message_a_packet(&mut scenario);
    for line in &mut scenario.lines {
        line.plan.reorder_ppm = 200_000;
        line.plan.reorder = reorder;
    }
    let outcome = sound(&scenario);
    let missing = reading(&outcome, "messages_missing");
    let filled = reading(&outcome, "filled_by_line") + reading(&outcome, "filled_by_request");
    println!("{missing} missing, {filled} filled");
    assert!(missing > 0);
    assert_eq!(filled, missing);
    assert_filled(&outcome);
    assert!(outcome.latency_ns_max <= 5 * MS);
}

/// Both lines send a message within 0.2 ms; the virtual clock may be a step late.
const PACKED_NS: u64 = 200_010;

#[test]
fn f5_a_line_that_is_dead_or_dies_or_returns_or_flaps_costs_no_message_and_no_time() {
    let dead = |from: u64, until: u64| {
        let mut scenario = scenario(5, 50_000, until * SECOND);
        kill(&mut scenario, 0, from * SECOND, until * SECOND);
        scenario.end_ns = scenario.faults_until_ns + 100 * MS;
        scenario
    };
    let mut flaps = scenario(5, 5_000, 10 * SECOND);
    flaps.lines[0].plan.flap = Some(Flap {
        from_ns: SECOND,
        up_ns: SECOND,
        down_ns: SECOND,
    });
    // From the start; from message 100,000 on; the same, and back after ten seconds; each second.
    let mut returns = dead(2, 12);
    returns.market.messages_per_second = 50_000;
    for (scenario, downs, carried) in [
        (dead(0, 4), 1, 0..10_000),
        (dead(2, 6), 1, 99_000..110_000),
        (returns, 1, 99_000..110_000),
        (flaps, 0, 40_000..60_000),
    ] {
        let outcome = sound(&scenario);
        assert_untroubled(&outcome);
        assert!(outcome.latency_ns_max <= PACKED_NS);
        assert_eq!(of_line(&outcome, 0, "line_downs"), downs);
        assert_eq!(of_line(&outcome, 1, "line_downs"), 0);
        let came =
            of_line(&outcome, 0, "messages_won") + of_line(&outcome, 0, "messages_duplicate");
        assert!(carried.contains(&came), "{came}");
    }
}

#[test]
fn f6_a_line_that_lags_changes_neither_what_is_delivered_nor_when() {
    let run = |change: &dyn Fn(&mut Scenario)| {
        let mut scenario = scenario(6, 2_000, 8 * SECOND);
        change(&mut scenario);
        let outcome = sound(&scenario);
        assert_untroubled(&outcome);
        assert_eq!(reading(&outcome, "held_messages"), 0);
        outcome
    };
    let alone = run(&|scenario| kill(scenario, 1, 0, u64::MAX));
    for lag_ns in [MS, 50 * MS, 500 * MS, 5 * SECOND] {
        let outcome = run(&|scenario| scenario.lines[1].plan.delay_ns = lag_ns);
        assert_eq!(outcome.latency_ns_max, alone.latency_ns_max);
        assert_eq!(of_line(&outcome, 0, "messages_won"), outcome.published);
        assert_eq!(of_line(&outcome, 1, "messages_won"), 0);
        let came = outcome.paths[1].passed.messages;
        assert!(came > 10_000);
        assert_eq!(of_line(&outcome, 1, "messages_duplicate"), came);
    }
}

#[test]
fn f7_when_both_lines_were_dead_the_books_were_stale_and_are_whole_again_within_two_seconds() {
    for seconds in [1, 5, 60] {
        let until = (2 + seconds) * SECOND;
        let mut scenario = scenario(7, 1_000, until);
        for line in 0..2 {
            kill(&mut scenario, line, 2 * SECOND, until);
        }
        let outcome = sound(&scenario);
        println!(
            "{seconds} s: {} missing, {} requests, stale for {} ms, repaired after {} ms",
            reading(&outcome, "messages_missing"),
            reading(&outcome, "requests_sent"),
            outcome.stale_ns_max / MS,
            outcome.repaired_after_ns / MS
        );
        assert_filled(&outcome);
        assert_eq!(reading(&outcome, "all_lines_down"), u64::from(seconds > 3));
        // Down three seconds after the last packet, which came before the death.
        assert!(outcome.stale_ns_max >= (seconds * SECOND).saturating_sub(3 * SECOND));
        assert_eq!(reading(&outcome, "filled_by_request"), outcome.lost_on_all);
    }
}

#[test]
fn f9_a_session_that_rolls_while_a_line_brings_the_old_one_for_five_seconds_is_begun_once() {
    for told in [false, true] {
        let mut scenario = scenario(9, 1_000, 16 * SECOND);
        scenario.subscribers = 4;
        scenario.lines[1].plan.delay_ns = 5 * SECOND;
        let at_ns = 10 * SECOND;
        scenario.rolls.push(Roll { at_ns, told });
        let outcome = sound(&scenario);
        assert_untroubled(&outcome);
        assert_eq!(reading(&outcome, "sessions"), 2);
        let old = of_line(&outcome, 1, "messages_old_session");
        assert!((4_900..=5_700).contains(&old), "{old}");
        assert_eq!(of_line(&outcome, 0, "messages_old_session"), 0);
        assert_eq!(reading(&outcome, "messages_foreign"), 0);
        assert_eq!(of_line(&outcome, 1, "messages_won"), 0);
    }
}

#[test]
fn f13_a_lost_tail_is_found_by_the_next_heartbeat_and_a_minute_of_them_is_no_work() {
    let mut scenario = scenario(13, 1_000, 2_100 * MS);
    scenario.market.day = Day::Whole(Schedule::compressed(2 * SECOND));
    scenario.end_ns = 64 * SECOND;
    for line in 0..2 {
        kill(&mut scenario, line, 1_900 * MS, 2_100 * MS);
    }
    let outcome = sound(&scenario);
    assert_filled(&outcome);
    assert!(outcome.lost_on_all > 0);
    // Heartbeats come each second.
    assert!(outcome.repaired_after_ns <= SECOND + 5 * MS);
    assert_eq!(outcome.stales, 1);
    assert!(outcome.stale_ns_max <= 5 * MS);
    assert!(reading(&outcome, "requests_sent") <= 5);
    assert!((110..=150).contains(&reading(&outcome, "heartbeats")));
}

#[test]
fn f14_what_is_missing_when_the_session_ends_is_filled_while_its_end_is_told() {
    // The tail and the first telling of the end are lost.
    let mut tail = scenario(14, 1_000, 2 * SECOND);
    tail.end_ns = 1_900 * MS;
    for line in 0..2 {
        kill(&mut tail, line, 1_600 * MS, 2 * SECOND);
    }
    // A gap is open when the end comes: answers take longer than until then.
    let mut open = scenario(14, 1_000, 2 * SECOND);
    open.end_ns = 2 * SECOND;
    lose(&mut open, 1_900 * MS, 20);
    open.request_servers[0].replies.delay_ns = 600 * MS;
    for scenario in [tail, open] {
        let outcome = sound(&scenario);
        assert!(outcome.lost_on_all > 0);
        assert!(outcome.seen.contains("the end of a session was told"));
        assert_filled(&outcome);
        assert_eq!(reading(&outcome, "filled_by_request"), outcome.lost_on_all);
        assert_eq!(reading(&outcome, "forward_jumps"), 0);
    }
}

#[test]
fn f21_what_a_microburst_loses_is_repaired_within_it() {
    // 5,000 messages a second, of which each two seconds 5,000 in 50 ms.
    let mut scenario = scenario(21, 5_000, 10 * SECOND);
    scenario.market.pace = Pace::Bursts {
        every_ns: 2 * SECOND,
        for_ns: 50 * MS,
        times: 20,
    };
    one_message_a_packet(&mut scenario);
    let mut random = Random::new(21);
    // A thousandth of each burst, on both lines.
    for burst in 0..5 {
        for _ in 0..5 {
            lose(
                &mut scenario,
                burst * 2 * SECOND + random.below_u64(49 * MS),
                1,
            );
        }
    }
    let outcome = sound(&scenario);
    println!(
        "{} lost, {} gaps, stale for {} us, latency {} us",
        outcome.lost_on_all,
        reading(&outcome, "gaps_declared"),
        outcome.stale_ns_max / 1_000,
        outcome.latency_ns_max / 1_000
    );
    assert_eq!(outcome.lost_on_all, 25);
    assert_filled(&outcome);
    // A millisecond until it is a gap, then an answer of 0.4 ms.
    assert!(outcome.stale_ns_max <= 5 * MS);
    assert!(outcome.latency_ns_max <= 2 * MS);
}

/// Packets that wait for a shard.
const RING: usize = 64;

/// A shard behind its ring.
struct Slow {
    shard: Shard<NoUpdates>,
    ring: VecDeque<(u8, Vec<u8>)>,
    overruns: u64,
}

impl Slow {
    fn new(index: u16, lines: u8) -> Self {
        let mut config = ShardConfig::new(Protocol::MoldUdp64Itch50, 0, "XNAS");
        config.share = Share { index, of: 2 };
        config.arbiter.lines = lines;
        config.recovery.request_servers = 1;
        Self {
            shard: Shard::new(&config, NoUpdates, (), 0),
            ring: VecDeque::new(),
            overruns: 0,
        }
    }

    fn hand(&mut self, line: u8, packet: &[u8]) {
        if self.ring.len() < RING {
            self.ring.push_back((line, packet.to_vec()));
        } else {
            self.overruns += 1;
        }
    }

    fn turn(&mut self, now: u64, server: &mut RequestServer, store: &Store) {
        while let Some((line, packet)) = self.ring.pop_front() {
            let source = Source::Line(line);
            self.shard.handle_packet(now, source, &packet, now).unwrap();
        }
        self.shard.handle_timeout(now);
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);
        let mut packet = Vec::new();
        while self.shard.poll_request(now, &mut packet).is_some() {
            server.handle_request(now, peer, &packet, store);
            while server.poll_transmit(now, store, &mut packet).is_some() {
                let source = Source::Server(0);
                self.shard.handle_packet(now, source, &packet, now).unwrap();
            }
        }
    }
}

#[test]
fn f20_a_shard_whose_ring_is_full_recovers_alone() {
    let setup = Scenario::calm(20, 0);
    let configs: Vec<_> = setup.lines.iter().map(|line| line.config).collect();
    let mut lines = Lines::new(&configs, 0);
    let mut market = Market::new(setup.market);
    let mut store = Store::new(1 << 22);
    let mut server = RequestServer::new(&RequestServerConfig {
        requests_per_second_max: 10_000,
        ..RequestServerConfig::new(lines.session(), vec![Ipv4Addr::LOCALHOST.into()])
    });
    let mut shards = [0, 1].map(|index| Slow::new(index, 2));
    let (mut message, mut packet) = (Vec::new(), Vec::new());
    let mut now = 0;
    for _ in 0..20_000 {
        message.clear();
        now = market.next(&mut message).offset_ns;
        store.push(&message);
        lines.handle_message(now, &message).unwrap();
        while let Some(line) = lines.poll_transmit(now, &mut packet) {
            for shard in &mut shards {
                shard.hand(line, &packet);
            }
        }
        shards[0].turn(now, &mut server, &store);
        // The second one doesn't get to it for a fifth of each second.
        if now % SECOND < 800 * MS {
            shards[1].turn(now, &mut server, &store);
        }
    }
    while let Some(line) = lines.poll_transmit(now + SECOND, &mut packet) {
        for shard in &mut shards {
            shard.hand(line, &packet);
        }
    }
    for pass in 1..=3 {
        for shard in &mut shards {
            shard.turn(now + SECOND + pass * 2 * MS, &mut server, &store);
        }
    }
    println!("{} packets didn't fit the ring", shards[1].overruns);
    let [quick, slow] = shards.each_ref().map(|shard| {
        let arbiter = shard.shard.channel().arbiter();
        let asked = arbiter.recovery().counters().requests_sent;
        (shard.overruns, arbiter.counters().gaps_declared, asked)
    });
    assert_eq!(quick, (0, 0, 0));
    assert!(slow.0 > 0 && slow.1 > 0 && slow.2 > 0, "{slow:?}");
    for Slow { shard, .. } in &shards {
        assert!(shard.is_live());
        assert_eq!(shard.channel().arbiter().next_sequence(), 20_001);
        assert_eq!(shard.market().counters().faults(), 0);
    }
    for locate in 1..=setup.market.instruments {
        let book = shards[usize::from(locate % 2)]
            .shard
            .market()
            .book(locate.into());
        for side in [Side::Bid, Side::Ask] {
            let right: Vec<Level> = market.levels(locate, side, usize::MAX).collect();
            assert_eq!(book.levels(side).collect::<Vec<_>>(), right);
        }
    }
}
