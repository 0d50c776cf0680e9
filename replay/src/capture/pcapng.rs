//! pcapng, version 1: draft-ietf-opsawg-pcapng.
//!
//! Blocks with packets and the two that describe them are read; every other is passed over without
//! being held, however long it is.

use core::ops::Range;

use super::error::{Fault, Part};
use super::stream::{Found, Stream};
use super::{PACKET_BYTES_MAX, RECORD_BYTES_MAX};
use crate::frame::LinkType;

/// The section that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    order: Order,
    interfaces: Vec<Interface>,
    /// For packets that have no time of their own.
    latest_ts: u64,
}

/// What an interface description block tells.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: LinkType,
    /// The longest packet; 0 for no limit.
    snap_len: u32,
    clock: Clock,
}

impl Reader {
    /// Begins if the file begins with a section header block.
    pub(super) fn recognise(stream: &mut Stream) -> Result<Option<Self>, Fault> {
        if stream.peek(4)? != SECTION_HEADER.to_le_bytes() {
            return Ok(None);
        }
        let mut reader = Self {
            order: Order::Little,
            interfaces: Vec::new(),
            latest_ts: 0,
        };
        reader.section(stream)?;
        Ok(Some(reader))
    }

    pub(super) fn next(&mut self, stream: &mut Stream) -> Result<Option<Found>, Fault> {
        loop {
            let Some(head) = stream.peek_array::<8>(Part::Block)? else {
                return Ok(None);
            };
            let [a, b, c, d, e, f, g, h] = *head;
            // The same in both orders.
            if u32::from_le_bytes([a, b, c, d]) == SECTION_HEADER {
                self.section(stream)?;
                continue;
            }
            let kind = self.order.u32([a, b, c, d]);
            let len = self.order.u32([e, f, g, h]);
            match kind {
                ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET => {
                    let block = Block::bring(stream, self.order, len, Part::Packet)?;
                    return self.packet(kind, block, stream).map(Some);
                }
                INTERFACE_DESCRIPTION => {
                    let block = Block::bring(stream, self.order, len, Part::Block)?;
                    self.interface(block, stream)?;
                }
                _ => self.pass_over(stream, len)?,
            }
        }
    }

    /// Takes a section header block: byte order and version, and interfaces are numbered afresh.
    fn section(&mut self, stream: &mut Stream) -> Result<(), Fault> {
        let Some(&head) = stream.peek_array::<12>(Part::Header)? else {
            return Ok(());
        };
        let [_, _, _, _, e, f, g, h, i, j, k, l] = head;
        let magic = [i, j, k, l];
        let order = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (BYTE_ORDER_MAGIC, _) => Order::Little,
            (_, BYTE_ORDER_MAGIC) => Order::Big,
            (value, _) => {
                return Err(Fault::Malformed {
                    offset: stream.offset(),
                    what: "the section header has no byte-order magic",
                    value: value.into(),
                });
            }
        };
        let block = Block::bring(stream, order, order.u32([e, f, g, h]), Part::Header)?;
        let body = stream.bytes(block.body.clone());
        // Byte-order magic, version (2 and 2), length of the section (8), options.  The length is
        // allowed to be unknown, so it isn't relied on.
        let Some([_, _, _, _, a, b, ..]) = body.first_chunk::<16>() else {
            return Err(block.malformed("a section header block is too short", body.len()));
        };
        if order.u16([*a, *b]) != 1 {
            return Err(Fault::Unsupported("pcapng of a version other than 1"));
        }
        self.order = order;
        self.interfaces.clear();
        Ok(())
    }

    /// Takes an interface description block: link type (2), reserved (2), longest packet (4), options.
    fn interface(&mut self, block: Block, stream: &Stream) -> Result<(), Fault> {
        let body = stream.bytes(block.body.clone());
        let Some(([a, b, _, _, e, f, g, h], options)) = body.split_first_chunk::<8>() else {
            return Err(block.malformed("an interface description block is too short", body.len()));
        };
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(block.malformed("a section has too many interfaces", INTERFACES_MAX));
        }
        self.interfaces.push(Interface {
            link_type: LinkType(self.order.u16([*a, *b])),
            snap_len: self.order.u32([*e, *f, *g, *h]),
            clock: Clock::from_options(self.order, options),
        });
        Ok(())
    }

    fn packet(&mut self, kind: u32, block: Block, stream: &Stream) -> Result<Found, Fault> {
        let order = self.order;
        let body = stream.bytes(block.body.clone());
        let too_short = || block.malformed("a packet block is too short", body.len());
        let (interface, time, captured, head_len);
        match kind {
            SIMPLE_PACKET => {
                // Original length; the captured one follows from the block's and the interface's.
                let [a, b, c, d] = *body.first_chunk().ok_or_else(too_short)?;
                interface = 0;
                time = None;
                head_len = 4;
                let snap_len = self.interfaces.first().map_or(0, |first| first.snap_len);
                let original = order.u32([a, b, c, d]);
                captured = match snap_len {
                    0 => original,
                    most => original.min(most),
                };
            }
            _ => {
                // Interface (4; in the obsolete block 2, and 2 of drop count), time (high, low),
                // captured length, original length.
                let head: &[u8; 20] = body.first_chunk().ok_or_else(too_short)?;
                let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *head;
                interface = if kind == OBSOLETE_PACKET {
                    order.u16([a, b]).into()
                } else {
                    order.u32([a, b, c, d])
                };
                let high = order.u32([e, f, g, h]);
                let low = order.u32([i, j, k, l]);
                time = Some(u64::from(high) << 32 | u64::from(low));
                captured = order.u32([m, n, o, p]);
                head_len = 20;
            }
        }
        let Some(described) = usize::try_from(interface)
            .ok()
            .and_then(|number| self.interfaces.get(number))
        else {
            return Err(Fault::Malformed {
                offset: block.offset,
                what: "a packet names an interface that isn't described",
                value: interface.into(),
            });
        };
        if let Some(time) = time {
            self.latest_ts = described.clock.nanoseconds(time);
        }
        let room = body.len() - head_len;
        let len = match usize::try_from(captured) {
            Ok(len) if len <= room => len,
            _ => {
                return Err(Fault::Malformed {
                    offset: block.offset,
                    what: "a packet is longer than its block",
                    value: captured.into(),
                });
            }
        };
        if len > PACKET_BYTES_MAX {
            return Err(Fault::TooLarge {
                offset: block.offset,
                what: "the packet",
                announced: captured.into(),
                max: PACKET_BYTES_MAX as u64,
            });
        }
        let start = block.body.start + head_len;
        Ok(Found::Packet {
            ts_recv: self.latest_ts,
            interface,
            link_type: described.link_type,
            data: start..start + len,
        })
    }

    /// Takes a block that nothing is wanted of, without holding it.
    fn pass_over(&self, stream: &mut Stream, len: u32) -> Result<(), Fault> {
        let offset = stream.offset();
        check_len(offset, len)?;
        stream.skip(
            u64::from(len) - TRAILER_LEN as u64,
            TRAILER_LEN,
            Part::Block,
        )?;
        let trailer = stream.whole(TRAILER_LEN, Part::Block)?;
        check_trailer(offset, self.order, len, trailer)?;
        stream.take(TRAILER_LEN);
        Ok(())
    }
}

/// Whether these few bytes are the beginning of a pcapng file.
pub(super) fn could_begin(head: &[u8]) -> bool {
    SECTION_HEADER.to_le_bytes().starts_with(head)
}

/// A block that lies whole in the window and has been taken.
struct Block {
    offset: u64,
    /// Without type, length and the length after it.
    body: Range<usize>,
}

impl Block {
    fn bring(stream: &mut Stream, order: Order, len: u32, part: Part) -> Result<Self, Fault> {
        let offset = stream.offset();
        check_len(offset, len)?;
        let total = match usize::try_from(len) {
            Ok(total) if total <= RECORD_BYTES_MAX => total,
            _ => {
                return Err(Fault::TooLarge {
                    offset,
                    what: "the block",
                    announced: len.into(),
                    max: RECORD_BYTES_MAX as u64,
                });
            }
        };
        let bytes = stream.whole(total, part)?;
        check_trailer(offset, order, len, &bytes[total - TRAILER_LEN..])?;
        let taken = stream.take(total);
        Ok(Self {
            offset,
            body: taken.start + 8..taken.end - TRAILER_LEN,
        })
    }

    fn malformed(&self, what: &'static str, value: usize) -> Fault {
        Fault::Malformed {
            offset: self.offset,
            what,
            value: value as u64,
        }
    }
}

fn check_len(offset: u64, len: u32) -> Result<(), Fault> {
    if len >= BLOCK_LEN_MIN && len.is_multiple_of(4) {
        return Ok(());
    }
    Err(Fault::Malformed {
        offset,
        what: "a block has a length that is less than 12 or no multiple of 4",
        value: len.into(),
    })
}

/// A block ends with its length once more.
fn check_trailer(offset: u64, order: Order, len: u32, trailer: &[u8]) -> Result<(), Fault> {
    let again = trailer.first_chunk().map_or(0, |&bytes| order.u32(bytes));
    if again == len {
        return Ok(());
    }
    Err(Fault::Malformed {
        offset,
        what: "a block ends with another length than it begins with",
        value: again.into(),
    })
}

/// What a unit of an interface's time is.
#[derive(Debug, Clone, Copy)]
struct Clock {
    resolution: Resolution,
    /// To be added, in seconds.
    offset_s: i64,
}

#[derive(Debug, Clone, Copy)]
enum Resolution {
    /// A unit is so many nanoseconds.
    Times(u64),
    /// A nanosecond is so many units.
    Over(u64),
    /// A second is 2 to this power units.
    Binary(u32),
}

impl Clock {
    /// From `if_tsresol` and `if_tsoffset`; without them, microseconds since 1970.
    fn from_options(order: Order, mut options: &[u8]) -> Self {
        let mut clock = Self {
            resolution: Resolution::Times(1_000),
            offset_s: 0,
        };
        while let Some(([a, b, c, d], rest)) = options.split_first_chunk::<4>() {
            let code = order.u16([*a, *b]);
            let len = usize::from(order.u16([*c, *d]));
            let Some(value) = rest.get(..len) else { break };
            match (code, value) {
                (OPTION_END, _) => break,
                (OPTION_TSRESOL, &[resolution]) => {
                    clock.resolution = Resolution::from_option(resolution);
                }
                (OPTION_TSOFFSET, value) => {
                    if let Ok(bytes) = value.try_into() {
                        clock.offset_s = order.i64(bytes);
                    }
                }
                _ => {}
            }
            let Some(rest) = rest.get(len.next_multiple_of(4)..) else {
                break;
            };
            options = rest;
        }
        clock
    }

    /// A time in nanoseconds since 1970; what doesn't fit is the nearest that does.
    #[inline]
    fn nanoseconds(self, time: u64) -> u64 {
        let ns = match self.resolution {
            Resolution::Times(1) if self.offset_s == 0 => return time,
            // Both factors have 64 bits.
            Resolution::Times(factor) => u128::from(time) * u128::from(factor),
            Resolution::Over(divisor) => u128::from(time / divisor),
            // 64 bits times 30 bits; the shift is less than 128.
            Resolution::Binary(bits) => (u128::from(time) * 1_000_000_000) >> bits,
        };
        let offset = i128::from(self.offset_s) * 1_000_000_000;
        let ns = i128::try_from(ns)
            .unwrap_or(i128::MAX)
            .saturating_add(offset);
        u64::try_from(ns).unwrap_or(if ns < 0 { 0 } else { u64::MAX })
    }
}

impl Resolution {
    /// Bit 7 tells the base, 2 or 10; the rest is the negative power.
    fn from_option(value: u8) -> Self {
        let power = u32::from(value & 0x7f);
        if value & 0x80 != 0 {
            return Self::Binary(power);
        }
        match power.checked_sub(9) {
            None => Self::Times(10_u64.pow(9 - power)),
            Some(0) => Self::Times(1),
            // Finer than 10^-28 s, 64 bits hold less than a nanosecond.
            Some(finer) => Self::Over(10_u64.checked_pow(finer).unwrap_or(u64::MAX)),
        }
    }
}

/// The byte order of a file or section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    #[inline]
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    #[inline]
    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const OPTION_END: u16 = 0;
const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;

/// The length again.
const TRAILER_LEN: usize = 4;
/// Type, length, and the length again.
const BLOCK_LEN_MIN: u32 = 12;
/// What the obsolete packet block can number.
const INTERFACES_MAX: usize = 65_536;
