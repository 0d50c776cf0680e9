//! Every bound of this crate, with its reason.

/// Groups that a recording's recognition remembers: the largest venue has some hundred; beyond this the
/// content decides packet by packet.
pub const GROUPS_MAX: usize = 4_096;

/// Symbols that a filter remembers by number: stock locates are 16 bits.
pub const LOCATES_MAX: usize = 65_536;

/// Requests of one peer that a request server answers in any second: what venues allow a client.
pub const REQUESTS_PER_SECOND_MAX: u32 = 100;

/// Answers that wait to be sent: they are sent at once, so that more means that nobody sends.
pub const ANSWERS_MAX: usize = 64;

/// Ranges of one gap fill request: as many as fit a UDP packet of an Ethernet.
pub const REQUEST_RANGES_MAX: usize = 90;

/// Messages of one answer over UDP: "Maximum UDP Retransmission Response: 1,000 messages per Retransmission
/// Request" (IEX DEEP and DEEP+ specifications).
pub const UDP_RETRANSMISSION_MESSAGES_MAX: u64 = 1_000;

/// Bytes that a server writes to a connection at once: some 64 KiB, what a socket takes.
pub const STREAM_CHUNK_BYTES: usize = 64 * 1024;

/// A client that is silent for so long is dead: "typically 15 seconds" (`SoupBinTCP` 1.3).
pub const STREAM_IDLE_NS_MAX: u64 = 15_000_000_000;

/// A gap fill client has to send its request "immediately upon establishing a connection".
pub const REQUEST_WAIT_NS_MAX: u64 = 1_000_000_000;

/// Connections that a server serves at once, each with a thread of its own.
pub const CONNECTIONS_MAX: usize = 16;
/// Lines of one channel: venues have two; a line's number is a byte.
pub const LINES_MAX: usize = 16;

/// Packets that a fault injector holds back: 60 s of 1,000 packets a second, to be replayed.
pub const FAULT_PACKETS_MAX: usize = 65_536;

/// Their bytes: 64 MiB are 45,000 full packets, and as much as a receiver holds behind a gap.
pub const FAULT_BYTES_MAX: usize = 64 * 1024 * 1024;
