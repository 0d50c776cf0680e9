//! Packets on their way from the receiving thread to the writing thread: a bounded ring of bytes.
//!
//! Invariant: a packet is in it whole or not at all, and in order.  A full ring refuses; it never waits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rtrb::{Consumer, Producer, RingBuffer};

use super::Received;

/// Bytes before each packet: length (4), line (2), family (1), none (1), port (2), none (2), kernel's
/// losses (4), ring's losses (4), time (8), address (16).
const HEADER_LEN: usize = 44;

/// The receiving thread's end.
pub(super) struct Sender(Producer<u8>);

/// The writing thread's end.
pub(super) struct Receiver {
    ring: Consumer<u8>,
    payload: Vec<u8>,
}

/// A ring of so many bytes.
pub(super) fn queue(bytes: usize) -> (Sender, Receiver) {
    let (producer, ring) = RingBuffer::new(bytes);
    let payload = Vec::new();
    (Sender(producer), Receiver { ring, payload })
}

impl Sender {
    /// Puts a packet in; `false` = there is no room.
    pub(super) fn push(&mut self, received: &Received<'_>) -> bool {
        let Ok(length) = u32::try_from(received.payload.len()) else {
            return false;
        };
        if self.0.slots() < HEADER_LEN + received.payload.len() {
            return false;
        }
        let mut header = [0; HEADER_LEN];
        let address = match received.src.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        header[0..4].copy_from_slice(&length.to_le_bytes());
        header[4..6].copy_from_slice(&received.line.to_le_bytes());
        header[6] = u8::from(received.src.is_ipv4());
        header[8..10].copy_from_slice(&received.src.port().to_le_bytes());
        header[12..16].copy_from_slice(&received.kernel_drops.to_le_bytes());
        header[16..20].copy_from_slice(&received.dropped.to_le_bytes());
        header[20..28].copy_from_slice(&received.ts_recv.to_le_bytes());
        header[28..44].copy_from_slice(&address.octets());
        self.0.push_entire_slice(&header).is_ok()
            && self.0.push_entire_slice(received.payload).is_ok()
    }
}

impl Receiver {
    /// Takes the oldest packet out.
    pub(super) fn pop(&mut self) -> Option<Received<'_>> {
        let header = {
            // The payload follows its header into the ring a moment later: taken only together.
            let chunk = self.ring.read_chunk(HEADER_LEN).ok()?;
            let mut header = [0; HEADER_LEN];
            copy(chunk.as_slices(), &mut header);
            header
        };
        let length = usize::try_from(u32::from_le_bytes(part(&header, 0))).unwrap_or(usize::MAX);
        let chunk = self
            .ring
            .read_chunk(HEADER_LEN.saturating_add(length))
            .ok()?;
        let (first, second) = chunk.as_slices();
        self.payload.clear();
        let split = first.len().min(HEADER_LEN);
        self.payload
            .extend_from_slice(first.get(split..).unwrap_or(&[]));
        let rest = second.get(HEADER_LEN - split..).unwrap_or(&[]);
        self.payload.extend_from_slice(rest);
        chunk.commit_all();
        let address = Ipv6Addr::from(part::<16>(&header, 28));
        let ip = match (header[6], address.to_ipv4_mapped()) {
            (1, address) => IpAddr::V4(address.unwrap_or(Ipv4Addr::UNSPECIFIED)),
            _ => IpAddr::V6(address),
        };
        Some(Received {
            line: u16::from_le_bytes(part(&header, 4)),
            ts_recv: u64::from_le_bytes(part(&header, 20)),
            src: SocketAddr::new(ip, u16::from_le_bytes(part(&header, 8))),
            kernel_drops: u32::from_le_bytes(part(&header, 12)),
            dropped: u32::from_le_bytes(part(&header, 16)),
            payload: &self.payload,
        })
    }
}

fn copy((first, second): (&[u8], &[u8]), to: &mut [u8; HEADER_LEN]) {
    for (to, from) in to.iter_mut().zip(first.iter().chain(second)) {
        *to = *from;
    }
}

fn part<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(header.iter().skip(at)) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(line: u16, src: SocketAddr, payload: &[u8]) -> Received<'_> {
        Received {
            line,
            ts_recv: u64::MAX - 7,
            src,
            kernel_drops: 3,
            dropped: u32::MAX,
            payload,
        }
    }

    #[test]
    fn what_goes_in_comes_out_whatever_the_place_in_the_ring() {
        let (mut sender, mut receiver) = queue(1_000);
        let v4 = SocketAddr::from(([10, 1, 2, 3], 26_477));
        let v6 = SocketAddr::from(([0xfe80, 0, 0, 0, 1, 2, 3, 4], 65_535));
        for n in 0..1_000_u16 {
            let payload = vec![u8::try_from(n % 251).unwrap(); usize::from(n) % 300];
            let packet = received(n, if n % 2 == 0 { v4 } else { v6 }, &payload);
            assert!(sender.push(&packet));
            assert_eq!(receiver.pop(), Some(packet));
            assert_eq!(receiver.pop(), None);
        }
    }

    #[test]
    fn another_thread_sees_every_packet_that_was_taken_whole_and_in_order() {
        let (mut sender, mut receiver) = queue(4_096);
        let src = SocketAddr::from(([10, 1, 2, 3], 1));
        let sending = std::thread::spawn(move || {
            let mut taken = vec![];
            for n in 0..20_000_u16 {
                let payload = vec![u8::try_from(n % 251).unwrap(); usize::from(n) % 700];
                if sender.push(&received(n, src, &payload)) {
                    taken.push(n);
                } else {
                    std::thread::yield_now();
                }
            }
            taken
        });
        let mut seen = vec![];
        loop {
            let ended = sending.is_finished();
            match receiver.pop() {
                Some(packet) => {
                    let n = packet.line;
                    let byte = u8::try_from(n % 251).unwrap();
                    assert_eq!(packet.payload, vec![byte; usize::from(n) % 700]);
                    seen.push(n);
                }
                None if ended => break,
                None => std::thread::yield_now(),
            }
        }
        assert_eq!(seen, sending.join().unwrap());
    }

    #[test]
    fn a_full_ring_refuses_whole_packets_and_keeps_those_before() {
        let (mut sender, mut receiver) = queue(2 * (HEADER_LEN + 10));
        let src = SocketAddr::from(([0, 0, 0, 0], 0));
        assert!(sender.push(&received(1, src, &[1; 10])));
        assert!(!sender.push(&received(2, src, &[2; 11])));
        assert!(sender.push(&received(3, src, &[3; 10])));
        assert!(!sender.push(&received(4, src, &[])));
        assert_eq!(receiver.pop().unwrap().line, 1);
        assert_eq!(receiver.pop().unwrap().payload, [3; 10]);
        assert_eq!(receiver.pop(), None);
    }
}
