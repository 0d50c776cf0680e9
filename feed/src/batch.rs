//! Datagrams of one `recvmmsg`, in buffers made once: an edge.
//!
//! Invariant: nothing is allocated after [`Batch::new`].  A batch holds what one call gave until the next;
//! it belongs to one thread and serves all of its sockets in turn.
//!
//! Only receive stamps come as control messages.  Their size is the same for every datagram, which the
//! headers rely on: they aren't laid out anew between calls.  A socket's drop count, that comes with some
//! datagrams only, is read by a call of its own ([`MulticastSocket::kernel_drops`]).
//!
//! [`MulticastSocket::kernel_drops`]: crate::socket::MulticastSocket::kernel_drops

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
};
use nix::sys::time::TimeSpec;

use crate::limits::{BATCH_PACKETS_MAX, PACKET_BYTES_MAX};
use crate::receiver::wall_clock;

/// A datagram as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The UDP payload, whole.
    pub payload: &'a [u8],
    /// When the kernel took it from the network card, in nanoseconds since the Unix epoch.
    pub ts_recv: u64,
    /// Who sent it.
    pub source: SocketAddr,
}

/// What is kept of a datagram beside its bytes.
#[derive(Debug, Clone, Copy)]
struct Received {
    length: usize,
    ts_recv: u64,
    source: SocketAddr,
    /// Longer than its buffer.
    truncated: bool,
    /// Refused by the socket: not shown.
    refused: bool,
}

/// Buffers for [`BATCH_PACKETS_MAX`] datagrams, and those of the last call.
pub struct Batch {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Box<[u8]>,
    received: Vec<Received>,
}

impl Batch {
    /// Allocates all that is ever needed.  A batch stays on the thread that made it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH_PACKETS_MAX, Some(cmsg_space!(TimeSpec))),
            buffers: vec![0; BATCH_PACKETS_MAX * PACKET_BYTES_MAX].into_boxed_slice(),
            received: Vec::with_capacity(BATCH_PACKETS_MAX),
        }
    }

    /// The datagrams of the last call that their socket accepted, in the order of their arrival.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        self.received
            .iter()
            .zip(self.buffers.chunks_exact(PACKET_BYTES_MAX))
            .filter(|(received, _)| !received.refused)
            .filter_map(|(received, buffer)| {
                Some(Packet {
                    payload: buffer.get(..received.length)?,
                    ts_recv: received.ts_recv,
                    source: received.source,
                })
            })
    }

    /// Whether the last call filled every buffer: more may be waiting.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.received.len() == BATCH_PACKETS_MAX
    }

    /// Receives what waits, without waiting; says how many.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received.clear();
        let mut buffers = self.buffers.chunks_exact_mut(PACKET_BYTES_MAX);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH_PACKETS_MAX] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let messages = match recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &mut slices,
            MsgFlags::MSG_DONTWAIT,
            None,
        ) {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        self.received.extend(messages.map(|message| Received {
            length: message.bytes,
            ts_recv: stamp(&message).unwrap_or_else(wall_clock),
            source: source(message.address),
            truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
            refused: false,
        }));
        Ok(self.received.len())
    }

    /// Refuses datagrams that are cut or come from elsewhere; says how many of each.
    pub(crate) fn refuse(&mut self, accepts: impl Fn(SocketAddr) -> bool) -> Refused {
        let mut refused = Refused::default();
        for received in &mut self.received {
            if !accepts(received.source) {
                received.refused = true;
                refused.foreign += 1;
            } else if received.truncated {
                received.refused = true;
                refused.too_long += 1;
            }
        }
        refused
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Datagrams that a socket received and didn't give on; each is in one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// From an address that isn't listed.
    pub foreign: u64,
    /// Longer than [`PACKET_BYTES_MAX`].
    pub too_long: u64,
}

/// The kernel's receive stamp.
fn stamp(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<u64> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => {
            let seconds = u64::try_from(time.tv_sec()).ok()?;
            let nanoseconds = u64::try_from(time.tv_nsec()).ok()?;
            Some(seconds * 1_000_000_000 + nanoseconds)
        }
        _ => None,
    })
}

fn source(address: Option<SockaddrStorage>) -> SocketAddr {
    let v4 = |address: &SockaddrStorage| {
        address
            .as_sockaddr_in()
            .map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)))
    };
    let v6 = |address: &SockaddrStorage| {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6)))
    };
    address
        .and_then(|address| v4(&address).or_else(|| v6(&address)))
        .unwrap_or(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)))
}
