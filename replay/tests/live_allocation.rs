//! After warm-up nothing is allocated for a packet or a message, from the socket to the books.  In a file of
//! its own, because it takes the allocator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod live;

use std::sync::Arc;

use live::{Loopback, session};
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::drive::Drive;
use tickcast_feed::receiver::{Clock, Lines, Receiver};

#[test]
fn no_packet_and_no_message_allocates_after_warm_up() {
    let Some(loopback) = Loopback::open(2) else {
        return;
    };
    let (shard, subscription) = live::shard(0, 1, 2);
    let drive = Drive::new(
        shard,
        Clock::new(),
        None,
        None,
        Arc::new(ChannelStatus::default()),
    );
    let mut receiver = Receiver::new(Lines::new(loopback.sockets), drive);
    let mut play = |packets: &[Vec<u8>]| {
        // Line B is two packets behind, and brings what line A loses; the last three come on both.
        let behind = [&[][..], &[][..]]
            .into_iter()
            .chain(packets.iter().map(|p| &p[..]));
        for (number, (a, b)) in packets.iter().zip(behind).enumerate() {
            let mut sent = 0;
            if number % 7 != 3 || number + 3 > packets.len() {
                loopback.senders[0].send(a).unwrap();
                sent += 1;
            }
            if !b.is_empty() {
                loopback.senders[1].send(b).unwrap();
                sent += 1;
            }
            // What is sent on loopback has arrived when the call returns.
            assert_eq!(receiver.turn().unwrap(), sent);
        }
    };
    // The same messages in three sessions: a cleared book keeps its memory.
    let [first, second, third] = [b"MON", b"TUE", b"WED"].map(|name| session(name, 20_000));
    play(&first);
    play(&second);
    let info = allocation_counter::measure(|| play(&third));
    let report = {
        let mut report = tickcast_book::report::Report::default();
        receiver.drive().shard().report(&mut report);
        report
    };
    println!("{} packets, {info:?}", third.len());
    assert_eq!((info.count_total, info.bytes_total), (0, 0));
    // The measurement measures, and what was measured was the whole way.
    let info = allocation_counter::measure(|| drop(vec![0_u8; 100]));
    assert_eq!(info.count_total, 1);
    assert_eq!(live::reading(&report, "messages"), 60_000);
    assert!(subscription.lost() > 0 || !subscription.is_empty());
}
