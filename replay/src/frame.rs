//! From a recorded frame to the payload of its UDP datagram.
//!
//! Link layers: Ethernet with any number of 802.1Q, 802.1ad and 0x9100 tags, Linux cooked capture v1
//! and v2, raw IP, BSD loopback (`NULL` and `LOOP`).  Above them IPv4 with options, IPv6 with
//! extension headers, UDP.  Slicing the headers is `etherparse`'s work.
//!
//! Lengths come from the IP and UDP headers and never from the frame, since Ethernet pads short
//! frames and some captures keep the frame check sequence.  A payload is given whole or not at all.
//!
//! Not done: checksums aren't looked at (captures are anonymised, and network cards fill them in
//! after the tap), fragments aren't reassembled, tunnels aren't opened.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use etherparse::err::{ipv4, ipv6, ipv6_exts};
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, LaxIpPayloadSlice, LaxIpv4Slice, LaxIpv6Slice,
    SingleVlanHeaderSlice, UdpHeader, UdpHeaderSlice, ether_type, ip_number,
};

/// What a frame begins with: a link-layer header type of the tcpdump.org registry.
///
/// <https://www.tcpdump.org/linktypes.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: four bytes of address family in the order of the machine that recorded.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// Raw IPv4 or IPv6.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: [`Self::NULL`] in network order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture v1: what `-i any` recorded for long.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture v2: what `-i any` records now.
    pub const LINUX_SLL2: Self = Self(276);
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NULL => f.write_str("BSD loopback"),
            Self::ETHERNET => f.write_str("Ethernet"),
            Self::RAW => f.write_str("raw IP"),
            Self::LOOP => f.write_str("OpenBSD loopback"),
            Self::LINUX_SLL => f.write_str("Linux cooked v1"),
            Self::IPV4 => f.write_str("raw IPv4"),
            Self::IPV6 => f.write_str("raw IPv6"),
            Self::LINUX_SLL2 => f.write_str("Linux cooked v2"),
            Self(number) => write!(f, "link type {number}"),
        }
    }
}

/// A whole UDP datagram in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Sender.
    pub src: SocketAddr,
    /// Receiver; of a feed, the multicast group and its port.
    pub dst: SocketAddr,
    /// What UDP carries, whole.
    pub payload: &'a [u8],
    /// The outermost two VLAN identifiers, outermost first.  Further tags are passed over.
    pub vlans: [Option<u16>; 2],
}

/// Why a frame gave no datagram.
///
/// An operating fact: the caller counts it by [`Self::counter`] and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameSkip {
    /// A link layer that isn't read here.
    LinkType,
    /// Carries something else than IP: ARP, LLDP, PTP over Ethernet.
    NotIp,
    /// Carries IP, and in it something else than UDP: TCP, IGMP, PIM.
    NotUdp,
    /// A fragment of an IP packet.
    Fragment,
    /// The recorder kept fewer bytes than the headers announce.
    Snapped,
    /// Headers that contradict themselves.
    Malformed,
}

impl FrameSkip {
    /// All reasons, in the order of [`Self::index`].
    pub const ALL: [Self; 6] = [
        Self::LinkType,
        Self::NotIp,
        Self::NotUdp,
        Self::Fragment,
        Self::Snapped,
        Self::Malformed,
    ];

    /// Position in [`Self::ALL`], for an array of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The counter that this reason moves: a stable, short name.
    #[must_use]
    pub const fn counter(self) -> &'static str {
        match self {
            Self::LinkType => "link_type",
            Self::NotIp => "not_ip",
            Self::NotUdp => "not_udp",
            Self::Fragment => "fragment",
            Self::Snapped => "snapped",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for FrameSkip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkType => "the link layer isn't one that is read",
            Self::NotIp => "the frame carries no IP packet",
            Self::NotUdp => "the IP packet carries no UDP datagram",
            Self::Fragment => "the IP packet is a fragment",
            Self::Snapped => "fewer bytes were recorded than the headers announce",
            Self::Malformed => "the headers contradict themselves",
        })
    }
}

impl core::error::Error for FrameSkip {}

/// Finds the UDP datagram in a recorded frame.
///
/// # Errors
/// The reason why there is none, or none that is whole.
#[inline]
pub fn udp(link_type: LinkType, data: &[u8]) -> Result<Datagram<'_>, FrameSkip> {
    match link_type {
        LinkType::ETHERNET => {
            let header = Ethernet2HeaderSlice::from_slice(data).map_err(|_| FrameSkip::Snapped)?;
            ether(header.ether_type(), after(data, header.slice().len())?)
        }
        LinkType::RAW => match data.first().ok_or(FrameSkip::Snapped)? >> 4 {
            4 => ip_v4(data, [None; 2]),
            6 => ip_v6(data, [None; 2]),
            _ => Err(FrameSkip::NotIp),
        },
        LinkType::IPV4 => ip_v4(data, [None; 2]),
        LinkType::IPV6 => ip_v6(data, [None; 2]),
        LinkType::NULL => {
            let (&family, packet) = data.split_first_chunk().ok_or(FrameSkip::Snapped)?;
            // The file may come from a machine of the other byte order; families are small numbers.
            let family = u32::from_le_bytes(family).min(u32::from_be_bytes(family));
            loopback(family, packet)
        }
        LinkType::LOOP => {
            let (&family, packet) = data.split_first_chunk().ok_or(FrameSkip::Snapped)?;
            loopback(u32::from_be_bytes(family), packet)
        }
        LinkType::LINUX_SLL => {
            let (header, packet) = data
                .split_first_chunk::<SLL_LEN>()
                .ok_or(FrameSkip::Snapped)?;
            ether(
                EtherType(u16::from_be_bytes([header[14], header[15]])),
                packet,
            )
        }
        LinkType::LINUX_SLL2 => {
            let (header, packet) = data
                .split_first_chunk::<SLL2_LEN>()
                .ok_or(FrameSkip::Snapped)?;
            ether(
                EtherType(u16::from_be_bytes([header[0], header[1]])),
                packet,
            )
        }
        _ => Err(FrameSkip::LinkType),
    }
}

/// What an EtherType announces, with tags before it.
fn ether(mut announced: EtherType, mut data: &[u8]) -> Result<Datagram<'_>, FrameSkip> {
    let mut vlans = [None; 2];
    let mut tags = 0;
    loop {
        match announced {
            ether_type::IPV4 => return ip_v4(data, vlans),
            ether_type::IPV6 => return ip_v6(data, vlans),
            ether_type::VLAN_TAGGED_FRAME
            | ether_type::PROVIDER_BRIDGING
            | ether_type::VLAN_DOUBLE_TAGGED_FRAME => {
                let tag =
                    SingleVlanHeaderSlice::from_slice(data).map_err(|_| FrameSkip::Snapped)?;
                if let Some(vlan) = vlans.get_mut(tags) {
                    *vlan = Some(tag.vlan_identifier().value());
                    tags += 1;
                }
                announced = tag.ether_type();
                data = after(data, tag.slice().len())?;
            }
            _ => return Err(FrameSkip::NotIp),
        }
    }
}

/// What BSD's address family announces: 2 is IPv4 everywhere, IPv6 differs by system.
fn loopback(family: u32, packet: &[u8]) -> Result<Datagram<'_>, FrameSkip> {
    match family {
        2 => ip_v4(packet, [None; 2]),
        // Linux; NetBSD and OpenBSD; FreeBSD; macOS.
        10 | 24 | 28 | 30 => ip_v6(packet, [None; 2]),
        _ => Err(FrameSkip::NotIp),
    }
}

fn ip_v4(data: &[u8], vlans: [Option<u16>; 2]) -> Result<Datagram<'_>, FrameSkip> {
    let (packet, stopped) = LaxIpv4Slice::from_slice(data).map_err(|error| match error {
        ipv4::HeaderSliceError::Len(_) => FrameSkip::Snapped,
        ipv4::HeaderSliceError::Content(_) => FrameSkip::Malformed,
    })?;
    let header = packet.header();
    // The lax slice would take the rest of the frame for such a packet, padding included.
    if usize::from(header.total_len()) < header.slice().len() {
        return Err(FrameSkip::Malformed);
    }
    let payload = packet.payload();
    if payload.fragmented {
        return Err(FrameSkip::Fragment);
    }
    if stopped.is_some() {
        return Err(ran_out(payload));
    }
    transport(
        header.source_addr().into(),
        header.destination_addr().into(),
        payload,
        vlans,
    )
}

fn ip_v6(data: &[u8], vlans: [Option<u16>; 2]) -> Result<Datagram<'_>, FrameSkip> {
    let (packet, stopped) = LaxIpv6Slice::from_slice(data).map_err(|error| match error {
        ipv6::HeaderSliceError::Len(_) => FrameSkip::Snapped,
        ipv6::HeaderSliceError::Content(_) => FrameSkip::Malformed,
    })?;
    let header = packet.header();
    let payload = packet.payload();
    if payload.fragmented {
        return Err(FrameSkip::Fragment);
    }
    match stopped {
        Some((ipv6_exts::HeaderSliceError::Len(_), _)) => return Err(ran_out(payload)),
        Some((ipv6_exts::HeaderSliceError::Content(_), _)) => return Err(FrameSkip::Malformed),
        None => {}
    }
    // Length 0 means a jumbogram, or nothing at all; the lax slice would take the rest of the frame.
    if header.payload_length() == 0 {
        return Err(match payload.ip_number {
            ip_number::UDP => FrameSkip::Malformed,
            _ => FrameSkip::NotUdp,
        });
    }
    transport(
        header.source_addr().into(),
        header.destination_addr().into(),
        payload,
        vlans,
    )
}

/// A header didn't fit: the recorder's doing if it kept less than the IP length, else the sender's.
fn ran_out(payload: &LaxIpPayloadSlice<'_>) -> FrameSkip {
    if payload.incomplete {
        FrameSkip::Snapped
    } else {
        FrameSkip::Malformed
    }
}

fn transport<'a>(
    src: IpAddr,
    dst: IpAddr,
    packet: &LaxIpPayloadSlice<'a>,
    vlans: [Option<u16>; 2],
) -> Result<Datagram<'a>, FrameSkip> {
    const UDP: IpNumber = ip_number::UDP;
    if packet.ip_number != UDP {
        return Err(FrameSkip::NotUdp);
    }
    let header = UdpHeaderSlice::from_slice(packet.payload).map_err(|_| ran_out(packet))?;
    let length = usize::from(header.length());
    if length < UdpHeader::LEN {
        return Err(FrameSkip::Malformed);
    }
    let payload = packet
        .payload
        .get(UdpHeader::LEN..length)
        .ok_or_else(|| ran_out(packet))?;
    Ok(Datagram {
        src: SocketAddr::new(src, header.source_port()),
        dst: SocketAddr::new(dst, header.destination_port()),
        payload,
        vlans,
    })
}

/// The bytes after a header that was sliced from them.
fn after(data: &[u8], header_len: usize) -> Result<&[u8], FrameSkip> {
    data.get(header_len..).ok_or(FrameSkip::Snapped)
}

/// Linux cooked v1: packet type, hardware type, address length, address (8), EtherType.
const SLL_LEN: usize = 16;
/// Linux cooked v2: EtherType, reserved (2), interface (4), hardware type, packet type, address
/// length, address (8).
const SLL2_LEN: usize = 20;
