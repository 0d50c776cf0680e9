//! Every bound of this crate, with its reason.

/// Groups that a recording's recognition remembers: the largest venue has some hundred; beyond this the
/// content decides packet by packet.
pub const GROUPS_MAX: usize = 4_096;

/// Symbols that a filter remembers by number: stock locates are 16 bits.
pub const LOCATES_MAX: usize = 65_536;

/// Bytes of packets that wait between a recorder's two threads: a third of a second at 200 MB/s, the time
/// that a disk may take to flush its cache.  Beyond it packets are dropped and counted.
pub const RECORD_QUEUE_BYTES: usize = 64 << 20;

/// Bytes that a recorder collects before it writes them: large enough that the calls cost nothing.
pub const RECORD_BATCH_BYTES: usize = 256 << 10;

/// What a recorder has collected is written after this time even if it is little, so that a recorder
/// that is killed loses no more.
pub const RECORD_FLUSH_NS: u64 = 1_000_000_000;

/// A write that failed is tried again after this time: a full disk is emptied by people or by the hour.
pub const RECORD_RETRY_NS: u64 = 1_000_000_000;

/// A recorder that can't write says so again after this time.
pub const RECORD_TELL_NS: u64 = 30_000_000_000;

/// Missing ranges that an index lists for each session of a line.  It is copied with each batch, so it is
/// bounded well below a batch's bytes; beyond it ranges are counted and not listed.
pub const INDEX_RANGES_MAX: usize = 4_096;

/// Sessions that an index tells apart on each line of a file; packets of later ones are counted in the
/// line only.
pub const INDEX_SESSIONS_MAX: usize = 256;

/// Sessions of a recording that are renamed for each lap of a replay, and told apart from the new names.
/// A venue's day has one a channel; packets of later ones are sent as they are, counted.
pub const LAP_SESSIONS_MAX: usize = 4_096;

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

/// Bytes of published messages that an exchange keeps to be asked for again: 1.8 million messages of ITCH, or
/// a quarter of an hour at 2,000 a second.  What is older, only a snapshot brings.
pub const VENUE_STORE_BYTES: usize = 64 << 20;

/// Requests of one peer that an exchange to test against answers in any second.  Venues allow a hundred
/// times fewer; but a receiver that asks for 60,000 messages, packet by packet, needs 2,000 requests, and what
/// is to be seen here is how fast it could be.
pub const VENUE_REQUESTS_PER_SECOND_MAX: u32 = 10_000;
