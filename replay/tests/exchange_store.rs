//! The store: what was published, to be asked for again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;

use proptest::prelude::*;
use tickcast_replay::exchange::Store;

#[test]
fn messages_are_numbered_from_1_and_found_by_their_number() {
    let mut store = Store::new(1_000);
    assert_eq!((store.first_sequence(), store.next_sequence()), (1, 1));
    assert_eq!(store.get(0), None);
    assert_eq!(store.get(1), None);
    store.push(b"one");
    store.push(b"two");
    assert_eq!(store.next_sequence(), 3);
    assert_eq!(store.get(1), Some(&b"one"[..]));
    assert_eq!(store.get(2), Some(&b"two"[..]));
    for absent in [0, 3, u64::MAX] {
        assert_eq!(store.get(absent), None);
    }
}

#[test]
fn the_oldest_make_room_for_the_newest() {
    let mut store = Store::new(100);
    for n in 0..1_000_u16 {
        store.push(&[n.to_be_bytes(), [7; 2], [7; 2], [7; 2], [7; 2]].concat());
    }
    assert_eq!(store.next_sequence(), 1_001);
    let kept = store.next_sequence() - store.first_sequence();
    assert!((6..=10).contains(&kept), "{kept}");
    for sequence in store.first_sequence()..store.next_sequence() {
        let number = u16::try_from(sequence - 1).unwrap();
        assert_eq!(store.get(sequence).unwrap()[..2], number.to_be_bytes());
    }
    assert_eq!(store.get(store.first_sequence() - 1), None);
}

#[test]
fn a_message_longer_than_the_store_gets_its_number_and_is_gone() {
    let mut store = Store::new(10);
    store.push(b"small");
    store.push(b"much too large");
    assert_eq!((store.first_sequence(), store.next_sequence()), (3, 3));
    assert_eq!(store.get(2), None);
    store.push(b"small");
    assert_eq!(store.get(3), Some(&b"small"[..]));
}

#[test]
fn a_stream_offset_counts_every_block_before_the_message() {
    let mut store = Store::new(1_000);
    store.push(b"one");
    store.push(b"");
    store.push(b"three");
    assert_eq!(store.stream_offset(1), Some(0));
    assert_eq!(store.stream_offset(2), Some(5));
    assert_eq!(store.stream_offset(3), Some(7));
    assert_eq!(store.stream_offset(4), Some(14));
    assert_eq!(store.stream_offset(5), None);
}

proptest! {
    #[test]
    fn what_is_stored_is_a_tail_of_what_was_pushed(
        bytes_max in 0_usize..200,
        lengths in prop::collection::vec(0_usize..60, 0..300),
    ) {
        let mut store = Store::new(bytes_max);
        let mut pushed = VecDeque::new();
        let mut offset = 0;
        for (n, len) in lengths.iter().enumerate() {
            let message = vec![n.to_le_bytes()[0]; *len];
            store.push(&message);
            pushed.push_back((message, offset));
            offset += *len as u64 + 2;
            prop_assert_eq!(store.next_sequence(), pushed.len() as u64 + 1);
            let mut bytes = 0;
            for (sequence, (message, offset)) in (1..).zip(&pushed) {
                let kept = sequence >= store.first_sequence();
                prop_assert_eq!(store.get(sequence), kept.then_some(&message[..]));
                prop_assert_eq!(store.stream_offset(sequence), kept.then_some(*offset));
                bytes += if kept { message.len() } else { 0 };
            }
            prop_assert!(bytes <= bytes_max);
            // The newest is there if it can be.
            prop_assert_eq!(store.get(pushed.len() as u64).is_some(), *len <= bytes_max);
        }
    }
}
