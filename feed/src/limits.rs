//! Every bound of this crate, with its reason.

/// The largest UDP payload that is taken: venues fill an Ethernet frame, and a jumbo frame has 9,000 bytes.
/// What is longer is dropped and counted.
pub const PACKET_BYTES_MAX: usize = 9_216;

/// Buffers of one system call, as many as the library fills: enough that the call costs little beside them, few
/// enough that the other line waits at most some tens of microseconds (some milliseconds if each is full of joined
/// datagrams, which only a sender that joins them brings about).
pub const BATCH_BUFFERS: usize = quinn_udp::BATCH_SIZE;

/// Bytes of such a buffer: the longest payload of UDP, since that is what datagrams are joined up to, and a
/// kilobyte on top, so that buffers don't begin at the same places of a cache (64 KiB apart they do).  Address
/// space until it is used.
pub const BUFFER_BYTES: usize = 65_536 + 1_088;

/// Datagrams that a kernel joins at most: 64 that it received, 128 that a sender on this machine joined.
pub const JOINED_PACKETS_MAX: usize = 128;

/// Packets that a shard takes from its ring at a time.
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

/// Changes that wait for a shard: people make them, and it looks between two turns.
pub const RELOADS_MAX: usize = 2;

/// Slots of the ring from a shard to a reactor: at 128 bytes a slot 8 MiB, and 65 ms of a million
/// updates a second.
pub const RING_SLOTS: usize = 65_536;

/// Snapshots told between two packets: of a book of a hundred levels each takes some microseconds.
pub const SNAPSHOTS_PER_ROUND_MAX: usize = 16;

/// Channels of one process: the channel's number is the upper half of an instrument id.
pub const CHANNELS_MAX: usize = 1_024;

/// Redundant lines of one channel.
pub const LINES_MAX: usize = 8;

/// How long a hole may be open before it is a gap: the skew of two lines on a local network, with room.
pub const REORDER_WAIT_NS: u64 = 1_000_000;

/// Messages that wait behind a hole before it is a gap, whatever its age.
pub const HELD_MESSAGES_MAX: usize = 65_536;

/// Bytes that wait behind a hole before it is a gap, whatever its age.
pub const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes held while a gap is filled or a snapshot is loaded, their bookkeeping included: 3 s of 400,000
/// messages a second.  Address space until it is used.
pub const BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Sequence numbers that the backlog spans; a power of two.
pub const BACKLOG_MESSAGES_MAX: usize = 1 << 20;

/// Missing ranges at a time: more holes than this are what a snapshot is for.
pub const GAP_RANGES_MAX: usize = 256;

/// Messages of one request: 0xFFFF is MoldUDP64's end of session, never a count.
pub const REQUEST_MESSAGES_MAX: u64 = 65_534;

/// Two holes with no more messages than this between them are asked for at once: a message asked for in vain
/// costs less than a request.
pub const REQUEST_MERGE_MESSAGES_MAX: u64 = 32;

/// How long an answer may take; doubled with each attempt.
pub const REQUEST_TIMEOUT_NS: u64 = 50_000_000;

/// What the doubling ends at.
pub const REQUEST_TIMEOUT_NS_MAX: u64 = 800_000_000;

/// Attempts at one server that answers nothing before the next one is asked: 1.55 s with the timeouts above.
pub const REQUEST_ATTEMPTS_MAX: u32 = 5;

/// Unanswered requests a second.  An answered request gives its place back: venues' quotas are against storms,
/// and a server that answers isn't in one.
pub const REQUESTS_PER_SECOND_MAX: u32 = 100;

/// Requests under way at a time.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 4;

/// How long a gap is asked for without a message of it coming before a snapshot is loaded instead.
pub const GAP_AGE_NS_MAX: u64 = 2_000_000_000;

/// How long a gap is filled, message by message, before a snapshot is loaded instead, if somebody has one: who
/// answers little at a time could keep the books stale for hours.
pub const GAP_FILL_NS_MAX: u64 = 3_000_000_000;

/// A jump of the numbering beyond this, be it a session's first packet, is believed only when a second packet
/// confirms it: every smaller one can be asked for.
pub const UNCONFIRMED_JUMP_MESSAGES_MAX: u64 = REQUEST_MESSAGES_MAX;

/// A jump beyond this is an alarm, and is never asked for: 50 s of 200,000 messages a second.
pub const FORWARD_JUMP_MESSAGES_MAX: u64 = 10_000_000;

/// A line without a packet for so long is silent: heartbeats come each second.
pub const LINE_SILENT_NS: u64 = 1_500_000_000;

/// A line without a packet for so long is down.
pub const LINE_DOWN_NS: u64 = 3_000_000_000;

/// Another session that doesn't begin at 1 is believed when the present one wasn't heard for so long: its
/// heartbeats come each second, and one of them may be lost.
pub const ROLL_CONFIRM_NS: u64 = 3_000_000_000;

/// The session before this one is believed again when the present one wasn't heard for so long.
pub const ROLL_BACK_NS: u64 = 3_000_000_000;

/// A numbering that stays behind what was delivered for so long has regressed: longer than heartbeats are apart,
/// since a line that lags may be the only one that has messages.
pub const REGRESSION_NS: u64 = 1_500_000_000;

/// Snapshots tried one after the other before the channel goes on without.
pub const SNAPSHOT_ATTEMPTS_MAX: u32 = 3;

/// Pause before the second attempt; doubled for the third.
pub const SNAPSHOT_PAUSE_NS: u64 = 100_000_000;

/// Pause before it is tried again after all attempts failed.
pub const SNAPSHOT_RETRY_NS: u64 = 1_000_000_000;

/// Fingerprints of delivered messages, to know a copy that differs; a power of two.  At 200,000 messages a
/// second those of the last third of a second.
pub const FINGERPRINTS: usize = 1 << 16;

/// Missing ranges that a report tells.
pub const REPORTED_GAPS_MAX: usize = 16;

const _: () = {
    assert!(BACKLOG_MESSAGES_MAX.is_power_of_two() && FINGERPRINTS.is_power_of_two());
    assert!(HELD_MESSAGES_MAX <= BACKLOG_MESSAGES_MAX && HELD_BYTES_MAX <= BACKLOG_BYTES_MAX);
    // Offsets in the backlog are 32 bits.
    assert!(BACKLOG_BYTES_MAX < u32::MAX as usize);
    assert!(REQUEST_MESSAGES_MAX < 0xFFFF);
    assert!(PACKET_BYTES_MAX <= BUFFER_BYTES);
    assert!(LINE_SILENT_NS < LINE_DOWN_NS && REQUEST_TIMEOUT_NS <= REQUEST_TIMEOUT_NS_MAX);
};
/// SoupBinTCP's heartbeat: "anytime more than 1 second has past" (1.3).
pub const LOAD_HEARTBEAT_NS: u64 = 1_000_000_000;

/// A snapshot server that is silent for so long is dead: it has a heartbeat to send each second.  SoupBinTCP
/// (1.3) says "typically 15 seconds", for connections that last all day; here the books are stale meanwhile.
pub const LOAD_IDLE_NS_MAX: u64 = 3_000_000_000;

/// A snapshot server that gives no message for so long, heartbeats or not, won't end.
pub const LOAD_STALL_NS_MAX: u64 = 5_000_000_000;

/// A GLIMPSE snapshot takes seconds: one that takes a minute never ends.
pub const SNAPSHOT_NS_MAX: u64 = 60_000_000_000;

/// Bytes of a GLIMPSE snapshot: five million orders of 39 bytes are 200 MB, this is five times as much.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// All messages of a long session, at some hundred thousand a second.
pub const RETRANSMISSION_NS_MAX: u64 = 900_000_000_000;

/// Messages that a retransmission is asked for beyond those that are missing: more than are published while it
/// takes place.
pub const RETRANSMISSION_AHEAD_MESSAGES: u64 = 1_000_000_000;

/// A retransmission that contains what is missing and is silent for so long has caught up: a server sends
/// without pause until it has.
pub const RETRANSMISSION_CAUGHT_UP_NS: u64 = 200_000_000;

/// Bytes of all messages of a session: a day of the largest recorded feed is below 16 GiB.
pub const RETRANSMISSION_BYTES_MAX: u64 = 64 << 30;

/// How long a connection to a snapshot server may take: within a data centre it takes microseconds.
pub const CONNECT_NS_MAX: u64 = 2_000_000_000;

/// What may wait between a shard and its loader: a shard has one load at a time, and what is newer
/// replaces it.
pub const LOADER_SLOTS: usize = 4;
