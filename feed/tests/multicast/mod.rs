//! Multicast on the loopback interface, or the reason why a test is skipped.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tickcast_feed::batch::Batch;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};

/// The loopback interface's number on Linux.
pub(crate) const LOOPBACK: u32 = 1;

/// A port that was free a moment ago.
pub(crate) fn port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// A group of the administratively scoped block; tests that run side by side have ports of their own.
pub(crate) fn group(last: u8) -> SocketAddr {
    SocketAddr::from(([239, 255, 78, last], port()))
}

/// A join on loopback.
pub(crate) fn join(group: SocketAddr) -> JoinConfig {
    JoinConfig::any_source(group, IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Sends to a group on loopback from one of its addresses.
pub(crate) fn sender(group: SocketAddr, from: IpAddr) -> io::Result<UdpSocket> {
    let mut group = group;
    if let SocketAddr::V6(group) = &mut group {
        group.set_scope_id(LOOPBACK);
    }
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    match from {
        IpAddr::V4(_) => {
            socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
            socket.set_multicast_loop_v4(true)?;
        }
        IpAddr::V6(_) => {
            socket.set_multicast_if_v6(LOOPBACK)?;
            socket.set_multicast_loop_v6(true)?;
        }
    }
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&group.into())?;
    Ok(socket.into())
}

/// A line and its sender, or `None` if there is no multicast on the loopback interface.
pub(crate) fn line(config: &JoinConfig, from: IpAddr) -> Option<(MulticastSocket, UdpSocket)> {
    let opened =
        MulticastSocket::open(config).and_then(|socket| Ok((socket, sender(config.group, from)?)));
    match opened {
        Ok(line) => Some(line),
        Err(error) => {
            println!("skipped: no multicast on the loopback interface: {error}");
            None
        }
    }
}

/// Receives until `count` datagrams came or a second is over; gives on each accepted payload.
pub(crate) fn receive(
    socket: &mut MulticastSocket,
    batch: &mut Batch,
    count: usize,
) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut came = 0;
    let mut payloads = Vec::new();
    while came < count && Instant::now() < deadline {
        came += socket.receive(batch).unwrap();
        payloads.extend(batch.packets().map(|packet| packet.payload.to_vec()));
    }
    payloads
}

/// Runs the calling test once more in a network namespace of its own, where IPv6 groups are routed to the
/// loopback interface.  True in there; false outside, where there is nothing left to do.
pub(crate) fn in_namespace(test: &str) -> bool {
    const INSIDE: &str = "TICKCAST_TEST_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    const SETUP: &str = "ip link set lo up && ip -6 route add local ff00::/8 dev lo";
    let namespace = |script: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", script]).args(arguments);
        command.env(INSIDE, "1").status()
    };
    match namespace(SETUP, &[]) {
        Ok(status) if status.success() => {}
        why => {
            println!("skipped: no namespace with IPv6 multicast: {why:?}");
            return false;
        }
    }
    let this = std::env::current_exe().unwrap();
    let script = format!("{SETUP} && exec \"$0\" \"$@\"");
    let arguments = [this.to_str().unwrap(), "--exact", test, "--nocapture"];
    let status = namespace(&script, &arguments).unwrap();
    assert!(status.success(), "in the namespace: {status}");
    false
}
