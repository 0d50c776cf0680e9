//! pcapng blocks: a section, an interface a line, a packet with the IP and UDP headers that it came with.
//!
//! *PCAP Next Generation Capture File Format*, draft-ietf-opsawg-pcapng.  Blocks are `pcap-file`'s,
//! headers are `etherparse`'s.  Frames are raw IP (`LINKTYPE_RAW`): a socket doesn't tell what link layer
//! there was.  Addresses and ports are those of the datagram, the rest of the headers is made up: time to
//! live 1, identification 0, checksums that fit.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::Line;

/// Times are in units of 10 to the minus this: nanoseconds.
const RESOLUTION: u8 = 9;

/// Bytes of a packet block around its frame, with the option that tells losses and the longest padding.
pub(super) const PACKET_BLOCK_BYTES: usize = 32 + 3 + 16;

/// Bytes of a statistics block.
pub(super) const STATISTICS_BLOCK_BYTES: usize = 24 + 12 + 12 + 4;

/// Blocks on their way to a file.
pub(crate) struct Blocks<W: Write> {
    writer: PcapNgWriter<W>,
    frame: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    /// Begins a section with an interface a line, in the order of their numbers.
    pub(crate) fn begin(out: W, lines: &[Line]) -> io::Result<Self> {
        let application = concat!("tickcast ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(
                application,
            ))],
            ..SectionHeaderBlock::default()
        };
        let mut writer = PcapNgWriter::with_section_header(out, section).map_err(io_error)?;
        for line in lines {
            writer
                .write_pcapng_block(InterfaceDescriptionBlock {
                    linktype: DataLink::RAW,
                    snaplen: 0,
                    options: vec![
                        InterfaceDescriptionOption::IfName(Cow::Borrowed(&line.name)),
                        InterfaceDescriptionOption::IfDescription(Cow::Owned(format!(
                            "multicast group {}",
                            line.group
                        ))),
                        InterfaceDescriptionOption::IfTsResol(RESOLUTION),
                    ],
                })
                .map_err(io_error)?;
        }
        Ok(Self {
            writer,
            frame: Vec::new(),
        })
    }

    /// Adds a packet.  `lost` = how many packets of the same line were lost before it.
    pub(crate) fn packet(
        &mut self,
        line: u16,
        ts_recv: u64,
        lost: u64,
        (src, dst): (SocketAddr, SocketAddr),
        payload: &[u8],
    ) -> io::Result<()> {
        build_frame(&mut self.frame, src, dst, payload)?;
        let options = if lost > 0 {
            vec![EnhancedPacketOption::DropCount(lost)]
        } else {
            Vec::new()
        };
        let block = EnhancedPacketBlock {
            interface_id: u32::from(line),
            timestamp: Duration::from_nanos(ts_recv),
            // At most 65,535: the headers' lengths have 16 bits.
            original_len: u32::try_from(self.frame.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&self.frame),
            options,
        };
        self.writer.write_pcapng_block(block).map_err(io_error)?;
        Ok(())
    }

    /// Adds what was received and lost on a line since the file began.
    pub(super) fn statistics(
        &mut self,
        line: u16,
        ts: u64,
        received: u64,
        lost: u64,
    ) -> io::Result<()> {
        let block = InterfaceStatisticsBlock {
            interface_id: u32::from(line),
            // The upper half comes first whatever the byte order; `pcap-file` writes one number.
            timestamp: ts.rotate_left(32),
            options: vec![
                InterfaceStatisticsOption::IsbIfRecv(received),
                InterfaceStatisticsOption::IsbOsDrop(lost),
            ],
        };
        self.writer.write_pcapng_block(block).map_err(io_error)?;
        Ok(())
    }

    /// Where the blocks went.
    pub(crate) fn get_mut(&mut self) -> &mut W {
        self.writer.get_mut()
    }
}

impl Blocks<Vec<u8>> {
    /// Bytes that wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.writer.get_ref().len()
    }

    /// The bytes that wait: whole blocks, to be taken and cleared.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        self.writer.get_mut()
    }
}

/// An IP packet around a UDP datagram.
pub(crate) fn build_frame(
    frame: &mut Vec<u8>,
    src: SocketAddr,
    dst: SocketAddr,
    payload: &[u8],
) -> io::Result<()> {
    frame.clear();
    let built = match (src.ip(), dst.ip()) {
        (source, IpAddr::V4(to)) => {
            let from = match source {
                IpAddr::V4(from) => from,
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            };
            PacketBuilder::ipv4(from.octets(), to.octets(), 1)
                .udp(src.port(), dst.port())
                .write(frame, payload)
        }
        (source, IpAddr::V6(to)) => {
            let from = match source {
                IpAddr::V6(from) => from,
                IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
            };
            PacketBuilder::ipv6(from.octets(), to.octets(), 1)
                .udp(src.port(), dst.port())
                .write(frame, payload)
        }
    };
    built.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
}

pub(crate) fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
