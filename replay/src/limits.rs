//! Every bound of this crate, with its reason.

/// Groups that a recording's recognition remembers: the largest venue has some hundred; beyond this the
/// content decides packet by packet.
pub const GROUPS_MAX: usize = 4_096;

/// Symbols that a filter remembers by number: stock locates are 16 bits.
pub const LOCATES_MAX: usize = 65_536;

/// Lines of one channel: venues have two; a line's number is a byte.
pub const LINES_MAX: usize = 16;

/// Packets that a fault injector holds back: 60 s of 1,000 packets a second, to be replayed.
pub const FAULT_PACKETS_MAX: usize = 65_536;

/// Their bytes: 64 MiB are 45,000 full packets, and as much as a receiver holds behind a gap.
pub const FAULT_BYTES_MAX: usize = 64 * 1024 * 1024;
