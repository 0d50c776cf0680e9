//! The sockets of a channel: an edge.  They decide nothing.
//!
//! A [`MulticastSocket`] is one line: any-source or source-specific join on an interface, receive stamps and
//! drop counts of the kernel.  A [`RequestSocket`] asks a channel's request servers and takes their answers.
//! Both never wait, receive into a [`Batch`], and give on only what comes from where they were told to expect
//! it.
//!
//! The receive buffer, busy polling and the joining of datagrams (`UDP_GRO`) are asked for; what the kernel granted is
//! read back, to be reported.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::{getsockopt_impl, setsockopt_impl};
use quinn_udp::UdpSocketState;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::batch::{Batch, Refused};
use crate::limits::RECEIVE_BUFFER_BYTES;

/// A local interface, as people name it: an address, an index, or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interface {
    /// By one of its addresses; unspecified = the kernel's choice.
    Address(IpAddr),
    /// By its number.
    Index(u32),
    /// By its name.
    Name(String),
}

impl FromStr for Interface {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if let Ok(address) = text.parse() {
            Self::Address(address)
        } else if let Ok(index) = text.parse() {
            Self::Index(index)
        } else {
            Self::Name(text.to_owned())
        })
    }
}

impl From<IpAddr> for Interface {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Index(index) => index.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// An interface as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// Its number; 0 = the kernel's choice.
    pub index: u32,
    /// Whether it is the machine itself.
    pub is_loopback: bool,
}

impl Interface {
    /// Finds it among the machine's.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is none, or the system's error.
    pub fn resolve(&self) -> io::Result<Resolved> {
        if matches!(self, Self::Address(address) if address.is_unspecified()) {
            return Ok(Resolved {
                index: 0,
                is_loopback: false,
            });
        }
        for interface in getifaddrs()? {
            let index = if_nametoindex(interface.interface_name.as_str())?;
            let is_loopback = interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            let found = match self {
                Self::Index(wanted) => index == *wanted,
                Self::Name(wanted) => interface.interface_name == *wanted,
                Self::Address(wanted) => {
                    let address = interface.address.and_then(|address| {
                        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
                    });
                    // All of 127.0.0.0/8 is the loopback interface's, listed or not.
                    address == Some(*wanted) || (is_loopback && wanted.is_loopback())
                }
            };
            if found {
                return Ok(Resolved { index, is_loopback });
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("this machine has no interface {self}"),
        ))
    }
}

/// What to join, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinConfig {
    /// The group and port.
    pub group: SocketAddr,
    /// Where to join it.
    pub interface: Interface,
    /// Who may send to it; empty = anybody.
    pub sources: Vec<IpAddr>,
    /// Whether the network is asked for these sources only (IGMPv3, MLDv2).  Otherwise it is asked for the
    /// group, and what others send is dropped here.
    pub source_specific: bool,
    /// The receive buffer to ask for.
    pub receive_buffer_bytes: usize,
    /// How long a receive call polls the network card itself, in microseconds; 0 = not.
    pub busy_poll_us: u32,
    /// Whether the kernel may join datagrams of one size that come close together, and give them on as one
    /// (`UDP_GRO`).  They are taken apart again, and have one stamp.
    pub join_datagrams: bool,
}

impl JoinConfig {
    /// A join for what anybody sends.
    #[must_use]
    pub fn any_source(group: SocketAddr, interface: impl Into<Interface>) -> Self {
        Self {
            group,
            interface: interface.into(),
            sources: Vec::new(),
            source_specific: false,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            busy_poll_us: 0,
            join_datagrams: true,
        }
    }

    fn check(&self) -> io::Result<()> {
        let group = self.group;
        let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if !group.ip().is_multicast() {
            return refuse(format!("{group} is no multicast group"));
        }
        if let Some(source) = self.sources.iter().find(|s| s.is_ipv4() != group.is_ipv4()) {
            return refuse(format!(
                "group {group} and source {source} are of different families"
            ));
        }
        if self.source_specific && self.sources.is_empty() {
            return refuse(format!(
                "a source-specific join of {group} needs the addresses of its sources"
            ));
        }
        Ok(())
    }
}

/// What the kernel granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The receive buffer, in the measure in which it was asked for (the kernel doubles it for its own
    /// overhead).
    pub receive_buffer_bytes: usize,
    /// How long receive calls poll the network card, in microseconds.
    pub busy_poll_us: u32,
    /// Whether the kernel joins datagrams where it can.
    pub joins_datagrams: bool,
    /// Whether the interface is the machine itself.
    pub is_loopback: bool,
}

/// A joined multicast socket.
#[derive(Debug)]
pub struct MulticastSocket {
    socket: Socket,
    state: UdpSocketState,
    sources: Vec<IpAddr>,
    granted: Granted,
    drops_seen: u32,
    refused: Refused,
}

impl MulticastSocket {
    /// Binds to the group and joins it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the configuration contradicts itself, otherwise the
    /// system's error of the call that failed.
    pub fn open(config: &JoinConfig) -> io::Result<Self> {
        config.check()?;
        let interface = config.interface.resolve()?;
        let (socket, state) = udp(config.group, config.receive_buffer_bytes)?;
        // Several receivers of one machine can listen to the same group.
        socket.set_reuse_address(true)?;
        if config.busy_poll_us > 0 {
            // Best effort, as the receive buffer: it may need a privilege.
            let _ = socket.set_busy_poll(config.busy_poll_us);
        }
        // Best effort too: a kernel that can't join gives each datagram by itself.
        let joins_datagrams =
            config.join_datagrams && setsockopt(&socket, sockopt::UdpGroSegment, &true).is_ok();
        // Bound to the group and not only to its port: other groups at the same port don't reach it.
        socket.bind(&scoped(config.group, interface.index).into())?;
        join(&socket, config, interface.index)?;
        Ok(Self {
            granted: Granted {
                receive_buffer_bytes: socket.recv_buffer_size()? / 2,
                busy_poll_us: socket.busy_poll()?,
                joins_datagrams,
                is_loopback: interface.is_loopback,
            },
            sources: config.sources.clone(),
            drops_seen: drops(&socket)?,
            refused: Refused::default(),
            socket,
            state,
        })
    }

    /// What the kernel granted.
    #[must_use]
    pub fn granted(&self) -> Granted {
        self.granted
    }

    /// Receives what waits into the batch, without waiting; says how many datagrams came, accepted or not.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn receive(&mut self, batch: &mut Batch) -> io::Result<usize> {
        let sources = &self.sources;
        let accepts = |source: SocketAddr| sources.is_empty() || sources.contains(&source.ip());
        batch.receive(&self.socket, &self.state, accepts, &mut self.refused)
    }

    /// Datagrams that the kernel dropped since the last call, because the receive buffer was full.  Those that it
    /// had joined are dropped together and count as one: then it is the least that was lost.
    ///
    /// It is the count that `SO_RXQ_OVFL` attaches to the next datagram, read even if none follows.  A call
    /// costs as much as receiving: make it when a batch was full (a receiver that is behind loses) and now
    /// and then.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn kernel_drops(&mut self) -> io::Result<u64> {
        let now = drops(&self.socket)?;
        // The kernel counts in 32 bits and wraps.
        let lost = now.wrapping_sub(self.drops_seen);
        self.drops_seen = now;
        Ok(u64::from(lost))
    }

    /// Datagrams received and not given on, since the start.
    #[must_use]
    pub fn refused(&self) -> Refused {
        self.refused
    }
}

impl AsFd for MulticastSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The socket that request servers are asked from, and their answers come to.
#[derive(Debug)]
pub struct RequestSocket {
    socket: Socket,
    state: UdpSocketState,
    servers: Vec<SocketAddr>,
    refused: Refused,
}

impl RequestSocket {
    /// Opens a socket for these servers, all of one family, on an address of this machine (unspecified = the
    /// kernel's choice by route).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if there is no server or they are of different families,
    /// otherwise the system's error.
    pub fn open(servers: &[SocketAddr], local: Option<IpAddr>) -> io::Result<Self> {
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let Some(first) = servers.first() else {
            return refuse("there is no request server");
        };
        let local = local.unwrap_or(match first {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        });
        if servers.iter().any(|s| s.is_ipv4() != local.is_ipv4()) {
            return refuse("request servers and the local address are of different families");
        }
        if servers.len() > usize::from(u8::MAX) {
            return refuse("there are more than 255 request servers");
        }
        let (socket, state) = udp(*first, RECEIVE_BUFFER_BYTES)?;
        socket.bind(&SocketAddr::new(local, 0).into())?;
        Ok(Self {
            socket,
            state,
            servers: servers.to_vec(),
            refused: Refused::default(),
        })
    }

    /// Sends a request to a server.
    ///
    /// # Errors
    ///
    /// The system's error, would-block included: the request is lost as any datagram can be, and its timer
    /// asks again.
    pub fn send(&self, server: u8, request: &[u8]) -> io::Result<()> {
        let Some(address) = self.servers.get(usize::from(server)) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no request server {server}"),
            ));
        };
        self.socket.send_to(request, &(*address).into()).map(|_| ())
    }

    /// Receives the answers that wait into the batch, without waiting; says how many datagrams came.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn receive(&mut self, batch: &mut Batch) -> io::Result<usize> {
        let servers = &self.servers;
        let accepts = |source| servers.contains(&source);
        batch.receive(&self.socket, &self.state, accepts, &mut self.refused)
    }

    /// Which server has this address.
    #[must_use]
    pub fn server(&self, source: SocketAddr) -> Option<u8> {
        let index = self.servers.iter().position(|server| *server == source)?;
        u8::try_from(index).ok()
    }

    /// Datagrams received and not given on, since the start.
    #[must_use]
    pub fn refused(&self) -> Refused {
        self.refused
    }
}

impl AsFd for RequestSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket that never waits, with receive stamps and as large a buffer as there is.
fn udp(of: SocketAddr, receive_buffer_bytes: usize) -> io::Result<(Socket, UdpSocketState)> {
    let socket = Socket::new(Domain::for_address(of), Type::DGRAM, Some(Protocol::UDP))?;
    if of.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // It sets what QUIC needs, of which nothing else is wanted here than that the socket never waits.
    let state = UdpSocketState::new((&socket).into())?;
    let _ = setsockopt(&socket, sockopt::UdpGroSegment, &false);
    match of {
        SocketAddr::V4(_) => {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &false)?;
            socket.set_recv_tos_v4(false)?;
        }
        SocketAddr::V6(_) => {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &false)?;
            socket.set_recv_tclass_v6(false)?;
        }
    }
    // Beyond `rmem_max` with the privilege, else up to it; what was granted is read back.
    if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer_bytes).is_err() {
        let _ = socket.set_recv_buffer_size(receive_buffer_bytes);
    }
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok((socket, state))
}

/// The group with its interface, which belongs to an IPv6 address that isn't valid everywhere.
fn scoped(group: SocketAddr, index: u32) -> SocketAddr {
    match group {
        SocketAddr::V6(mut v6) if v6.scope_id() == 0 => {
            v6.set_scope_id(index);
            SocketAddr::V6(v6)
        }
        _ => group,
    }
}

fn join(socket: &Socket, config: &JoinConfig, index: u32) -> io::Result<()> {
    // Without this a socket also gets what others on this machine joined: groups, or sources of this group.
    match config.group {
        SocketAddr::V4(_) => socket.set_multicast_all_v4(false)?,
        SocketAddr::V6(_) => socket.set_multicast_all_v6(false)?,
    }
    if !config.source_specific {
        return match config.group.ip() {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
        };
    }
    for source in &config.sources {
        let request = SourceRequest {
            interface: index,
            group: Address::new(SocketAddr::new(config.group.ip(), 0)),
            source: Address::new(SocketAddr::new(*source, 0)),
        };
        match config.group {
            SocketAddr::V4(_) => setsockopt(socket, JoinSourceV4, &request)?,
            SocketAddr::V6(_) => setsockopt(socket, JoinSourceV6, &request)?,
        }
    }
    Ok(())
}

/// A socket address in the kernel's layout (`sockaddr_storage`).
#[derive(Debug, Clone)]
#[repr(C)]
struct Address {
    family: libc::sa_family_t,
    bytes: [u8; 128 - size_of::<libc::sa_family_t>() - size_of::<usize>()],
    align: usize,
}

impl Address {
    fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; _];
        match address {
            SocketAddr::V4(v4) => write_v4(&mut bytes, v4),
            SocketAddr::V6(v6) => write_v6(&mut bytes, v6),
        }
        // The two constants fit.
        #[allow(clippy::cast_possible_truncation)]
        let family = match address {
            SocketAddr::V4(_) => libc::AF_INET as libc::sa_family_t,
            SocketAddr::V6(_) => libc::AF_INET6 as libc::sa_family_t,
        };
        Self {
            family,
            bytes,
            align: 0,
        }
    }
}

/// Port and address of a `sockaddr_in`.
fn write_v4(bytes: &mut [u8], address: SocketAddrV4) {
    bytes[..2].copy_from_slice(&address.port().to_be_bytes());
    bytes[2..6].copy_from_slice(&address.ip().octets());
}

/// Port, flow, address and scope of a `sockaddr_in6`.
fn write_v6(bytes: &mut [u8], address: SocketAddrV6) {
    bytes[..2].copy_from_slice(&address.port().to_be_bytes());
    bytes[6..22].copy_from_slice(&address.ip().octets());
    bytes[22..26].copy_from_slice(&address.scope_id().to_ne_bytes());
}

/// `group_source_req`.
#[derive(Debug, Clone)]
#[repr(C)]
struct SourceRequest {
    interface: u32,
    group: Address,
    source: Address,
}

const _: () = assert!(size_of::<SourceRequest>() == size_of::<libc::group_source_req>());

/// Joins a group for one source, by interface index, which socket2 and nix don't have.
#[derive(Debug, Clone, Copy)]
struct JoinSourceV4;

setsockopt_impl!(
    JoinSourceV4,
    libc::IPPROTO_IP,
    libc::MCAST_JOIN_SOURCE_GROUP,
    SourceRequest,
    sockopt::SetStruct<'_, SourceRequest>
);

/// The same of IPv6.
#[derive(Debug, Clone, Copy)]
struct JoinSourceV6;

setsockopt_impl!(
    JoinSourceV6,
    libc::IPPROTO_IPV6,
    libc::MCAST_JOIN_SOURCE_GROUP,
    SourceRequest,
    sockopt::SetStruct<'_, SourceRequest>
);

/// Linux's `SO_MEMINFO`, which libc doesn't have.
const SO_MEMINFO: libc::c_int = 55;
/// Its fields; the last is the drop count.
const MEMINFO_FIELDS: usize = libc::SK_MEMINFO_DROPS as usize + 1;

/// The socket's memory and drop counts.
#[derive(Debug, Clone, Copy)]
struct MemInfo;

getsockopt_impl!(
    MemInfo,
    libc::SOL_SOCKET,
    SO_MEMINFO,
    [u32; MEMINFO_FIELDS],
    sockopt::GetStruct<[u32; MEMINFO_FIELDS]>
);

/// Datagrams that the kernel dropped at this socket, modulo 2^32.
fn drops(socket: &Socket) -> io::Result<u32> {
    let [.., drops] = getsockopt(socket, MemInfo)?;
    Ok(drops)
}
