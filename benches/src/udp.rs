//! From multicast datagrams on loopback to books, as fast as they can be had: what the receiving thread spends.
//!
//! A thread sends MoldUDP64 packets, 64 in a system call, another receives them.  The sender waits when more is
//! under way than the receiver's buffer surely holds, so a slow receiver loses nothing either.  A receiver that
//! finds nothing rests for as long as the sender takes for some batches: what is measured is full batches.
//!
//! Time is the receiving thread's own on a processor ([`Figures::cpu_ns`]): on loopback the sender pays for the
//! way through the network stack, and it's the slower of the two where messages are only walked.

use std::hint::black_box;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, sendmsg, setsockopt,
    sockopt,
};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol as Transport, Socket, Type};
use tickcast_book::{BestChange, Update, UpdateSink};
use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::{HEADER_LEN, PacketBuilder};
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::batch::Batch;
use tickcast_feed::limits::RECEIVE_BUFFER_BYTES;
use tickcast_feed::receiver::Clock;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_feed::{Shard, ShardConfig, Source};

/// Datagrams of one system call of the sender, and of the plain receive loop.
const BATCH: usize = 64;
/// Datagrams under way at most, all lines together.
const WINDOW_MAX: u64 = 8_192;
/// What a datagram takes of a receive buffer beside twice its bytes, at most.
const OVERHEAD_BYTES: usize = 1_024;
/// How long a receiver rests that found nothing.
const REST: Duration = Duration::from_millis(1);
/// How long it waits for what was sent and doesn't come.
const PATIENCE: Duration = Duration::from_secs(1);
/// What the kernel joins at most: datagrams, and bytes of them.
const JOINED_PACKETS_MAX: usize = 64;
const JOINED_BYTES_MAX: usize = 65_000;
/// A message of a type that ITCH doesn't have: fills a packet up to its size.
const FILLER: u8 = b'#';

/// MoldUDP64 packets, one behind the other.
#[derive(Debug, Default)]
pub struct Packets {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    messages: u64,
}

impl Packets {
    /// Packs messages into packets of at most so many bytes, as many into each as fit.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if a message doesn't fit a packet.
    pub fn new<'m>(
        messages: impl IntoIterator<Item = &'m [u8]>,
        bytes_max: usize,
    ) -> io::Result<Self> {
        Self::pack(messages, bytes_max, 0)
    }

    /// The same, and each is filled up to so many bytes by a message of an unknown type: what a kernel can join.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if a message doesn't fit a packet.
    pub fn of_one_size<'m>(
        messages: impl IntoIterator<Item = &'m [u8]>,
        bytes: usize,
    ) -> io::Result<Self> {
        // A block of one byte has three.
        Self::pack(messages, bytes.saturating_sub(3), bytes)
    }

    fn pack<'m>(
        messages: impl IntoIterator<Item = &'m [u8]>,
        bytes_max: usize,
        filled: usize,
    ) -> io::Result<Self> {
        let session = SessionId::from_padded(b"BENCH");
        let mut messages = messages.into_iter().peekable();
        let mut packets = Self::default();
        let (mut packet, mut filler) = (Vec::new(), Vec::new());
        while messages.peek().is_some() {
            let next = packets.messages + 1;
            let mut builder = PacketBuilder::new(&mut packet, session, next, bytes_max);
            while messages
                .next_if(|message| builder.push(message).is_ok())
                .is_some()
            {}
            if builder.next_sequence() == next {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("a message doesn't fit a packet of {bytes_max} bytes"),
                ));
            }
            packets.messages = builder.next_sequence() - 1;
            let count = packets.messages + 1 - next;
            if filled > 0 {
                filler.resize(filled.saturating_sub(packet.len() + 2), FILLER);
                fill(&mut packet, &filler, count);
                packets.messages += 1;
            }
            packets.bytes.extend_from_slice(&packet);
            packets.ends.push(packets.bytes.len());
        }
        Ok(packets)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Messages in all of them.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Where packet number `index` begins.
    fn start(&self, index: usize) -> usize {
        index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0)
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(self.start(index)..*self.ends.get(index)?)
    }

    /// As many packets from `first` on as can go as one: of one size, the last may be shorter.
    fn joined(&self, first: usize, max: usize) -> usize {
        let size = |index| Some(self.get(index)?.len());
        let Some(whole) = size(first) else {
            return 0;
        };
        let fit = (JOINED_BYTES_MAX / whole).min(JOINED_PACKETS_MAX).min(max);
        let same = (1..fit)
            .take_while(|next| size(first + next) == Some(whole))
            .count();
        let shorter = 1 + same < fit && size(first + same + 1).is_some_and(|length| length < whole);
        1 + same + usize::from(shorter)
    }
}

/// Appends one block, which the header counts.
fn fill(packet: &mut Vec<u8>, message: &[u8], count_before: u64) {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let count = u16::try_from(count_before + 1).unwrap_or(u16::MAX);
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(message);
    if let Some(field) = packet.get_mut(HEADER_LEN - 2..HEADER_LEN) {
        field.copy_from_slice(&count.to_be_bytes());
    }
}

/// What the receiving thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `recvmmsg` without stamps, then the messages are counted and walked: the floor.
    Walk,
    /// The same behind the product's sockets and batches, stamps and sources included.
    Receive,
    /// The product's loop up to the books, and an observer that counts changes of the best prices.
    Book,
}

/// How packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// 64 in a system call.
    Each,
    /// Those of one size as one (`UDP_SEGMENT`).
    Joined,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// What is sent, over each line.
    pub packets: &'a Packets,
    /// What the receiver does.
    pub mode: Mode,
    /// How the sender sends.
    pub sending: Sending,
    /// Whether the product's sockets let the kernel join (`UDP_GRO`).
    pub join_datagrams: bool,
    /// Lines: 1, or 2 with the same packets.
    pub lines: u8,
    /// The sender's core.
    pub sender_core: Option<usize>,
    /// The receiver's core.
    pub receiver_core: Option<usize>,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Messages, of one line.
    pub messages: u64,
    /// Messages that never came.
    pub messages_lost: u64,
    /// Datagrams received, all lines together.
    pub datagrams: u64,
    /// Datagrams that the kernel dropped.
    pub kernel_drops: u64,
    /// System calls that gave something.
    pub receives: u64,
    /// What the receiving thread spent on a processor.
    pub cpu_ns: u64,
    /// From the first datagram to the last.
    pub wall_ns: u64,
    /// Changes of a best price or its shares ([`Mode::Book`]).
    pub best_changes: u64,
    /// Orders in the books at the end ([`Mode::Book`]).
    pub orders: u64,
}

impl Figures {
    /// The receiving thread's time for a message.
    #[must_use]
    pub fn cpu_ns_a_message(&self) -> f64 {
        ratio(self.cpu_ns, self.messages)
    }

    /// The receiving thread's time for a datagram.
    #[must_use]
    pub fn cpu_ns_a_datagram(&self) -> f64 {
        ratio(self.cpu_ns, self.datagrams)
    }

    /// Time for a message on the wall.
    #[must_use]
    pub fn wall_ns_a_message(&self) -> f64 {
        ratio(self.wall_ns, self.messages)
    }

    /// Datagrams of a system call that gave something.
    #[must_use]
    pub fn datagrams_a_receive(&self) -> f64 {
        ratio(self.datagrams, self.receives)
    }
}

// Counts and nanoseconds of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn ratio(dividend: u64, divisor: u64) -> f64 {
    dividend as f64 / divisor.max(1) as f64
}

/// Sends the packets and receives them, each on a thread of its own.
///
/// # Errors
///
/// The system's error if a socket can't be made, or there is no multicast on the loopback interface.
pub fn receive_to_book(run: &Run<'_>) -> io::Result<Figures> {
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let groups: Vec<SocketAddr> = (1..=run.lines.max(1))
        .map(|line| SocketAddr::from(([239, 255, 80, line], port)))
        .collect();
    let lines = u64::try_from(groups.len()).unwrap_or(1);
    let total = u64::try_from(run.packets.len()).unwrap_or(u64::MAX) * lines;
    let progress = Progress::default();
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            pin(run.receiver_core);
            let figures = receive(run, &groups, total, &progress);
            progress.is_over.store(true, Ordering::Relaxed);
            figures
        });
        let sending = scope.spawn(|| {
            pin(run.sender_core);
            send(run, &groups, &progress)
        });
        let failed = |_| io::Error::other("a thread panicked");
        let sent = sending.join().map_err(failed)?;
        let mut figures = receiving.join().map_err(failed)??;
        sent?;
        figures.messages_lost = run.packets.messages.saturating_sub(figures.messages);
        Ok(figures)
    })
}

/// What sender and receiver know of each other.
#[derive(Debug, Default)]
struct Progress {
    /// Datagrams that may be under way; none before the receiver has joined.
    window: AtomicU64,
    received: AtomicU64,
    is_over: AtomicBool,
}

/// What the buffers surely hold.
fn window(receive_buffer_bytes: usize, packets: &Packets, sending: Sending) -> u64 {
    let largest = match sending {
        Sending::Each => packets.bytes.len() / packets.len().max(1) * 2,
        // Little of a buffer of joined ones may be used.
        Sending::Joined => packets.bytes.len() / packets.len().max(1) * 4,
    };
    // The kernel doubles what it is asked for.
    let held = 2 * receive_buffer_bytes / (2 * largest + OVERHEAD_BYTES);
    u64::try_from(held).map_or(WINDOW_MAX, |held| held.clamp(BATCH as u64, WINDOW_MAX))
}

fn pin(core: Option<usize>) {
    if let Some(id) = core {
        core_affinity::set_for_current(CoreId { id });
    }
}

fn send(run: &Run<'_>, groups: &[SocketAddr], progress: &Progress) -> io::Result<()> {
    let senders = groups
        .iter()
        .map(|group| sender(*group))
        .collect::<io::Result<Vec<_>>>()?;
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let (mut next, mut sent) = (0, 0);
    while next < run.packets.len() {
        while sent + BATCH as u64
            > progress.received.load(Ordering::Relaxed) + progress.window.load(Ordering::Acquire)
        {
            if progress.is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            thread::yield_now();
        }
        let count = BATCH.min(run.packets.len() - next);
        for sender in &senders {
            match run.sending {
                Sending::Each => send_each(sender, run.packets, next, count, &mut headers)?,
                Sending::Joined => send_joined(sender, run.packets, next, count)?,
            }
            sent += count as u64;
        }
        next += count;
    }
    Ok(())
}

fn sender(group: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Transport::UDP))?;
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
    socket.set_multicast_loop_v4(true)?;
    socket.connect(&group.into())?;
    Ok(socket)
}

fn send_each(
    sender: &Socket,
    packets: &Packets,
    mut first: usize,
    count: usize,
    headers: &mut MultiHeaders<SockaddrIn>,
) -> io::Result<()> {
    let end = first + count;
    while first < end {
        let slices: Vec<[IoSlice<'_>; 1]> = (first..end)
            .filter_map(|index| Some([IoSlice::new(packets.get(index)?)]))
            .collect();
        let addresses = vec![None; slices.len()];
        let flags = MsgFlags::empty();
        let sent = sendmmsg(sender.as_raw_fd(), headers, &slices, &addresses, [], flags)?;
        first += sent.count();
    }
    Ok(())
}

fn send_joined(
    sender: &Socket,
    packets: &Packets,
    mut first: usize,
    count: usize,
) -> io::Result<()> {
    let end = first + count;
    while first < end {
        let joined = packets.joined(first, end - first);
        let Some(packet) = packets.get(first) else {
            break;
        };
        let bytes = packets
            .bytes
            .get(packets.start(first)..packets.start(first + joined))
            .unwrap_or_default();
        let size = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        let control = if joined > 1 { &segments[..] } else { &[] };
        sendmsg::<()>(
            sender.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::empty(),
            None,
        )?;
        first += joined;
    }
    Ok(())
}

/// The receiving end of a mode.
enum Receiver {
    Walk {
        sockets: Vec<Socket>,
        headers: MultiHeaders<SockaddrIn>,
        buffers: Vec<u8>,
        walk: Walk,
    },
    Receive {
        sockets: Vec<MulticastSocket>,
        batch: Batch,
        walk: Walk,
    },
    Book {
        sockets: Vec<MulticastSocket>,
        batch: Batch,
        shard: Box<Shard<BestPrices>>,
        clock: Clock,
        drops: u64,
    },
}

/// What was walked.
#[derive(Debug, Default)]
struct Walk {
    /// Messages of the first line.
    messages: u64,
    /// Of their type bytes, so that no read is left out.
    sum: u64,
}

impl Walk {
    #[inline]
    fn packet(&mut self, line: usize, payload: &[u8]) {
        let Some((header, mut rest)) = payload.split_at_checked(HEADER_LEN) else {
            return;
        };
        let &[.., high, low] = header else {
            return;
        };
        let count = u16::from_be_bytes([high, low]);
        for _ in 0..count {
            let Some((&length, message)) = rest.split_first_chunk() else {
                return;
            };
            self.sum += u64::from(message.first().copied().unwrap_or(0));
            rest = message
                .get(usize::from(u16::from_be_bytes(length))..)
                .unwrap_or_default();
        }
        self.messages += if line == 0 { u64::from(count) } else { 0 };
    }
}

impl Receiver {
    fn open(run: &Run<'_>, groups: &[SocketAddr]) -> io::Result<Self> {
        let open = || {
            groups
                .iter()
                .map(|group| {
                    let interface = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    MulticastSocket::open(&JoinConfig {
                        join_datagrams: run.join_datagrams,
                        ..JoinConfig::any_source(*group, interface)
                    })
                })
                .collect::<io::Result<Vec<_>>>()
        };
        Ok(match run.mode {
            Mode::Walk => Self::Walk {
                sockets: groups
                    .iter()
                    .map(|group| plain(*group))
                    .collect::<io::Result<Vec<_>>>()?,
                headers: MultiHeaders::preallocate(BATCH, None),
                buffers: vec![0; BATCH * PLAIN_BYTES_MAX],
                walk: Walk::default(),
            },
            Mode::Receive => Self::Receive {
                sockets: open()?,
                batch: Batch::new(),
                walk: Walk::default(),
            },
            Mode::Book => {
                let mut config = ShardConfig::new(Protocol::MoldUdp64Itch50, 0, "XNAS");
                config.arbiter.lines = u8::try_from(groups.len()).unwrap_or(u8::MAX);
                let clock = Clock::new();
                let mut shard = Shard::new(&config, BestPrices::default(), (), clock.now());
                shard.reserve(ORDERS_RESERVED, INSTRUMENTS_RESERVED);
                Self::Book {
                    sockets: open()?,
                    batch: Batch::new(),
                    shard: Box::new(shard),
                    clock,
                    drops: 0,
                }
            }
        })
    }

    fn receive_buffer_bytes(&self) -> usize {
        match self {
            Self::Walk { sockets, .. } => sockets
                .iter()
                .filter_map(|socket| Some(socket.recv_buffer_size().ok()? / 2))
                .min(),
            Self::Receive { sockets, .. } | Self::Book { sockets, .. } => sockets
                .iter()
                .map(|socket| socket.granted().receive_buffer_bytes)
                .min(),
        }
        .unwrap_or(0)
    }

    /// One batch of each line; says how many datagrams came, and in how many calls.
    fn turn(&mut self) -> io::Result<(u64, u64)> {
        let (mut datagrams, mut receives) = (0, 0);
        let mut count = |came: usize| {
            datagrams += came as u64;
            receives += u64::from(came > 0);
        };
        match self {
            Self::Walk {
                sockets,
                headers,
                buffers,
                walk,
            } => {
                for (line, socket) in sockets.iter().enumerate() {
                    count(walk_plain(socket, line, headers, buffers, walk)?);
                }
            }
            Self::Receive {
                sockets,
                batch,
                walk,
            } => {
                for (line, socket) in sockets.iter_mut().enumerate() {
                    count(socket.receive(batch)?);
                    for packet in batch.packets() {
                        walk.packet(line, packet.payload);
                    }
                }
            }
            Self::Book {
                sockets,
                batch,
                shard,
                clock,
                drops,
            } => {
                let now = clock.now();
                for (line, socket) in (0..).zip(sockets) {
                    count(socket.receive(batch)?);
                    // What is malformed is counted, and missing at the end.
                    let packets = batch.packets();
                    shard.handle_packets(
                        now,
                        Source::Line(line),
                        packets.map(|packet| (packet.payload, packet.ts_recv)),
                    );
                    if batch.is_full() {
                        *drops += socket.kernel_drops()?;
                    }
                }
                shard.handle_timeout(now);
            }
        }
        Ok((datagrams, receives))
    }

    /// What is known at the end.
    fn figures(&mut self) -> io::Result<Figures> {
        let mut figures = Figures::default();
        match self {
            Self::Walk { walk, .. } => {
                std::hint::black_box(walk.sum);
                figures.messages = walk.messages;
            }
            Self::Receive { sockets, walk, .. } => {
                std::hint::black_box(walk.sum);
                figures.messages = walk.messages;
                figures.kernel_drops = kernel_drops(sockets)?;
            }
            Self::Book {
                sockets,
                shard,
                drops,
                ..
            } => {
                let counters = shard.counters();
                figures.messages = counters.messages + counters.unknown_types;
                figures.kernel_drops = *drops + kernel_drops(sockets)?;
                figures.best_changes = shard.updates().changes;
                figures.orders = shard.market().order_count() as u64;
            }
        }
        Ok(figures)
    }
}

fn kernel_drops(sockets: &mut [MulticastSocket]) -> io::Result<u64> {
    sockets.iter_mut().map(MulticastSocket::kernel_drops).sum()
}

/// Receives all that is sent.
fn receive(
    run: &Run<'_>,
    groups: &[SocketAddr],
    total: u64,
    progress: &Progress,
) -> io::Result<Figures> {
    let mut receiver = Receiver::open(run, groups)?;
    let window = window(receiver.receive_buffer_bytes(), run.packets, run.sending);
    progress.window.store(window, Ordering::Release);
    let (mut datagrams, mut receives) = (0, 0);
    let cpu_before = thread_cpu_ns()?;
    let mut began = Instant::now();
    let mut last = began;
    while datagrams < total && last.elapsed() < PATIENCE {
        let (came, calls) = receiver.turn()?;
        if came == 0 {
            thread::sleep(REST);
            continue;
        }
        last = Instant::now();
        if datagrams == 0 {
            began = last;
        }
        datagrams += came;
        receives += calls;
        progress.received.store(datagrams, Ordering::Relaxed);
    }
    let cpu_ns = thread_cpu_ns()? - cpu_before;
    let wall = last.saturating_duration_since(began);
    Ok(Figures {
        datagrams,
        receives,
        cpu_ns,
        wall_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
        ..receiver.figures()?
    })
}

/// What the calling thread spent on a processor.
fn thread_cpu_ns() -> io::Result<u64> {
    let spent: Duration = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into();
    Ok(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX))
}

/// Bytes of a buffer of the plain loop.
const PLAIN_BYTES_MAX: usize = 2_048;

/// A socket as anybody would have it.
fn plain(group: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Transport::UDP))?;
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&group.into())?;
    if let IpAddr::V4(address) = group.ip() {
        socket.join_multicast_v4(&address, &Ipv4Addr::LOCALHOST)?;
    }
    Ok(socket)
}

fn walk_plain(
    socket: &Socket,
    line: usize,
    headers: &mut MultiHeaders<SockaddrIn>,
    buffers: &mut [u8],
    walk: &mut Walk,
) -> io::Result<usize> {
    let mut lengths = [0; BATCH];
    let mut came = 0;
    {
        let mut buffers = buffers.chunks_exact_mut(PLAIN_BYTES_MAX);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let fd = socket.as_raw_fd();
        match recvmmsg(fd, headers, &mut slices, MsgFlags::MSG_DONTWAIT, None) {
            Ok(messages) => {
                for (length, message) in lengths.iter_mut().zip(messages) {
                    *length = message.bytes;
                    came += 1;
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let buffers = buffers.chunks_exact(PLAIN_BYTES_MAX);
    for (buffer, length) in buffers.zip(lengths).take(came) {
        walk.packet(line, buffer.get(..length).unwrap_or_default());
    }
    Ok(came)
}

/// Room for a market of the largest venue's size, touched before anything is sent.
const ORDERS_RESERVED: usize = 1_700_000;
const INSTRUMENTS_RESERVED: usize = 8_192;

/// Counts changes of best levels.
#[derive(Debug, Default)]
struct BestPrices {
    changes: u64,
}

impl UpdateSink for BestPrices {
    #[inline]
    fn update(&mut self, _: &Update) {}

    #[inline]
    fn wants(&self, _: u32) -> bool {
        false
    }

    #[inline]
    fn best(&mut self, change: &BestChange) {
        black_box(change);
        self.changes += 1;
    }
}
