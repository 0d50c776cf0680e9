//! The publisher's packets, by the sentences of MoldUDP64 V 1.00.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::{DownstreamPacket, Kind};
use tickcast_replay::exchange::edge::{MarketChannel, Transmit};
use tickcast_replay::exchange::publisher::PublishError;
use tickcast_replay::exchange::{
    LineConfig, Lines, Market, MarketConfig, Publisher, PublisherConfig,
};

const SECOND: u64 = 1_000_000_000;

#[test]
fn messages_come_out_in_order_with_consecutive_numbers_in_packets_within_the_limit() {
    let config = PublisherConfig {
        packet_bytes_max: 300,
        ..PublisherConfig::default()
    };
    let mut publisher = Publisher::new(config, 0);
    let mut market = Market::new(MarketConfig::default());
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let mut packet = Vec::new();
    let mut expected = 1;
    let mut packets = 0;
    let mut take = |publisher: &mut Publisher, now: u64, received: &mut Vec<u8>| {
        while publisher.poll_transmit(now, &mut packet) {
            assert!(packet.len() <= 300);
            let view = DownstreamPacket::parse(&packet).unwrap();
            assert_eq!(view.session(), SessionId::from_padded(b"TICKCAST01"));
            assert_eq!(view.sequence(), expected);
            assert_eq!(view.kind(), Kind::Data);
            expected = view.next_sequence();
            packets += 1;
            view.blocks()
                .for_each(|message| received.extend_from_slice(message));
        }
    };
    let mut now = 0;
    for _ in 0..50_000 {
        let start = sent.len();
        now = market.next(&mut sent).offset_ns;
        publisher.handle_message(now, &sent[start..]).unwrap();
        take(&mut publisher, now, &mut received);
    }
    take(&mut publisher, now + config.flush_ns, &mut received);
    assert_eq!(sent, received);
    assert_eq!(expected, 50_001);
    assert_eq!(publisher.next_sequence(), 50_001);
    assert!(packets > 5_000 && packets < 50_000, "{packets}");
}

#[test]
fn messages_that_pile_up_are_all_sent() {
    let mut publisher = Publisher::new(PublisherConfig::default(), 0);
    for _ in 0..1_000 {
        publisher.handle_message(5, &[b'D'; 19]).unwrap();
    }
    let mut packet = Vec::new();
    let mut counts = Vec::new();
    while publisher.poll_transmit(5 + 200_000, &mut packet) {
        counts.push(DownstreamPacket::parse(&packet).unwrap().count());
    }
    // (1,400 - 20) / 21 = 65
    assert_eq!(counts[..15], [65; 15]);
    // The remainder's deadline is that of the last arrival, which is the same here.
    assert_eq!(counts[15..], [25]);
}

#[test]
fn a_message_waits_for_its_packet_until_the_deadline_and_no_longer() {
    let mut publisher = Publisher::new(PublisherConfig::default(), 0);
    let mut packet = Vec::new();
    publisher.handle_message(1_000, b"D1").unwrap();
    publisher.handle_message(150_000, b"D2").unwrap();
    assert_eq!(publisher.poll_timeout(), Some(201_000));
    assert!(!publisher.poll_transmit(200_999, &mut packet));
    assert!(publisher.poll_transmit(201_000, &mut packet));
    assert_eq!(DownstreamPacket::parse(&packet).unwrap().count(), 2);
}

#[test]
fn heartbeats_come_once_per_second_of_silence_and_announce_the_next_number() {
    let mut publisher = Publisher::new(PublisherConfig::default(), 0);
    let mut packet = Vec::new();
    publisher.handle_message(0, b"D").unwrap();
    assert!(publisher.poll_transmit(200_000, &mut packet));
    for beat in 1..=5 {
        let due = 200_000 + beat * SECOND;
        assert_eq!(publisher.poll_timeout(), Some(due));
        assert!(!publisher.poll_transmit(due - 1, &mut packet));
        assert!(publisher.poll_transmit(due, &mut packet));
        let view = DownstreamPacket::parse(&packet).unwrap();
        assert_eq!((view.kind(), view.sequence()), (Kind::Heartbeat, 2));
        assert!(!publisher.poll_transmit(due, &mut packet));
    }
}

#[test]
fn end_of_session_follows_the_last_message_and_is_told_for_a_short_while() {
    let mut publisher = Publisher::new(PublisherConfig::default(), 0);
    let mut packet = Vec::new();
    publisher.handle_message(10, b"D").unwrap();
    publisher.handle_end(20);
    assert_eq!(publisher.handle_message(30, b"D"), Err(PublishError::Ended));
    assert!(publisher.poll_transmit(20, &mut packet));
    assert_eq!(DownstreamPacket::parse(&packet).unwrap().kind(), Kind::Data);
    let mut told = 0;
    while let Some(due) = publisher.poll_timeout() {
        assert!(publisher.poll_transmit(due.max(20), &mut packet));
        let view = DownstreamPacket::parse(&packet).unwrap();
        assert_eq!((view.kind(), view.sequence()), (Kind::EndOfSession, 2));
        told += 1;
    }
    assert_eq!(told, 6);
}

#[test]
fn a_message_that_no_packet_can_carry_is_refused_and_changes_nothing() {
    let mut publisher = Publisher::new(PublisherConfig::default(), 0);
    assert_eq!(publisher.handle_message(0, &[]), Err(PublishError::Empty));
    assert_eq!(
        publisher.handle_message(0, &[0; 1_379]),
        Err(PublishError::TooLong {
            len: 1_379,
            max: 1_378
        })
    );
    publisher.handle_message(0, &[1; 1_378]).unwrap();
    let mut packet = Vec::new();
    assert!(publisher.poll_transmit(SECOND / 2, &mut packet));
    assert_eq!(packet.len(), 1_400);
    assert_eq!(publisher.next_sequence(), 2);
}

#[test]
fn a_channel_publishes_the_market_at_its_pace_and_skips_time_that_it_slept() {
    let market = MarketConfig {
        instruments: 4,
        messages_per_second: 1_000,
        ..MarketConfig::default()
    };
    let lines = Lines::new(&[LineConfig::default()], 0);
    let mut channel = MarketChannel::new(Market::new(market), lines);
    let mut packet = Vec::new();
    let mut messages_until = |channel: &mut MarketChannel, mut now: u64, until: u64| {
        let mut messages = 0;
        while now <= until {
            while channel.poll_transmit(now, &mut packet).is_some() {
                let view = DownstreamPacket::parse(&packet).unwrap();
                messages += u64::from(view.count());
            }
            now = channel.poll_timeout().unwrap().max(now + 1);
        }
        messages
    };
    let first = messages_until(&mut channel, 0, 10 * SECOND);
    // 4 * 123 + 3 messages of the opening, then 10 s.
    assert!((9_000..12_500).contains(&first), "{first}");
    let second = messages_until(&mut channel, 1_000 * SECOND, 1_005 * SECOND);
    assert!((3_500..7_500).contains(&second), "{second}");
    channel.handle_end(1_006 * SECOND);
    while channel.poll_transmit(1_006 * SECOND, &mut packet).is_some() {}
    let view = DownstreamPacket::parse(&packet).unwrap();
    assert_eq!(view.kind(), Kind::EndOfSession);
}

#[test]
fn whoever_polls_late_gets_the_packets_that_he_would_have_got_in_time() {
    let packets = |step: u64| {
        let market = Market::new(MarketConfig {
            messages_per_second: 20_000,
            ..MarketConfig::default()
        });
        let mut channel = MarketChannel::new(market, Lines::new(&[LineConfig::default(); 2], 0));
        let (mut packet, mut all) = (Vec::new(), [Vec::new(), Vec::new()]);
        let mut now = 0;
        while now <= SECOND {
            while let Some(line) = channel.poll_transmit(now, &mut packet) {
                all[usize::from(line)].push(packet.clone());
            }
            now += step;
        }
        all
    };
    let in_time = packets(1_000);
    let late = packets(10_000_000);
    for (in_time, late) in in_time.iter().zip(&late) {
        assert!(late.len() > 2_000);
        // Of what goes out at the very end, the one polled at another time.
        let common = in_time.len().min(late.len()) - 1;
        assert_eq!(in_time[..common], late[..common]);
    }
}

#[test]
fn when_the_day_is_over_so_is_the_session() {
    let market = Market::new(MarketConfig::compressed_day(2 * SECOND));
    let mut channel = MarketChannel::new(market, Lines::new(&[LineConfig::default()], 0));
    let (mut packet, mut last) = (Vec::new(), Vec::new());
    let mut ends = 0;
    channel.poll_transmit(0, &mut packet);
    while let Some(due) = channel.poll_timeout() {
        assert!(due < 10 * SECOND);
        while channel.poll_transmit(due, &mut packet).is_some() {
            let view = DownstreamPacket::parse(&packet).unwrap();
            match view.kind() {
                Kind::EndOfSession => ends += 1,
                Kind::Heartbeat => {}
                Kind::Data => last = view.blocks().last().unwrap().to_vec(),
            }
        }
    }
    assert!(ends >= 5);
    assert_eq!((last[0], last[11]), (b'S', b'C'));
}
