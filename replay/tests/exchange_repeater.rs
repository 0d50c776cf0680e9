//! The repeater: laps, sessions, pace, and the bundled recording.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tickcast_replay::exchange::repeater::{IEX_DEEP, RepeaterError};
use tickcast_replay::exchange::{Recorded, Repeater};

const MILLISECOND: u64 = 1_000_000;

fn segment(session: u32, sequence: i64, ts_ns: u64) -> Recorded {
    let mut payload = vec![1, 0, 0x04, 0x80, 1, 0, 0, 0];
    payload.extend_from_slice(&session.to_le_bytes());
    payload.extend_from_slice(&[0; 12]);
    payload.extend_from_slice(&sequence.to_le_bytes());
    payload.extend_from_slice(&ts_ns.to_le_bytes());
    assert_eq!(payload.len(), 40);
    Recorded { ts_ns, payload }
}

fn session(packet: &[u8]) -> u32 {
    u32::from_le_bytes(packet[8..12].try_into().unwrap())
}

/// Polls at each timeout: the times and packets of a while.
fn play(repeater: &mut Repeater, packets: usize) -> Vec<(u64, Vec<u8>)> {
    let mut packet = Vec::new();
    (0..packets)
        .map(|_| {
            let due = repeater.poll_timeout().unwrap();
            assert!(due == 0 || !repeater.poll_transmit(due - 1, &mut packet));
            assert!(repeater.poll_transmit(due, &mut packet));
            (due, packet.clone())
        })
        .collect()
}

#[test]
fn laps_keep_the_pace_cap_the_idle_time_and_begin_new_sessions() {
    let recorded = vec![
        segment(7, 1, 1_000_000_000),
        segment(7, 2, 1_003_000_000),
        segment(7, 3, 1_002_000_000),
        segment(7, 4, 9_000_000_000),
    ];
    let mut repeater = Repeater::new(recorded.clone(), 50 * MILLISECOND, 500).unwrap();
    assert_eq!(repeater.lap_ns(), 103 * MILLISECOND);
    let played = play(&mut repeater, 12);
    for (n, (due, packet)) in played.iter().enumerate() {
        let lap = n as u64 / 4;
        let offset = [0, 3, 3, 53][n % 4] * MILLISECOND;
        assert_eq!(*due, 500 + lap * 103 * MILLISECOND + offset, "packet {n}");
        assert_eq!(u64::from(session(packet)), 7 + lap);
        let original = &recorded[n % 4].payload;
        assert_eq!(packet[..8], original[..8]);
        assert_eq!(packet[12..], original[12..]);
    }
    assert_eq!(repeater.lap(), 3);
    repeater.handle_end();
    assert_eq!(repeater.poll_timeout(), None);
    assert!(!repeater.poll_transmit(u64::MAX, &mut Vec::new()));
}

#[test]
fn sessions_of_different_laps_never_meet() {
    let recorded = vec![segment(10, 1, 0), segment(12, 1, 1)];
    let mut repeater = Repeater::new(recorded, 10, 0).unwrap();
    let sessions: Vec<_> = play(&mut repeater, 6)
        .iter()
        .map(|(_, packet)| session(packet))
        .collect();
    assert_eq!(sessions, [10, 12, 13, 14, 15, 16]);
}

#[test]
fn a_long_sleep_puts_the_lap_off_instead_of_sending_a_burst() {
    let recorded = (0..100)
        .map(|n| {
            let ts_ns = u64::try_from(n).unwrap() * MILLISECOND;
            segment(7, n, ts_ns)
        })
        .collect();
    let mut repeater = Repeater::new(recorded, 5 * MILLISECOND, 0).unwrap();
    let mut packet = Vec::new();
    assert!(repeater.poll_transmit(0, &mut packet));
    let late = 3_600_000 * MILLISECOND;
    let mut burst = 0;
    while repeater.poll_transmit(late, &mut packet) {
        burst += 1;
    }
    assert_eq!(burst, 1);
    assert_eq!(repeater.poll_timeout(), Some(late + MILLISECOND));
}

#[test]
fn what_is_no_iex_tp_is_refused() {
    assert_eq!(
        Repeater::new(Vec::new(), 1, 0).unwrap_err(),
        RepeaterError::Empty
    );
    let mut short = segment(1, 1, 0);
    short.payload.truncate(39);
    let mut other = segment(1, 1, 0);
    other.payload[0] = 2;
    for bad in [short, other] {
        assert_eq!(
            Repeater::new(vec![segment(1, 1, 0), bad], 1, 0).unwrap_err(),
            RepeaterError::NotIexTp { index: 1 }
        );
    }
}

#[test]
fn the_bundled_recording_begins_a_session_and_has_no_gap() {
    let recorded = Recorded::from_capture(IEX_DEEP).unwrap();
    assert_eq!(recorded.len(), 9_500);
    let mut expected = 1;
    for Recorded { payload, .. } in &recorded {
        assert!(payload.len() <= 1_472);
        assert_eq!(payload[2..4], 0x8004_u16.to_le_bytes());
        let sequence = u64::from_le_bytes(payload[24..32].try_into().unwrap());
        assert_eq!(sequence, expected);
        expected += u64::from(u16::from_le_bytes(payload[14..16].try_into().unwrap()));
    }
    assert_eq!(expected, 32_730);

    let mut repeater = Repeater::new(recorded, 50 * MILLISECOND, 0).unwrap();
    println!("one lap takes {} ms", repeater.lap_ns() / MILLISECOND);
    let played = play(&mut repeater, 2 * 9_500);
    assert_eq!(session(&played[0].1), 1_132_527_616);
    assert_eq!(session(&played[9_499].1), 1_132_527_616);
    assert_eq!(session(&played[9_500].1), 1_132_527_617);
    assert_eq!(played[0].1[12..], played[9_500].1[12..]);
}
