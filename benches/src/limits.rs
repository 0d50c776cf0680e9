//! Every bound of the measurements, with its reason.

/// Messages of a generated market: 1.6 GB at 40 bytes each; on the wire as much again as packets, with 56 bytes of
/// stamps a packet.
pub const MESSAGES_MAX: u64 = 40_000_000;

/// Rounds of all ways over a file: the minimum doesn't move any more long before.
pub const ROUNDS_MAX: usize = 1_000;

/// Rounds that a spread can be read from.
pub const ROUNDS_MIN: usize = 5;

/// Part of the memory that is available, in percent, that a file may take; the books need the rest.
pub const FILE_MEMORY_PERCENT_MAX: u64 = 50;

/// Messages a second that can be asked for: more than loopback carries.
pub const WIRE_RATE_MAX: u64 = 50_000_000;

/// Rates of one run.
pub const WIRE_RATES_MAX: usize = 16;

/// Seconds at one rate.
pub const WIRE_SECONDS_MAX: f64 = 60.0;

/// The longest packet: some thirty messages, as in the comparison of `docs/benchmarks.md`.
pub const WIRE_PACKET_BYTES_MAX: usize = 1_000;

/// Packets are sent at most so many times a second while messages fit: an exchange gathers what falls into the
/// same 20 microseconds.
pub const WIRE_PACKETS_PER_SECOND: u64 = 50_000;

/// Seconds of a trial that looks for the highest rate.
pub const TRIAL_SECONDS: f64 = 0.25;

/// Where the search for the highest rate begins, messages a second.
pub const TRIAL_RATE_FIRST: u64 = 250_000;

/// Halvings of the interval between a rate that went well and one that didn't: 6 %.
pub const TRIAL_HALVINGS: u32 = 4;

/// Messages of a subscriber that are kept with their stamps.
pub const UPDATES_MAX: usize = 4_000_000;

/// What a histogram holds at most, ns; what took longer counts as this.
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Parts of a run whose percentiles are compared, to tell a spread.
pub const SLICES: usize = 5;
