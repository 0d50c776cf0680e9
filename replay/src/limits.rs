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
