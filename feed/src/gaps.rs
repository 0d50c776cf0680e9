//! What is missing: ranges of sequence numbers, in order, each with when it was noticed and whether it is a
//! gap already.
//!
//! A range is a *hole* while the reorder window may still close it, and a *gap* from its declaration on.
//! Invariant: ranges are in order, not empty, and don't touch within the same declaration; there are at most
//! [`GAP_RANGES_MAX`].

use crate::limits::GAP_RANGES_MAX;
use crate::session::Missing;

/// A missing range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First missing number.
    pub first: u64,
    /// Last missing number.
    pub last: u64,
    /// When it was noticed.
    pub noticed: u64,
    /// When it was declared a gap, if it was.
    pub declared: Option<u64>,
}

impl Range {
    /// How many numbers.
    #[must_use]
    pub const fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Its numbers.
    #[must_use]
    pub const fn missing(&self) -> Missing {
        Missing {
            first: self.first,
            last: self.last,
        }
    }
}

/// More ranges than [`GAP_RANGES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// The missing ranges of a channel.
#[derive(Debug)]
pub struct Gaps {
    ranges: Vec<Range>,
}

impl Default for Gaps {
    fn default() -> Self {
        Self {
            // Filling the middle of a range makes two of it.
            ranges: Vec::with_capacity(GAP_RANGES_MAX + 1),
        }
    }
}

impl Gaps {
    /// All ranges, in order.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many messages are missing.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges
            .iter()
            .fold(0, |sum, range| sum.saturating_add(range.count()))
    }

    /// How many messages are missing in gaps.
    #[must_use]
    pub fn declared_count(&self) -> u64 {
        self.declared()
            .fold(0, |sum, range| sum.saturating_add(range.count()))
    }

    /// When the first range was declared, if it was: since then nothing could be delivered.
    #[must_use]
    pub fn first_declared(&self) -> Option<u64> {
        self.ranges.first()?.declared
    }

    /// The gaps: what was declared.
    pub fn declared(&self) -> impl Iterator<Item = &Range> {
        self.ranges.iter().filter(|range| range.declared.is_some())
    }

    /// The first missing number.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.ranges.first().map(|range| range.first)
    }

    /// Whether a number is missing.
    #[must_use]
    pub fn contains(&self, sequence: u64) -> bool {
        let at = self.at(sequence);
        self.ranges
            .get(at)
            .is_some_and(|range| range.first <= sequence)
    }

    /// The first range that doesn't end before `sequence`.
    fn at(&self, sequence: u64) -> usize {
        self.ranges.partition_point(|range| range.last < sequence)
    }

    /// A range behind all others is missing.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if there is no room for it; it isn't noted then.
    pub fn open(&mut self, first: u64, last: u64, now: u64) -> Result<(), TooMany> {
        if let Some(end) = self.ranges.last_mut()
            && end.declared.is_none()
            && end.last.checked_add(1) == Some(first)
        {
            end.last = last;
            return Ok(());
        }
        self.room()?;
        self.ranges.push(Range {
            first,
            last,
            noticed: now,
            declared: None,
        });
        Ok(())
    }

    /// A single number anywhere is missing again: its copies differ.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if there is no room for it; it isn't noted then.
    pub fn reopen(&mut self, sequence: u64, now: u64) -> Result<(), TooMany> {
        if self.contains(sequence) {
            return Ok(());
        }
        self.room()?;
        let at = self.at(sequence);
        self.ranges.insert(
            at,
            Range {
                first: sequence,
                last: sequence,
                noticed: now,
                declared: None,
            },
        );
        Ok(())
    }

    fn room(&self) -> Result<(), TooMany> {
        if self.ranges.len() < GAP_RANGES_MAX {
            Ok(())
        } else {
            Err(TooMany)
        }
    }

    /// A number came.  Gives the range as it was, if the number was missing.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if a range would have to be cut in two without room for both: the number stays missing.
    pub fn fill(&mut self, sequence: u64) -> Result<Option<Range>, TooMany> {
        let at = self.at(sequence);
        let Some(range) = self.ranges.get_mut(at) else {
            return Ok(None);
        };
        let was = *range;
        if sequence < was.first {
            return Ok(None);
        }
        match (sequence == was.first, sequence == was.last) {
            (true, true) => drop(self.ranges.remove(at)),
            (true, false) => range.first += 1,
            (false, true) => range.last -= 1,
            (false, false) => {
                self.room()?;
                self.ranges[at].last = sequence - 1;
                self.ranges.insert(
                    at + 1,
                    Range {
                        first: sequence + 1,
                        ..was
                    },
                );
            }
        }
        Ok(Some(was))
    }

    /// Forgets what is missing below `sequence`.  Gives how many numbers that were.
    pub fn advance(&mut self, sequence: u64) -> u64 {
        let whole = self.at(sequence);
        let mut count = self.ranges[..whole]
            .iter()
            .fold(0_u64, |sum, range| sum.saturating_add(range.count()));
        self.ranges.drain(..whole);
        if let Some(range) = self.ranges.first_mut()
            && range.first < sequence
        {
            count = count.saturating_add(sequence - range.first);
            range.first = sequence;
        }
        count
    }

    /// Declares the ranges that were noticed at `noticed_until` or before.  Gives how many gaps and
    /// messages that are.
    pub fn declare(&mut self, now: u64, noticed_until: u64) -> (u64, u64) {
        let mut declared = (0, 0_u64);
        for range in &mut self.ranges {
            if range.declared.is_none() && range.noticed <= noticed_until {
                range.declared = Some(now);
                declared.0 += 1;
                declared.1 = declared.1.saturating_add(range.count());
            }
        }
        declared
    }

    /// When the oldest hole that isn't a gap yet was noticed.
    #[must_use]
    pub fn oldest_hole(&self) -> Option<u64> {
        self.ranges
            .iter()
            .filter(|range| range.declared.is_none())
            .map(|range| range.noticed)
            .min()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(gaps: &Gaps) -> Vec<(u64, u64)> {
        gaps.ranges().iter().map(|r| (r.first, r.last)).collect()
    }

    #[test]
    fn filling_shrinks_splits_and_removes() {
        let mut gaps = Gaps::default();
        gaps.open(10, 14, 0).unwrap();
        assert_eq!(gaps.fill(9), Ok(None));
        assert!(gaps.fill(10).unwrap().is_some());
        assert!(gaps.fill(14).unwrap().is_some());
        assert!(gaps.fill(12).unwrap().is_some());
        assert_eq!(pairs(&gaps), [(11, 11), (13, 13)]);
        assert!(gaps.contains(13) && !gaps.contains(12));
        gaps.fill(11).unwrap();
        gaps.fill(13).unwrap();
        assert!(gaps.is_empty());
    }

    #[test]
    fn only_what_is_old_enough_is_declared() {
        let mut gaps = Gaps::default();
        gaps.open(10, 14, 100).unwrap();
        gaps.open(20, 20, 200).unwrap();
        assert_eq!(gaps.declare(250, 150), (1, 5));
        assert_eq!(gaps.oldest_hole(), Some(200));
        assert_eq!(gaps.declared().count(), 1);
        assert_eq!(gaps.declare(251, 150), (0, 0));
    }

    #[test]
    fn advancing_forgets_what_lies_below() {
        let mut gaps = Gaps::default();
        gaps.open(10, 14, 0).unwrap();
        gaps.open(20, 29, 0).unwrap();
        assert_eq!(gaps.advance(25), 10);
        assert_eq!(pairs(&gaps), [(25, 29)]);
    }

    #[test]
    fn there_are_never_more_ranges_than_the_limit() {
        let mut gaps = Gaps::default();
        for n in 0..GAP_RANGES_MAX as u64 - 1 {
            gaps.open(n * 10, n * 10, 0).unwrap();
        }
        let wide = GAP_RANGES_MAX as u64 * 10;
        gaps.open(wide, wide + 8, 0).unwrap();
        assert_eq!(gaps.open(wide + 20, wide + 20, 0), Err(TooMany));
        assert_eq!(gaps.fill(wide + 4), Err(TooMany));
        assert_eq!(gaps.reopen(5, 0), Err(TooMany));
        assert!(gaps.contains(wide + 4));
    }
}
