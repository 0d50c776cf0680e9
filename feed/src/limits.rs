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
