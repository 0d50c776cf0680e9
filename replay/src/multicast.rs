//! Puts a recording back on the wire: each datagram to its multicast group, at the recorded pace.
//!
//! [`Playback`] is a machine without I/O or clock: records in, datagrams with their time out; [`edge`]
//! reads, waits and sends.  Payloads are the recorded ones, but for the session of later laps
//! ([`crate::laps`]).
//!
//! What is kept: datagrams go out in file order, none twice and none left out; what can't be sent (no UDP,
//! no multicast group, IPv6) is counted by reason.
//!
//! Not done: sources, link layers and times to live of the recording aren't reproduced.

pub mod edge;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use hdrhistogram::{CreationError, Histogram};

use crate::capture::Item;
use crate::frame;
use crate::laps::Laps;
use crate::pacing::{Pacer, Speed};
use crate::recognise::Recogniser;

/// The longest pacing error that is told exactly: an hour.
const ERROR_NS_MAX: u64 = 3_600_000_000_000;

/// A packet that is later than this counts as late: 1 ms, the reorder window of a receiver.
pub const LATE_NS: u64 = 1_000_000;

/// Before the first datagram.
const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// How to play back.
#[derive(Debug, Clone)]
pub struct PlaybackConfig {
    /// How fast.
    pub speed: Speed,
    /// Silences are cut to so many nanoseconds.
    pub idle_max_ns: Option<u64>,
    /// From a recorded group to another, or to several: each gets every packet.
    pub groups: Vec<(SocketAddr, SocketAddrV4)>,
}

/// A recording on its way to the wire.
#[derive(Debug)]
pub struct Playback {
    config: PlaybackConfig,
    recogniser: Recogniser,
    laps: Laps,
    pacer: Pacer,
    /// Where the datagrams of a recorded group go.
    targets: BTreeMap<SocketAddr, Vec<SocketAddrV4>>,
    /// The datagram at hand: its recorded group, that as a target, and what it carries.
    group: SocketAddr,
    same: [SocketAddrV4; 1],
    payload: Vec<u8>,
    errors: Histogram<u64>,
    totals: PlaybackTotals,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaybackTotals {
    /// Records read.
    pub records: u64,
    /// Datagrams sent.
    pub packets: u64,
    /// Bytes of their payload.
    pub bytes: u64,
    /// Datagrams that the system had no room for.
    pub not_sent: u64,
    /// Packets that were due more than [`LATE_NS`] before they were sent.
    pub late: u64,
    /// Records that can't be sent, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
}

impl Playback {
    /// Before the first lap.
    ///
    /// # Errors
    ///
    /// The histogram's: there is no memory.
    pub fn new(config: PlaybackConfig, recogniser: Recogniser) -> Result<Self, CreationError> {
        let mut targets: BTreeMap<SocketAddr, Vec<SocketAddrV4>> = BTreeMap::new();
        for &(from, to) in &config.groups {
            targets.entry(from).or_default().push(to);
        }
        Ok(Self {
            pacer: pacer(&config),
            config,
            recogniser,
            laps: Laps::new(),
            targets,
            group: SocketAddr::V4(NOWHERE),
            same: [NOWHERE],
            payload: Vec::new(),
            errors: Histogram::new_with_bounds(1, ERROR_NS_MAX, 3)?,
            totals: PlaybackTotals::default(),
        })
    }

    /// A file begins: its first packet is due at once.
    pub fn start_file(&mut self) {
        self.pacer = pacer(&self.config);
    }

    /// A lap is complete, the next one begins.
    pub fn start_lap(&mut self) {
        self.laps.start_lap();
    }

    /// Takes the next record and tells in how many nanoseconds from `now` its datagram is due; `None` if
    /// there is nothing to send.
    pub fn handle_item(&mut self, item: &Item<'_>, now: u64) -> Option<u64> {
        self.totals.records += 1;
        let Item::Packet(packet) = item else {
            return self.skip("no_packet");
        };
        let datagram = match frame::udp(packet.link_type, packet.data) {
            Ok(datagram) => datagram,
            Err(skip) => return self.skip(skip.counter()),
        };
        if !self.targets.contains_key(&datagram.dst) {
            match datagram.dst {
                SocketAddr::V4(group) if group.ip().is_multicast() => self.same = [group],
                SocketAddr::V4(_) => return self.skip("not_multicast"),
                SocketAddr::V6(_) => return self.skip("ipv6"),
            }
        }
        self.payload.clear();
        self.payload.extend_from_slice(datagram.payload);
        let protocol = self.recogniser.protocol(datagram.dst, datagram.payload);
        if let Some(protocol) = protocol {
            self.laps.handle_packet(protocol, &mut self.payload);
        }
        self.group = datagram.dst;
        Some(self.pacer.wait_ns(packet.ts_recv, now))
    }

    /// The datagram at hand: to which groups, and what UDP carries.
    #[must_use]
    pub fn datagram(&self) -> (&[SocketAddrV4], &[u8]) {
        let groups = self.targets.get(&self.group);
        (groups.map_or(&self.same, Vec::as_slice), &self.payload)
    }

    /// The datagram at hand was sent at `now`, to so many groups; the system had no room for it in so many others.
    pub fn handle_sent(&mut self, now: u64, sent: u64, not_sent: u64) {
        self.totals.packets += sent;
        self.totals.bytes += sent * self.payload.len() as u64;
        self.totals.not_sent += not_sent;
        if self.config.speed != Speed::Max {
            let error = self.pacer.behind_ns(now);
            self.errors.saturating_record(error);
            self.totals.late += u64::from(error > LATE_NS);
        }
    }

    /// What was counted.
    #[must_use]
    pub fn totals(&self) -> &PlaybackTotals {
        &self.totals
    }

    /// How many laps were begun, and how many packets kept their session in a later one.
    #[must_use]
    pub fn laps(&self) -> &Laps {
        &self.laps
    }

    /// How much later than due each packet was sent, in nanoseconds.  Empty at [`Speed::Max`].
    #[must_use]
    pub fn errors(&self) -> &Histogram<u64> {
        &self.errors
    }

    fn skip(&mut self, reason: &'static str) -> Option<u64> {
        *self.totals.skipped.entry(reason).or_default() += 1;
        None
    }
}

fn pacer(config: &PlaybackConfig) -> Pacer {
    let pacer = Pacer::new(config.speed);
    match config.idle_max_ns {
        Some(idle) => pacer.with_idle_max(idle),
        None => pacer,
    }
}
