//! How long repairs took: a histogram with fixed bounds.

use tickcast_book::report::Histogram;

/// Upper bounds, in nanoseconds: from what the other line repairs to what a snapshot of a large book takes.
const BOUNDS_NS: [u64; 14] = [
    100_000,
    300_000,
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Times from the declaration of a gap until the books are right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepairTimes {
    counts: [u64; BOUNDS_NS.len() + 1],
    sum_ns: u64,
}

impl RepairTimes {
    /// One repair took so long, in nanoseconds.
    pub fn add(&mut self, ns: u64) {
        self.counts[BOUNDS_NS.partition_point(|&bound| bound < ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// How many repairs.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// As a report tells it.
    pub fn write(&self, histogram: &mut Histogram) {
        histogram.bounds_ns = &BOUNDS_NS;
        histogram.counts.clear();
        histogram.counts.extend_from_slice(&self.counts);
        histogram.sum_ns = self.sum_ns;
    }
}
