//! Plays recorded IEX-TP packets over and over.
//!
//! The packets are those of *IEX Transport Protocol* 1.0 "Outbound" segments.  Each lap has the recorded
//! pace, with idle times cut to a maximum, and is a session of its own ([`Laps`]).

use core::fmt;
use std::io::Read;

use tickcast_codecs::iextp::{SegmentHeader, VERSION};
use tickcast_codecs::protocol::Protocol;

use crate::capture::{CaptureError, CaptureReader, Item};
use crate::frame;
use crate::laps::Laps;

/// A recording of IEX DEEP 1.0 to repeat: the beginning of a session, 9,500 packets.  Where it comes from,
/// and under whose terms, is told in `data/README.md`.
pub static IEX_DEEP: &[u8] = include_bytes!("../../data/iex_deep10_2017-04-25.pcap.zst");

/// One recorded packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When it was recorded, in nanoseconds from any origin.
    pub ts_ns: u64,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

impl Recorded {
    /// The UDP payloads of a capture file, in file order.  What isn't UDP is passed over.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] if it is no capture file, or is cut short.
    pub fn from_capture(read: impl Read + Send + 'static) -> Result<Vec<Self>, CaptureError> {
        let mut reader = CaptureReader::new(read)?;
        let mut recorded = Vec::new();
        while let Some(item) = reader.next_item()? {
            if let Item::Packet(packet) = item
                && let Ok(datagram) = frame::udp(packet.link_type, packet.data)
            {
                recorded.push(Self {
                    ts_ns: packet.ts_recv,
                    payload: datagram.payload.to_vec(),
                });
            }
        }
        Ok(recorded)
    }
}

/// Why packets can't be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RepeaterError {
    /// There is no packet.
    Empty,
    /// A packet is no IEX-TP segment: it is too short, or not version 1.
    NotIexTp {
        /// The packet's index.
        index: usize,
    },
}

impl fmt::Display for RepeaterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("there is no packet to repeat"),
            Self::NotIexTp { index } => write!(f, "packet {index} is no IEX-TP segment"),
        }
    }
}

impl core::error::Error for RepeaterError {}

/// Plays the same packets for ever.
#[derive(Debug)]
pub struct Repeater {
    packets: Vec<Due>,
    /// From a lap's first packet to the next lap's.
    lap_ns: u64,
    idle_max_ns: u64,
    laps: Laps,
    at: usize,
    /// When the current lap's first packet is due.
    started: u64,
    ended: bool,
}

#[derive(Debug)]
struct Due {
    offset_ns: u64,
    payload: Vec<u8>,
}

impl Repeater {
    /// Begins the first lap at `now`.  No two packets will be further apart than `idle_max_ns`, and that is
    /// the pause between laps; a packet recorded earlier than the one before it follows at once.
    ///
    /// # Errors
    ///
    /// [`RepeaterError`] if there is no packet, or one that isn't IEX-TP.
    pub fn new(recorded: Vec<Recorded>, idle_max_ns: u64, now: u64) -> Result<Self, RepeaterError> {
        let mut offset_ns = 0;
        let mut before = recorded.first().ok_or(RepeaterError::Empty)?.ts_ns;
        let packets = recorded
            .into_iter()
            .enumerate()
            .map(|(index, Recorded { ts_ns, payload })| {
                offset_ns += ts_ns.saturating_sub(before).min(idle_max_ns);
                before = ts_ns;
                if payload.len() < SegmentHeader::LENGTH || payload.first() != Some(&VERSION) {
                    return Err(RepeaterError::NotIexTp { index });
                }
                Ok(Due { offset_ns, payload })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            packets,
            // A lap of no length would never give back control.
            lap_ns: offset_ns + idle_max_ns.max(1),
            idle_max_ns,
            laps: Laps::new(),
            at: 0,
            started: now,
            ended: false,
        })
    }

    /// Writes the next packet that is due into `packet`, in place of what it held.  `false`: none is.
    ///
    /// Whoever comes late gets the missed packets at once, up to one idle maximum; beyond that the
    /// rest of the lap is put off.
    pub fn poll_transmit(&mut self, now: u64, packet: &mut Vec<u8>) -> bool {
        let Some(due) = self.poll_timeout().filter(|&due| due <= now) else {
            return false;
        };
        if now - due > self.idle_max_ns {
            self.started += now - due;
        }
        packet.clear();
        packet.extend_from_slice(&self.packets[self.at].payload);
        // Sessions are the transport's: any of its protocols will do.
        self.laps.handle_packet(Protocol::IexTpDeep10, packet);
        self.at += 1;
        if self.at == self.packets.len() {
            self.at = 0;
            self.laps.start_lap();
            self.started += self.lap_ns;
        }
        true
    }

    /// When [`Repeater::poll_transmit`] will have a packet; `None` after [`Repeater::handle_end`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        (!self.ended).then(|| self.started.saturating_add(self.packets[self.at].offset_ns))
    }

    /// Stops for ever.  IEX-TP has no end of session.
    pub fn handle_end(&mut self) {
        self.ended = true;
    }

    /// How many laps are complete.
    #[must_use]
    pub fn lap(&self) -> u32 {
        self.laps.lap()
    }

    /// How long one lap takes, the pause after it included.
    #[must_use]
    pub fn lap_ns(&self) -> u64 {
        self.lap_ns
    }
}
