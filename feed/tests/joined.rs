//! Datagrams that the kernel joins (`UDP_GRO`) are as if each had come alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod multicast;

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use multicast::{LOOPBACK, group, join, line, port, receive};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tickcast_feed::batch::{Batch, Refused};
use tickcast_feed::limits::{BATCH_BUFFERS, JOINED_PACKETS_MAX, PACKET_BYTES_MAX};
use tickcast_feed::receiver::wall_clock;
use tickcast_feed::socket::{Interface, JoinConfig, MulticastSocket, RequestSocket};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Sends datagrams of so many bytes as one; what is left at the end is shorter.  The loopback interface gives
/// on what a sender joined as it is.
fn send_joined(sender: &UdpSocket, bytes: &[u8], size: u16) {
    sendmsg::<()>(
        sender.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &[ControlMessage::UdpGsoSegments(&size)],
        MsgFlags::empty(),
        None,
    )
    .unwrap();
}

/// Bytes that are nowhere the same for long.
fn bytes(count: usize) -> Vec<u8> {
    (1..=count as u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0])
        .collect()
}

/// Whether the kernel can join; says so if not.
fn joins(socket: &MulticastSocket) -> bool {
    let joins = socket.granted().joins_datagrams;
    if !joins {
        println!("skipped: this kernel joins no datagrams");
    }
    joins
}

#[test]
fn joined_datagrams_come_one_by_one_in_order_whole_with_source_and_stamp() {
    let Some((mut socket, sender)) = line(&join(group(60)), HERE) else {
        return;
    };
    if !joins(&socket) {
        return;
    }
    let mut batch = Batch::new();
    for (size, count, last) in [
        (1_000, 64, 1_000),
        (1_000, 64, 1),
        (1_000, 2, 999),
        (1, 2, 1),
        (1, JOINED_PACKETS_MAX, 1),
        (500, 63, 17),
        (1_472, 44, 3),
        (9_216, 7, 100),
        (1_400, 1, 1_400),
    ] {
        let sent = bytes((count - 1) * size + last);
        let before = wall_clock();
        send_joined(&sender, &sent, u16::try_from(size).unwrap());
        // What is sent on loopback has arrived when the call returns: one call gives all.
        assert_eq!(socket.receive(&mut batch).unwrap(), count);
        let after = wall_clock();
        let payloads: Vec<_> = batch.packets().map(|packet| packet.payload).collect();
        assert_eq!(payloads, sent.chunks(size).collect::<Vec<_>>());
        for packet in batch.packets() {
            assert_eq!(packet.source, sender.local_addr().unwrap());
            assert!((before..=after).contains(&packet.ts_recv));
        }
        assert!(!batch.is_full());
    }
    assert_eq!(socket.refused(), Refused::default());
}

#[test]
fn joined_and_single_datagrams_of_all_sizes_mix() {
    let Some((mut socket, sender)) = line(&join(group(61)), HERE) else {
        return;
    };
    if !joins(&socket) {
        return;
    }
    let mut batch = Batch::new();
    let all = bytes(60_000);
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    // So often that each buffer holds now the one, now the other.
    for round in 0..20 * BATCH_BUFFERS {
        for step in 0..3 + round % 5 {
            let size = 1 + (round * 131 + step * 37) % 1_400;
            let count = 1 + (round * 7 + step) % (60_000 / size).min(64);
            let length = (count * size).saturating_sub(step % size).max(1);
            if (round + step) % 3 == 0 {
                send_joined(&sender, &all[..length], u16::try_from(size).unwrap());
                sent.extend(all[..length].chunks(size).map(<[u8]>::to_vec));
            } else {
                sender.send(&all[..size]).unwrap();
                sent.push(all[..size].to_vec());
            }
        }
        if round % 4 == 3 {
            let missing = sent.len() - received.len();
            received.extend(receive(&mut socket, &mut batch, missing));
        }
    }
    assert!(received == sent, "{} of {}", received.len(), sent.len());
    assert!(sent.len() > 10 * BATCH_BUFFERS);
}

#[test]
fn joined_datagrams_longer_than_is_taken_are_dropped_and_counted_each() {
    let Some((mut socket, sender)) = line(&join(group(62)), HERE) else {
        return;
    };
    if !joins(&socket) {
        return;
    }
    let long = PACKET_BYTES_MAX + 1;
    for (last, shown, too_long) in [(long, 0, 6), (PACKET_BYTES_MAX, 1, 11), (1, 1, 16)] {
        let sent = bytes(5 * long + last);
        send_joined(&sender, &sent, u16::try_from(long).unwrap());
        let payloads = receive(&mut socket, &mut Batch::new(), 6);
        assert_eq!(payloads.len(), shown);
        assert!(payloads.iter().all(|payload| *payload == sent[5 * long..]));
        assert_eq!(socket.refused().too_long, too_long);
    }
}

#[test]
fn joined_datagrams_of_a_foreign_source_are_dropped_and_counted_each() {
    let config = JoinConfig {
        sources: vec![HERE],
        ..join(group(63))
    };
    let Some((mut socket, listed)) = line(&config, HERE) else {
        return;
    };
    if !joins(&socket) {
        return;
    }
    let foreign = multicast::sender(config.group, ELSEWHERE).unwrap();
    send_joined(&foreign, &bytes(990), 100);
    send_joined(&listed, &bytes(250), 100);
    send_joined(&foreign, &bytes(100), 50);
    let payloads = receive(&mut socket, &mut Batch::new(), 15);
    assert_eq!(
        payloads,
        bytes(250).chunks(100).collect::<Vec<_>>(),
        "the listed source's"
    );
    assert_eq!(
        socket.refused(),
        Refused {
            foreign: 12,
            too_long: 0
        }
    );
}

#[test]
fn a_socket_that_doesnt_ask_for_it_gets_each_datagram_by_itself() {
    let config = JoinConfig {
        join_datagrams: false,
        ..join(group(64))
    };
    let Some((mut socket, sender)) = line(&config, HERE) else {
        return;
    };
    assert!(!socket.granted().joins_datagrams);
    // Somebody else on this machine does: it isn't decided for both.
    let mut other = MulticastSocket::open(&join(config.group)).unwrap();
    let mut batch = Batch::new();
    let sent = bytes(40 * 700 + 1);
    send_joined(&sender, &sent, 700);
    assert_eq!(socket.receive(&mut batch).unwrap(), BATCH_BUFFERS);
    assert!(batch.is_full());
    let mut payloads: Vec<_> = batch.packets().map(|p| p.payload.to_vec()).collect();
    payloads.extend(receive(&mut socket, &mut batch, 41 - BATCH_BUFFERS));
    assert_eq!(payloads, sent.chunks(700).collect::<Vec<_>>());
    assert_eq!(receive(&mut other, &mut batch, 41), payloads);
}

#[test]
fn what_the_kernel_dropped_is_counted_to_the_datagram_where_none_were_joined() {
    for (join_datagrams, of_one) in [(false, 1), (true, 32)] {
        let config = JoinConfig {
            join_datagrams,
            receive_buffer_bytes: 128 * 1024,
            ..join(group(65))
        };
        let Some((mut socket, sender)) = line(&config, HERE) else {
            return;
        };
        if join_datagrams && !joins(&socket) {
            return;
        }
        const SENT: u64 = 32 * 200;
        for _ in 0..SENT / 32 {
            send_joined(&sender, &bytes(32_000), 1_000);
        }
        let mut batch = Batch::new();
        let mut received = 0;
        loop {
            match socket.receive(&mut batch).unwrap() {
                0 => break,
                count => received += count as u64,
            }
        }
        let drops = socket.kernel_drops().unwrap();
        println!("{SENT} sent, {received} received, {drops} dropped by the kernel's count");
        assert!(drops > 0, "the buffer held everything");
        // Joined ones are lost together, and count as one.
        assert_eq!(SENT, received + of_one * drops);
    }
}

#[test]
fn receiving_allocates_nothing_joined_or_not() {
    let Some((mut socket, sender)) = line(&join(group(66)), HERE) else {
        return;
    };
    let mut batch = Batch::new();
    let sent = bytes(50_000);
    let mut bytes_received = 0;
    let taken = allocation_counter::measure(|| {
        for _ in 0..10 {
            sender.send(&sent[..700]).unwrap();
            while socket.receive(&mut batch).unwrap() > 0 {
                bytes_received += batch.packets().map(|p| p.payload.len()).sum::<usize>();
            }
        }
    });
    assert_eq!((bytes_received, taken.count_total), (7_000, 0));
    send_joined(&sender, &sent, 1_000);
    let taken = allocation_counter::measure(|| {
        while socket.receive(&mut batch).unwrap() > 0 {
            bytes_received += batch.packets().map(|p| p.payload.len()).sum::<usize>();
        }
    });
    assert_eq!((bytes_received, taken.count_total), (57_000, 0));
}

#[test]
fn joined_datagrams_of_an_ipv6_group_come_one_by_one() {
    if !multicast::in_namespace("joined_datagrams_of_an_ipv6_group_come_one_by_one") {
        return;
    }
    let here = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let group: Ipv6Addr = "ff31::4d:2".parse().unwrap();
    let config = JoinConfig {
        interface: Interface::Index(LOOPBACK),
        ..join(SocketAddr::new(IpAddr::V6(group), port()))
    };
    let (mut socket, sender) = line(&config, here).unwrap();
    if !joins(&socket) {
        return;
    }
    let mut batch = Batch::new();
    for _ in 0..BATCH_BUFFERS + 3 {
        sender.send(b"single").unwrap();
        send_joined(&sender, &bytes(20_500), 1_000);
    }
    let count = (BATCH_BUFFERS + 3) * 22;
    let payloads = receive(&mut socket, &mut batch, count);
    assert_eq!(payloads.len(), count);
    for pair in payloads.chunks(22) {
        assert_eq!(pair[0], b"single");
        assert_eq!(pair[1..], bytes(20_500).chunks(1_000).collect::<Vec<_>>());
    }
    assert!(batch.packets().all(|packet| packet.source.ip() == here));
}

#[test]
fn a_request_servers_answers_come_one_by_one() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut socket = RequestSocket::open(&[server.local_addr().unwrap()], Some(HERE)).unwrap();
    socket.send(0, b"request").unwrap();
    let mut buffer = [0; 16];
    let (_, client) = server.recv_from(&mut buffer).unwrap();
    server.connect(client).unwrap();
    let sent = bytes(4_100);
    send_joined(&server, &sent, 1_000);
    let mut batch = Batch::new();
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut answers = Vec::new();
    while answers.len() < 5 && Instant::now() < deadline {
        socket.receive(&mut batch).unwrap();
        answers.extend(batch.packets().map(|packet| packet.payload.to_vec()));
    }
    assert_eq!(answers, sent.chunks(1_000).collect::<Vec<_>>());
}
