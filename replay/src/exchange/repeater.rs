//! Plays recorded IEX-TP packets over and over.
//!
//! The packets are those of *IEX Transport Protocol* 1.0 "Outbound" segments.  Each lap has the recorded
//! pace, with idle times cut to a maximum, and is a session of its own: the session id in the
//! header (offset 8) grows with each lap, so that receivers see a session begin and not a sequence that
//! falls back.  Nothing else is touched: send times and messages are the recorded ones.

use core::fmt;
use std::io::Read;

use crate::capture::{CaptureError, CaptureReader, Item};
use crate::frame;

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
    /// How much the session ids grow in one lap.
    session_step: u32,
    lap: u32,
    at: usize,
    /// When the current lap's first packet is due.
    started: u64,
    ended: bool,
}

#[derive(Debug)]
struct Due {
    offset_ns: u64,
    session: u32,
    payload: Vec<u8>,
}

/// Bytes of the header, and where its version and session id are.
const HEADER_LEN: usize = 40;
const VERSION: u8 = 1;
const SESSION: core::ops::Range<usize> = 8..12;

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
                let session = session(&payload).ok_or(RepeaterError::NotIexTp { index })?;
                Ok(Due {
                    offset_ns,
                    session,
                    payload,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let sessions = packets.iter().map(|packet| packet.session);
        let span = sessions.clone().max().unwrap_or(0) - sessions.min().unwrap_or(0);
        Ok(Self {
            packets,
            // A lap of no length would never give back control.
            lap_ns: offset_ns + idle_max_ns.max(1),
            idle_max_ns,
            session_step: span.saturating_add(1),
            lap: 0,
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
        let Due {
            session, payload, ..
        } = &self.packets[self.at];
        let session = session.wrapping_add(self.lap.wrapping_mul(self.session_step));
        packet.clear();
        packet.extend_from_slice(payload);
        packet[SESSION].copy_from_slice(&session.to_le_bytes());
        self.at += 1;
        if self.at == self.packets.len() {
            self.at = 0;
            self.lap = self.lap.wrapping_add(1);
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
        self.lap
    }

    /// How long one lap takes, the pause after it included.
    #[must_use]
    pub fn lap_ns(&self) -> u64 {
        self.lap_ns
    }
}

/// The session id, if this is an IEX-TP segment.
fn session(payload: &[u8]) -> Option<u32> {
    if payload.len() < HEADER_LEN || payload[0] != VERSION {
        return None;
    }
    payload[SESSION].try_into().ok().map(u32::from_le_bytes)
}
