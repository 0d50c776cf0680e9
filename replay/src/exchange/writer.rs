//! A market as a file: every message, from the first on, as its exchange would have published it.
//!
//! Three formats: Nasdaq *BinaryFILE* 1.00, which has the messages alone; pcap and pcapng with times in
//! nanoseconds, which have MoldUDP64 packets to a multicast group as a receiver would have recorded them:
//! packed by a [`Publisher`], heartbeats where the market is silent, the end of the session at the end.  Frames
//! are raw IP, as those of [`record`](crate::record).  A packet's time is when it was sent, on
//! [`MIDNIGHT_NS`]'s day.
//!
//! One configuration gives one file, byte for byte.  The writer knows neither clock nor disk: it writes into
//! whatever it is given, and its time is the market's.
//!
//! Not here: a second line, faults (`tickcast replay --multicast` puts a file on the wire), compression.

use std::io::{self, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};
use tickcast_codecs::binaryfile;

use super::market::{Market, MarketConfig};
use super::publisher::{Publisher, PublisherConfig};
use crate::capture::Format;
use crate::record::Line;
use crate::record::block::{Blocks, build_frame, io_error};

/// Midnight in New York of Monday, 5 January 2026, in nanoseconds since 1970: the day of every file, so that
/// one seed gives one file.
pub const MIDNIGHT_NS: u64 = 1_767_589_200 * 1_000_000_000;

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterConfig {
    /// The market.
    pub market: MarketConfig,
    /// The format of the file.
    pub format: Format,
    /// After so many messages the file ends; the market's day may end before.
    pub messages_max: u64,
    /// The first message that is so late or later is the last; in market time from the first message.
    pub duration_ns_max: u64,
    /// How messages are packed; of no concern to BinaryFILE.
    pub publisher: PublisherConfig,
    /// Who sends the packets.
    pub source: SocketAddrV4,
    /// The group and port that they are sent to.
    pub group: SocketAddrV4,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The market after the last message: its books are those of whoever reads the file.
    pub market: Market,
    /// Messages.
    pub messages: u64,
    /// Messages by their type's letter.
    pub by_type: [u64; 256],
    /// Of these, those before market hours: definitions, and the first orders.
    pub opening_by_type: [u64; 256],
    /// Packets, heartbeats and the end of the session included; 0 for BinaryFILE.
    pub packets: u64,
    /// Most orders displayed at once, of all instruments.
    pub orders_max: u64,
    /// Most price levels at once, of all instruments and both sides.
    pub levels_max: u64,
    /// Orders displayed after the last message.
    pub orders: u64,
    /// Price levels after the last message.
    pub levels: u64,
    /// Market time of the last message, from the first.
    pub duration_ns: u64,
}

/// Writes one file.
#[derive(Debug)]
pub struct MarketWriter<W: Write> {
    config: WriterConfig,
    out: Out<W>,
    message: Vec<u8>,
    /// What was written so far, and the market.
    written: Written,
    /// Orders and levels of each instrument, by its stock locate.
    sizes: Vec<(u32, u32)>,
}

impl<W: Write> MarketWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// Those of `out`; [`io::ErrorKind::Unsupported`] for a format that isn't written.
    pub fn new(config: &WriterConfig, out: W) -> io::Result<Self> {
        let market = Market::new(config.market);
        let sizes = vec![(0, 0); usize::from(market.instruments()) + 1];
        Ok(Self {
            config: config.clone(),
            out: Out::begin(config, out)?,
            message: Vec::with_capacity(64),
            written: Written {
                market,
                messages: 0,
                by_type: [0; 256],
                opening_by_type: [0; 256],
                packets: 0,
                orders_max: 0,
                levels_max: 0,
                orders: 0,
                levels: 0,
                duration_ns: 0,
            },
            sizes,
        })
    }

    /// Writes the next message; `false`: there is none.
    ///
    /// # Errors
    ///
    /// Those of `out`; nothing can be written after one.
    pub fn step(&mut self) -> io::Result<bool> {
        let written = &mut self.written;
        if written.messages >= self.config.messages_max
            || written.duration_ns >= self.config.duration_ns_max
        {
            return Ok(false);
        }
        self.message.clear();
        let offset_ns = written.market.next(&mut self.message).offset_ns;
        if self.message.is_empty() {
            return Ok(false);
        }
        self.out.message(offset_ns, &self.message)?;
        self.count(offset_ns);
        Ok(true)
    }

    /// How many messages were written so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.written.messages
    }

    /// Ends the session and the file.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn finish(self) -> io::Result<Written> {
        let packets = self.out.finish(self.written.duration_ns)?;
        Ok(Written {
            packets,
            ..self.written
        })
    }

    fn count(&mut self, offset_ns: u64) {
        let written = &mut self.written;
        written.messages += 1;
        written.duration_ns = offset_ns;
        // Every message has a type and, behind it, the stock locate of the one book that it changes.
        let Some(&[message_type, high, low]) = self.message.first_chunk() else {
            return;
        };
        let opening = !written.market.is_open();
        for (counts, counted) in [
            (&mut written.by_type, true),
            (&mut written.opening_by_type, opening),
        ] {
            if let Some(count) = counts.get_mut(usize::from(message_type)) {
                *count += u64::from(counted);
            }
        }
        let stock_locate = u16::from_be_bytes([high, low]);
        let Some(size) = self.sizes.get_mut(usize::from(stock_locate)) else {
            return;
        };
        let now = written.market.size(stock_locate);
        written.orders = written.orders + u64::from(now.0) - u64::from(size.0);
        written.levels = written.levels + u64::from(now.1) - u64::from(size.1);
        *size = now;
        written.orders_max = written.orders_max.max(written.orders);
        written.levels_max = written.levels_max.max(written.levels);
    }
}

/// Messages on their way to a file.
#[derive(Debug)]
enum Out<W: Write> {
    BinaryFile { out: W, bytes: Vec<u8> },
    Packets(Box<Packets<W>>),
}

impl<W: Write> Out<W> {
    fn begin(config: &WriterConfig, out: W) -> io::Result<Self> {
        if config.format == Format::BinaryFile {
            let bytes = Vec::with_capacity(64);
            return Ok(Self::BinaryFile { out, bytes });
        }
        Packets::begin(config, out).map(|packets| Self::Packets(Box::new(packets)))
    }

    fn message(&mut self, offset_ns: u64, message: &[u8]) -> io::Result<()> {
        match self {
            Self::BinaryFile { out, bytes } => {
                bytes.clear();
                // The longest message has some 50 bytes.
                if !binaryfile::encode(message, bytes) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                out.write_all(bytes)
            }
            Self::Packets(packets) => packets.message(offset_ns, message),
        }
    }

    /// How many packets there were.
    fn finish(self, offset_ns: u64) -> io::Result<u64> {
        match self {
            Self::BinaryFile { mut out, mut bytes } => {
                bytes.clear();
                binaryfile::encode_end_of_session(&mut bytes);
                out.write_all(&bytes)?;
                out.flush()?;
                Ok(0)
            }
            Self::Packets(packets) => packets.finish(offset_ns),
        }
    }
}

/// Messages in packets, on their way to a capture.
#[derive(Debug)]
struct Packets<W: Write> {
    publisher: Publisher,
    /// Market time of the last packet or message.
    now: u64,
    packet: Vec<u8>,
    count: u64,
    capture: Capture<W>,
    /// Of market time 0, since 1970.
    epoch_ns: u64,
    addresses: (SocketAddr, SocketAddr),
}

impl<W: Write> Packets<W> {
    fn begin(config: &WriterConfig, out: W) -> io::Result<Self> {
        let publisher = PublisherConfig {
            // Told once: nobody who reads a file has lost it.
            end_of_session_ns: 0,
            ..config.publisher
        };
        Ok(Self {
            publisher: Publisher::new(publisher, 0),
            now: 0,
            packet: Vec::new(),
            count: 0,
            capture: Capture::begin(config, out)?,
            epoch_ns: MIDNIGHT_NS + config.market.open_ns,
            addresses: (config.source.into(), config.group.into()),
        })
    }

    fn message(&mut self, offset_ns: u64, message: &[u8]) -> io::Result<()> {
        self.transmit(offset_ns)?;
        self.now = offset_ns;
        let taken = self.publisher.handle_message(offset_ns, message);
        taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.transmit(offset_ns)
    }

    /// Writes each packet that is due until then.
    fn transmit(&mut self, until: u64) -> io::Result<()> {
        while let Some(due) = self.publisher.poll_timeout()
            && due <= until
        {
            // What is overdue is due now.
            self.now = self.now.max(due);
            if !self.publisher.poll_transmit(self.now, &mut self.packet) {
                break;
            }
            self.count += 1;
            let time = self.epoch_ns.saturating_add(self.now);
            self.capture.packet(time, self.addresses, &self.packet)?;
        }
        Ok(())
    }

    fn finish(mut self, offset_ns: u64) -> io::Result<u64> {
        self.publisher.handle_end(offset_ns);
        self.transmit(self.now)?;
        self.capture.finish()?;
        Ok(self.count)
    }
}

/// Frames on their way to a file.
enum Capture<W: Write> {
    Pcap(PcapWriter<W>, Vec<u8>),
    PcapNg(Blocks<W>),
}

impl<W: Write> core::fmt::Debug for Capture<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Pcap(..) => "Pcap",
            Self::PcapNg(_) => "PcapNg",
        })
    }
}

impl<W: Write> Capture<W> {
    fn begin(config: &WriterConfig, out: W) -> io::Result<Self> {
        match config.format {
            Format::Pcap => {
                let header = PcapHeader {
                    datalink: DataLink::RAW,
                    ts_resolution: TsResolution::NanoSecond,
                    endianness: Endianness::Little,
                    ..PcapHeader::default()
                };
                let writer = PcapWriter::with_header(out, header).map_err(io_error)?;
                Ok(Self::Pcap(writer, Vec::new()))
            }
            Format::PcapNg => {
                let line = Line {
                    name: "A".to_owned(),
                    group: config.group.into(),
                    protocol: None,
                };
                Blocks::begin(out, &[line]).map(Self::PcapNg)
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn packet(
        &mut self,
        time_ns: u64,
        addresses: (SocketAddr, SocketAddr),
        payload: &[u8],
    ) -> io::Result<()> {
        match self {
            Self::Pcap(writer, frame) => {
                build_frame(frame, addresses.0, addresses.1, payload)?;
                // At most 65,535: the headers' lengths have 16 bits.
                let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                let packet = PcapPacket::new(Duration::from_nanos(time_ns), len, frame);
                writer.write_packet(&packet).map_err(io_error)?;
                Ok(())
            }
            Self::PcapNg(blocks) => blocks.packet(0, time_ns, 0, addresses, payload),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Pcap(writer, _) => writer.into_writer().flush(),
            Self::PcapNg(mut blocks) => blocks.get_mut().flush(),
        }
    }
}
