//! Datagrams of one `recvmmsg`, in buffers made once: an edge.
//!
//! Invariant: nothing is allocated after [`Batch::new`].  A batch holds what one call gave until the next;
//! it belongs to one thread and serves all of its sockets in turn.
//!
//! A buffer holds more than one datagram where the kernel joined some (`UDP_GRO`): of one source, all of one
//! size, the last may be shorter.  They are taken apart here, and each is as if it had come alone; their stamp is
//! the kernel's for all of them.  A buffer has room for the longest that the kernel makes, so none is ever cut.
//!
//! A socket's drop count, that comes with some datagrams only, is read by a call of its own
//! ([`MulticastSocket::kernel_drops`]).
//!
//! [`MulticastSocket::kernel_drops`]: crate::socket::MulticastSocket::kernel_drops

use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::iter;
use std::net::SocketAddr;

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::Socket;

use crate::limits::{BATCH_BUFFERS, BUFFER_BYTES, JOINED_PACKETS_MAX, PACKET_BYTES_MAX};
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

/// Where a datagram is, and what is kept of it beside its bytes.
#[derive(Debug, Clone, Copy)]
struct Received {
    start: usize,
    length: usize,
    ts_recv: u64,
    source: SocketAddr,
}

/// [`BATCH_BUFFERS`] buffers, and the datagrams that the last call put into them.
pub struct Batch {
    buffers: Box<[u8]>,
    metas: [RecvMeta; BATCH_BUFFERS],
    /// Buffers of the last call.
    filled: usize,
    received: Vec<Received>,
}

impl Batch {
    /// Allocates all that is ever needed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffers: vec![0; BATCH_BUFFERS * BUFFER_BYTES].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH_BUFFERS],
            filled: 0,
            received: Vec::with_capacity(BATCH_BUFFERS * JOINED_PACKETS_MAX),
        }
    }

    /// The datagrams of the last call that their socket accepted, in the order of their arrival.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        self.received.iter().filter_map(|received| {
            Some(Packet {
                payload: self.buffers.get(received.start..)?.get(..received.length)?,
                ts_recv: received.ts_recv,
                source: received.source,
            })
        })
    }

    /// Whether the last call filled every buffer: more may be waiting.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == BATCH_BUFFERS
    }

    /// Receives what waits, without waiting, and refuses what comes from elsewhere or is too long.  Says how many
    /// datagrams came, and adds to `refused` how many of them aren't shown.
    pub(crate) fn receive(
        &mut self,
        socket: &Socket,
        state: &UdpSocketState,
        accepts: impl Fn(SocketAddr) -> bool,
        refused: &mut Refused,
    ) -> io::Result<usize> {
        self.received.clear();
        self.filled = 0;
        let mut buffers = self.buffers.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        self.filled = match state.recv(socket.into(), &mut slices, &mut self.metas) {
            Ok(filled) => filled,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut came = 0;
        for (index, meta) in self.metas.iter().take(self.filled).enumerate() {
            let (ts_recv, source) = (stamp(meta), meta.addr);
            let accepted = accepts(source);
            let mut start = index * BUFFER_BYTES;
            for length in lengths(meta) {
                came += 1;
                if !accepted {
                    refused.foreign += 1;
                } else if length > PACKET_BYTES_MAX {
                    refused.too_long += 1;
                } else {
                    self.received.push(Received {
                        start,
                        length,
                        ts_recv,
                        source,
                    });
                }
                start += length;
            }
        }
        Ok(came)
    }
}

/// The lengths of a buffer's datagrams: one, or several of one size and a rest.
fn lengths(meta: &RecvMeta) -> impl Iterator<Item = usize> {
    let (all, size) = (meta.len, meta.stride);
    let whole = if (1..all).contains(&size) {
        all / size
    } else {
        0
    };
    let rest = all - whole * size;
    iter::repeat_n(size, whole).chain((rest > 0 || whole == 0).then_some(rest))
}

/// The kernel's receive stamp.
fn stamp(meta: &RecvMeta) -> u64 {
    meta.timestamp.map_or_else(wall_clock, |since| {
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    })
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
