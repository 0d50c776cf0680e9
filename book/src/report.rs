//! What a channel says of itself: state, lines, gaps and counters, as values that any thread may hold.
//!
//! `feed` makes a [`Report`], `fanout` tells it to subscribers, the program exports it as metrics; none of
//! them knows the other.

/// Whether a reading only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadingKind {
    /// It only rises, from 0 at the start of the process.
    Counter,
    /// It is what it is now.
    Gauge,
}

/// One counter as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The name: lower case, words joined by `_`.
    pub name: &'static str,
    /// One sentence: what moves it.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: ReadingKind,
    /// The line it is of, as an index of [`Report::lines`]; `None` = the channel.
    pub line: Option<u8>,
    /// The value.
    pub value: u64,
}

/// A line as it was at the time of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineReport {
    /// `A`, `B`, …
    pub name: String,
    /// `up`, `silent` or `down`.
    pub state: &'static str,
    /// Messages that this line delivered first.
    pub won: u64,
    /// Messages that another source had delivered before.
    pub duplicate: u64,
}

/// A histogram with fixed bounds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Upper bounds in nanoseconds, rising; the last bucket has none.
    pub bounds_ns: &'static [u64],
    /// How many in each bucket: one more than the bounds.
    pub counts: Vec<u64>,
    /// Sum of all, in nanoseconds.
    pub sum_ns: u64,
}

/// A channel as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// `backfill`, `synchronized`, `gap_fill`, `loading` (a snapshot), `lost` or `idle` (nothing received yet).
    pub state: &'static str,
    /// Whether its books can't be trusted now.
    pub stale: bool,
    /// The session that is being received.
    pub session: String,
    /// The sequence number expected next.
    pub next_sequence: u64,
    /// Its lines.
    pub lines: Vec<LineReport>,
    /// The first missing ranges, both ends included; at most 16.
    pub gaps: Vec<(u64, u64)>,
    /// All counters, in a fixed order.
    pub readings: Vec<Reading>,
    /// From the declaration of a gap until its repair.
    pub repair: Histogram,
}
