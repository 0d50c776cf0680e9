//! Arbitration, gaps and their repair, one test a rule.  F and R numbers are those of the fault catalogue in
//! `docs/recovery.md`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{MS, SECOND, Told, World, end_of_session, heartbeat, message, packet};
use tickcast_feed::arbiter::Phase;
use tickcast_feed::limits::{FORWARD_JUMP_MESSAGES_MAX, HELD_MESSAGES_MAX, REQUEST_MESSAGES_MAX};
use tickcast_feed::session::Start;

fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

#[test]
fn the_first_copy_wins_and_the_second_is_a_duplicate_whatever_the_line() {
    let mut world = World::new(0, 0);
    world.both(1, 3);
    world.line(1, &packet("S", 4, 2)).unwrap();
    world.line(0, &packet("S", 4, 2)).unwrap();
    assert_eq!(world.delivered(), up_to(5));
    let [a, b] = world.channel.arbiter().lines() else {
        panic!("two lines")
    };
    assert_eq!(
        (a.counters().messages_won, b.counters().messages_won),
        (3, 2)
    );
    assert_eq!(b.counters().messages_duplicate, 3);
    world.assert_accounted(0, 5);
    world.assert_accounted(1, 5);
    assert_eq!(world.trust(), [true]);
}

#[test]
fn f4_what_arrives_out_of_order_within_the_window_is_no_gap() {
    let mut world = World::new(1, 1);
    world.line(0, &packet("S", 1, 1)).unwrap();
    for first in [5, 3, 4, 2] {
        world.line(0, &packet("S", first, 1)).unwrap();
        world.pass(MS / 8);
    }
    world.pass(MS);
    assert_eq!(world.delivered(), up_to(5));
    assert!(world.requests().is_empty());
    assert_eq!(world.channel.arbiter().counters().gaps_declared, 0);
    assert_eq!(world.trust(), [true]);
}

#[test]
fn f6_the_other_line_fills_a_gap_and_needs_no_server() {
    let mut world = World::new(0, 0);
    world.both(1, 1);
    world.line(0, &packet("S", 5, 1)).unwrap();
    world.pass(50 * MS);
    assert_eq!(
        (world.delivered(), world.phase()),
        (up_to(1), Phase::GapFill)
    );
    world.line(1, &packet("S", 2, 3)).unwrap();
    assert_eq!(world.delivered(), up_to(5));
    assert_eq!(world.trust(), [true, false, true]);
    let counters = world.channel.arbiter().counters();
    assert_eq!((counters.gaps_declared, counters.filled_by_line), (1, 3));
}

#[test]
fn f8_a_packet_that_straddles_what_was_delivered_gives_its_suffix() {
    let mut world = World::new(0, 0);
    world.line(0, &packet("S", 1, 5)).unwrap();
    world.line(1, &packet("S", 3, 6)).unwrap();
    world.line(0, &packet("S", 6, 1)).unwrap();
    assert_eq!(world.delivered(), up_to(8));
    world.assert_accounted(1, 6);
}

#[test]
fn f8_a_reply_that_ends_beyond_the_gap_closes_it() {
    let mut world = World::new(1, 0);
    world.both(1, 2);
    world.both(6, 2);
    world.pass(MS);
    assert_eq!(world.requests(), [(3, 3)]);
    world.reply(&packet("S", 3, 9)).unwrap();
    assert_eq!(
        world.delivered(),
        up_to(7),
        "an answer brings only what is missing"
    );
    assert_eq!(world.phase(), Phase::Synchronized);
    assert!(world.requests().is_empty());
}

#[test]
fn f9_a_session_that_rolls_is_cleared_once_and_the_old_one_is_never_mixed_in() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.line(0, &packet("T", 1, 2)).unwrap();
    for round in 0..50 {
        world.line(1, &packet("S", 4 + round, 1)).unwrap();
        world.pass(100 * MS);
        world.line(0, &packet("T", 3 + round, 1)).unwrap();
    }
    let starts = world
        .told
        .0
        .iter()
        .filter(|told| matches!(told, Told::Start(_)));
    assert_eq!(starts.count(), 2);
    let at = world
        .told
        .0
        .iter()
        .position(|told| *told == Told::Start(Start::Roll))
        .unwrap();
    let numbers: Vec<_> = world.told.0[at..]
        .iter()
        .filter_map(|told| match told {
            Told::Message(number, _) => Some(*number),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, up_to(52));
    let line = world.channel.arbiter().lines()[1].counters();
    assert_eq!(
        (line.packets_old_session, line.messages_old_session),
        (50, 50)
    );
    world.assert_accounted(1, 53);
}

#[test]
fn f10_a_sequence_that_goes_back_delivers_nothing_and_is_an_alarm_within_two_seconds() {
    let mut world = World::new(1, 1);
    world.both(1, 1_000);
    for _ in 0..15 {
        world.pass(100 * MS);
        world.both(1, 3);
    }
    assert_eq!(world.delivered().len(), 1_000);
    let counters = world.channel.arbiter().counters();
    assert_eq!(counters.sequence_regressed, 1);
    assert_eq!(world.trust(), [true, false]);
    world.both(1_001, 1);
    assert_eq!(world.trust(), [true, false, true]);
}

#[test]
fn f11_a_jump_too_far_is_never_asked_for_and_a_single_one_is_not_believed() {
    for jump in [FORWARD_JUMP_MESSAGES_MAX + 1, 1 << 32, 1 << 63] {
        let mut world = World::new(1, 1);
        world.both(1, 3);
        world.line(0, &packet("S", 4 + jump, 2)).unwrap();
        world.both(4, 1);
        assert_eq!(
            (world.delivered(), world.phase()),
            (up_to(4), Phase::Synchronized)
        );
        world.line(1, &packet("S", 6 + jump, 2)).unwrap();
        world.pass(5 * MS);
        assert_eq!(world.channel.arbiter().counters().forward_jumps, 1);
        assert_eq!(world.phase(), Phase::Loading);
        assert!(world.requests().is_empty());
        let load = world.channel.poll_load().unwrap();
        assert_eq!(load.not_before, 6 + jump);
    }
}

#[test]
fn f11_numbers_that_end_beyond_64_bits_are_refused() {
    let mut world = World::new(1, 1);
    let mut bad = packet("S", 1, 3);
    bad[10..18].copy_from_slice(&(u64::MAX - 1).to_be_bytes());
    assert!(world.line(0, &bad).is_err());
    let line = world.channel.arbiter().lines()[0].counters();
    assert_eq!((line.packets, line.rejected_bad_value), (1, 1));
    world.line(0, &heartbeat("S", u64::MAX)).unwrap();
    world.line(1, &heartbeat("S", u64::MAX)).unwrap();
    world.pass(SECOND);
    assert!(world.delivered().is_empty());
}

#[test]
fn f13_a_heartbeat_shows_the_tail_that_both_lines_lost() {
    let mut world = World::new(1, 0);
    world.both(1, 3);
    world.line(1, &heartbeat("S", 6)).unwrap();
    world.pass(MS);
    assert_eq!(world.requests(), [(4, 2)]);
    world.reply(&packet("S", 4, 2)).unwrap();
    assert_eq!(
        (world.delivered(), world.phase()),
        (up_to(5), Phase::Synchronized)
    );
}

#[test]
fn f13_heartbeats_for_a_minute_are_no_work_and_no_trouble() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    for _ in 0..60 {
        world.pass(SECOND);
        world.line(0, &heartbeat("S", 4)).unwrap();
        world.line(1, &heartbeat("S", 4)).unwrap();
    }
    assert_eq!(world.trust(), [true]);
    assert!(world.requests().is_empty() && world.channel.poll_load().is_none());
}

#[test]
fn f14_the_end_of_the_session_shows_its_tail_which_is_still_filled() {
    let mut world = World::new(1, 0);
    world.both(1, 3);
    for _ in 0..3 {
        world.line(0, &end_of_session("S", 9)).unwrap();
        world.pass(MS);
    }
    assert!(world.channel.arbiter().is_ended());
    assert_eq!(world.requests(), [(4, 5)]);
    world.reply(&packet("S", 4, 5)).unwrap();
    assert_eq!(world.delivered(), up_to(8));
    // The lines are silent afterwards: no trouble.
    world.pass(60 * SECOND);
    assert_eq!(world.trust(), [true, false, true]);
}

#[test]
fn f14_a_gap_that_outlasts_the_session_is_lost_and_data_behind_the_end_is_taken() {
    let mut world = World::new(1, 0);
    world.both(1, 3);
    world.line(0, &end_of_session("S", 6)).unwrap();
    world.pass(MS);
    for _ in 0..4_000 {
        world.requests();
        world.pass(MS);
    }
    assert_eq!(world.phase(), Phase::Lost);
    assert_eq!(world.channel.arbiter().counters().messages_lost, 2);
    assert_eq!(world.trust(), [true, false]);
    world.line(0, &packet("S", 6, 1)).unwrap();
    assert_eq!(world.delivered(), [1, 2, 3, 6]);
}

#[test]
fn f15_every_flipped_bit_is_refused_whole_or_taken_whole_and_the_good_copy_is_delivered() {
    let good = packet("S", 4, 60);
    assert!(good.len() >= 1_270);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut world = World::new(1, 1);
        world.both(1, 3);
        let before = world.told.0.len();
        let taken = world.line(0, &bad);
        if taken.is_err() {
            assert_eq!(
                world.told.0.len(),
                before,
                "bit {bit}: part of it was delivered"
            );
        }
        world.line(1, &good).unwrap();
        let told: Vec<u64> = world
            .told
            .0
            .iter()
            .filter_map(|told| match told {
                Told::Message(number, _) => Some(*number),
                _ => None,
            })
            .collect();
        assert!(told.is_sorted() && told.windows(2).all(|pair| pair[0] < pair[1]));
        if bit < 20 * 8 || taken.is_err() {
            // Framing: nothing of the bad copy survives beside the good one.
            let wrong = world
                .told
                .0
                .iter()
                .any(|told| matches!(told, Told::Message(number, says) if number != says));
            assert!(
                !wrong || world.phase() == Phase::Loading,
                "bit {bit}: {:?}",
                world.phase()
            );
        }
    }
}

#[test]
fn f16_a_packet_that_lies_about_its_lengths_is_refused_before_any_message_of_it() {
    let mut world = World::new(0, 0);
    world.both(1, 1);
    let mut length = packet("S", 2, 2);
    length[20..22].copy_from_slice(&[0xff, 0xff]);
    let mut count = packet("S", 2, 2);
    count[18..20].copy_from_slice(&0xfffe_u16.to_be_bytes());
    let mut zero = packet("S", 2, 2);
    zero[20..22].copy_from_slice(&[0, 0]);
    let mut short_type = packet("S", 2, 1);
    short_type[22] = b'A';
    let runts: Vec<Vec<u8>> = (0..20).map(|length| vec![b'S'; length]).collect();
    let large = vec![0; 65_507];
    let bad: Vec<Vec<u8>> = [length, count, zero, short_type, large]
        .into_iter()
        .chain(runts)
        .collect();
    for packet in &bad {
        assert!(world.line(0, packet).is_err());
    }
    assert_eq!(world.delivered(), up_to(1));
    let line = world.channel.arbiter().lines()[0].counters();
    assert_eq!(line.rejected(), bad.len() as u64);
    world.both(2, 2);
    assert_eq!(world.delivered(), up_to(3));
}

#[test]
fn f17_an_unknown_type_and_a_longer_tail_are_passed_over_by_their_length() {
    use tickcast_codecs::SessionId;
    use tickcast_codecs::moldudp64::PacketBuilder;
    let mut world = World::new(0, 0);
    let mut bytes = Vec::new();
    let session = SessionId::from_padded(b"S");
    let mut builder = PacketBuilder::new(&mut bytes, session, 1, 1_400);
    builder.push(b"\x7funknown").unwrap();
    let mut longer = message(2).to_vec();
    longer.extend_from_slice(b"tail");
    builder.push(&longer).unwrap();
    builder.push(&message(3)).unwrap();
    world.line(0, &bytes).unwrap();
    assert_eq!(world.delivered(), [2, 3]);
    let counters = world.channel.counters();
    assert_eq!((counters.unknown_types, counters.by_type[0x7f]), (1, 1));
    assert_eq!(world.channel.arbiter().next_sequence(), 4);
}

#[test]
fn f18_a_foreign_session_is_counted_and_changes_nothing() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    for round in 0..100 {
        world.line(0, &packet("X", 700 + round, 2)).unwrap();
        world.line(1, &heartbeat("X", 9)).unwrap();
        world.both(4 + round, 1);
        world.pass(10 * MS);
    }
    assert_eq!(world.delivered(), up_to(103));
    let line = world.channel.arbiter().lines()[0].counters();
    assert_eq!((line.packets_foreign, line.messages_foreign), (100, 200));
    assert_eq!(world.trust(), [true]);
}

#[test]
fn too_much_behind_a_hole_declares_it_before_its_time() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    let mut next = 3;
    while next < 3 + HELD_MESSAGES_MAX as u64 + 100 {
        world.line(0, &packet("S", next, 100)).unwrap();
        next += 100;
    }
    assert_eq!(world.now, 0);
    assert_eq!(world.phase(), Phase::GapFill);
    assert_eq!(world.requests(), [(2, 1)]);
    world.reply(&packet("S", 2, 1)).unwrap();
    assert_eq!(world.delivered(), up_to(next - 1));
}

#[test]
fn r1_a_dead_server_is_asked_five_times_then_a_snapshot_is_wanted_within_two_seconds() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    world.both(3, 1);
    let mut asked = 0;
    while world.phase() != Phase::Loading {
        world.pass(MS);
        asked += world.requests().len();
        assert!(world.now < 2 * SECOND);
    }
    assert_eq!(asked, 5);
    assert_eq!(world.channel.poll_load().unwrap().not_before, 3);
    assert!(world.channel.poll_load().is_none(), "told once");
}

#[test]
fn r1_a_thousand_gaps_and_a_dead_server_are_no_storm() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    let mut asked = 0;
    for gap in 0..1_000_u64 {
        world.both(3 + gap * 100, 99);
        world.pass(MS);
        asked += world.requests().len();
    }
    assert!(asked <= 200, "{asked}");
    assert_eq!(world.phase(), Phase::Loading);
}

#[test]
fn r2_an_answer_that_comes_late_is_used_at_most_once() {
    let mut world = World::new(1, 0);
    world.both(1, 1);
    world.both(4, 1);
    world.pass(MS);
    world.requests();
    world.pass(500 * MS);
    world.requests();
    world.reply(&packet("S", 2, 2)).unwrap();
    world.reply(&packet("S", 2, 2)).unwrap();
    assert_eq!(world.delivered(), up_to(4));
    assert_eq!(world.channel.arbiter().counters().replies_useless, 1);
}

#[test]
fn r3_answers_with_fewer_messages_than_asked_are_followed_by_a_request_for_the_rest() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    world.both(1_002, 1);
    let mut lost = true;
    while world.phase() != Phase::Synchronized || world.delivered().len() < 1_002 {
        world.pass(MS);
        for (first, count) in world.requests() {
            lost = !lost;
            if !lost {
                let count = u64::from(count).min(30);
                world.reply(&packet("S", first, count)).unwrap();
            }
        }
        assert!(world.now < 30 * SECOND);
    }
    assert_eq!(world.delivered(), up_to(1_002));
    assert_eq!(world.channel.arbiter().counters().filled_by_request, 1_000);
}

#[test]
fn r5_lies_are_dropped_and_counted_and_the_first_copy_stays() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.both(6, 1);
    world.pass(MS);
    assert_eq!(world.requests(), [(4, 2)]);
    world.reply(&packet("X", 4, 2)).unwrap();
    world.reply(&packet("S", 900, 2)).unwrap();
    let mut other = packet("S", 2, 1);
    let last = other.len() - 1;
    other[last] ^= 1;
    world.reply(&other).unwrap();
    let mut garbage = packet("S", 4, 2);
    garbage[22] = b'A';
    assert!(world.reply(&garbage).is_err());
    assert_eq!(
        (world.delivered(), world.phase()),
        (up_to(3), Phase::GapFill)
    );
    let replies = world.channel.arbiter().replies().counters();
    assert_eq!(replies.messages_foreign, 2);
    assert_eq!(replies.messages_conflicting, 1);
    assert_eq!(replies.rejected(), 1);
    world.reply(&packet("S", 4, 2)).unwrap();
    assert_eq!(world.delivered(), up_to(6));
}

#[test]
fn lines_that_differ_can_not_both_be_right_and_a_snapshot_decides() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    let mut other = packet("S", 2, 1);
    let last = other.len() - 1;
    other[last] ^= 1;
    world.line(1, &other).unwrap();
    assert_eq!(world.phase(), Phase::Loading);
    assert_eq!(world.trust(), [true, false]);
    assert_eq!(world.channel.poll_load().unwrap().not_before, 4);
}

#[test]
fn copies_that_differ_before_their_turn_are_both_forgotten_and_a_third_decides() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    let mut wrong = packet("S", 3, 1);
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    world.line(0, &wrong).unwrap();
    world.line(1, &packet("S", 3, 1)).unwrap();
    world.line(1, &packet("S", 2, 1)).unwrap();
    world.line(0, &packet("S", 3, 1)).unwrap();
    assert_eq!(world.delivered(), up_to(3));
    assert_eq!(world.channel.arbiter().counters().messages_evicted, 1);
}

#[test]
fn r6_without_budget_a_request_waits_and_then_goes() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    let mut asked = 0;
    for gap in 0..120_u64 {
        world.both(102 + gap * 200, 100);
    }
    world.pass(MS);
    for _ in 0..120 {
        for (first, count) in world.requests() {
            asked += 1;
            // The server answers other questions than those that were asked: nothing is given back.
            assert!(first > 0 && count > 0);
        }
        world.pass(MS / 10);
    }
    assert!(asked <= 100 + 2, "{asked}");
}

#[test]
fn r7_single_messages_missing_close_together_are_asked_for_together() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    for gap in 0..200_u64 {
        world.both(3 + gap * 5, 4);
    }
    world.pass(MS);
    let asked = world.requests();
    assert_eq!(asked, [(2, 996)]);
}

#[test]
fn r7_more_ranges_than_the_limit_are_a_snapshots_business() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    for gap in 0..300_u64 {
        world.both(3 + gap * 100, 99);
    }
    world.pass(MS);
    assert_eq!(world.phase(), Phase::Loading);
    assert!(world.requests().is_empty());
}

#[test]
fn more_missing_than_one_request_asks_for_is_a_snapshots_business() {
    let mut world = World::new(1, 1);
    world.both(1, 1);
    let ahead = 2 + REQUEST_MESSAGES_MAX;
    world.both(ahead, 1);
    world.pass(MS);
    assert_eq!(world.requests().len(), 1);
    let mut world = World::new(1, 1);
    world.both(1, 1);
    world.both(ahead + 1, 1);
    world.both(ahead + 2, 1);
    world.pass(MS);
    assert_eq!(world.phase(), Phase::Loading);
}

#[test]
fn f5_a_dead_line_costs_nothing_and_is_down_within_three_seconds() {
    let mut world = World::new(1, 1);
    for number in 1..=50 {
        world.line(1, &packet("S", number, 1)).unwrap();
        world.pass(100 * MS);
    }
    assert_eq!(world.delivered(), up_to(50));
    assert_eq!(world.trust(), [true]);
    let [a, b] = world.channel.arbiter().lines() else {
        panic!("two lines")
    };
    assert_eq!((a.state().name(), b.state().name()), ("down", "up"));
    assert!(world.requests().is_empty());
}

#[test]
fn f7_all_lines_down_is_told_within_three_seconds_and_over_with_the_next_packet() {
    let mut world = World::new(1, 1);
    world.both(1, 3);
    world.pass(3 * SECOND);
    assert_eq!(world.trust(), [true, false]);
    world.both(4, 1);
    assert_eq!(world.trust(), [true, false, true]);
}

#[test]
fn without_any_server_a_gap_is_lost_when_no_line_can_have_it() {
    let mut world = World::new(0, 0);
    world.line(0, &packet("S", 1, 1)).unwrap();
    world.pass(4 * SECOND);
    world.line(0, &packet("S", 2, 1)).unwrap();
    world.line(0, &packet("S", 5, 1)).unwrap();
    world.pass(MS);
    assert_eq!(world.delivered(), [1, 2, 5]);
    assert!(world.told.0.contains(&Told::Skip(3, 4)));
    // What was given up comes late.
    world.line(1, &packet("S", 3, 2)).unwrap();
    assert_eq!(world.delivered(), [1, 2, 5]);
    assert_eq!(
        world.channel.arbiter().lines()[1].counters().messages_late,
        2
    );
    assert_eq!(world.trust().last(), Some(&false));
    // A new session ends it.
    world.line(0, &packet("T", 1, 1)).unwrap();
    assert_eq!(world.trust().last(), Some(&true));
}

#[test]
fn what_comes_behind_a_gap_doesnt_make_it_younger() {
    let mut world = World::new(0, 1);
    world.both(1, 1);
    for number in 0..3_000 {
        world.both(5 + number, 1);
        world.pass(MS);
    }
    assert_eq!(world.phase(), Phase::Loading);
}

#[test]
fn books_of_a_venue_that_wasnt_heard_yet_are_stale_and_live_with_the_first_packet() {
    use tickcast_book::{BookState, Update, UpdateKind};
    use tickcast_codecs::protocol::Protocol;
    use tickcast_feed::{Shard, ShardConfig, Source};
    let config = ShardConfig::new(Protocol::MoldUdp64Itch50, 0, "XNAS");
    let mut shard = Shard::new(&config, Vec::<Update>::new(), (), 0);
    assert_eq!(shard.market().state(0), BookState::Stale);
    assert_eq!(shard.updates()[0].kind, UpdateKind::Stale);
    shard
        .handle_packet(0, Source::Line(0), &packet("S", 1, 1), 0)
        .unwrap();
    assert_eq!(shard.market().state(0), BookState::Live);
    assert_eq!(shard.market().counters().gaps, 0);
}

#[test]
fn a_late_joiner_without_a_request_server_loads_a_snapshot_at_once() {
    let mut world = World::new(0, 1);
    world.both(5_000_000, 2);
    world.pass(5 * MS);
    assert_eq!(world.phase(), Phase::Loading);
}
