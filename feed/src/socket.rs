//! The multicast socket: an edge.  It decides nothing.
//!
//! Any-source joins by interface address (IPv4) or index (IPv6); `SO_REUSEADDR`, so that several
//! receivers of one machine can listen to the same group; the receive buffer is asked for and what
//! the kernel granted is reported.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::{PACKET_BYTES_MAX, RECEIVE_BUFFER_BYTES};

/// A joined multicast socket.
#[derive(Debug)]
pub struct MulticastSocket {
    socket: UdpSocket,
    buffer: Box<[u8]>,
    receive_buffer_bytes: usize,
}

impl MulticastSocket {
    /// Binds to the group's port and joins it on `interface` (an IPv4 address of a local interface,
    /// or for IPv6 groups an interface index given as `::INDEX`; unspecified = the kernel's choice).
    ///
    /// # Errors
    ///
    /// The system's error of the call that failed.
    pub fn join(group: SocketAddr, interface: IpAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        // Best effort: the kernel caps it at rmem_max; what was granted is read back below.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.bind(&group.into())?;
        match (group.ip(), interface) {
            (IpAddr::V4(address), IpAddr::V4(interface)) => {
                socket.join_multicast_v4(&address, &interface)?;
                // Without this a socket also gets the groups that others on this machine joined.
                socket.set_multicast_all_v4(false)?;
            }
            (IpAddr::V6(address), IpAddr::V6(interface)) => {
                let [.., high, low] = interface.segments();
                let index = (u32::from(high) << 16) | u32::from(low);
                socket.join_multicast_v6(&address, index)?;
            }
            (IpAddr::V4(address), IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => {
                socket.join_multicast_v4(&address, &Ipv4Addr::UNSPECIFIED)?;
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("group {group} and interface {interface} are of different families"),
                ));
            }
        }
        let receive_buffer_bytes = socket.recv_buffer_size()?;
        Ok(Self {
            socket: socket.into(),
            buffer: vec![0; PACKET_BYTES_MAX].into_boxed_slice(),
            receive_buffer_bytes,
        })
    }

    /// The kernel's receive buffer as granted, in bytes (the kernel counts its own overhead into it).
    #[must_use]
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// How long [`receive`](Self::receive) waits; `None` = it returns at once.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set_wait(&self, wait: Option<Duration>) -> io::Result<()> {
        match wait {
            None => self.socket.set_nonblocking(true),
            Some(wait) => {
                self.socket.set_nonblocking(false)?;
                self.socket.set_read_timeout(Some(wait))
            }
        }
    }

    /// One datagram, or `None` if none came within the wait.
    ///
    /// # Errors
    ///
    /// The system's error, other than would-block, timed out and interrupted.
    pub fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        match self.socket.recv(&mut self.buffer) {
            Ok(length) => Ok(self.buffer.get(..length)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
