//! Missing sequence numbers as ranges: new ones at the end, holes filled anywhere.
//!
//! Invariant: ranges rise and don't touch.  Bounded by [`INDEX_RANGES_MAX`]; what doesn't fit is counted
//! and can't be filled any more.

use crate::limits::INDEX_RANGES_MAX;

/// Ranges of sequence numbers, both ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    ranges: Vec<(u64, u64)>,
    count: u64,
    omitted: u64,
}

impl Ranges {
    /// Adds a range that lies behind all others.
    pub(super) fn push(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        self.count = self.count.saturating_add((last - first).saturating_add(1));
        // A heartbeat reveals a hole in two steps.
        if let Some(end) = self.ranges.last_mut().filter(|end| end.1 + 1 == first) {
            end.1 = last;
        } else if self.ranges.len() < INDEX_RANGES_MAX {
            self.ranges.push((first, last));
        } else {
            self.omitted += 1;
        }
    }

    /// Takes out what is in `first..=last`; returns how many numbers that were.
    pub(super) fn fill(&mut self, first: u64, last: u64) -> u64 {
        let mut filled = 0;
        let mut at = self.ranges.partition_point(|range| range.1 < first);
        while let Some(&(begin, end)) = self.ranges.get(at) {
            if begin > last || first > last {
                break;
            }
            let (from, to) = (begin.max(first), end.min(last));
            filled += to - from + 1;
            let before = (begin < from).then(|| (begin, from - 1));
            let after = (to < end).then(|| (to + 1, end));
            match (before, after) {
                (Some(before), Some(after)) if self.ranges.len() < INDEX_RANGES_MAX => {
                    self.ranges.splice(at..=at, [before, after]);
                }
                (Some(before), Some(_)) => {
                    self.ranges[at] = before;
                    self.omitted += 1;
                }
                (Some(left), None) | (None, Some(left)) => {
                    self.ranges[at] = left;
                    at += 1;
                    continue;
                }
                (None, None) => {
                    self.ranges.remove(at);
                    continue;
                }
            }
            break;
        }
        self.count = self.count.saturating_sub(filled);
        filled
    }

    /// The ranges, rising.
    pub(super) fn list(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// How many numbers are missing, those of ranges that aren't listed included.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many ranges aren't listed.
    pub(super) fn omitted(&self) -> u64 {
        self.omitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges::default();
        for &(first, last) in list {
            ranges.push(first, last);
        }
        ranges
    }

    #[test]
    fn a_hole_is_filled_from_either_end_in_the_middle_and_across_ranges() {
        let mut missing = ranges(&[(10, 19), (30, 30), (40, 49)]);
        assert_eq!(missing.count(), 21);
        assert_eq!(missing.fill(12, 13), 2);
        assert_eq!(missing.list(), [(10, 11), (14, 19), (30, 30), (40, 49)]);
        assert_eq!(missing.fill(18, 41), 5);
        assert_eq!(missing.list(), [(10, 11), (14, 17), (42, 49)]);
        assert_eq!(missing.fill(1, 9), 0);
        assert_eq!(missing.fill(10, 11), 2);
        assert_eq!(missing.fill(49, u64::MAX), 1);
        assert_eq!(missing.list(), [(14, 17), (42, 48)]);
        assert_eq!(missing.count(), 11);
        assert_eq!(missing.fill(60, 50), 0);
        missing.push(49, 51);
        assert_eq!(missing.list(), [(14, 17), (42, 51)]);
        assert_eq!(missing.count(), 14);
    }

    #[test]
    fn a_million_holes_are_counted_and_a_bounded_number_is_listed() {
        let mut missing = Ranges::default();
        for n in 0..1_000_000 {
            missing.push(10 * n, 10 * n + 4);
        }
        assert_eq!(missing.count(), 5_000_000);
        assert_eq!(missing.list().len(), INDEX_RANGES_MAX);
        assert_eq!(missing.omitted(), 1_000_000 - INDEX_RANGES_MAX as u64);
        assert_eq!(missing.fill(12, 12), 1);
        assert_eq!(missing.list().len(), INDEX_RANGES_MAX);
        assert_eq!(missing.count(), 4_999_999);
    }

    /// Against a set of numbers, with pushes and fills in any order.
    #[test]
    fn random_fills_leave_what_a_set_leaves() {
        let mut state = 42_u64;
        println!("seed {state}");
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut missing = Ranges::default();
        let mut truth = std::collections::BTreeSet::new();
        let mut next = 1;
        for _ in 0..20_000 {
            if random(3) == 0 {
                let (first, last) = (next + random(4), next + 4 + random(4));
                missing.push(first, last);
                truth.extend(first..=last);
                next = last + 2;
            } else {
                let first = next.saturating_sub(random(60));
                let last = first + random(9);
                let before = truth.len();
                truth.retain(|number| !(first..=last).contains(number));
                assert_eq!(missing.fill(first, last), (before - truth.len()) as u64);
            }
            // Old holes are forgotten on both sides, so that the set stays small.
            if truth.len() > 400 {
                let old = next - 100;
                missing.fill(0, old);
                truth.retain(|number| *number > old);
            }
            assert_eq!(missing.count(), truth.len() as u64);
        }
        let listed: Vec<u64> = missing.list().iter().flat_map(|&(a, b)| a..=b).collect();
        assert_eq!(listed, truth.into_iter().collect::<Vec<_>>());
    }
}
