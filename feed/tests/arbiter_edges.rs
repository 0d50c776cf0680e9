//! Arbitration where it is easily wrong: what heartbeats announced, what a session begins with, copies that differ,
//! loads that nobody needs any more, numbers at their end.
#![allow(clippy::unwrap_used)]

mod common;

use common::{MS, SECOND, Told, World, end_of_session, heartbeat, packet};
use tickcast_feed::arbiter::Phase;
use tickcast_feed::limits::{BACKLOG_MESSAGES_MAX, LINE_DOWN_NS};

fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

/// The packet of one message whose last byte is another.
fn another(first: u64) -> Vec<u8> {
    let mut other = packet("S", first, 1);
    let last = other.len() - 1;
    other[last] ^= 1;
    other
}

#[test]
fn what_a_heartbeat_announced_is_not_missing_any_more_when_a_line_brings_it() {
    for late in [0, 5 * MS] {
        let mut world = World::new(1, 1);
        world.both(1, 3);
        world.line(1, &heartbeat("S", 6)).unwrap();
        world.pass(late);
        world.line(0, &packet("S", 4, 2)).unwrap();
        world.pass(5 * MS);
        assert_eq!(world.delivered(), up_to(5));
        assert_eq!(world.phase(), Phase::Synchronized, "late by {late} ns");
        assert!(world.channel.arbiter().gaps().is_empty());
        assert!(world.requests().is_empty());
    }
}

#[test]
fn a_session_that_is_joined_in_its_middle_is_not_live_for_a_moment() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.line(0, &end_of_session("S", 4)).unwrap();
    world.line(0, &packet("T", 500, 2)).unwrap();
    assert_eq!(world.trust(), [true, false]);
    let begun = world
        .told
        .0
        .iter()
        .rposition(|told| matches!(told, Told::Start(_)));
    let told = world
        .told
        .0
        .iter()
        .rposition(|told| *told == Told::Trust(false));
    assert_eq!(told, begun.map(|at| at + 1), "before anything else of it");
}

#[test]
fn a_session_whose_first_packets_change_places_becomes_live_with_the_first() {
    let mut world = World::new(1, 1);
    world.line(0, &packet("S", 2, 1)).unwrap();
    world.line(0, &packet("S", 1, 1)).unwrap();
    assert_eq!(world.delivered(), up_to(2));
    assert_eq!(world.trust(), [false, true]);
}

#[test]
fn a_snapshot_is_not_needed_any_more_when_everything_came_after_all() {
    let mut world = World::new(0, 1);
    world.both(1, 1);
    world.line(0, &packet("S", 4, 2)).unwrap();
    while world.phase() != Phase::Loading {
        world.line(1, &heartbeat("S", 2)).unwrap();
        world.pass(100 * MS);
        assert!(world.now < 5 * SECOND);
    }
    let load = world.channel.poll_load().unwrap();
    world.line(1, &packet("S", 2, 3)).unwrap();
    assert_eq!(world.delivered(), up_to(5));
    assert_eq!(world.phase(), Phase::Synchronized);
    assert_eq!(world.trust(), [true, false, true]);
    assert_eq!(
        world.channel.arbiter().check_load(load.id, 6),
        Err(None),
        "its answer is nobody's"
    );
}

#[test]
fn a_snapshot_that_decides_between_copies_is_needed_though_nothing_is_missing() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.line(1, &another(2)).unwrap();
    world.pass(50 * MS);
    world.both(4, 1);
    assert_eq!(world.phase(), Phase::Loading);
    assert_eq!(world.delivered(), up_to(3));
}

#[test]
fn a_copy_that_differs_soon_after_a_snapshot_is_not_forgotten() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.line(1, &another(2)).unwrap();
    let load = world.channel.poll_load().unwrap();
    world.pass(100 * MS);
    world.loaded(load.id, 4);
    assert_eq!(world.phase(), Phase::Synchronized);
    // Of what the snapshot contains: settled.
    world.line(1, &another(3)).unwrap();
    assert_eq!(world.trust(), [true, false, true]);
    // Of what came after it.
    world.both(4, 1);
    world.line(1, &another(4)).unwrap();
    assert_eq!(world.trust(), [true, false, true, false]);
    world.pass(SECOND);
    assert_eq!(world.phase(), Phase::Loading);
    assert_eq!(world.channel.poll_load().unwrap().not_before, 5);
}

#[test]
fn a_failure_that_is_told_twice_is_one() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.line(1, &another(2)).unwrap();
    let load = world.channel.poll_load().unwrap();
    for _ in 0..5 {
        world.load_failed(load.id);
    }
    assert_eq!(world.channel.arbiter().counters().snapshots_failed, 1);
    world.loaded(load.id, 4);
    assert_eq!(world.phase(), Phase::Loading, "it failed");
}

#[test]
fn a_snapshot_server_that_an_operator_adds_is_asked_for_what_was_lost() {
    let mut world = World::new(0, 0);
    world.both(1, 1);
    world.both(4, 1);
    world.pass(3 * SECOND);
    assert_eq!(world.phase(), Phase::Lost);
    world.reconfigure(0, 1);
    world.pass(MS);
    let load = world.channel.poll_load().unwrap();
    world.loaded(load.id, 5);
    world.both(5, 1);
    assert_eq!(world.trust(), [true, false, true]);
}

#[test]
fn snapshot_servers_that_an_operator_takes_away_are_not_waited_for() {
    for told in [false, true] {
        let mut world = World::new(0, 1);
        world.both(1, 1);
        world.both(4, 1);
        world.pass(2 * SECOND + MS);
        let load = world.channel.poll_load();
        assert_eq!(world.phase(), Phase::Loading);
        world.reconfigure(0, 0);
        if told {
            world.load_failed(load.unwrap().id);
        }
        world.pass(MS);
        assert_eq!(
            (world.phase(), world.delivered()),
            (Phase::Lost, vec![1, 4])
        );
        for _ in 0..50 {
            world.pass(100 * MS);
            world.both(5, 1);
            assert!(world.channel.poll_load().is_none());
            assert_eq!(world.phase(), Phase::Lost);
        }
    }
}

#[test]
fn an_end_that_more_messages_disprove_was_none() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.line(0, &end_of_session("S", 4)).unwrap();
    assert!(world.channel.arbiter().is_ended());
    world.both(4, 3);
    assert!(!world.channel.arbiter().is_ended());
    // Nor is one that comes from before.
    world.line(0, &end_of_session("S", 4)).unwrap();
    assert!(!world.channel.arbiter().is_ended());
    world.pass(LINE_DOWN_NS);
    assert_eq!(world.trust(), [true, false]);
}

#[test]
fn a_foreign_session_between_two_heartbeats_forgets_nothing() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    for _ in 0..20 {
        // Heartbeats are never early.
        world.pass(SECOND + 20 * MS);
        world.line(0, &packet("X", 700, 2)).unwrap();
        world.pass(MS);
        world.both(4, 0);
    }
    assert_eq!(world.trust(), [true]);
    assert_eq!(world.delivered(), up_to(3));
}

#[test]
fn a_line_that_lags_while_the_other_only_beats_is_no_regression() {
    let mut world = World::new(1, 1);
    world.line(0, &packet("S", 1, 300)).unwrap();
    for number in 1..100 {
        if number % 10 == 0 {
            world.line(0, &heartbeat("S", 301)).unwrap();
        }
        world.line(1, &packet("S", number, 1)).unwrap();
        world.pass(102 * MS);
    }
    assert_eq!(world.trust(), [true]);
}

#[test]
fn a_number_that_is_not_believed_does_not_end_a_regression() {
    let mut world = World::new(1, 1);
    world.both(1, 1_000);
    for _ in 0..20 {
        world.pass(100 * MS);
        world.both(1, 3);
    }
    assert_eq!(world.trust(), [true, false]);
    world.line(0, &packet("S", 1 << 40, 3)).unwrap();
    world.pass(MS);
    assert_eq!(world.trust(), [true, false]);
}

#[test]
fn lines_that_bring_nothing_of_the_session_are_as_good_as_down() {
    let foreign = packet("X", 900, 1);
    let garbage = vec![0; 30];
    for bytes in [foreign, garbage] {
        let mut world = World::new(1, 1);
        world.both(1, 3);
        for _ in 0..29 {
            world.pass(100 * MS);
            let _ = world.line(0, &bytes);
            let _ = world.line(1, &bytes);
        }
        assert_eq!(world.trust(), [true]);
        world.pass(100 * MS);
        assert_eq!(world.trust(), [true, false]);
        world.both(4, 1);
        assert_eq!(world.trust(), [true, false, true]);
    }
}

#[test]
fn heartbeats_before_the_first_message_are_no_trouble_whatever_number_they_say() {
    for number in [0, 1] {
        let mut world = World::new(1, 1);
        for _ in 0..10 {
            world.line(0, &heartbeat("S", number)).unwrap();
            world.line(1, &heartbeat("S", number)).unwrap();
            world.pass(SECOND);
        }
        assert_eq!(world.trust(), [true], "heartbeats say {number}");
        world.both(1, 1);
        assert_eq!(world.delivered(), [1]);
    }
}

#[test]
fn a_gap_is_asked_for_whole_after_a_gap_of_one_message() {
    let mut world = World::new(1, 0);
    world.both(1, 1);
    world.both(3, 1);
    world.pass(MS);
    assert_eq!(world.requests(), [(2, 1)]);
    world.reply(&packet("S", 2, 1)).unwrap();
    world.both(1_004, 1);
    world.pass(MS);
    assert_eq!(world.requests(), [(4, 1_000)]);
    // What a server cuts short tells how much it gives at once.
    world.reply(&packet("S", 4, 30)).unwrap();
    assert_eq!(world.requests(), [(34, 30), (64, 30), (94, 30), (124, 30)]);
}

#[test]
fn a_request_that_waits_for_the_budget_is_deferred_once_however_often_it_is_looked_at() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    for gap in 0..4_u64 {
        world.both(102 + gap * 200, 100);
    }
    world.pass(MS);
    let mut recovery = *world.channel.arbiter().recovery().config();
    recovery.requests_per_second_max = 1;
    world.channel.reconfigure(recovery);
    for _ in 0..1_000 {
        world.requests();
    }
    let counters = world.channel.arbiter().recovery().counters();
    assert_eq!((counters.requests_sent, counters.requests_deferred), (1, 1));
}

/// A snapshot is loaded, since what is missing is too much to ask for, and what comes meanwhile is held: from so
/// far on that what is before it doesn't fit the table.
fn far_ahead() -> (World, u64) {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    let far = 2 + 2 * BACKLOG_MESSAGES_MAX as u64;
    world.both(far, 1);
    world.both(far + 1, 10);
    world.pass(MS);
    assert_eq!(world.phase(), Phase::Loading);
    (world, far)
}

#[test]
fn what_a_backlog_began_behind_can_still_be_filled_before_it() {
    let (mut world, far) = far_ahead();
    let load = world.channel.poll_load().unwrap();
    // It ends some messages before what is held: they are asked for.
    world.loaded(load.id, far - 100);
    assert_eq!(world.requests(), [(far - 100, 100)]);
    world.reply(&packet("S", far - 100, 100)).unwrap();
    assert_eq!(world.phase(), Phase::Synchronized);
    assert_eq!(world.channel.arbiter().next_sequence(), far + 11);
}

#[test]
fn a_late_line_does_not_cost_the_newest_messages_while_a_snapshot_is_loaded() {
    let (mut world, _) = far_ahead();
    let held = world.channel.arbiter().held();
    world.line(1, &packet("S", 2, 10)).unwrap();
    assert_eq!(world.channel.arbiter().held(), held);
    let line = world.channel.arbiter().lines()[1].counters();
    assert_eq!(line.messages_no_room, 10);
    assert_eq!(world.channel.arbiter().counters().messages_overflowed, 0);
}

#[test]
fn the_last_numbers_that_there_are_are_delivered() {
    let mut world = World::new(1, 1);
    let last = u64::MAX - 2;
    world.line(0, &packet("S", last - 9, 5)).unwrap();
    world.line(1, &packet("S", last - 9, 5)).unwrap();
    world.line(1, &packet("S", last - 4, 5)).unwrap();
    world.pass(MS);
    let load = world.channel.poll_load().unwrap();
    assert_eq!(load.not_before, last - 9);
    world.loaded(load.id, last - 6);
    world.line(0, &packet("S", last + 1, 1)).unwrap();
    world.line(0, &heartbeat("S", u64::MAX)).unwrap();
    assert_eq!(world.channel.arbiter().next_sequence(), u64::MAX);
    assert!(world.channel.arbiter().is_live());
}

#[test]
fn a_first_packet_that_nothing_confirms_is_not_where_the_session_is() {
    let mut world = World::new(1, 1);
    world.line(0, &heartbeat("S", 1 << 60)).unwrap();
    world.pass(5 * SECOND);
    assert_eq!(world.trust(), [false]);
    world.both(1, 3);
    assert_eq!(world.delivered(), up_to(3));
    assert_eq!(world.trust(), [false, true]);
}

#[test]
fn a_gap_that_is_filled_by_drops_is_a_snapshots_business_after_a_while() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    world.both(1_000, 1);
    world.pass(MS);
    for number in 2.. {
        if world.phase() == Phase::Loading {
            break;
        }
        world.reply(&packet("S", number, 1)).unwrap();
        world.both(1_001, 0);
        world.pass(SECOND);
        assert!(world.now < 12 * SECOND);
    }
    let load = world.channel.poll_load().unwrap();
    // What is still missing behind the snapshot gets as much time again.
    world.loaded(load.id, 900);
    world.pass(MS);
    assert_eq!(world.requests(), [(900, 100)]);
}

#[test]
fn every_message_that_was_missing_is_accounted_for() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    world.both(10, 1);
    world.pass(MS);
    world.requests();
    world.line(0, &packet("S", 2, 1)).unwrap();
    world.reply(&packet("S", 3, 2)).unwrap();
    world.pass(2 * SECOND);
    let load = world.channel.poll_load().unwrap();
    // Noticed while it is loaded, and so much that nothing can be held.
    world.both(20, 1);
    for gap in 0..300 {
        world.both(100 + 10 * gap, 1);
    }
    world.assert_missing_accounted();
    world.loaded(load.id, 15);
    world.assert_missing_accounted();
    world.line(0, &packet("T", 1, 1)).unwrap();
    world.line(0, &packet("T", 5, 1)).unwrap();
    world.pass(MS);
    world.line(0, &packet("U", 1, 1)).unwrap();
    world.assert_missing_accounted();
    let counters = world.channel.arbiter().counters();
    assert!(counters.messages_lost > 3 && counters.filled_by_snapshot > 0);
}

#[test]
fn a_receiver_that_was_stopped_for_ten_seconds_goes_on_without_a_storm() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.both(6, 3);
    world.pass(MS);
    assert_eq!(world.requests().len(), 1);
    world.now += 10 * SECOND;
    // What waited in the sockets is handled before the timers.
    world.both(9, 3);
    world.reply(&packet("S", 4, 2)).unwrap();
    let mut asked = 0;
    for _ in 0..100 {
        world.pass(MS);
        asked += world.requests().len();
    }
    assert_eq!(asked, 0);
}

#[test]
fn time_that_goes_backwards_changes_nothing() {
    let mut world = World::new(1, 1);
    world.now = 60 * SECOND;
    world.channel.handle_timeout(world.now, &mut world.told);
    world.both(1, 3);
    world.now = 10 * SECOND;
    world.both(4, 3);
    world.channel.handle_timeout(world.now, &mut world.told);
    world.both(8, 1);
    world.pass(MS);
    world.both(7, 1);
    assert_eq!(world.delivered(), up_to(8));
}
