//! The rings from a receiver to several shards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod multicast;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use multicast::{group, join, line};
use tickcast_feed::batch::Batch;
use tickcast_feed::receiver::LineCounters;
use tickcast_feed::shards::{Inbox, split};
use tickcast_feed::socket::MulticastSocket;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn lines() -> Arc<[LineCounters]> {
    Arc::from([LineCounters::default()])
}

/// A batch of datagrams, each its number.
fn batch(line: &mut (MulticastSocket, UdpSocket), numbers: std::ops::Range<u32>) -> Batch {
    let (socket, sender) = line;
    for number in numbers {
        sender.send(&number.to_be_bytes()).unwrap();
    }
    let mut batch = Batch::new();
    socket.receive(&mut batch).unwrap();
    batch
}

fn numbers(inbox: &mut Inbox) -> Vec<u32> {
    let mut numbers = Vec::new();
    inbox.receive(|line, payload, ts_recv| {
        assert!(line == 3 && ts_recv > 0);
        numbers.push(u32::from_be_bytes(payload.try_into().unwrap()));
    });
    numbers
}

#[test]
fn every_shard_gets_every_packet_in_order() {
    let Some(mut line) = line(&join(group(20)), HERE) else {
        return;
    };
    let (mut splitter, mut inboxes) = split(3, 64, &lines()).unwrap();
    splitter.handle_batch(3, &batch(&mut line, 0..10));
    splitter.handle_batch(3, &batch(&mut line, 10..20));
    for inbox in &mut inboxes {
        assert_eq!(numbers(inbox), (0..20).collect::<Vec<_>>());
        assert_eq!((numbers(inbox), inbox.overruns()), (vec![], 0));
    }
}

#[test]
fn a_full_ring_loses_the_newest_packets_of_its_shard_only_and_counts_them() {
    let Some(mut line) = line(&join(group(21)), HERE) else {
        return;
    };
    let (mut splitter, mut inboxes) = split(2, 8, &lines()).unwrap();
    splitter.handle_batch(3, &batch(&mut line, 0..6));
    assert_eq!(numbers(&mut inboxes[0]).len(), 6);
    splitter.handle_batch(3, &batch(&mut line, 6..12));
    // The second shard didn't look: it has room for eight.
    assert_eq!(numbers(&mut inboxes[0]), (6..12).collect::<Vec<_>>());
    assert_eq!(numbers(&mut inboxes[1]), (0..8).collect::<Vec<_>>());
    // It goes on from where it looked.
    splitter.handle_batch(3, &batch(&mut line, 12..15));
    assert_eq!(numbers(&mut inboxes[1]), [12, 13, 14]);
    assert_eq!(
        inboxes.iter().map(Inbox::overruns).collect::<Vec<_>>(),
        [0, 4]
    );
}

#[test]
fn every_packet_is_either_received_or_counted_while_both_sides_run() {
    let Some(mut line) = line(&join(group(22)), HERE) else {
        return;
    };
    let (mut splitter, mut inboxes) = split(1, 16, &lines()).unwrap();
    let mut inbox = inboxes.pop().unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let handing = thread::spawn({
        let enough = Arc::clone(&enough);
        move || {
            let batch = batch(&mut line, 0..10);
            let mut sent = 0;
            while !enough.load(Ordering::Relaxed) {
                splitter.handle_batch(3, &batch);
                sent += 10;
            }
            sent
        }
    });
    let mut received = 0;
    loop {
        let ended = handing.is_finished();
        let came = numbers(&mut inbox);
        // Each as it was filled: no buffer is written while it is read.
        assert!(came.iter().all(|number| *number < 10));
        received += came.len() as u64;
        if received > 10_000 {
            enough.store(true, Ordering::Relaxed);
        }
        if ended && came.is_empty() {
            break;
        }
    }
    let sent: u64 = handing.join().unwrap();
    println!(
        "sent {sent}, received {received}, overruns {}",
        inbox.overruns()
    );
    assert_eq!(sent, received + inbox.overruns());
}
