//! Receivers and shards on threads of their own, over loopback multicast.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod live;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use live::{Loopback, eventually, reading, send, session};
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::drive::Drive;
use tickcast_feed::limits::SHARD_RING_PACKETS;
use tickcast_feed::receiver::{Clock, Lines, Receiver, Wait, run_split};
use tickcast_feed::shards;

const MESSAGES: u64 = 20_000;
const WAITS: [Wait; 3] = [
    Wait::Sleep,
    Wait::Adaptive {
        spin: Duration::from_micros(50),
    },
    Wait::Spin,
];

#[test]
fn one_shard_receives_both_lines_however_it_waits() {
    let packets = session(b"MON", MESSAGES);
    for wait in WAITS {
        let Some(Loopback { sockets, senders }) = Loopback::open(2) else {
            return;
        };
        let (shard, _subscription) = live::shard(0, 1, 2);
        let status = Arc::new(ChannelStatus::default());
        let stop = Arc::new(AtomicBool::new(false));
        let lines = Lines::new(sockets);
        let receiving = thread::spawn({
            let (status, stop) = (Arc::clone(&status), Arc::clone(&stop));
            move || {
                Receiver::new(lines, Drive::new(shard, Clock::new(), None, None, status))
                    .run(wait, &stop)
            }
        });
        assert!(eventually(|| !status.load().readings.is_empty()));
        send(packets.iter(), &senders);
        let all = eventually(|| reading(&status.load(), "packets") == 2 * packets.len() as u64);
        stop.store(true, Ordering::Relaxed);
        receiving.join().unwrap().unwrap();
        let report = status.load();
        assert!(all, "{wait:?}: {report:?}");
        assert_eq!(reading(&report, "messages"), MESSAGES);
        assert_eq!(reading(&report, "packets_foreign_source"), 0);
    }
}

#[test]
fn each_of_several_shards_receives_every_message_however_it_waits() {
    const SHARDS: u16 = 2;
    let packets = session(b"MON", MESSAGES);
    for wait in WAITS {
        let Some(Loopback { sockets, senders }) = Loopback::open(2) else {
            return;
        };
        let stop = Arc::new(AtomicBool::new(false));
        let lines = Lines::new(sockets);
        let (splitter, inboxes) =
            shards::split(SHARDS, SHARD_RING_PACKETS, &lines.counters()).unwrap();
        let mut threads = Vec::new();
        let mut statuses = Vec::new();
        let mut subscriptions = Vec::new();
        for (index, inbox) in (0..).zip(inboxes) {
            let (shard, subscription) = live::shard(index, SHARDS, 2);
            subscriptions.push(subscription);
            let status = Arc::new(ChannelStatus::default());
            statuses.push(Arc::clone(&status));
            let stop = Arc::clone(&stop);
            threads.push(thread::spawn(move || {
                shards::run(
                    Drive::new(shard, Clock::new(), None, None, status),
                    inbox,
                    wait,
                    &stop,
                )
            }));
        }
        threads.push(thread::spawn({
            let stop = Arc::clone(&stop);
            move || run_split(lines, splitter, wait, &stop)
        }));
        for status in &statuses {
            assert!(eventually(|| !status.load().readings.is_empty()));
        }
        send(packets.iter(), &senders);
        let all = statuses.iter().all(|status| {
            eventually(|| reading(&status.load(), "packets") == 2 * packets.len() as u64)
        });
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
        for status in &statuses {
            let report = status.load();
            assert!(all, "{wait:?}: {report:?}");
            assert_eq!(reading(&report, "messages"), MESSAGES);
            assert_eq!(reading(&report, "ring_overruns"), 0);
        }
    }
}
