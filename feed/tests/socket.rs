//! The sockets of lines and request servers, on the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod multicast;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use multicast::{LOOPBACK, group, join, line, port, receive, sender};
use tickcast_feed::batch::{Batch, Refused};
use tickcast_feed::limits::{BATCH_BUFFERS, PACKET_BYTES_MAX};
use tickcast_feed::receiver::wall_clock;
use tickcast_feed::socket::{Interface, JoinConfig, MulticastSocket, RequestSocket};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of the loopback interface.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[test]
fn a_datagram_comes_whole_with_its_source_and_the_kernels_stamp() {
    let Some((mut socket, sender)) = line(&join(group(1)), HERE) else {
        return;
    };
    let mut batch = Batch::new();
    let before = wall_clock();
    sender.send(b"a datagram").unwrap();
    while socket.receive(&mut batch).unwrap() == 0 {}
    let after = wall_clock();
    let packet = batch.packets().next().unwrap();
    assert_eq!(packet.payload, b"a datagram");
    assert_eq!(packet.source, sender.local_addr().unwrap());
    assert!((before..=after).contains(&packet.ts_recv));
    assert_eq!(socket.receive(&mut batch).unwrap(), 0);
    assert_eq!(batch.packets().count(), 0);
}

#[test]
fn more_datagrams_than_a_batch_has_come_in_order_over_several() {
    let Some((mut socket, sender)) = line(&join(group(2)), HERE) else {
        return;
    };
    let count = 2 * BATCH_BUFFERS + 7;
    // Of different lengths: what is left of a longer one isn't seen.
    let sent: Vec<Vec<u8>> = (0..count)
        .map(|i| vec![i.to_le_bytes()[0]; 1 + i * 37 % 900])
        .collect();
    for payload in &sent {
        sender.send(payload).unwrap();
    }
    assert_eq!(receive(&mut socket, &mut Batch::new(), count), sent);
    assert_eq!(socket.kernel_drops().unwrap(), 0);
}

#[test]
fn another_group_at_the_same_port_isnt_heard() {
    let ours = group(3);
    let Some((mut socket, sender_ours)) = line(&join(ours), HERE) else {
        return;
    };
    let theirs = SocketAddr::from(([239, 255, 78, 4], ours.port()));
    // Somebody on this machine has joined it.
    let _their_socket = MulticastSocket::open(&join(theirs)).unwrap();
    sender(theirs, HERE).unwrap().send(b"theirs").unwrap();
    sender_ours.send(b"ours").unwrap();
    assert_eq!(receive(&mut socket, &mut Batch::new(), 1), [b"ours"]);
    assert_eq!(socket.refused(), Refused::default());
}

#[test]
fn what_a_foreign_source_sends_to_an_any_source_join_is_dropped_and_counted() {
    let config = JoinConfig {
        sources: vec![HERE],
        ..join(group(5))
    };
    let Some((mut socket, listed)) = line(&config, HERE) else {
        return;
    };
    let foreign = sender(config.group, ELSEWHERE).unwrap();
    foreign.send(b"foreign").unwrap();
    listed.send(b"listed").unwrap();
    foreign.send(b"foreign").unwrap();
    assert_eq!(receive(&mut socket, &mut Batch::new(), 3), [b"listed"]);
    assert_eq!(socket.refused().foreign, 2);
}

#[test]
fn a_source_specific_join_hears_its_sources_only() {
    for interface in [
        Interface::Address(HERE),
        Interface::Index(LOOPBACK),
        Interface::Name("lo".to_owned()),
    ] {
        let config = JoinConfig {
            interface,
            sources: vec![HERE],
            source_specific: true,
            ..join(SocketAddr::from(([232, 1, 2, 3], port())))
        };
        let Some((mut socket, listed)) = line(&config, HERE) else {
            return;
        };
        let foreign = sender(config.group, ELSEWHERE).unwrap();
        foreign.send(b"foreign").unwrap();
        listed.send(b"listed").unwrap();
        assert_eq!(receive(&mut socket, &mut Batch::new(), 1), [b"listed"]);
        // The kernel kept it away.
        assert_eq!(socket.refused(), Refused::default());
    }
}

#[test]
fn ipv6_groups_are_joined_for_any_source_and_for_one() {
    if !multicast::in_namespace("ipv6_groups_are_joined_for_any_source_and_for_one") {
        return;
    }
    let here = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let elsewhere = "2001:db8::1".parse().unwrap();
    for (source, source_specific, heard) in [
        (here, false, true),
        (here, true, true),
        (elsewhere, false, false),
        (elsewhere, true, false),
    ] {
        let group: Ipv6Addr = "ff31::4d:1".parse().unwrap();
        let config = JoinConfig {
            interface: Interface::Index(LOOPBACK),
            sources: vec![source],
            source_specific,
            ..join(SocketAddr::new(IpAddr::V6(group), port()))
        };
        let (mut socket, sender) = line(&config, here).unwrap();
        sender.send(b"six").unwrap();
        let mut batch = Batch::new();
        // What is sent on loopback has arrived when the call returns.
        let came = socket.receive(&mut batch).unwrap();
        assert_eq!(came == 1, heard || !source_specific);
        assert_eq!(batch.packets().count() == 1, heard);
        assert!(batch.packets().all(|packet| packet.source.ip() == here));
    }
}

#[test]
fn a_datagram_longer_than_a_buffer_is_dropped_and_counted() {
    let Some((mut socket, sender)) = line(&join(group(6)), HERE) else {
        return;
    };
    sender.send(&vec![1; PACKET_BYTES_MAX + 1]).unwrap();
    sender.send(&vec![2; PACKET_BYTES_MAX]).unwrap();
    sender.send(&[]).unwrap();
    let payloads = receive(&mut socket, &mut Batch::new(), 3);
    assert_eq!(payloads, [vec![2; PACKET_BYTES_MAX], vec![]]);
    assert_eq!(socket.refused().too_long, 1);
}

#[test]
fn what_the_kernel_granted_is_read_back() {
    let asked = JoinConfig {
        receive_buffer_bytes: 64 * 1024,
        ..join(group(7))
    };
    let granted = MulticastSocket::open(&asked).unwrap().granted();
    assert_eq!(granted.receive_buffer_bytes, 64 * 1024);
    assert!(granted.is_loopback);
    assert_eq!(granted.busy_poll_us, 0);
}

#[test]
fn what_a_stalled_receiver_lost_is_the_kernels_drop_count_exactly() {
    let config = JoinConfig {
        receive_buffer_bytes: 128 * 1024,
        ..join(group(8))
    };
    let Some((mut socket, sender)) = line(&config, HERE) else {
        return;
    };
    const SENT: u64 = 30_000;
    let sending = std::thread::spawn(move || {
        for number in 0..SENT {
            sender.send(&number.to_be_bytes()).unwrap();
        }
    });
    let mut batch = Batch::new();
    let (mut received, mut holes, mut expected, mut lost) = (0, 0, 0, 0);
    let mut stalled = false;
    loop {
        let ended = sending.is_finished();
        let count = socket.receive(&mut batch).unwrap();
        for packet in batch.packets() {
            let number = u64::from_be_bytes(packet.payload.try_into().unwrap());
            holes += number - expected;
            expected = number + 1;
            received += 1;
        }
        if !stalled && received > 0 {
            stalled = true;
            std::thread::sleep(Duration::from_millis(100));
        }
        if batch.is_full() {
            lost += socket.kernel_drops().unwrap();
        }
        if ended && count == 0 {
            break;
        }
    }
    lost += socket.kernel_drops().unwrap();
    sending.join().unwrap();
    println!("sent {SENT}, received {received}, dropped by the kernel {lost}");
    assert_eq!(SENT, received + lost);
    // What is missing at the end is seen too, though nothing follows it.
    assert_eq!(lost, holes + (SENT - expected));
    assert!(lost > 0, "the stall lost nothing");
}

#[test]
fn a_join_that_contradicts_itself_is_refused() {
    let refused = |config: &JoinConfig| {
        let error = MulticastSocket::open(config).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        error.to_string()
    };
    let unicast = join(SocketAddr::from(([127, 0, 0, 1], 9)));
    assert!(refused(&unicast).contains("127.0.0.1:9 is no multicast group"));
    let families = JoinConfig {
        sources: vec![IpAddr::V6(Ipv6Addr::LOCALHOST)],
        ..join(group(9))
    };
    assert!(refused(&families).contains("source ::1 are of different families"));
    let sourceless = JoinConfig {
        source_specific: true,
        ..join(group(9))
    };
    assert!(refused(&sourceless).contains("needs the addresses of its sources"));
    let nowhere = JoinConfig {
        interface: "nosuch0".parse().unwrap(),
        ..join(group(9))
    };
    let error = MulticastSocket::open(&nowhere).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("nosuch0"));
}

#[test]
fn an_interface_is_read_as_address_number_or_name() {
    for (text, interface) in [
        ("127.0.0.1", Interface::Address(HERE)),
        ("1", Interface::Index(1)),
        ("lo", Interface::Name("lo".to_owned())),
    ] {
        let read: Interface = text.parse().unwrap();
        assert_eq!((read.to_string(), &read), (text.to_owned(), &interface));
        let resolved = read.resolve().unwrap();
        assert!(resolved.is_loopback && resolved.index == LOOPBACK);
    }
    let any: Interface = "0.0.0.0".parse().unwrap();
    assert_eq!(any.resolve().unwrap().index, 0);
}

#[test]
fn answers_come_from_listed_request_servers_and_what_others_send_is_counted() {
    let servers = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let addresses = servers
        .each_ref()
        .map(|server| server.local_addr().unwrap());
    let mut socket = RequestSocket::open(&addresses, Some(HERE)).unwrap();
    socket.send(1, b"request").unwrap();
    let mut buffer = [0; 16];
    let (length, client) = servers[1].recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"request");
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.send_to(b"lie", client).unwrap();
    servers[1].send_to(b"answer", client).unwrap();
    let mut batch = Batch::new();
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut answers = Vec::new();
    while answers.is_empty() && Instant::now() < deadline {
        socket.receive(&mut batch).unwrap();
        answers.extend(
            batch
                .packets()
                .map(|p| (p.payload.to_vec(), socket.server(p.source))),
        );
    }
    assert_eq!(answers, [(b"answer".to_vec(), Some(1))]);
    assert_eq!(socket.refused().foreign, 1);
    assert_eq!(
        socket.send(2, b"").unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
}

#[test]
fn request_servers_of_two_families_or_none_are_refused() {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
    for servers in [&[][..], &[v4, v6]] {
        let error = RequestSocket::open(servers, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
