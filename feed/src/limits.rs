//! Every bound of this crate, with its reason.

/// The largest UDP payload: one buffer takes any datagram whole.
pub const PACKET_BYTES_MAX: usize = 65_536;

/// The receive buffer that is asked for: 32 MiB keeps 40,000 datagrams of 100 bytes while the reader
/// is away (measured; the kernel grants `rmem_max` at most without privileges).
pub const RECEIVE_BUFFER_BYTES: usize = 32 * 1024 * 1024;

/// Slots of the ring from a shard to a reactor: at 128 bytes a slot 8 MiB, and 65 ms of a million
/// updates a second.
pub const RING_SLOTS: usize = 65_536;

/// Snapshots told between two packets: of a book of a hundred levels each takes some microseconds.
pub const SNAPSHOTS_PER_ROUND_MAX: usize = 16;

/// Channels of one process: the channel's number is the upper half of an instrument id.
pub const CHANNELS_MAX: usize = 1_024;

/// SoupBinTCP's heartbeat: "anytime more than 1 second has past" (1.3).
pub const LOAD_HEARTBEAT_NS: u64 = 1_000_000_000;

/// A snapshot server that is silent for so long is dead: "typically 15 seconds" (`SoupBinTCP` 1.3), and
/// it has a heartbeat to send each second.
pub const LOAD_IDLE_NS_MAX: u64 = 15_000_000_000;

/// A GLIMPSE snapshot takes seconds: one that takes a minute never ends.
pub const SNAPSHOT_NS_MAX: u64 = 60_000_000_000;

/// Bytes of a GLIMPSE snapshot: five million orders of 39 bytes are 200 MB, this is five times as much.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// All messages of a long session, at some hundred thousand a second.
pub const RETRANSMISSION_NS_MAX: u64 = 900_000_000_000;

/// Bytes of all messages of a session: a day of the largest recorded feed is below 16 GiB.
pub const RETRANSMISSION_BYTES_MAX: u64 = 64 << 30;

/// How long a connection to a snapshot server may take: within a data centre it takes microseconds.
pub const CONNECT_NS_MAX: u64 = 2_000_000_000;

/// What may wait between a shard and its loader: a shard has one load at a time, and what is newer
/// replaces it.
pub const LOADER_SLOTS: usize = 4;
