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
use std::time::{SystemTime, UNIX_EPOCH};

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::Socket;

use crate::limits::{BATCH_BUFFERS, BUFFER_BYTES, PACKET_BYTES_MAX};

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

/// A buffer as it was filled: one datagram, or several that the kernel joined.
#[derive(Debug, Clone, Copy)]
struct Received {
    length: usize,
    /// Bytes of each datagram but the last, which may have less.
    segment: usize,
    ts_recv: u64,
    source: SocketAddr,
}

impl Received {
    fn new(meta: &RecvMeta) -> Self {
        let ts_recv = meta
            .timestamp
            .or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| {
                since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
            });
        Self {
            length: meta.len,
            segment: meta.stride.min(meta.len),
            ts_recv,
            source: meta.addr,
        }
    }

    /// How many datagrams it holds.
    fn count(&self) -> usize {
        if self.segment == self.length {
            1
        } else {
            self.length.div_ceil(self.segment)
        }
    }

    /// How many of them are longer than [`PACKET_BYTES_MAX`].
    fn too_long(&self) -> usize {
        if self.segment <= PACKET_BYTES_MAX {
            return 0;
        }
        let last = self.length - (self.count() - 1) * self.segment;
        self.count() - usize::from(last <= PACKET_BYTES_MAX)
    }

    /// The datagrams of its buffer.
    fn packets<'a>(&'a self, buffer: &'a [u8]) -> impl Iterator<Item = Packet<'a>> {
        // The first by itself, since a datagram can be empty.
        let (first, rest) = buffer
            .get(..self.length)
            .and_then(|payloads| payloads.split_at_checked(self.segment))
            .unwrap_or_default();
        iter::once(first)
            .chain(rest.chunks(self.segment.max(1)))
            .filter(|payload| payload.len() <= PACKET_BYTES_MAX)
            .map(|payload| Packet {
                payload,
                ts_recv: self.ts_recv,
                source: self.source,
            })
    }
}

/// [`BATCH_BUFFERS`] buffers, and what the last call put into them.
pub struct Batch {
    buffers: Box<[u8]>,
    metas: [RecvMeta; BATCH_BUFFERS],
    received: Vec<Option<Received>>,
}

impl Batch {
    /// Allocates all that is ever needed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffers: vec![0; BATCH_BUFFERS * BUFFER_BYTES].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH_BUFFERS],
            received: Vec::with_capacity(BATCH_BUFFERS),
        }
    }

    /// The datagrams of the last call that their socket accepted, in the order of their arrival.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        self.received
            .iter()
            .zip(self.buffers.chunks_exact(BUFFER_BYTES))
            .filter_map(|(received, buffer)| Some(received.as_ref()?.packets(buffer)))
            .flatten()
    }

    /// Whether the last call filled every buffer: more may be waiting.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.received.len() == BATCH_BUFFERS
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
        let mut buffers = self.buffers.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        let filled = match state.recv(socket.into(), &mut slices, &mut self.metas) {
            Ok(filled) => filled,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let mut came = 0;
        for meta in self.metas.iter().take(filled) {
            let received = Received::new(meta);
            let count = received.count();
            came += count;
            if accepts(received.source) {
                refused.too_long += received.too_long() as u64;
                self.received.push(Some(received));
            } else {
                refused.foreign += count as u64;
                self.received.push(None);
            }
        }
        Ok(came)
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
