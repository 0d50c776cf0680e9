//! What a load takes, whatever the server sends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod loading;

use loading::*;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::soupbintcp::Packet;
use tickcast_feed::limits::SNAPSHOT_BYTES_MAX;
use tickcast_feed::snapshot::LoadError;

const ITCH: Protocol = Protocol::MoldUdp64Itch50;

#[test]
fn r8_a_server_that_sends_without_end_is_given_up_and_nothing_of_it_is_kept() {
    let chatter = packet(&Packet::Debug(&[b'.'; 60_000]));
    let mut sent = 0;
    let taken = allocation_counter::measure(|| {
        let mut loader = connected(&config(ITCH), request(50));
        let outcome = loop {
            sent += chatter.len() as u64;
            loader.handle_bytes(0, &chatter);
            if let Some(outcome) = loader.poll() {
                break outcome;
            }
        };
        assert_eq!(outcome.unwrap_err(), LoadError::TooLarge);
    });
    assert!(sent > SNAPSHOT_BYTES_MAX && sent <= SNAPSHOT_BYTES_MAX + chatter.len() as u64);
    assert!(taken.bytes_max < 1 << 20, "{taken:?}");
}

#[test]
fn a_packet_that_never_ends_is_held_up_to_its_length() {
    // A length of 65,535, and then a byte at a time.
    let mut bytes = vec![0xff, 0xff, b'+'];
    bytes.resize(60_000, 0);
    let taken = allocation_counter::measure(|| {
        let mut loader = connected(&config(ITCH), request(50));
        for _ in 0..1_000 {
            loader.handle_bytes(0, &bytes);
            assert!(loader.poll().is_none() || loader.poll_timeout().is_none());
        }
    });
    assert!(taken.bytes_max < 1 << 20, "{taken:?}");
}

#[test]
fn orders_are_all_that_grows() {
    let mut messages = Vec::new();
    for n in 0..20_000_u32 {
        messages.push(add(1, u64::from(n) + 1, b'B', 100, 10_000 + n % 50));
    }
    let bytes = answer(&messages, 60);
    let taken = allocation_counter::measure(|| {
        let outcome = load(&config(ITCH), request(50), &bytes);
        assert_eq!(outcome.unwrap().unwrap().market.order_count(), 20_000);
    });
    // The directory of order numbers is 16 MiB of addresses, of which next to nothing is touched; while a table grows its
    // old half is there too.
    assert!(taken.bytes_max < 20_000 * 256 + (17 << 20), "{taken:?}");
}
