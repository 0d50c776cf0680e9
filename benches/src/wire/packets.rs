//! The packets of a run, made before it: which messages go together, and when each packet is due.

use tickcast_codecs::moldudp64::PacketBuilder;
use tickcast_codecs::{SessionId, binaryfile};

use crate::Failed;
use crate::limits::{WIRE_PACKET_BYTES_MAX, WIRE_PACKETS_PER_SECOND};

/// A packet's place among the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where its bytes end.
    end: usize,
    /// The number of its first message.
    pub(super) first: u64,
    /// Its messages.
    pub(super) count: u64,
}

/// MoldUDP64 packets, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Packets {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Messages of a packet at this rate.  What is due within [`WIRE_PACKETS_PER_SECOND`] goes together.
pub(super) fn per_packet(rate: u64) -> u64 {
    (rate / WIRE_PACKETS_PER_SECOND).max(1)
}

impl Packets {
    /// So many messages from these, the first having this number, at most so many a packet and as many as fit.
    /// The others stay.
    pub(super) fn of(
        messages: &mut binaryfile::Messages<'_>,
        first: u64,
        count: u64,
        per_packet: u64,
    ) -> Result<Self, Failed> {
        let session = SessionId::from_padded(b"BENCH");
        let mut packets = Self::default();
        let mut packet = Vec::with_capacity(WIRE_PACKET_BYTES_MAX);
        let (mut next, end) = (first, first.saturating_add(count));
        let mut message = None;
        while next < end {
            let (begun, last) = (next, end.min(next + per_packet));
            let mut builder =
                PacketBuilder::new(&mut packet, session, begun, WIRE_PACKET_BYTES_MAX);
            while next < last {
                if message.is_none() {
                    message = messages.next().and_then(Result::ok);
                }
                let Some(bytes) = message else {
                    break;
                };
                if builder.push(bytes).is_err() {
                    break;
                }
                message = None;
                next += 1;
            }
            if next == begun {
                return Err(Failed::new(
                    "a message doesn't fit a packet, or there are too few",
                ));
            }
            packets.bytes.extend_from_slice(&packet);
            packets.places.push(Place {
                end: packets.bytes.len(),
                first: begun,
                count: next - begun,
            });
            if message.is_some() && next == end {
                return Err(Failed::new("a message was read that no packet takes"));
            }
        }
        Ok(packets)
    }

    /// How many packets there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many messages they hold.
    pub(super) fn messages(&self) -> u64 {
        self.places.iter().map(|place| place.count).sum()
    }

    /// The places, in order.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The packets with their places, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, &[u8])> {
        let mut begin = 0;
        self.places.iter().map(move |place| {
            let packet = self.bytes.get(begin..place.end).unwrap_or_default();
            begin = place.end;
            (place, packet)
        })
    }
}

/// When packets are due: messages at equal distances from `start`, a packet with its first message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// Of the first message, wall clock.
    pub(super) start: u64,
    /// The number of the first message.
    pub(super) first: u64,
    /// Messages a second.
    pub(super) rate: u64,
}

impl Schedule {
    /// When a message is due by itself.
    pub(super) fn due(&self, sequence: u64) -> u64 {
        let before = u128::from(sequence.saturating_sub(self.first));
        let after = before * 1_000_000_000 / u128::from(self.rate.max(1));
        self.start + u64::try_from(after).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use tickcast_codecs::moldudp64::DownstreamPacket;

    use super::*;

    #[test]
    fn packets_hold_every_message_once_in_order_and_no_more_than_asked() {
        let mut file = Vec::new();
        for number in 0..100_u8 {
            assert!(binaryfile::encode(&[number; 30], &mut file));
        }
        let mut messages = binaryfile::Messages::new(&file);
        let warm = Packets::of(&mut messages, 1, 10, u64::MAX / 2).unwrap_or_default();
        assert_eq!((warm.len(), warm.messages()), (1, 10));
        let packets = Packets::of(&mut messages, 11, 90, 7).unwrap_or_default();
        assert_eq!((packets.len(), packets.messages()), (13, 90));
        let mut next = 11;
        for (place, bytes) in packets.iter() {
            let Ok(packet) = DownstreamPacket::parse(bytes) else {
                unreachable!("a packet that was built");
            };
            assert_eq!(
                (place.first, place.count),
                (next, packet.blocks().count() as u64)
            );
            for message in packet.blocks() {
                assert_eq!(u64::from(message[0]), next - 1);
                next += 1;
            }
        }
        assert_eq!(next, 101);
    }

    #[test]
    fn messages_are_due_at_equal_distances() {
        let schedule = Schedule {
            start: 1_000,
            first: 5,
            rate: 1_000_000,
        };
        assert_eq!(
            [5, 6, 15].map(|sequence| schedule.due(sequence)),
            [1_000, 2_000, 11_000]
        );
    }
}
