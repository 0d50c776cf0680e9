//! Lines: each packs by itself, and all carry the same messages under the same numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::{DownstreamPacket, Kind};
use tickcast_replay::exchange::publisher::PublishError;
use tickcast_replay::exchange::{LineConfig, Lines, PublisherConfig};
use tickcast_replay::random::Random;

const SECOND: u64 = 1_000_000_000;

fn line(packet_bytes_max: usize, flush_ns: u64, offset_ns: u64) -> LineConfig {
    LineConfig {
        publisher: PublisherConfig {
            packet_bytes_max,
            flush_ns,
            ..PublisherConfig::default()
        },
        offset_ns,
    }
}

/// What one line carried: sessions with their messages, each with its number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Carried {
    messages: Vec<(SessionId, u64, Vec<u8>)>,
    ends: Vec<(SessionId, u64)>,
    packets: usize,
    first_numbers: Vec<u64>,
}

impl Carried {
    fn take(&mut self, packet: &[u8], bytes_max: usize) {
        assert!(packet.len() <= bytes_max);
        let view = DownstreamPacket::parse(packet).unwrap();
        match view.kind() {
            Kind::Data => {
                self.packets += 1;
                self.first_numbers.push(view.sequence());
            }
            Kind::Heartbeat => {}
            Kind::EndOfSession => {
                let end = (view.session(), view.sequence());
                if !self.ends.contains(&end) {
                    self.ends.push(end);
                }
            }
        }
        for (number, message) in (view.sequence()..).zip(view.blocks()) {
            self.messages
                .push((view.session(), number, message.to_vec()));
        }
    }
}

/// Polls all that is due up to `now`, at the times when it is.
fn poll(lines: &mut Lines, configs: &[LineConfig], carried: &mut [Carried], until: u64) {
    let mut packet = Vec::new();
    while let Some(due) = lines.poll_timeout().filter(|&due| due <= until) {
        let line = lines
            .poll_transmit(due, &mut packet)
            .expect("what is due is given");
        let line = usize::from(line);
        carried[line].take(&packet, configs[line].publisher.packet_bytes_max);
    }
    assert_eq!(lines.poll_transmit(until, &mut packet), None);
}

#[derive(Debug, Clone)]
enum Action {
    Message(u8),
    Wait(u64),
    Roll { told: bool },
    Jump(u64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        40 => (1..=60_u8).prop_map(Action::Message),
        10 => (0..500_000_u64).prop_map(Action::Wait),
        1 => any::<bool>().prop_map(|told| Action::Roll { told }),
        1 => prop_oneof![1..1_000_u64, Just(1 << 40)].prop_map(Action::Jump),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is published, with rolls and jumps: every line carries it, in order, in packets of its own.
    #[test]
    fn all_lines_carry_the_same_messages_under_the_same_numbers(
        actions in prop::collection::vec(action(), 1..400),
        configs in prop::collection::vec((82..400_usize, 0..300_000_u64, 0..300_000_u64), 1..4),
    ) {
        let configs: Vec<LineConfig> = configs
            .into_iter()
            .map(|(bytes, flush, offset)| line(bytes, flush, offset))
            .collect();
        let mut lines = Lines::new(&configs, 0);
        let mut carried = vec![Carried::default(); configs.len()];
        let mut expected = Vec::new();
        let mut ends = Vec::new();
        let (mut now, mut byte, mut session) = (0, 0_u8, 1);
        for action in actions {
            match action {
                Action::Message(length) => {
                    byte = byte.wrapping_add(1);
                    let message = vec![byte; usize::from(length)];
                    expected.push((lines.session(), lines.next_sequence(), message.clone()));
                    lines.handle_message(now, &message).unwrap();
                }
                Action::Wait(ns) => now += ns,
                Action::Roll { told } => {
                    if told {
                        ends.push((lines.session(), lines.next_sequence()));
                    }
                    session += 1;
                    let name = format!("S{session}");
                    lines.handle_roll(now, SessionId::from_padded(name.as_bytes()), told);
                }
                Action::Jump(sequence) => lines.handle_jump(now, sequence),
            }
            poll(&mut lines, &configs, &mut carried, now);
        }
        ends.push((lines.session(), lines.next_sequence()));
        lines.handle_end(now);
        poll(&mut lines, &configs, &mut carried, now + 20 * SECOND);
        prop_assert_eq!(lines.poll_timeout(), None);
        for carried in &carried {
            prop_assert_eq!(&carried.messages, &expected);
            prop_assert_eq!(&carried.ends, &ends);
        }
    }
}

#[test]
fn packets_of_the_lines_overlap() {
    let configs = [line(1_400, 200_000, 0), line(900, 90_000, 50_000)];
    let mut lines = Lines::new(&configs, 0);
    let mut carried = vec![Carried::default(); 2];
    let mut random = Random::new(8);
    let mut now = 0;
    for _ in 0..20_000 {
        now += random.below_u64(20_000);
        lines.handle_message(now, &[b'D'; 19]).unwrap();
        poll(&mut lines, &configs, &mut carried, now);
    }
    let [a, b] = &carried[..] else { unreachable!() };
    let common = a
        .first_numbers
        .iter()
        .filter(|number| b.first_numbers.binary_search(number).is_ok())
        .count();
    println!(
        "{} and {} packets, {common} begin alike",
        a.packets, b.packets
    );
    assert!(a.packets > 500 && b.packets > a.packets);
    assert!(common < a.packets / 3);
}

#[test]
fn an_offset_delays_what_is_not_full() {
    let configs = [line(1_400, 100_000, 0), line(1_400, 100_000, 30_000)];
    let mut lines = Lines::new(&configs, 0);
    lines.handle_message(1_000, b"D").unwrap();
    let mut packet = Vec::new();
    assert_eq!(lines.poll_timeout(), Some(101_000));
    assert_eq!(lines.poll_transmit(101_000, &mut packet), Some(0));
    assert_eq!(lines.poll_timeout(), Some(131_000));
    assert_eq!(lines.poll_transmit(130_999, &mut packet), None);
    assert_eq!(lines.poll_transmit(131_000, &mut packet), Some(1));
}

#[test]
fn each_line_has_its_heartbeats() {
    let configs = [line(1_400, 0, 0); 2];
    let mut lines = Lines::new(&configs, 0);
    let mut packet = Vec::new();
    for _ in 0..3 {
        let due = lines.poll_timeout().unwrap();
        let mut seen = [false; 2];
        while let Some(line) = lines.poll_transmit(due, &mut packet) {
            seen[usize::from(line)] = true;
            let view = DownstreamPacket::parse(&packet).unwrap();
            assert_eq!((view.kind(), view.sequence()), (Kind::Heartbeat, 1));
        }
        assert_eq!((seen, due % SECOND), ([true; 2], 0));
    }
}

#[test]
fn a_message_that_one_line_cannot_carry_is_on_none() {
    let mut lines = Lines::new(&[line(1_400, 0, 0), line(60, 0, 0)], 0);
    assert_eq!(
        lines.handle_message(0, &[b'I'; 50]),
        Err(PublishError::TooLong { len: 50, max: 38 })
    );
    assert_eq!(lines.next_sequence(), 1);
    assert_eq!(lines.poll_transmit(10, &mut Vec::new()), None);
}

#[test]
fn a_session_without_numbers_left_takes_no_message() {
    let mut lines = Lines::new(&[line(1_400, 0, 0)], 0);
    lines.handle_jump(0, u64::MAX - 2);
    lines.handle_message(0, b"D").unwrap();
    lines.handle_message(0, b"D").unwrap();
    assert_eq!(
        lines.handle_message(0, b"D"),
        Err(PublishError::SequenceExhausted)
    );
    let mut packet = Vec::new();
    assert_eq!(lines.poll_transmit(0, &mut packet), Some(0));
    let view = DownstreamPacket::parse(&packet).unwrap();
    assert_eq!((view.sequence(), view.count()), (u64::MAX - 2, 2));
}
