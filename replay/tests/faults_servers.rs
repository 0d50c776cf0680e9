//! Faults of request and snapshot servers, through the simulation: R1 to R9 of the catalogue in
//! `docs/recovery.md`.  Each run is checked by the simulation's own invariants; what is asserted here is what
//! the catalogue adds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;

use faults::{MS, SECOND, assert_filled, lose, one_message_a_packet, reading, scenario, sound};
use tickcast_feed::limits::GAP_AGE_NS_MAX;
use tickcast_replay::exchange::Manner;
use tickcast_replay::fault::Interval;
use tickcast_replay::sim::{Outcome, RequestManner, Roll, Scenario};

/// Both lines lose so many messages in a row once; request servers of these manners.
fn gap(seed: u64, messages: u64, manners: &[RequestManner]) -> Scenario {
    let mut scenario = scenario(seed, 2_000, 4 * SECOND);
    one_message_a_packet(&mut scenario);
    lose(&mut scenario, 100 * MS, messages);
    let honest = scenario.request_servers.remove(0);
    for &manner in manners {
        let mut server = honest.clone();
        server.manner = manner;
        scenario.request_servers.push(server);
    }
    scenario
}

/// A thousand messages, each between others, lost within a second.
fn thousand_gaps(manner: RequestManner) -> Scenario {
    let mut scenario = gap(1, 1, &[manner]);
    scenario.market.messages_per_second = 20_000;
    for at in 1..1_000 {
        lose(&mut scenario, (100 + at) * MS, 1);
    }
    scenario
}

/// A snapshot was loaded and nothing lost.
fn assert_loaded(outcome: &Outcome, snapshots: std::ops::RangeInclusive<u64>) {
    let loaded = reading(outcome, "snapshots_loaded");
    assert!(snapshots.contains(&loaded), "{loaded} snapshots");
    assert_eq!(reading(outcome, "messages_lost"), 0);
}

#[test]
fn r1_a_dead_server_is_asked_five_times_and_a_snapshot_is_there_within_two_seconds() {
    let outcome = sound(&gap(1, 10, &[RequestManner::Dead]));
    assert_eq!(reading(&outcome, "requests_sent"), 5);
    assert_eq!(reading(&outcome, "requests_exhausted"), 1);
    assert_loaded(&outcome, 1..=1);
    assert!(outcome.stale_ns_max <= 2 * SECOND);
}

#[test]
fn r1_a_thousand_gaps_and_a_dead_server_are_at_most_a_hundred_requests_a_second() {
    let outcome = sound(&thousand_gaps(RequestManner::Dead));
    assert_eq!(outcome.lost_on_all, 1_000);
    let sent = reading(&outcome, "requests_sent");
    println!(
        "{sent} requests, stale for {} ms",
        outcome.stale_ns_max / MS
    );
    // The gaps come within a second, and the last is given up two seconds later.
    assert!(sent <= 3 * 100, "{sent}");
    assert!(outcome.stale_ns_max <= 3 * SECOND);
    assert_loaded(&outcome, 1..=10);
}

#[test]
fn r2_answers_that_come_when_nobody_waits_any_more_change_nothing() {
    let mut scenario = gap(2, 10, &[RequestManner::Honest]);
    scenario.request_servers[0].replies.delay_ns = 2 * SECOND;
    let outcome = sound(&scenario);
    assert_eq!(reading(&outcome, "replies"), 5);
    assert_eq!(reading(&outcome, "replies_useless"), 5);
    assert_eq!(reading(&outcome, "filled_by_request"), 0);
    assert_loaded(&outcome, 1..=1);
}

#[test]
fn r2_of_answers_to_the_same_request_asked_again_one_is_used() {
    let mut scenario = gap(2, 10, &[RequestManner::Honest]);
    scenario.request_servers[0].replies.delay_ns = 1_200 * MS;
    let outcome = sound(&scenario);
    assert_eq!(reading(&outcome, "replies"), 5);
    assert_eq!(reading(&outcome, "replies_useless"), 4);
    assert_eq!(reading(&outcome, "filled_by_request"), 10);
    assert_filled(&outcome);
}

#[test]
fn r3_small_answers_of_which_half_are_lost_fill_the_gap_bit_by_bit() {
    let mut by_requests = 0;
    for seed in 0..20 {
        let mut scenario = gap(seed, 2_000, &[RequestManner::Honest]);
        let replies = &mut scenario.request_servers[0].replies;
        replies.loss_ppm = 500_000;
        replies.until_ns = scenario.faults_until_ns;
        let outcome = sound(&scenario);
        assert!(reading(&outcome, "requests_timed_out") > 0);
        assert_loaded(&outcome, 0..=1);
        by_requests += u32::from(reading(&outcome, "snapshots_loaded") == 0);
    }
    println!("{by_requests} of 20 by requests alone");
    // A request that five times in a row isn't answered is a snapshot's business, whatever others were.
    assert!(by_requests > 0);
}

#[test]
fn r4_answers_with_more_than_was_asked_for_bring_only_what_is_missing() {
    let mut scenario = gap(4, 500, &[RequestManner::Generous]);
    for at in 2..10 {
        lose(&mut scenario, at * 300 * MS, 3);
    }
    let outcome = sound(&scenario);
    assert_eq!(reading(&outcome, "filled_by_request"), outcome.lost_on_all);
    assert_filled(&outcome);
}

#[test]
fn r5_lies_are_of_no_use_and_what_is_true_is_used() {
    for seed in 0..10 {
        let mut scenario = gap(seed, 300, &[RequestManner::Lying]);
        for at in 2..10 {
            lose(&mut scenario, at * 300 * MS, 3);
        }
        let outcome = sound(&scenario);
        assert!(reading(&outcome, "replies_useless") > 0);
        assert!(reading(&outcome, "filled_by_request") > 0);
        assert_loaded(&outcome, 0..=10);
    }
}

#[test]
fn r6_a_spent_quota_is_waited_for_and_a_server_that_refuses_for_ten_seconds_is_left_for_the_next() {
    // Ten answers a second: asked again within that second, the server is silent.
    for (manners, changed, loaded) in [
        (&[RequestManner::Quota][..], 0, 1),
        (&[RequestManner::Quota, RequestManner::Honest], 1, 0),
    ] {
        let outcome = sound(&gap(6, 1_000, manners));
        assert!(reading(&outcome, "requests_timed_out") > 0);
        assert!(reading(&outcome, "filled_by_request") > 0);
        assert_eq!(reading(&outcome, "request_servers_changed"), changed);
        assert_loaded(&outcome, loaded..=loaded);
        assert!(outcome.stale_ns_max <= 2 * SECOND);
    }
    let mut refuses = gap(6, 1_000, &[RequestManner::Honest, RequestManner::Honest]);
    refuses.request_servers[0].requests.dead = vec![Interval {
        from_ns: 0,
        until_ns: 10 * SECOND,
    }];
    let outcome = sound(&refuses);
    assert_eq!(reading(&outcome, "request_servers_changed"), 1);
    assert_filled(&outcome);
    assert!(outcome.stale_ns_max <= 2 * SECOND);

    refuses.request_servers.truncate(1);
    let outcome = sound(&refuses);
    assert_eq!(reading(&outcome, "requests_exhausted"), 1);
    assert_loaded(&outcome, 1..=1);
    assert!(outcome.stale_ns_max <= 2 * SECOND);
}

#[test]
fn r7_a_thousand_gaps_in_a_second_are_asked_for_by_neighbourhood() {
    let mut scenario = thousand_gaps(RequestManner::Honest);
    scenario.request_servers[0].replies.delay_ns = 10 * MS;
    let outcome = sound(&scenario);
    println!(
        "{} gaps, {} requests",
        reading(&outcome, "gaps_declared"),
        reading(&outcome, "requests_sent")
    );
    assert_eq!(outcome.lost_on_all, 1_000);
    assert_eq!(reading(&outcome, "filled_by_request"), 1_000);
    assert_filled(&outcome);
    assert!(reading(&outcome, "requests_sent") <= 700);
}

#[test]
fn r7_more_ranges_than_are_kept_are_a_snapshots_business_long_before_their_time() {
    let outcome = sound(&thousand_gaps(RequestManner::Dead));
    // Each 257th gap leads to one, in a quarter of a second: requests are given up after 1.55 s.
    assert_loaded(&outcome, 3..=10);
}

/// Without a request server another line could still have what is missing: so long it is waited for.
const LINES_WAITED_FOR_NS: u64 = GAP_AGE_NS_MAX;

/// Somebody who joins late, with snapshot servers that behave like this in turn.
fn late(manners: &[Option<Manner>], faults_until_ns: u64) -> Scenario {
    let mut scenario = scenario(8, 1_000, faults_until_ns);
    scenario.request_servers.clear();
    scenario.join_ns = SECOND;
    scenario.subscribers = 2;
    let honest = scenario.snapshot_servers.remove(0);
    for &manner in manners {
        let mut server = honest;
        server.manner = manner;
        scenario.snapshot_servers.push(server);
    }
    scenario
}

#[test]
fn r8_a_snapshot_server_that_fails_is_tried_three_times_then_again_and_no_half_of_a_book_is_seen() {
    for manner in [
        None,
        Some(Manner::DiesHalfWay),
        Some(Manner::NeverEnds),
        Some(Manner::TooOld),
        Some(Manner::Garbage),
        Some(Manner::Rejects),
        Some(Manner::OtherSession),
        Some(Manner::Silent),
    ] {
        let outcome = sound(&late(&[manner], 20 * SECOND));
        let failed = reading(&outcome, "snapshots_failed");
        println!(
            "{manner:?}: {failed} failed, repaired after {} ms",
            outcome.repaired_after_ns / MS
        );
        assert!(failed >= 3);
        // The third failure in a row and each one after it.
        assert_eq!(reading(&outcome, "snapshots_exhausted"), failed - 2);
        assert_eq!(reading(&outcome, "snapshots_loaded"), 1);
        // Stale from the first packet on until the server behaves.
        assert_eq!(outcome.stales, 1);
        assert!(outcome.stale_ns_max >= 18 * SECOND);
    }
}

#[test]
fn r8_the_next_server_is_tried_and_a_slow_one_is_waited_for() {
    let slow = Manner::Slow { pause_ns: 5 * MS };
    let manners = [Some(Manner::DiesHalfWay), Some(Manner::TooOld), Some(slow)];
    let outcome = sound(&late(&manners, 20 * SECOND));
    assert_eq!(reading(&outcome, "snapshots_failed"), 2);
    assert_eq!(reading(&outcome, "snapshots_loaded"), 1);
    assert_eq!(reading(&outcome, "snapshots_exhausted"), 0);
    assert!(outcome.stale_ns_max <= LINES_WAITED_FOR_NS + SECOND);
}

#[test]
fn r8_a_session_that_rolls_during_the_load_ends_it() {
    let mut scenario = late(&[Some(Manner::Slow { pause_ns: 100 * MS })], 10 * SECOND);
    scenario.rolls.push(Roll {
        at_ns: 3_500 * MS,
        told: false,
    });
    let outcome = sound(&scenario);
    let seen = "a session rolled while a snapshot was loaded";
    assert!(outcome.seen.contains(seen));
    assert_eq!(reading(&outcome, "sessions"), 2);
    // The new one is heard from its first message on.
    assert_eq!(reading(&outcome, "snapshots_loaded"), 0);
    assert!(outcome.stale_ns_max <= 2_510 * MS);
}

#[test]
fn r9_of_two_servers_one_dead_and_one_lying_nothing_wrong_is_taken() {
    for seed in 0..10 {
        let manners = [RequestManner::Dead, RequestManner::Lying];
        let mut scenario = gap(seed, 100, &manners);
        scenario.join_ns = 50 * MS;
        lose(&mut scenario, 3 * SECOND, 100);
        let honest = scenario.snapshot_servers[0];
        scenario.snapshot_servers = [None, Some(Manner::Garbage)]
            .map(|manner| tickcast_replay::sim::SnapshotSetup { manner, ..honest })
            .to_vec();
        let outcome = sound(&scenario);
        assert!(reading(&outcome, "replies_useless") > 0);
        assert!(outcome.repaired_after_ns <= 5 * SECOND);
    }
}
