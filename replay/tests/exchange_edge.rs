//! The exchange in real time: through sockets on the loopback interface, and within the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tickcast_codecs::moldudp64::{DownstreamPacket, Kind};
use tickcast_replay::exchange::edge::{
    Faulty, MarketChannel, Transmit, multicast, multicast_sender, run,
};
use tickcast_replay::exchange::{LineConfig, Lines, Market, MarketConfig, Pace, PublisherConfig};
use tickcast_replay::fault::{Fault, FaultPlan, moldudp64_messages};

/// A line that tells the end of the session once.
fn line() -> LineConfig {
    LineConfig {
        publisher: PublisherConfig {
            end_of_session_ns: 0,
            ..PublisherConfig::default()
        },
        ..LineConfig::default()
    }
}

fn channel() -> MarketChannel {
    let market = MarketConfig {
        instruments: 4,
        messages_per_second: 2_000,
        ..MarketConfig::default()
    };
    MarketChannel::new(Market::new(market), Lines::new(&[line(); 2], 0))
}

/// A receiver of the group on the loopback interface, at a free port.
fn receiver(group: Ipv4Addr) -> io::Result<(UdpSocket, SocketAddrV4)> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
    socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    socket.set_recv_buffer_size(1 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let socket = UdpSocket::from(socket);
    let port = socket.local_addr()?.port();
    Ok((socket, SocketAddrV4::new(group, port)))
}

/// Both lines and their senders, or the reason why multicast doesn't work here.
fn lines() -> io::Result<([UdpSocket; 2], Vec<UdpSocket>)> {
    let (a, group_a) = receiver(Ipv4Addr::new(239, 255, 77, 1))?;
    let (b, group_b) = receiver(Ipv4Addr::new(239, 255, 77, 2))?;
    let senders = vec![
        multicast_sender(group_a, Ipv4Addr::LOCALHOST)?,
        multicast_sender(group_b, Ipv4Addr::LOCALHOST)?,
    ];
    let mut buffer = [0; 16];
    for (sender, receiver) in senders.iter().zip([&a, &b]) {
        sender.send(b"probe")?;
        receiver.recv(&mut buffer)?;
    }
    Ok(([a, b], senders))
}

#[test]
fn both_lines_carry_the_whole_session_over_loopback_multicast() {
    let ([a, b], senders) = match lines() {
        Ok(lines) => lines,
        Err(error) => {
            println!("skipped: no multicast on the loopback interface: {error}");
            return;
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let exchange = thread::spawn({
        let stop = Arc::clone(&stop);
        move || run(&mut channel(), multicast(senders), &stop)
    });
    let stopper = thread::spawn({
        let exchange = exchange.thread().clone();
        move || {
            thread::sleep(Duration::from_millis(700));
            stop.store(true, Ordering::Relaxed);
            exchange.unpark();
        }
    });
    let receive = |line: UdpSocket| {
        let mut buffer = [0; 2_048];
        let (mut expected, mut packets) = (1, 0);
        loop {
            let length = line.recv(&mut buffer).expect("no end of session");
            let packet = DownstreamPacket::parse(&buffer[..length]).unwrap();
            packets += 1;
            assert_eq!(packet.sequence(), expected);
            if packet.kind() == Kind::EndOfSession {
                return (expected, packets);
            }
            expected = packet.next_sequence();
        }
    };
    let line_b = thread::spawn(move || receive(b));
    let of_a = receive(a);
    let of_b = line_b.join().unwrap();
    stopper.join().unwrap();
    let sent = exchange.join().unwrap().unwrap();
    println!("{sent:?}, next sequence {}", of_a.0);
    assert_eq!(of_a, of_b);
    assert_eq!(sent.packets, of_a.1 + of_b.1);
    // 495 messages of the opening, then 2,000 a second.
    assert!((600..4_000).contains(&of_a.0));
}

#[test]
fn without_sockets_a_callback_gets_the_same_session() {
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let mut expected = 1;
    let mut ended = false;
    let sent = run(
        &mut channel(),
        |line, packet| {
            if line > 0 {
                return Ok(());
            }
            let packet = DownstreamPacket::parse(packet).unwrap();
            assert_eq!(packet.sequence(), expected);
            expected = packet.next_sequence();
            ended = packet.kind() == Kind::EndOfSession;
            if expected > 1_000 {
                stop.store(true, Ordering::Relaxed);
            }
            Ok(())
        },
        &stop,
    )
    .unwrap();
    assert!(ended && sent.packets > 10);
    // 505 messages at 2,000 a second are 250 ms; bursts and slow machines allowed for.
    assert!(began.elapsed() > Duration::from_millis(50));
}

#[test]
fn an_error_of_the_callback_ends_the_run_and_is_returned() {
    let stop = AtomicBool::new(false);
    let error = run(
        &mut channel(),
        |_, _| Err(io::Error::other("the cable is out")),
        &stop,
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "the cable is out");
}

#[test]
fn a_sender_refuses_an_address_that_is_no_group() {
    let unicast = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9_999);
    let error = multicast_sender(unicast, Ipv4Addr::LOCALHOST).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("127.0.0.1:9999"));
}

/// At a rate at which nothing ever sleeps for long, no message is left out, and the lines agree.
#[test]
fn two_hundred_thousand_messages_a_second_are_all_sent_on_both_lines() {
    let market = Market::new(MarketConfig {
        instruments: 4,
        messages_per_second: 200_000,
        pace: Pace::Constant,
        ..MarketConfig::default()
    });
    let mut channel = MarketChannel::new(market, Lines::new(&[line(); 2], 0));
    let stop = AtomicBool::new(false);
    let mut next = [1; 2];
    let began = Instant::now();
    let sent = run(
        &mut channel,
        |line, packet| {
            let packet = DownstreamPacket::parse(packet).unwrap();
            let next = &mut next[usize::from(line)];
            assert_eq!(packet.sequence(), *next);
            *next = packet.next_sequence();
            if *next > 100_000 {
                stop.store(true, Ordering::Relaxed);
            }
            Ok(())
        },
        &stop,
    )
    .unwrap();
    println!("{sent:?} in {:?}", began.elapsed());
    assert_eq!(next[0], next[1]);
    assert!(next[0] > 100_000);
}

#[test]
fn faulty_lines_lose_what_their_counters_say() {
    let plan = FaultPlan {
        loss_ppm: 100_000,
        delay_ns: 30_000_000,
        ..FaultPlan::none()
    };
    let path = |seed| Fault::new(plan.clone(), seed, moldudp64_messages);
    let mut faulty = Faulty::new(channel(), vec![path(1)]);
    let (mut messages, mut packets, mut packet) = ([0; 2], [0; 2], Vec::new());
    let mut now = 0;
    while now < 20_000_000_000 {
        while let Some(line) = faulty.poll_transmit(now, &mut packet) {
            messages[usize::from(line)] += moldudp64_messages(&packet);
            packets[usize::from(line)] += 1;
        }
        now = faulty.poll_timeout().unwrap().max(now + 1);
    }
    let path = &faulty.paths()[0];
    let counters = path.counters();
    println!("{counters:?}");
    assert_eq!(counters.passed.packets, packets[0]);
    assert_eq!(counters.passed.messages, messages[0]);
    let gone = counters.lost.messages + path.held().messages;
    assert_eq!(messages[1], messages[0] + gone);
    assert!(counters.lost.packets > packets[1] / 20);
    assert!(faulty.machine().truth().look().market().is_open());
}
