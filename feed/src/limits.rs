//! Every bound of this crate, with its reason.

/// The largest UDP payload that is taken: venues fill an Ethernet frame, and a jumbo frame has 9,000 bytes.
/// What is longer is dropped and counted.
pub const PACKET_BYTES_MAX: usize = 9_216;

/// Datagrams of one system call: enough that the call costs little beside them, few enough that the other
/// line waits at most some tens of microseconds.
pub const BATCH_PACKETS_MAX: usize = 64;

/// The receive buffer that is asked for: 32 MiB keeps 40,000 datagrams of 100 bytes while the reader
/// is away (measured; the kernel grants `rmem_max` at most without privileges).
pub const RECEIVE_BUFFER_BYTES: usize = 32 * 1024 * 1024;

/// The least receive buffer that a line on a real interface starts with: 100 ms of 100,000 datagrams of a
/// hundred bytes, as the kernel counts them.
pub const RECEIVE_BUFFER_BYTES_MIN: usize = 8 * 1024 * 1024;

/// Packets of the ring from a receiver to a shard: 40 ms of 100,000 packets a second.
pub const SHARD_RING_PACKETS: usize = 4_096;

/// How long a thread sleeps at most.  Bounds how long a subscriber waits for a snapshot while the venue is
/// silent.
pub const REST_NS_MAX: u64 = 1_000_000;

/// How often a channel's report is copied for other threads.
pub const REPORT_EVERY_NS: u64 = 100_000_000;

/// Slots of the ring from a shard to a reactor: at 128 bytes a slot 8 MiB, and 65 ms of a million
/// updates a second.
pub const RING_SLOTS: usize = 65_536;

/// Snapshots told between two packets: of a book of a hundred levels each takes some microseconds.
pub const SNAPSHOTS_PER_ROUND_MAX: usize = 16;

/// Channels of one process: the channel's number is the upper half of an instrument id.
pub const CHANNELS_MAX: usize = 1_024;
