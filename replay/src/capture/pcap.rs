//! Classic pcap, version 2.4: draft-ietf-opsawg-pcap.

use super::error::{Fault, Part};
use super::stream::{Found, Stream};
use super::{PACKET_BYTES_MAX, pcapng::Order};
use crate::frame::LinkType;

/// Where the records' numbers are in which order, and what they mean.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    order: Order,
    /// Nanoseconds in the unit of the second half of a time: 1,000 or 1.
    fraction_ns: u64,
    link_type: LinkType,
}

impl Reader {
    /// Takes the file header if it is pcap's.
    pub(super) fn recognise(stream: &mut Stream) -> Result<Option<Self>, Fault> {
        let Some(&magic) = stream.peek(4)?.first_chunk::<4>() else {
            return Ok(None);
        };
        let little = (u32::from_le_bytes(magic), Order::Little);
        let big = (u32::from_be_bytes(magic), Order::Big);
        let Some((kind, order)) = [little, big]
            .into_iter()
            .find_map(|(magic, order)| Some((kind(magic)?, order)))
        else {
            return Ok(None);
        };
        let fraction_ns = match kind {
            Kind::Micros => 1_000,
            Kind::Nanos => 1,
            Kind::Variant(what) => return Err(Fault::Unsupported(what)),
        };
        let Some(header) = stream.peek_array::<HEADER_LEN>(Part::Header)? else {
            return Ok(None);
        };
        let major = order.u16([header[4], header[5]]);
        let minor = order.u16([header[6], header[7]]);
        if (major, minor) != (2, 4) {
            return Err(Fault::Unsupported("pcap of a version other than 2.4"));
        }
        // Time zone, accuracy and the longest packet (8 to 20) are written by nobody, or not kept to.
        // The upper half of the last field tells about the frame check sequence.
        let network = order.u32([header[20], header[21], header[22], header[23]]);
        let [.., high, low] = network.to_be_bytes();
        stream.take(HEADER_LEN);
        Ok(Some(Self {
            order,
            fraction_ns,
            link_type: LinkType(u16::from_be_bytes([high, low])),
        }))
    }

    #[inline]
    pub(super) fn next(&mut self, stream: &mut Stream) -> Result<Option<Found>, Fault> {
        let order = self.order;
        let Some(record) = stream.peek_array::<RECORD_LEN>(Part::Packet)? else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *record;
        let seconds = order.u32([a, b, c, d]);
        let fraction = order.u32([e, f, g, h]);
        let captured = order.u32([i, j, k, l]);
        let len = match usize::try_from(captured) {
            Ok(len) if len <= PACKET_BYTES_MAX => len,
            _ => {
                return Err(Fault::TooLarge {
                    offset: stream.offset(),
                    what: "the packet",
                    announced: captured.into(),
                    max: PACKET_BYTES_MAX as u64,
                });
            }
        };
        stream.whole(RECORD_LEN + len, Part::Packet)?;
        stream.take(RECORD_LEN);
        Ok(Some(Found::Packet {
            // 2^32 seconds are 4.3 * 10^18 ns, and the fraction adds 2^32 us at most: no overflow.
            ts_recv: u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.fraction_ns,
            interface: 0,
            link_type: self.link_type,
            data: stream.take(len),
        }))
    }
}

/// Whether these few bytes are the beginning of a pcap file.
pub(super) fn could_begin(head: &[u8]) -> bool {
    [MICROS, NANOS]
        .into_iter()
        .any(|magic| magic.to_le_bytes().starts_with(head) || magic.to_be_bytes().starts_with(head))
}

enum Kind {
    Micros,
    Nanos,
    Variant(&'static str),
}

fn kind(magic: u32) -> Option<Kind> {
    Some(match magic {
        MICROS => Kind::Micros,
        NANOS => Kind::Nanos,
        0xa1b2_cd34 => Kind::Variant("\"modified\" pcap (magic a1b2cd34, records with 24 bytes)"),
        0xa1e2_cb12 => Kind::Variant("\"modified\" pcap (magic a1e2cb12)"),
        0xa12b_3c4d => Kind::Variant("Navtel's pcap (magic a12b3c4d)"),
        0x1c00_01ac | 0x1c00_01ab => Kind::Variant("IXIA's pcap (magic 1c0001ac, 1c0001ab)"),
        _ => return None,
    })
}

const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;
/// Magic, version (2 and 2), zone, accuracy, longest packet, link type.
const HEADER_LEN: usize = 24;
/// Seconds, fraction, captured length, original length.
const RECORD_LEN: usize = 16;
