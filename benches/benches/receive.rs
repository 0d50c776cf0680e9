//! What receiving costs: one system call a datagram (`recv`; with source and kernel stamp, `recvmsg`), or one
//! for many (`recvmmsg`, with both).  Nanoseconds a datagram, on loopback, 32 or 1 already waiting.
#![allow(missing_docs)]

use std::hint::black_box;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nix::cmsg_space;
use nix::sys::socket::{MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};
use tickcast_feed::batch::Batch;
use tickcast_feed::limits::BATCH_BUFFERS;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};

const PAYLOAD: [u8; 500] = [7; 500];

/// A port that was free a moment ago, of a group on loopback.
fn group() -> io::Result<SocketAddr> {
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    Ok(SocketAddr::from(([239, 255, 79, 1], port)))
}

fn sender(group: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
    socket.connect(&group.into())?;
    Ok(socket.into())
}

/// A socket as the standard library would have it.
fn plain(group: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&group.into())?;
    if let IpAddr::V4(address) = group.ip() {
        socket.join_multicast_v4(&address, &Ipv4Addr::LOCALHOST)?;
    }
    Ok(socket.into())
}

/// Times `drain` alone: `count` datagrams, so many waiting at a time.
fn time(count: u64, waiting: u64, sender: &UdpSocket, mut drain: impl FnMut()) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..count.div_ceil(waiting) {
        for _ in 0..waiting {
            let _ = sender.send(&PAYLOAD);
        }
        let began = Instant::now();
        drain();
        spent += began.elapsed();
    }
    spent
}

fn receive(criterion: &mut Criterion) {
    let [Ok(plain_group), Ok(stamped_group), Ok(group)] = [(); 3].map(|()| group()) else {
        return;
    };
    let [Ok(plain_sender), Ok(stamped_sender), Ok(sender)] =
        [plain_group, stamped_group, group].map(sender)
    else {
        return;
    };
    let interface = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let join = JoinConfig::any_source(group, interface);
    let [Ok(plain), Ok(stamped)] = [plain_group, stamped_group].map(plain) else {
        return;
    };
    let Ok(mut socket) = MulticastSocket::open(&join) else {
        return;
    };
    if setsockopt(&stamped, sockopt::ReceiveTimestampns, &true).is_err() {
        return;
    }
    let mut batch = Batch::new();
    let mut buffer = [0; 9_216];
    let mut bench = criterion.benchmark_group("receive");
    bench.throughput(Throughput::Elements(1));
    for waiting in [BATCH_BUFFERS as u64, 1] {
        bench.bench_function(format!("recv/{waiting}"), |bencher| {
            bencher.iter_custom(|count| {
                time(count, waiting, &plain_sender, || {
                    for _ in 0..waiting {
                        let _ = black_box(plain.recv(&mut buffer));
                    }
                })
            });
        });
        bench.bench_function(format!("recvmsg/{waiting}"), |bencher| {
            let mut control = cmsg_space!(TimeSpec);
            bencher.iter_custom(|count| {
                time(count, waiting, &stamped_sender, || {
                    for _ in 0..waiting {
                        let mut slices = [IoSliceMut::new(&mut buffer)];
                        if let Ok(message) = recvmsg::<SockaddrIn>(
                            stamped.as_raw_fd(),
                            &mut slices,
                            Some(&mut control),
                            MsgFlags::MSG_DONTWAIT,
                        ) {
                            let stamp = message.cmsgs().ok().and_then(|mut all| all.next());
                            black_box((message.bytes, message.address, stamp));
                        }
                    }
                })
            });
        });
        bench.bench_function(format!("recvmmsg/{waiting}"), |bencher| {
            bencher.iter_custom(|count| {
                time(count, waiting, &sender, || {
                    let _ = socket.receive(&mut batch);
                    for packet in batch.packets() {
                        black_box(packet);
                    }
                })
            });
        });
    }
    bench.bench_function("drops", |bencher| {
        bencher.iter(|| socket.kernel_drops());
    });
    bench.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = receive
}
criterion_main!(benches);
