//! The state of a channel, as subscribers of the schema `feed` see it.
//!
//! Texts and counters by name, and no types of the crates that count: what a channel counts may grow without a change
//! of the protocol.

/// The state of a channel: its lines, gaps and counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Feed {
    /// The channel's name.
    pub channel: String,
    /// `idle`, `backfill`, `synchronized`, `gap_fill`, `loading` or `lost`.
    pub state: String,
    /// Whether its books can't be trusted now.
    pub stale: bool,
    /// The session that is being received.
    pub session: String,
    /// The sequence number expected next.
    pub next_sequence: u64,
    /// Its lines.
    pub lines: Vec<FeedLine>,
    /// The first missing ranges of sequence numbers, both ends included.
    pub gaps: Vec<(u64, u64)>,
    /// The channel's counters: name and value.
    pub counters: Vec<(String, u64)>,
    /// How long gaps took to be repaired.
    pub repair: FeedRepair,
}

/// One of the lines that a channel is received on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedLine {
    /// `A`, `B`, …
    pub name: String,
    /// `up`, `silent` or `down`.
    pub state: String,
    /// Messages that it delivered first.
    pub won: u64,
    /// Messages that another source had delivered before.
    pub duplicate: u64,
    /// The line's counters: name and value.
    pub counters: Vec<(String, u64)>,
}

/// How long gaps took from their declaration to their repair, by the bounds of a histogram.
///
/// A percentile is `None` if there was no repair, and if it is larger than the largest bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedRepair {
    /// How many were repaired.
    pub count: u64,
    /// All their times together.
    pub sum_ns: u64,
    /// Half of them took no longer.
    pub p50_ns: Option<u64>,
    /// 99 in a hundred took no longer.
    pub p99_ns: Option<u64>,
    /// None took longer.
    pub max_ns: Option<u64>,
    /// The largest bound that there is.
    pub bound_ns: u64,
}

impl FeedRepair {
    /// The summary of a histogram: upper bounds, rising, and how many are in each bucket, one more than the bounds.
    #[must_use]
    pub fn of(bounds_ns: &[u64], counts: &[u64], sum_ns: u64) -> Self {
        let count = counts
            .iter()
            .fold(0_u64, |sum, &count| sum.saturating_add(count));
        // The bound of the bucket that holds the one with this rank, from 1.
        let bound = |rank: u64| {
            let mut seen = 0_u64;
            let at = counts.iter().position(|&count| {
                seen = seen.saturating_add(count);
                seen >= rank
            })?;
            bounds_ns.get(at).copied()
        };
        let rank = |hundredths: u128| {
            let rank = u128::from(count).saturating_mul(hundredths).div_ceil(100);
            u64::try_from(rank).unwrap_or(u64::MAX).max(1)
        };
        let at = |hundredths| {
            if count == 0 {
                None
            } else {
                bound(rank(hundredths))
            }
        };
        Self {
            count,
            sum_ns,
            p50_ns: at(50),
            p99_ns: at(99),
            max_ns: at(100),
            bound_ns: bounds_ns.last().copied().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bound_of_its_bucket_and_none_beyond_the_last() {
        let bounds = [10, 100, 1_000];
        let of = |counts: [u64; 4]| {
            let repair = FeedRepair::of(&bounds, &counts, 7);
            (repair.count, repair.p50_ns, repair.p99_ns, repair.max_ns)
        };
        assert_eq!(of([0; 4]), (0, None, None, None));
        assert_eq!(of([1, 0, 0, 0]), (1, Some(10), Some(10), Some(10)));
        assert_eq!(of([1, 1, 0, 0]), (2, Some(10), Some(100), Some(100)));
        assert_eq!(of([99, 0, 1, 0]), (100, Some(10), Some(10), Some(1_000)));
        assert_eq!(of([0, 60, 38, 2]), (100, Some(100), None, None));
        assert_eq!(FeedRepair::of(&bounds, &[], 0).bound_ns, 1_000);
        assert_eq!(FeedRepair::of(&[], &[3], 9).p50_ns, None);
    }
}
